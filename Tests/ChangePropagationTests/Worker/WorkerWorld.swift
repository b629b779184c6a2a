import Foundation
import Handover
import KafkaLog
import LocalKafka
import Logging
import Synchronization
import TestSupport

@testable import ChangePropagation
@testable import Checkpoints

/// Two datacenters in one process: a LocalKafka cluster each, one in-memory store, and workers whose actions are noted. The
/// test is the mirror: it decides when a record reaches the other cluster.
final class WorkerWorld: Sendable {
    static let eqiad = Datacenter("eqiad")!
    static let codfw = Datacenter("codfw")!
    static let group = "test-rule"
    static let topic = "eqiad.s"
    static let lease = Duration.seconds(1)

    struct Call: Sendable {
        let id: String
        let datacenter: Datacenter
        /// Counts from 0 in the order in which workers were started.
        let worker: Int
        let at: ContinuousClock.Instant
    }

    /// One running worker process, as far as it matters here.
    struct Running: Sendable {
        let worker: GroupWorker
        let task: Task<Void, any Error>
        let lookups: KafkaAdmin
        /// What the worker sees of it.
        let counted: CountingLookups
        /// The worker's own way to the store, with faults of its own.
        let store: InMemoryStore

        /// SIGTERM.
        func stop() async throws {
            await worker.stop()
            try await task.value
            await lookups.close()
        }
    }

    let clusters: [Datacenter: LocalKafkaCluster]
    let store = InMemoryStore(name: "shared")
    private let directory: TemporaryDirectory
    private let partitions: Int32
    private let made = Mutex<[Call]>([])
    /// What an action gets for an answer; asked with the event's id and the datacenter.
    private let answers = Mutex<@Sendable (String, Datacenter) async -> RequestResult>({ _, _ in .done(status: 200) })
    private let running = Mutex<[Running]>([])

