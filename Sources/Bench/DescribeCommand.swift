import ArgumentParser
import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Logging

/// How long `switchback offsets describe` takes for thousands of partitions, each with records to do, in two clusters.
struct DescribeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Measures 'switchback offsets describe' and 'plan' over many partitions in two clusters.")

    @Option(help: "Partitions (1 to 10000).") var partitions: Int32 = 5000
    @Option(help: "How often each is run.") var runs = 5
    @Flag(help: "Exit with status 1 when the median of describe is above its bound.") var check = false

    /// Seconds that describing 5,000 partitions may take.
    static let bound = 3.0
    private static let group = "bench-rule"
    private static let topic = "eqiad.s0"
    private static let patience = Duration.seconds(60)

    struct Failure: Error, CustomStringConvertible { let description: String }

    func validate() throws {
        guard (1...10_000).contains(partitions), (1...100).contains(runs) else { throw ValidationError("1 to 10000 partitions and 1 to 100 runs would be right") }
    }

    func run() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let ports = try FreePorts.take(2)
        let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "switchback").path
        let names = ["eqiad", "codfw"]
        let brokers = try LeashedProcess(
            "Kafka", executable,
            ["local", "--data", directory.appending(path: "kafka").path] + zip(names, ports).flatMap { ["--dc", "\($0)=127.0.0.1:\($1)"] },
            log: directory.appending(path: "kafka.log"))
        defer { brokers.kill() }
        var logger = Logger(label: "bench")
        logger.logLevel = .critical
        var home: ClusterID?
        for port in ports {
            let client = KafkaClientConfiguration(bootstrapServers: ["127.0.0.1:\(port)"], clientID: "bench", logger: logger)
            let cluster = try await fill(client)
            home = home ?? cluster
        }
        guard let home else { throw Failure(description: "no cluster") }
        let store = try await StoreConfiguration.sqlite(path: directory.appending(path: "store.db").path).open(logger: logger)
        try await fill(store, home)
        await store.close()
        let file = directory.appending(path: "worker.yaml")
        try Data(configuration(ports).utf8).write(to: file)
        print("offsets: \(partitions) partitions with two records to do each, two clusters")
        let described = try median("describe", executable, ["offsets", "describe", Self.group, "--config", file.path])
        _ = try median("plan --to codfw", executable, ["offsets", "plan", Self.group, "--to", "codfw", "--config", file.path, "--timeout", "120"])
        if check, described > Self.bound * max(1, Double(partitions) / 5000) { throw ExitCode(1) }
    }

    private func median(_ name: String, _ executable: String, _ arguments: [String]) throws -> Double {
        var seconds: [Double] = []
        for _ in 0..<runs {
            let process = Process()
            process.executableURL = URL(filePath: executable)
            process.arguments = arguments
            process.standardOutput = FileHandle.nullDevice
            let began = ContinuousClock.now
            try process.run()
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw Failure(description: "\(name) ended with status \(process.terminationStatus)") }
            seconds.append(began.duration(to: .now) / .seconds(1))
        }
        seconds.sort()
        let middle = seconds[seconds.count / 2]
        print(String(format: "  %@  median %.2f s, from %.2f to %.2f", name.padding(toLength: 16, withPad: " ", startingAt: 0), middle, seconds[0], seconds[seconds.count - 1]))
        return middle
    }

    /// Three records in each partition; the cluster's id.
    private func fill(_ client: KafkaClientConfiguration) async throws -> ClusterID {
        let admin = try KafkaAdmin(client)
        let cluster = try await admin.clusterID(timeout: .seconds(20))
        for result in try await admin.createTopics([NewTopic(Self.topic, partitions: partitions)], timeout: Self.patience).values { try result.get() }
        await admin.close()
        let producer = try KafkaProducer(client)
        for index in 0..<3 {
            let records = (0..<partitions).map { partition in
                var record = ProducerRecord(topic: Self.topic, partition: partition, key: nil, value: Array(#"{"id":"\#(partition)-\#(index)"}"#.utf8))
                record.timestamp = MillisecondTimestamp(clamped: 1_700_000_000_000 + Int64(index) * 1000)
                return record
            }
            for result in await producer.send(contentsOf: records) { _ = try result.get() }
        }
        try await producer.close(within: .seconds(10))
        return cluster
    }

    /// A checkpoint after each partition's first record.
    private func fill(_ store: any SharedStore, _ cluster: ClusterID) async throws {
        let now = MillisecondTimestamp(clamped: 1_700_000_000_000)
        let key = AssignmentKey(group: Self.group, origin: DemoConfiguration.home)
        let home = Assignment(owner: DemoConfiguration.home, leaseMilliseconds: 5000, partitions: [Self.topic: partitions], by: "bench", since: now)
        guard case .done(let assignment) = try await AssignmentStore(store).change(key, to: home, expecting: 0) else {
            throw Failure(description: "the assignment could not be written")
        }
        let writes = (0..<partitions).map { partition in
            let done = DonePrefix(
                witness: now, disorder: 0, tail: [Fingerprint.ofIdentity("\(partition)-0")], beyond: [], beyondSpan: 0, position: Position(1, in: cluster),
                timestampType: .createTime)
            let checkpoint = Checkpoint(done: done, partitionCount: partitions, identity: "json:id", epoch: 1, worker: "bench", writtenAt: now)
            return CheckpointWrite(partition: TopicPartition(topic: Self.topic, partition: partition), checkpoint: checkpoint, expectedRevision: 0)
        }
        let results = await CheckpointStore(store).save(group: Self.group, writes, fence: assignment.fence(key))
        guard results.count == writes.count, results.values.allSatisfy(\.isSaved) else { throw Failure(description: "the checkpoints could not be written") }
    }

    private func configuration(_ ports: [Int]) -> String {
        """
        service: bench
        datacenter: eqiad
        datacenters:
          eqiad: {bootstrap: "127.0.0.1:\(ports[0])"}
          codfw: {bootstrap: "127.0.0.1:\(ports[1])"}
        store: {sqlite: store.db}
        identity: json:id
        rules:
          rule: {topic: s0, origins: [eqiad], retry_limit: 0, on_failure: halt, exec: {uri: 'http://127.0.0.1:1/{message.id}'}}
        """
    }
}
