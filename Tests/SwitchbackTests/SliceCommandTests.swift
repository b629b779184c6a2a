import Checkpoints
import Foundation
import Logging
import TestSupport
import Testing

/// `switchback handover` with `--share` and `--topic`, against a store that a worker has written to.
@Suite("The handover command, with slices")
struct SliceCommandTests {
    private static let key = StoreKey("assignments", "g", "eqiad")
    private static let assignment = """
        {"by":"w","epoch":1,"fenceMilliseconds":0,"format":1,"kind":"initial","leaseMilliseconds":5000,"owner":"eqiad",\
        "partitions":{"eqiad.edits":20,"eqiad.purges":3},"phase":"stable","reason":"","since":7}
        """
    private let directory: TemporaryDirectory
    private let executable: String

    init() throws {
        directory = try TemporaryDirectory()
        executable = try Executable.switchback()
    }

    private func withStore(_ body: (any SharedStore) async throws -> Void) async throws {
        let configuration = """
            service: demo
            datacenter: eqiad
            datacenters:
              eqiad: {bootstrap: "127.0.0.1:1"}
              codfw: {bootstrap: "127.0.0.1:2"}
            store: {sqlite: store.db}
            rules:
              purge: {topic: purges, exec: {uri: 'http://127.0.0.1:8080/purge'}}
            """
        try Data(configuration.utf8).write(to: directory.file("worker.yaml"))
        let store = try await StoreConfiguration.sqlite(path: directory.file("store.db").path).open(logger: Logger(label: "test"))
        _ = try await store.commit(StoreTransaction(writes: [Self.key: .put(Array(Self.assignment.utf8))]))
        try await body(store)
        await store.close()
    }

    private func handover(_ command: String, _ options: [String]) async throws -> ChildProcess.Output {
        let store = ["--config", directory.file("worker.yaml").path]
        let target = command == "show" ? [] : ["--group", "g", "--origin", "eqiad"]
        return try await ChildProcess.run(executable, ["handover", command] + store + target + options)
    }

    @Test("A slice that is none: one clear line, exit 2, and nothing is touched")
    func badSlices() async throws {
        let wrongs: [([String], String)] = [
            (["--share", "0%"], "--share 0%: a whole number of percent from 1% to 100% would be right"),
            (["--share", "150%"], "--share 150%: "), (["--share", "ten"], "--share ten: "),
            (["--topic", "edit"], "--topic edit: no such topic of this origin; edits, purges would be right"),
            (["--topic", "edits", "--topic", "codfw.edits"], "--topic codfw.edits: no such topic"),
        ]
        try await withStore { store in
            for (options, says) in wrongs {
                for command in [["switchover", "--to", "codfw"], ["failover", "--to", "codfw"], ["switchback"]] {
                    let output = try await handover(command[0], command.dropFirst() + options)
                    #expect(output.status == 2 && output.output.isEmpty, "\(command) \(options)")
                    #expect(output.errors.contains(says), "\(output.errors)")
                }
            }
            #expect(try await store.get(Self.key)?.bytes == Array(Self.assignment.utf8))
            #expect(try await store.list(under: StoreKey("history")).entries.isEmpty)
        }
    }

    @Test("A share is moved by force and shown in a line of its own; a second handover is refused with the name of the first")
    func share() async throws {
        try await withStore { _ in
            let moved = try await handover("failover", ["--to", "codfw", "--share", "10%", "--timeout", "0"])
            #expect(moved.status == 0 && moved.output.contains("epoch 2, codfw owns the slice"), "\(moved.errors)")
            let shown = try await handover("show", []).output
            let cells = shown.split(separator: "\n").map { line in line.split { " |│".contains($0) }.map(String.init) }
            #expect(cells.contains { $0.starts(with: ["g", "eqiad", "eqiad", "20", "of", "23", "resuming", "3", "from", "eqiad"]) }, "\(shown)")
            #expect(cells.contains(["g", "eqiad", "codfw", "3", "of", "23"]), "\(shown)")
            #expect(shown.split(separator: "\n").allSatisfy { $0.count <= 132 }, "\(shown)")
            let second = try await handover("switchover", ["--to", "codfw", "--topic", "edits", "--timeout", "0"])
            #expect(second.status == 1 && second.errors.contains("a handover is under way (epoch 2: 3 of 23 partitions ("), "\(second.errors)")
            #expect(second.errors.contains("begun by \(ProcessInfo.processInfo.environment["USER"] ?? "operator")@"))
            #expect(second.errors.split(separator: "\n").count == 1)
        }
    }

    @Test("A proof looks and makes nothing: without a store it says so, exit 2")
    func proofWithoutAStore() async throws {
        try await withStore { _ in }
        for name in try FileManager.default.contentsOfDirectory(atPath: directory.url.path) where name.hasPrefix("store.db") {
            try FileManager.default.removeItem(at: directory.file(name))
        }
        let output = try await handover("proof", [])
        #expect(output.status == 2 && output.output.isEmpty)
        #expect(output.errors.contains("there is no store at \(directory.file("store.db").path)"), "\(output.errors)")
        #expect(!FileManager.default.fileExists(atPath: directory.file("store.db").path))
    }
}