    init(partitions: Int32 = 2) async throws {
        directory = try TemporaryDirectory()
        self.partitions = partitions
        var clusters: [Datacenter: LocalKafkaCluster] = [:]
        for datacenter in [Self.eqiad, Self.codfw] {
            var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory.file(datacenter.name))
            configuration.logger = Self.quiet
            let cluster = try await LocalKafkaCluster.start(configuration)
            try cluster.createTopic(Self.topic, partitions: partitions)
            try cluster.createTopic("eqiad.other", partitions: partitions)
            clusters[datacenter] = cluster
        }
        self.clusters = clusters
        // The same event has another offset in codfw.
        for partition in 0..<partitions { try clusters[Self.codfw]?.skipOffsets(Self.topic, partition, count: 100) }
    }

    /// librdkafka's `debug` in eqiad's workers: empty for none.
    static let debug = ProcessInfo.processInfo.environment["SWITCHBACK_TEST_RDKAFKA"].map { "debug: '\($0)'" } ?? ""

    static let quiet: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = ProcessInfo.processInfo.environment["SWITCHBACK_TEST_LOG"] == nil ? .critical : .debug
        return logger
    }()

    /// Runs `body`, then ends every worker and cluster whatever came of it.
    static func run(partitions: Int32 = 2, _ body: (WorkerWorld) async throws -> Void) async throws {
        let world = try await WorkerWorld(partitions: partitions)
        var failure: (any Error)?
        do { try await body(world) } catch { failure = error }
        world.answer { _, _ in .done(status: 200) }
        for running in world.running.withLock({ $0 }) { try? await running.stop() }
        for cluster in world.clusters.values { await cluster.stop() }
        // A worker's action holds the world, which holds its workers.
        world.directory.remove()
        if let failure { throw failure }
    }

    // MARK: Workers

    /// Starts a worker in `datacenter`; `extra` are further lines of its worker.yaml, `rule` of its rule.
    func start(
        _ datacenter: Datacenter, topics: String = "[s]", extra: String = "", rule: String = "",
        exec: String = "{uri: 'http://sink/{message.id}'}"
    ) async throws -> Running {
        let servers = clusters.mapValues(\.bootstrapServers)
        let text = """
            service: test
            datacenter: \(datacenter)
            datacenters:
              eqiad:
                bootstrap: "\(servers[Self.eqiad] ?? "")"
                kafka: {\(Self.debug)}
              codfw: {bootstrap: "\(servers[Self.codfw] ?? "")"}
            store: {sqlite: unused.db}
            identity: json:id
            lease: 1s
            session_timeout: 6s
            drain_timeout: 5s
            checkpoints: {interval: 50ms, commit_interval: 200ms, hold: 1s}
            \(extra)
            rules:
              rule:
                topics: \(topics)
                origins: [eqiad]
                concurrency: 8
                retry_limit: 0
                exec: \(exec)
            \(rule)
            """
        let configuration = try WorkerConfiguration.parse(text, file: "worker.yaml")
        guard let cluster = configuration.datacenters[datacenter] else { throw TestTimeout("no cluster of \(datacenter)") }
        let process = Worker(configuration, logger: Self.quiet)
        let lookups = try KafkaAdmin(process.clientConfiguration(cluster))
        let counted = CountingLookups(lookups)
        let store = store.handle(named: "\(datacenter)")
        let number = running.withLock { $0.count }
        let action = RuleAction { [self] request, _ in
            let id = String(request.url.split(separator: "/").last ?? "")
            made.withLock { $0.append(Call(id: id, datacenter: datacenter, worker: number, at: .now)) }
            let answer = answers.withLock { $0 }
            return await answer(id, datacenter)
        }
        let worker = try process.groupWorker(Self.group, configuration.rules, cluster, lookups: counted, store: store, action: action)
        let running = Running(worker: worker, task: Task { try await worker.run() }, lookups: lookups, counted: counted, store: store)
        self.running.withLock { $0.append(running) }
        return running
    }

    /// Decides what actions get for an answer from now on.
    func answer(_ answer: @escaping @Sendable (String, Datacenter) async -> RequestResult) { answers.withLock { $0 = answer } }

    var calls: [Call] { made.withLock { $0 } }

    /// How often each event was acted on.
    var counts: [String: Int] { calls.reduce(into: [:]) { $0[$1.id, default: 0] += 1 } }

    func waitForCalls(_ ids: some Sequence<String>, timeout: Duration = .seconds(20)) async throws {
        let wanted = Set(ids)
        try await eventually("\(wanted.count) events are acted on", timeout: timeout) { wanted.isSubset(of: Set(counts.keys)) }
    }

    // MARK: Events

    /// Writes events into eqiad's cluster, one batch a record, round the partitions; returns their ids.
    @discardableResult
    func produce(_ numbers: Range<Int>, mirrored: Bool = true) throws -> [String] {
        try numbers.map { number in
            try append(number, to: Self.eqiad)
            if mirrored { try append(number, to: Self.codfw) }
            return "e\(number)"
        }
    }

    func append(_ number: Int, to datacenter: Datacenter) throws {
        let record = RawRecord(timestamp: 1_700_000_000_000 + Int64(number), value: Array(#"{"id":"e\#(number)"}"#.utf8))
        try clusters[datacenter]?.append([record], to: Self.topic, Int32(number) % partitions)
    }

    // MARK: The store

    var key: AssignmentKey { AssignmentKey(group: Self.group, origin: Self.eqiad) }

    func assignment() async throws -> Assignment? { try await AssignmentStore(store).load(key)?.assignment }

    func checkpoint(_ partition: Int32) async throws -> Checkpoint? {
        let stored = try await CheckpointStore(store).load(group: Self.group, partition: TopicPartition(topic: Self.topic, partition: partition))
        return try stored?.checkpoint.get()
    }

    var controller: HandoverController {
        HandoverController(store: store, interval: .milliseconds(20), logger: Self.quiet) {
            Assignment.Author(name: "test", reason: "", now: MillisecondTimestamp(clamped: 1))
        }
    }

    func gaps() async throws -> Int { try await store.list(under: StoreKey("gaps", Self.group)).entries.count }
}

/// Passes everything on, and counts the lookups by time.
final class CountingLookups: ClusterLookups {
    private let base: any ClusterLookups
    private let count = Mutex(0)
    var lookUps: Int { count.withLock { $0 } }

    init(_ base: any ClusterLookups) { self.base = base }

    func metadata(_ selection: TopicSelection, timeout: Duration) async throws(KafkaLogError) -> ClusterMetadata {
        try await base.metadata(selection, timeout: timeout)
    }

    func watermarks(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>] { try await base.watermarks(wanted, timeout: timeout) }

    func lookUp(
        times: [TopicPartition: MillisecondTimestamp], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        count.withLock { $0 += 1 }
        return try await base.lookUp(times: times, timeout: timeout)
    }
}
