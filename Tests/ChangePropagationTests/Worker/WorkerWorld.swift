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
        /// Reads the retry topics; nil: the rules need none.
        let retries: GroupWorker?
        let task: Task<Void, any Error>
        let lookups: KafkaAdmin
        /// What the worker sees of it.
        let counted: CountingLookups
        /// The worker's own way to the store, with faults of its own.
        let store: InMemoryStore

        /// SIGTERM.
        func stop() async throws {
            await worker.stop()
            await retries?.stop()
            try await task.value
            await lookups.close()
        }

        /// As near to SIGKILL as one process gets: what was not written by now is not written any more.
        func drop() async {
            store.failAll(.unavailable)
            task.cancel()
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
    /// What workers parked, and the faults of that.
    let parked = ParkedRecords()

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
        // A worker's action holds the world, which holds its workers: let go here, or their clients' threads stay.
        for running in world.running.withLock({ exchange(&$0, with: []) }) { try? await running.stop() }
        for cluster in world.clusters.values { await cluster.stop() }
        world.directory.remove()
        if let failure { throw failure }
    }

    // MARK: Workers

    /// Starts a worker in `datacenter`; `extra` are further lines of its worker.yaml, `rule` of its rule.
    func start(
        _ datacenter: Datacenter, topics: String = "[s]", extra: String = "", rule: String = "",
        failures: String = "{retry_limit: 0, on_failure: halt}", exec: String = "{uri: 'http://sink/{message.id}'}"
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
            x-failures: &failures \(failures)
            rules:
              rule:
                <<: *failures
                topics: \(topics)
                origins: [eqiad]
                concurrency: 8
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
        try await TopicKeeper(configuration, admin: lookups, logger: Self.quiet).makeAtStart()
        let producer = FaultyProducer(try KafkaProducer(process.producerConfiguration(cluster)), parked, mirror: clusters[Self.codfw], datacenter)
        let workers = try Worker.roles(of: configuration.rules).map { role in
            try process.groupWorker(
                Self.group, configuration.rules, role: role, among: 1, cluster, lookups: counted, store: store, action: action,
                parking: process.parking(producer))
        }
        let task = Task {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in workers { group.addTask { try await worker.run() } }
                try await group.waitForAll()
            }
        }
        let running = Running(
            worker: workers[0], retries: workers.count > 1 ? workers[1] : nil, task: task, lookups: lookups, counted: counted, store: store)
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

/// What workers parked and a broker acknowledged, and what is to go wrong with it.
final class ParkedRecords: Sendable {
    struct Entry: Sendable {
        let topic: String
        let partition: Int32
        let json: JSONValue
    }

    private let entries = Mutex<[Entry]>([])
    /// What sending answers instead; nil: it is sent. Asked with the topic.
    private let fault = Mutex<@Sendable (String) async -> KafkaLogError?>({ _ in nil })

    /// Decides what goes wrong from now on.
    func fail(_ fault: @escaping @Sendable (String) async -> KafkaLogError?) { self.fault.withLock { $0 = fault } }
    func failure(_ topic: String) async -> KafkaLogError? { await fault.withLock { $0 }(topic) }
    func add(_ entry: Entry) { entries.withLock { $0.append(entry) } }

    var all: [Entry] { entries.withLock { $0 } }
    var retries: [Entry] { all.filter { $0.topic.contains(".retry.") } }
    var errors: [Entry] { all.filter { $0.topic.hasSuffix(".error") } }
}

/// A worker's producer; what eqiad's broker acknowledged reaches codfw's cluster at once.
struct FaultyProducer: RecordProducer {
    private let base: KafkaProducer
    private let parked: ParkedRecords
    private let mirror: LocalKafkaCluster?

    init(_ base: KafkaProducer, _ parked: ParkedRecords, mirror: LocalKafkaCluster?, _ datacenter: Datacenter) {
        self.base = base
        self.parked = parked
        self.mirror = datacenter == WorkerWorld.eqiad ? mirror : nil
    }

    func send(contentsOf records: [ProducerRecord]) async -> [Result<Delivery, KafkaLogError>] {
        var results: [Result<Delivery, KafkaLogError>] = []
        for record in records {
            if let error = await parked.failure(record.topic) {
                results.append(.failure(error))
                continue
            }
            let result = await base.send(contentsOf: [record])
            results += result
            guard case .success(let delivery)? = result.first, let value = record.value else { continue }
            let raw = RawRecord(timestamp: record.timestamp?.milliseconds ?? -1, key: record.key, value: value)
            if record.topic.contains(".retry.") { _ = try? mirror?.append([raw], to: record.topic, delivery.partition.partition) }
            parked.add(.init(topic: record.topic, partition: delivery.partition.partition, json: (try? parseEvent(value)) ?? .null))
        }
        return results
    }
}

extension GroupWorker {
    /// What its table holds now.
    var works: [TopicPartition: PartitionWork] { Dictionary(uniqueKeysWithValues: partitions.map { ($0.key, $0.value) }) }
}
