import Checkpoints
import Foundation
import KafkaLog
import Logging
import TestSupport
import Testing

/// `switchback handover standby`, against a store that standbys have written to.
@Suite("The handover standby command")
struct StandbyCommandTests {
    private static let assignment = """
        {"by":"w","epoch":1,"fenceMilliseconds":0,"format":1,"kind":"initial","leaseMilliseconds":5000,"owner":"eqiad",\
        "partitions":{"eqiad.edits":4},"phase":"stable","reason":"","since":7}
        """

    private func report(_ more: String, datacenter: String = "codfw", format: Int = 1) -> String {
        """
        {"format":\(format),"datacenter":"\(datacenter)","cluster":"c","checkpointCluster":"e","checkpointOffset":20,"checkpointEpoch":1,\
        "at":1700000000000,\(more)}
        """
    }

    private func withStore(_ values: [StoreKey: String], _ body: (_ store: String) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("store.db").path
        let store = try await StoreConfiguration.sqlite(path: path).open(logger: Logger(label: "test"))
        _ = try await store.commit(StoreTransaction(writes: values.mapValues { .put(Array($0.utf8)) }))
        try await body("sqlite:\(path)")
        await store.close()
    }

    private func key(_ partition: Int, _ datacenter: String = "codfw") -> StoreKey {
        StoreKey("standby", "g", "eqiad.edits", String(partition), datacenter)
    }

    @Test("Each standby's place, repeats, mirror and gap in a line; the owner has none; as JSON too")
    func shown() async throws {
        let here = report(#""resumeOffset":120,"repeatsAtMost":12,"spanMilliseconds":3400,"isTailHere":true"#)
        let values = [
            StoreKey("assignments", "g", "eqiad"): Self.assignment, key(0): here, key(0, "eqiad"): here,
            key(1): report(#""resumeOffset":90,"repeatsAtMost":0,"isTailHere":false,"behindMilliseconds":65000,"gap":"retention","gapRecords":7"#),
            key(2): report(#""isTailHere":false"#), key(3): report(#""isTailHere":false"#, format: 2),
        ]
        try await withStore(values) { store in
            let executable = try Executable.switchback()
            let text = try await ChildProcess.run(executable, ["handover", "standby", "--store", store, "--group", "g"])
            #expect(text.status == 0, "\(text.errors)")
            let lines = text.output.split(separator: "\n")
            #expect(lines.allSatisfy { $0.count <= 120 }, "\(text.output)")
            func line(_ partition: Int) -> String { lines.filter { $0.contains("eqiad.edits/\(partition)") }.joined() }
            for word in ["120", "12, 3s 400ms", "has it", "none", "2023-11-14T22:13:20Z"] { #expect(line(0).contains(word), "\(line(0))") }
            #expect(lines.count { $0.contains("eqiad.edits/0") } == 1, "the owner's own is no standby")
            for word in ["90", "1m 5s+ behind", "retention, 7"] { #expect(line(1).contains(word), "\(line(1))") }
            #expect(line(2).contains("unknown") && line(3).contains("see below") && line(3).contains("eqiad.edits/3, codfw: format 2 is not known"), "\(text.output)")

            let json = try await ChildProcess.run(executable, ["handover", "standby", "--store", store, "--group", "g", "--output", "json"])
            let entries = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]])
            #expect(entries.count == 4 && entries.first?["owner"] as? String == "eqiad")
            #expect((entries.first?["report"] as? [String: Any])?["resumeOffset"] as? Int == 120)
        }
    }

    @Test("A group that nobody stands by for: said in a line")
    func nobody() async throws {
        try await withStore([StoreKey("assignments", "g", "eqiad"): Self.assignment]) { store in
            let output = try await ChildProcess.run(try Executable.switchback(), ["handover", "standby", "--store", store, "--group", "g"])
            #expect(output.status == 0 && output.output.contains("no standby of group g has said anything yet"), "\(output)")
        }
    }
}
