import Foundation
import LocalKafka
import Logging
import TestSupport
import Testing

/// What stands under "Example:" in the help of each offsets command works as it is pasted.
@Suite("The offsets command: examples")
struct OffsetsExamplesTests {
    private static let topic = "eqiad.mediawiki.recentchange"

    private func configuration(_ eqiad: LocalKafkaCluster, _ codfw: LocalKafkaCluster) -> String {
        """
        service: demo
        datacenter: eqiad
        datacenters:
          eqiad: {bootstrap: "\(eqiad.bootstrapServers)"}
          codfw: {bootstrap: "\(codfw.bootstrapServers)"}
        store: {sqlite: store.db}
        identity: json:id
        checkpoints: {interval: 100ms}
        rules:
          notify_edits:
            topic: mediawiki.recentchange
            retry_limit: 0
            on_failure: halt
            exec: {log: seen.jsonl}
        """
    }

    private func start(_ name: String, _ directory: TemporaryDirectory) async throws -> LocalKafkaCluster {
        var settings = LocalKafkaCluster.Configuration(dataDirectory: directory.file("kafka-\(name)"))
        settings.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return try await LocalKafkaCluster.start(settings)
    }

    @Test("Each example ends well, or with status 1 where its time or offset is not in these logs")
    func pasted() async throws {
        let directory = try TemporaryDirectory()
        let (eqiad, codfw) = (try await start("eqiad", directory), try await start("codfw", directory))
        var failure: (any Error)?
        do { try await run(directory, eqiad, codfw) } catch { failure = error }
        await eqiad.stop()
        await codfw.stop()
        if let failure { throw failure }
    }

    private func run(_ directory: TemporaryDirectory, _ eqiad: LocalKafkaCluster, _ codfw: LocalKafkaCluster) async throws {
        let executable = try Executable.switchback()
        for cluster in [eqiad, codfw] {
            for topic in [Self.topic, "codfw.mediawiki.recentchange"] { try cluster.createTopic(topic, partitions: 4) }
            for partition in Int32(0)..<4 {
                let records = (0..<60).map { RawRecord(timestamp: 1_772_330_500_000 + Int64($0) * 1000, value: Array(#"{"id":"\#(partition)-\#($0)"}"#.utf8)) }
                try cluster.append(records, to: Self.topic, partition)
            }
        }
        try Data(configuration(eqiad, codfw).utf8).write(to: directory.file("worker.yaml"))
        // A worker makes store, assignments and checkpoints, and stops.
        let worker = try await ChildProcess.run(
            "/bin/sh",
            [
                "-c",
                // No `wait`: Foundation starts processes with SIGCHLD blocked, and the shell would wait for ever.
                """
                cd \(directory.path) || exit 1
                \(executable) worker --config worker.yaml & pid=$!
                look=0
                while [ $look -lt 600 ] && [ "$(cat seen.jsonl 2>/dev/null | wc -l)" != 240 ]; do sleep 0.1; look=$((look + 1)); done
                kill -TERM $pid
                while grep -q '^State:.[^Z]' /proc/$pid/status; do sleep 0.1; done
                [ "$(wc -l < seen.jsonl)" = 240 ]
                """,
            ], deadline: .seconds(120))
        try #require(worker.status == 0, "\(worker.errors.suffix(2000))")
        var examples: [String] = []
        for name in ["list", "describe", "plan", "translate", "peek", "diff", "export", "import", "reset"] {
            let help = try await ChildProcess.run(executable, ["offsets", name, "--help"])
            let block = try #require(help.output.split(separator: "Example:\n").dropFirst().first?.split(separator: "\n\n").first)
            #expect(block.split(separator: "\n").allSatisfy { $0.count <= 80 }, "a wrapped example can't be pasted: \(block)")
            examples += block.replacing("\\\n", with: " ").split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        #expect(examples.count >= 15 && examples.allSatisfy { $0.hasPrefix("switchback offsets ") }, "\(examples)")
        for example in examples where !example.contains("--watch") {
            // As pasted, but that a slow machine gets more time.
            let command = example.replacing("switchback offsets", with: "'\(executable)' offsets") + " --timeout 60"
            let output = try await ChildProcess.run("/bin/sh", ["-c", "cd \(directory.path) && \(command)"], deadline: .seconds(120))
            let isReset = example.contains(" reset ") && !example.contains("--dry-run")
            // Without a terminal a rewind can't ask, and some have nothing to do; offset 4711 and -15m are not in these logs.
            let expected: Set<Int32> = isReset ? [0, 1, 2] : example.contains("-15m") || example.contains("-1h") ? [0, 1] : [0]
            #expect(expected.contains(output.status), "\(example): \(output.status) \(output.errors)")
            #expect(!output.errors.contains("Usage:") && !output.errors.contains("Unknown option") && !output.errors.contains("Missing"), "\(example): \(output.errors)")
        }
    }
}
