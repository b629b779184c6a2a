import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import LocalKafka
import Logging
import TestSupport
import Testing

@testable import ChangePropagation

/// One worker takes over two thousand partitions that another datacenter's cluster has checkpoints of. The bench (`make bench-plan`) takes ten
/// thousand over, in a release build.
@Suite("A take-over of two thousand partitions", .serialized)
struct LargePlanTests {
    private static let topics = 10
    private static let partitionsPerTopic: Int32 = 200
    private static let group = "large-rule"
    private static let eqiad = DemoConfiguration.home
    private static let codfw = DemoConfiguration.away

    private static let quiet: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = ProcessInfo.processInfo.environment["SWITCHBACK_TEST_LOG"] == nil ? .critical : .info
        return logger
    }()

    private static let all: [TopicPartition] = (0..<topics).flatMap { topic in
        (0..<partitionsPerTopic).map { TopicPartition(topic: "eqiad.s\(topic)", partition: $0) }
    }

    /// The id of the one record in a partition.
    private static func id(_ partition: TopicPartition) -> String { "\(partition.topic)-\(partition.partition)" }

    @Test("Its lookups are a handful of requests for all partitions together, and every partition goes on where it stopped")
    func lookups() async throws {
        LocalKafkaCluster.Configuration.raiseOpenFileLimit()
        let directory = try TemporaryDirectory()
        var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory.file("codfw"))
        configuration.logger = Self.quiet
        let cluster = try await LocalKafkaCluster.start(configuration)
        let store = InMemoryStore(name: "shared")
        try await Self.fill(cluster, store)

        let lookups = try KafkaAdmin(Self.process(cluster).clientConfiguration(.init(bootstrap: cluster.bootstrapServers)))
        let worker = try Self.worker(cluster, store, lookups)
        let task = Task { try await worker.run() }
        try await eventually("the group gives all partitions", timeout: .seconds(120)) { await worker.order.count == Self.all.count }
        let before = cluster.requests(.listOffsets)
        let began = ContinuousClock.now
        let controller = HandoverController(store: store, logger: Self.quiet) {
            Assignment.Author(name: "test", now: MillisecondTimestamp(clamped: 1))
        }
        try await controller.failover(AssignmentKey(group: Self.group, origin: Self.eqiad), to: Self.codfw, now: true)
        // Not `eventually`: it asks so often that the worker would be busy with answering.
        let deadline = began + .seconds(120)
        while await !worker.isReadingAll {
            guard ContinuousClock.now < deadline else { throw TestTimeout("not every partition got its place") }
            try await Task.sleep(for: .milliseconds(100))
        }
        let planned = began.duration(to: .now)
        let requests = cluster.requests(.listOffsets) - before
        try await eventually("the assignment is stable", timeout: .seconds(120)) {
            try await AssignmentStore(store).load(AssignmentKey(group: Self.group, origin: Self.eqiad))?.assignment.phase == .stable
        }
        let stored = began.duration(to: .now)
        print("\(Self.all.count) partitions taken over (debug build): planned after \(planned), stored after \(stored), \(requests) ListOffsets requests")
        // One broker, batches of 500: its ends (2 requests), and two times (3 each), 32 in all; and the ends again (8) for each look whether idle
        // partitions have caught up, of which a slow machine sees several. One for each partition would be thousands.
        #expect(requests <= Self.all.count / 10, "lookups are one request per broker and batch, not one per partition")
        let found = try await CheckpointStore(store).load(group: Self.group)
        #expect(found.count == Self.all.count)
        #expect(try found.values.allSatisfy { try $0.checkpoint.get().position.cluster.id == cluster.clusterID }, "each found its place in this cluster")
        await worker.stop()
        try await task.value
        await lookups.close()
        await cluster.stop()
    }

    /// One record in every partition, and a checkpoint that ends with it, measured in a cluster that is gone.
    private static func fill(_ cluster: LocalKafkaCluster, _ store: InMemoryStore) async throws {
        for topic in 0..<topics { try cluster.createTopic("eqiad.s\(topic)", partitions: partitionsPerTopic) }
        let key = AssignmentKey(group: group, origin: eqiad)
        let home = Assignment(
            owner: eqiad, leaseMilliseconds: 5000,
            partitions: Dictionary(uniqueKeysWithValues: (0..<topics).map { ("eqiad.s\($0)", partitionsPerTopic) }), by: "test",
            since: MillisecondTimestamp(clamped: 1))
        guard case .done(let assignment) = try await AssignmentStore(store).change(key, to: home, expecting: 0) else {
            throw TestTimeout("the assignment could not be written")
        }
        let time: Int64 = 1_700_000_000_000
        var writes: [CheckpointWrite] = []
        for partition in all {
            try cluster.append(
                [RawRecord(timestamp: time, value: Array(#"{"id":"\#(id(partition))"}"#.utf8))], to: partition.topic, partition.partition)
            let done = DonePrefix(
                witness: MillisecondTimestamp(clamped: time), disorder: 0, tail: [Fingerprint.ofIdentity(id(partition))], beyond: [],
                beyondSpan: 0, position: Position(4711, in: ClusterID("gone")), timestampType: .createTime)
            let checkpoint = Checkpoint(
                done: done, partitionCount: partitionsPerTopic, identity: "json:id", epoch: 1, worker: "test",
                writtenAt: MillisecondTimestamp(clamped: 1))
            writes.append(CheckpointWrite(partition: partition, checkpoint: checkpoint, expectedRevision: 0))
        }
        let results = await CheckpointStore(store).save(group: group, writes, fence: assignment.fence(key))
        guard results.values.allSatisfy(\.isSaved) else { throw TestTimeout("the checkpoints could not be written") }
    }

    private static func process(_ cluster: LocalKafkaCluster) throws -> Worker {
        let names = (0..<topics).map { "s\($0)" }.joined(separator: ", ")
        let text = """
            service: large
            datacenter: codfw
            datacenters:
              eqiad: {bootstrap: "127.0.0.1:1"}
              codfw: {bootstrap: "\(cluster.bootstrapServers)", kafka: {topic.metadata.refresh.interval.ms: 60000}}
            store: {sqlite: unused.db}
            identity: json:id
            session_timeout: 60s
            rules:
              rule:
                topics: [\(names)]
                origins: [eqiad]
                retry_limit: 0
                on_failure: halt
                exec: {uri: 'http://sink/{message.id}'}
            """
        return Worker(try WorkerConfiguration.parse(text, file: "worker.yaml"), logger: quiet)
    }

    private static func worker(_ cluster: LocalKafkaCluster, _ store: InMemoryStore, _ lookups: KafkaAdmin) throws -> GroupWorker {
        let process = try process(cluster)
        guard let settings = process.configuration.datacenters[codfw] else { throw TestTimeout("no cluster") }
        return try process.groupWorker(
            group, process.configuration.rules, among: 1, settings, lookups: lookups, store: store,
            action: RuleAction { _, _ in .done(status: 200) })
    }
}

extension GroupWorker {
    fileprivate var isReadingAll: Bool { partitions.values.allSatisfy { $0.planner != nil && $0.stage == .reading } }
}
