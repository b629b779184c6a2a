import Foundation
import LocalKafka
import Logging
import TestSupport

/// Two clusters with the same records at other offsets, a store, and the `switchback` command as a process of its own.
final class OffsetsStage: Sendable {
    static let group = "demo-note"
    static let topic = "eqiad.page"
    static let perPartition = 10
    /// Records that only codfw's log begins with: every offset there is so much higher.
    static let shift: Int64 = 3
    static let firstTime: Int64 = 1_772_330_584_000

    let directory: TemporaryDirectory
    let eqiad: LocalKafkaCluster
    let codfw: LocalKafkaCluster
    private let executable: String

    private init(_ directory: TemporaryDirectory, _ eqiad: LocalKafkaCluster, _ codfw: LocalKafkaCluster, _ rule: String) throws {
        self.directory = directory
        self.eqiad = eqiad
        self.codfw = codfw
        executable = try Executable.switchback()
        for name in ["eqiad", "codfw"] { try Data(Self.configuration(name, eqiad, codfw, rule).utf8).write(to: directory.file("\(name).yaml")) }
    }

    /// - Parameter rule: a further line of the rule.
    static func run(rule: String = "max_hops: 3", _ body: (OffsetsStage) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let eqiad = try await start("eqiad", directory)
        let codfw = try await start("codfw", directory)
        var failure: (any Error)?
        do {
            for cluster in [eqiad, codfw] { try cluster.createTopic(topic, partitions: 2) }
            for partition in Int32(0)..<2 {
                let past = (0..<shift).map { RawRecord(timestamp: firstTime - 86_400_000 + $0, value: Array(#"{"id":"past\#(partition)-\#($0)"}"#.utf8)) }
                try codfw.append(past, to: topic, partition)
                for cluster in [eqiad, codfw] { try cluster.append((0..<perPartition).map { record(partition, $0) }, to: topic, partition) }
            }
            try await body(OffsetsStage(directory, eqiad, codfw, rule))
        } catch { failure = error }
        await eqiad.stop()
        await codfw.stop()
        if let failure { throw failure }
    }

    /// One a second.
    static func record(_ partition: Int32, _ index: Int) -> RawRecord {
        RawRecord(timestamp: firstTime + Int64(index) * 1000, value: Array(#"{"id":"\#(partition)-\#(index)"}"#.utf8))
    }

    private static func start(_ name: String, _ directory: TemporaryDirectory) async throws -> LocalKafkaCluster {
        var settings = LocalKafkaCluster.Configuration(dataDirectory: directory.file("kafka-\(name)"), brokers: try ownAddresses())
        settings.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return try await LocalKafkaCluster.start(settings)
    }

    private static func configuration(_ name: String, _ eqiad: LocalKafkaCluster, _ codfw: LocalKafkaCluster, _ rule: String) -> String {
        """
        service: demo
        datacenter: \(name)
        datacenters:
          eqiad: {bootstrap: "\(eqiad.bootstrapServers)"}
          codfw: {bootstrap: "\(codfw.bootstrapServers)"}
        store: {sqlite: store.db}
        identity: json:id
        lease: 1s
        checkpoints: {interval: 100ms, commit_interval: 100ms}
        rules:
          note:
            topic: page
            origins: [eqiad]
            retry_limit: 0
            on_failure: halt
            \(rule)
            exec: {log: seen-\(name).jsonl}
        """
    }

    // MARK: Commands

    func offsets(_ arguments: String..., input: String = "") async throws -> ChildProcess.Output {
        try await ChildProcess.run(executable, ["offsets"] + arguments + ["--config", directory.file("eqiad.yaml").path], input: input, deadline: .seconds(60))
    }

    func handover(_ arguments: String...) async throws -> ChildProcess.Output {
        try await ChildProcess.run(executable, ["handover"] + arguments + ["--config", directory.file("eqiad.yaml").path], deadline: .seconds(60))
    }

    /// The ids that this datacenter's worker has acted on, in order.
    func seen(_ datacenter: String = "eqiad") -> [String] {
        ((try? String(contentsOf: directory.file("seen-\(datacenter).jsonl"), encoding: .utf8)) ?? "").split(separator: "\n").compactMap { line in
            (try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])?["id"] as? String
        }
    }

    /// Runs a worker for as long as `body` takes.
    func withWorker(_ datacenter: String = "eqiad", _ body: () async throws -> Void) async throws {
        let worker = Process()
        worker.executableURL = URL(filePath: executable)
        worker.arguments = ["worker", "--config", directory.file("\(datacenter).yaml").path]
        let log = directory.file("worker-\(datacenter).log")
        try Data().write(to: log)
        worker.standardOutput = FileHandle.nullDevice
        worker.standardError = try FileHandle(forWritingTo: log)
        try launch(worker)
        var failure: (any Error)?
        do { try await body() } catch {
            failure = TestTimeout("\(error): \(((try? String(contentsOf: log, encoding: .utf8)) ?? "").suffix(3000))")
        }
        worker.terminate()
        // Not on one of the few shared threads: the clusters of other tests run there.
        try? await onOwnThread { worker.waitUntilExit() }
        if let failure { throw failure }
    }

    /// A worker acts on everything, writes it down and stops.
    func actOnEverything() async throws {
        let all = 2 * Self.perPartition
        try await withWorker { try await eventually("everything is acted on", timeout: .seconds(30)) { self.seen().count >= all } }
    }
}
