import ArgumentParser
import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Logging

/// One worker takes thousands of partitions over: how long it takes to find where to go on in each, and to write their first
/// checkpoints into a real etcd.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Measures how long planning the resume of many partitions takes, and their first checkpoints.")

    @Option(help: "Topics (1 to 100).") var topics = 10
    @Option(help: "Partitions of each (1 to 10000).") var partitions: Int32 = 1000
    @Option(help: "Seconds that the worker stands by, joined, before it takes over: right after joining librdkafka is still at work for it.")
    var standby = 15.0
    @OptionGroup var verdict: VerdictOptions

    /// Seconds that planning 10,000 partitions may take.
    static let bound = 2.0
    private static let group = "bench-rule"
    private static let patience = Duration.seconds(120)

    struct Failure: Error, CustomStringConvertible { let description: String }

    func validate() throws {
        guard (1...100).contains(topics), (1...10_000).contains(partitions), standby >= 0 else {
            throw ValidationError("topics 1 to 100, standby 0 or more and partitions 1 to 10000 would be right")
        }
    }

    private var all: [TopicPartition] {
        (0..<topics).flatMap { topic in (0..<partitions).map { TopicPartition(topic: "eqiad.s\(topic)", partition: $0) } }
    }

    func run() async throws {
        guard let etcd = DemoConfiguration.installedEtcd() else { throw ValidationError("there is no etcd on the PATH; 'make deps' installs it") }
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let ports = try FreePorts.take(3)
        let server = try Demo.startEtcd(etcd, in: directory, ports: (ports[0], ports[1]))
        defer { server.kill() }
        let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "switchback").path
        let broker = try LeashedProcess(
            "Kafka", executable, ["local", "--dc", "codfw=127.0.0.1:\(ports[2])", "--data", directory.appending(path: "kafka").path],
            log: directory.appending(path: "kafka.log"))
        defer { broker.kill() }
        var logger = Logger(label: "bench")
        logger.logLevel = .critical
        let store = try await StoreConfiguration(parsing: "etcd://127.0.0.1:\(ports[0])/switchback/").open(logger: logger)
        let client = KafkaClientConfiguration(bootstrapServers: ["127.0.0.1:\(ports[2])"], clientID: "bench", logger: logger)
        try await fillLogs(client)
        let (key, writing) = try await fillStore(store)

        let worker = try start(executable, directory, etcd: ports[0], kafka: ports[2])
        defer { worker.kill() }
        _ = try await line(of: worker, "Partitions were assigned")
        try await Task.sleep(for: .seconds(standby))
        let began = ContinuousClock.now
        let controller = HandoverController(store: store, logger: logger) {
            Assignment.Author(name: "bench", now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
        }
        try await controller.failover(key, to: DemoConfiguration.away, now: true)
        let planned = try await line(of: worker, "Planned where to go on")
        var stable: Double?
        while stable == nil, began.duration(to: .now) < Self.patience {
            if try await AssignmentStore(store).load(key)?.assignment.phase == .stable { stable = began.duration(to: .now) / .seconds(1) }
            try await Task.sleep(for: .milliseconds(50))
        }
        await store.close()

        let fields = Self.fields(planned)
        guard let planning = fields["ms"].flatMap(Double.init).map({ $0 / 1000 }), fields["partitions"] == String(all.count) else {
            throw Failure(description: "not all partitions were planned at once: \(planned)")
        }
        let parts = ["checkpoints", "log_ends", "commits", "anchors", "lookups"].map { "\($0) \(fields["\($0)_ms"] ?? "?")" }
        let stability =
            stable.map { String(format: "Stable %.3f s after the take-over: every first checkpoint stored, and seen to be.", $0) }
            ?? "Not stable within \(Self.patience) of the take-over: moving so many partitions in librdkafka takes longer (Docs/Design.md section 6)."
        try verdict.finish(
            RowResult(
                row: "h", name: "resume plan", load: "\(all.count) partitions taken over by one worker, one broker, a real etcd, one run",
                goals: [
                    .init(what: "planning", value: planning, atMost: Self.bound * max(1, Double(all.count) / 10_000), unit: " s"),
                ], remark: "Of the planning, in ms: \(parts.joined(separator: ", ")). \(stability) \(writing)"))
    }

    // MARK: Filling

    private static func id(_ partition: TopicPartition) -> String { "\(partition.topic)-\(partition.partition)" }
    private static let time = MillisecondTimestamp(clamped: 1_700_000_000_000)

    /// One record in every partition.
    private func fillLogs(_ client: KafkaClientConfiguration) async throws {
        let admin = try KafkaAdmin(client)
        _ = try await admin.clusterID(timeout: .seconds(20))
        for result in try await admin.createTopics((0..<topics).map { NewTopic("eqiad.s\($0)", partitions: partitions) }, timeout: .seconds(60)).values {
            try result.get()
        }
        await admin.close()
        let producer = try KafkaProducer(client)
        let records = all.map { partition in
            var record = ProducerRecord(
                topic: partition.topic, partition: partition.partition, key: nil, value: Array(#"{"id":"\#(Self.id(partition))"}"#.utf8))
            record.timestamp = Self.time
            return record
        }
        for result in await producer.send(contentsOf: records) { _ = try result.get() }
        try await producer.close(within: .seconds(10))
    }

    /// A checkpoint for every partition, measured in a cluster that is gone, each with a full tail; the last of it is the one record.
    private func fillStore(_ store: any SharedStore) async throws -> (AssignmentKey, String) {
        let key = AssignmentKey(group: Self.group, origin: DemoConfiguration.home)
        let counts = Dictionary(uniqueKeysWithValues: (0..<topics).map { ("eqiad.s\($0)", partitions) })
        let home = Assignment(owner: DemoConfiguration.home, leaseMilliseconds: 5000, partitions: counts, by: "bench", since: Self.time)
        guard case .done(let assignment) = try await AssignmentStore(store).change(key, to: home, expecting: 0) else {
            throw Failure(description: "the assignment could not be written")
        }
        let writes = all.map { partition in
            let before = (0..<15).map { Fingerprint.ofIdentity("\(Self.id(partition)) before \($0)") }
            let done = DonePrefix(
                witness: Self.time, disorder: 0, tail: before + [Fingerprint.ofIdentity(Self.id(partition))], beyond: [], beyondSpan: 0,
                position: Position(4711, in: ClusterID("gone")), timestampType: .createTime)
            let checkpoint = Checkpoint(
                done: done, partitionCount: partitions, identity: "json:id", epoch: 1, worker: "bench", writtenAt: Self.time)
            return CheckpointWrite(partition: partition, checkpoint: checkpoint, expectedRevision: 0)
        }
        let began = ContinuousClock.now
        let results = await CheckpointStore(store).save(group: Self.group, writes, fence: assignment.fence(key))
        let seconds = began.duration(to: .now) / .seconds(1)
        guard results.count == writes.count, results.values.allSatisfy(\.isSaved) else { throw Failure(description: "the checkpoints could not be written") }
        let size = writes.first.map { CheckpointCodec.encode($0.checkpoint).count } ?? 0
        let most = (store.maximumTransactionSize - 1) / 2
        return (
            key,
            String(
                format: "Writing all checkpoints at once: %.3f s (%d transactions of up to %d, %d bytes each).", seconds,
                (writes.count + most - 1) / most, most, size)
        )
    }

    // MARK: The worker

    private func start(_ executable: String, _ directory: URL, etcd: Int, kafka: Int) throws -> LeashedProcess {
        let names = (0..<topics).map { "s\($0)" }.joined(separator: ", ")
        let text = """
            service: bench
            datacenter: codfw
            datacenters:
              eqiad: {bootstrap: "127.0.0.1:1"}
              codfw: {bootstrap: "127.0.0.1:\(kafka)", kafka: {topic.metadata.refresh.interval.ms: 60000}}
            store:
              etcd: {endpoints: ["http://127.0.0.1:\(etcd)"], prefix: /switchback}
            identity: json:id
            rules:
              rule:
                topics: [\(names)]
                origins: [eqiad]
                retry_limit: 0
                on_failure: halt
                exec: {uri: 'http://127.0.0.1:1/{message.id}'}
            """
        let file = directory.appending(path: "worker.yaml")
        try Data(text.utf8).write(to: file)
        return try LeashedProcess("worker", executable, ["worker", "--config", file.path], log: directory.appending(path: "worker.log"))
    }

    /// Waits for the last line of the worker's log that says `text`.
    private func line(of worker: LeashedProcess, _ text: String) async throws -> String {
        let deadline = ContinuousClock.now + Self.patience
        while ContinuousClock.now < deadline {
            let log = (try? String(contentsOf: worker.log, encoding: .utf8)) ?? ""
            if let found = log.split(separator: "\n").last(where: { $0.contains(text) }) { return String(found) }
            guard worker.isRunning else { break }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw Failure(description: "the worker never said '\(text)': \(worker.lastWords())")
    }

    /// The `name=value` parts of a line of log.
    private static func fields(_ line: String) -> [String: String] {
        var fields: [String: String] = [:]
        for word in line.split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { fields[String(parts[0])] = String(parts[1]) }
        }
        return fields
    }
}
