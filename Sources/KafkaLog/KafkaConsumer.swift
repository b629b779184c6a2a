import CRdKafka
import Logging

/// What a consumer hands to its owner, in one sequence: nothing that stands before an event comes after it.
public enum ConsumerEvent: Sendable {
    /// Records. Never empty.
    case batch(RecordBatch)
    /// The group gave these partitions (perhaps none): call `acceptAssignment`. Until then librdkafka fetches nothing for the
    /// whole group's assignment. Where finding the positions takes long, accept them as paused at once, then `seek` and
    /// `resume` each when its position is known.
    case assigned([TopicPartition])
    /// The group takes these back, when the owner is ready: finish or drop what is in flight, checkpoint, commit, then
    /// call `completeRevocation`. No record of them comes after this, and no other member gets them before the answer. librdkafka
    /// (2.0.2 and later) fetches nothing for the partitions that stay either until then, so don't take longer than needed.
    case revoking([TopicPartition])
    /// These were lost (session timed out, fenced): others may have them already. Drop what is in flight, write nothing, call
    /// `completeRevocation`.
    case lost([TopicPartition])
    /// One partition stands still or had a failure; the others flow on.
    case partitionFailed(TopicPartition, KafkaLogError)
    /// Something about the client as a whole. librdkafka goes on by itself unless `isFatal`.
    case failed(KafkaLogError)
}

/// A consumer of one cluster: positions only, never librdkafka's own offset store or reset.
///
/// An actor on a thread of its own that makes all calls of its librdkafka client in sequence. Calls with a timeout block that
/// thread, and so the flow of records, for as long as they take. Somebody must call `nextEvent` at least
/// every `max.poll.interval.ms`, as with any Kafka consumer: also while everything is paused.
public actor KafkaConsumer {
    nonisolated let thread: ClientThread
    private nonisolated let inPlaceExecutor: InPlaceExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }
    public nonisolated let configuration: KafkaConsumerConfiguration

    var handle: ClientHandle?
    var cluster: ClusterID?
    var partitions = PartitionTable()
    /// Whether the assignment came by the cooperative protocol, and so is changed piece by piece.
    var isCooperative = false
    var pendingEvents: [ConsumerEvent] = []
    var pendingRebalance: CallbackContext.Rebalance?
    /// Partitions whose leaders have been asked for.
    var lookedFor: Set<TopicPartition> = []
    /// nil: this librdkafka needs none.
    var relief: QueueRelief?
    /// For tests: whether a reader is suspended.
    var isWaiting: Bool { waiter != nil }
    private var waiter: CheckedContinuation<Void, Never>?
    private var isReading = false
    /// Something may have come since `takeEvent` last looked. The way from there to waiting isn't one step: a task that prefers an executor leaves this actor
    /// and comes back in between, and what woke nobody then must not be forgotten.
    private var wasWoken = false
    var replies = ReplyTable()

    /// Records of a batch unless asked otherwise: what librdkafka holds of so many fits a core's cache while they are sorted, read and freed one after the other.
    public static let defaultBatchLimit = 1024
    /// While nothing comes, librdkafka is called this often, so that it knows that its owner lives (`max.poll.interval.ms`).
    static let idlePollInterval: Duration = .seconds(5)

    /// What this librdkafka needs so that a full local queue doesn't put its broker thread to sleep for a second: the setting for it from 2.2 on.
    /// Before, there is none, and the consumer wakes the thread itself (`QueueRelief`).
    public static let speedDefaults: [String: String] = hasQueueBackoff ? ["fetch.queue.backoff.ms": "5"] : [:]

    /// A member of a group notices new topics and new partitions by this. What is known of topics must stay valid for longer than between two of
    /// these (unless set, it ends after three): joining would wait for it again and again.
    private static let groupDefaults = ["topic.metadata.refresh.interval.ms": "1000", "metadata.max.age.ms": "900000"]

    /// Without a group nobody else asks. A leader that moves away from a broker which has fallen silent is noticed by this alone, long before the
    /// fetch that waits there times out.
    private static let soloDefaults = ["topic.metadata.refresh.interval.ms": "5000", "metadata.max.age.ms": "900000"]

    /// With Kerberos the call that wakes the threads would wait for a lock that librdkafka holds while it talks to the KDC: there the frequent requests wake
    /// them, in milliseconds.
    private static let kerberosRefresh = "100"

    private static func usesKerberos(_ client: KafkaClientConfiguration) -> Bool {
        guard client.settings["security.protocol"]?.lowercased().hasPrefix("sasl") ?? false else { return false }
        // librdkafka's own choice where none is named.
        return (client.settings["sasl.mechanism"] ?? client.settings["sasl.mechanisms"] ?? "GSSAPI").uppercased() == "GSSAPI"
    }

    /// The same, and what suits how far away the brokers are (`BrokerDistance`). Measures that, once per call, unless `configuration` says itself
    /// how much a fetch brings.
    ///
    /// - Parameter sharers: `KafkaConsumerConfiguration.sharers`.
    public static func speedDefaults(for configuration: KafkaClientConfiguration, sharers: Int = 1) -> [String: String] {
        let names = ["fetch.message.max.bytes", "max.partition.fetch.bytes", "fetch.max.bytes"]
        let isGiven = configuration.settings.keys.contains(where: names.contains)
        let chosen = isGiven ? BrokerDistance.share(of: sharers, isNear: false) : BrokerDistance.settings(for: configuration, sharers: sharers)
        return speedDefaults.merging(chosen) { $1 }
    }

    /// What suits brokers that are close by, wherever they are: for measuring.
    @_spi(Measuring) public static var speedDefaultsOfNear: [String: String] { speedDefaults.merging(BrokerDistance.nearSettings) { $1 } }

    /// Whether this librdkafka knows `fetch.queue.backoff.ms` (2.2 and later).
    public static let hasQueueBackoff = ClientSettings().setIfKnown("fetch.queue.backoff.ms", "10")

    /// Makes the client. Does not wait for a broker. Throws `invalidSetting`, `reservedSetting`, or `failed` when librdkafka
    /// refuses the settings together.
    public init(_ configuration: KafkaConsumerConfiguration) throws(KafkaLogError) {
        let client = configuration.client
        let settings = ClientSettings()
        var defaults = KafkaClientConfiguration.reserved.merging(Self.speedDefaults(for: client, sharers: configuration.sharers)) { $1 }
        defaults.merge(configuration.groupID == nil ? Self.soloDefaults : Self.groupDefaults) { $1 }
        let isKerberos = Self.usesKerberos(client)
        if isKerberos, !Self.hasQueueBackoff { defaults["topic.metadata.refresh.interval.ms"] = Self.kerberosRefresh }
        defaults["partition.assignment.strategy"] = configuration.assignmentStrategy
        try settings.apply(client, defaults: defaults)
        if client.settings["fetch.max.bytes"] == nil { try settings.fitFetchLimit() }
        if !Self.hasQueueBackoff, !isKerberos, let records = settings.number("queued.min.messages"), let size = settings.number("queued.max.messages.kbytes") {
            relief = QueueRelief(records: records, bytes: size * 1024)
        }
        try settings.set("group.id", configuration.groupID ?? KafkaConsumerConfiguration.unusedGroupID)
        if let instance = configuration.groupInstanceID { try settings.set("group.instance.id", instance) }
        CallbackContext.installCallbacks(settings.pointer, isConsumer: true)
        let thread = ClientThread(name: "kafka-consumer")
        handle = try ClientHandle(
            RD_KAFKA_CONSUMER, settings: settings, context: CallbackContext(logger: client.logger, clientID: client.clientID),
            thread: thread)
        self.configuration = configuration
        self.thread = thread
        inPlaceExecutor = InPlaceExecutor(thread)
        thread.wakeHandler = { [weak self] in self?.assumeIsolated { $0.serveWake() } }
        try thread.start()
    }

    deinit { thread.stop() }

    // MARK: Reading

    /// The next event: what is there at once, or waits for it without polling. nil when `deadline` comes first.
    ///
    /// - Parameter max: the most records of a batch, 1 to 1,000,000.
    /// - Throws: `CancellationError` when the task is cancelled (nothing is lost: the events stay), `KafkaLogError.closed`,
    ///   `.concurrentRead`, `.clusterUnknown` when records came but no cluster id.
    public func nextEvent(
        max limit: Int = KafkaConsumer.defaultBatchLimit, deadline: ContinuousClock.Instant? = nil
    ) async throws -> ConsumerEvent? {
        guard !isReading else { throw KafkaLogError.concurrentRead }
        isReading = true
        defer { isReading = false }
        while true {
            if let event = try takeEvent(limit: Swift.min(Swift.max(1, limit), 1_000_000)) { return event }
            try Task.checkCancellation()
            if let deadline, deadline <= .now { return nil }
            await waitForWake(until: deadline)
        }
    }

    /// For consumers that `assign` by hand: the next batch, nil at the deadline. Throws what `nextEvent` would give as
    /// `partitionFailed` or as a fatal `failed`; passing failures of the connection are logged.
    public func nextBatch(
        max limit: Int = KafkaConsumer.defaultBatchLimit, deadline: ContinuousClock.Instant? = nil
    ) async throws -> RecordBatch? {
        while let event = try await nextEvent(max: limit, deadline: deadline) {
            switch event {
            case .batch(let batch): return batch
            case .partitionFailed(_, let error): throw error
            case .failed(let error):
                if error.isFatal { throw error }
                configuration.client.logger.log(level: error.severity, "Kafka client error", metadata: ["error": "\(error)"])
            case .assigned, .revoking, .lost:
                // The caller can't answer these here: keep the event for `nextEvent`.
                pendingEvents.insert(event, at: 0)
                throw KafkaLogError.invalidArgument("a consumer with a subscription must be read with nextEvent")
            }
        }
        return nil
    }

    /// Runs `body` on this consumer's own thread instead of handing each batch to another one: for whoever does little with a record, or has few cores.
    ///
    /// Child tasks, nonisolated functions, and actors without an executor of their own run there, too, when `body` calls them; `Task {}`, the main actor and actors
    /// with an executor don't. Such an actor should be `body`'s alone: whoever else waits for it at that moment may go on on this thread for a while.
    /// While anything works there without awaiting, this consumer answers nobody, and no timeout of its calls ends; librdkafka's own threads go on.
    public nonisolated func inPlace<Result: Sendable>(_ body: () async throws -> Result) async rethrows -> Result {
        try await withTaskExecutorPreference(inPlaceExecutor, operation: body)
    }

    private func takeEvent(limit: Int) throws(KafkaLogError) -> ConsumerEvent? {
        wasWoken = false
        if !pendingEvents.isEmpty { return pendingEvents.removeFirst() }
        let handle = try openHandle()
        if let batch = try readBatch(handle, limit: limit) { return .batch(batch) }
        return pendingEvents.isEmpty ? nil : pendingEvents.removeFirst()
    }

    private func readBatch(_ handle: ClientHandle, limit: Int) throws(KafkaLogError) -> RecordBatch? {
        // Asked before anything is taken off the queue: a batch without its cluster's id could not be handed out.
        if cluster == nil, !partitions.isEmpty { _ = try clusterID(timeout: configuration.client.requestTimeout) }
        let messages = handle.pool.take(limit)
        let count = rd_kafka_consume_batch_queue(handle.mainQueue, 0, messages, limit)
        takeRebalances(handle, lost: true)
        var sorted = SortedBatch(messages: messages, count: Swift.max(0, count))
        sorted.sort(into: &partitions)
        if relief?.took(records: sorted.count, bytes: sorted.bytes, isEmpty: count < limit) ?? false {
            let settings = configuration.client.settings
            handle.wakeBrokers(user: settings["sasl.username"] ?? "", password: settings["sasl.password"] ?? "")
        }
        let batch: RecordBatch?
        if sorted.kept > 0, let cluster {
            batch = RecordBatch(
                messages: messages, count: sorted.kept, capacity: limit, cluster: cluster, runs: sorted.runs, handle: handle)
        } else {
            handle.pool.giveBack(messages, capacity: limit)
            batch = nil
            // All of it was stale. More may be there, and librdkafka tells only of a queue that was empty.
            if count == limit { wasWoken = true }
        }
        pendingEvents += sorted.failures.map { .partitionFailed($0.0, $0.1) }
        pendingEvents += sorted.clientFailures.map { .failed(clientError(handle.client, code: $0.code, text: $0.text)) }
        takeRebalances(handle, lost: false)
        pendingEvents += handle.context.errors.map { .failed($0) }
        handle.context.errors.removeAll()
        if count < 0 { pendingEvents.append(.failed(.failed(LibraryFailure(rd_kafka_last_error(), operation: "consume")))) }
        return batch
    }

    /// Turns recorded rebalances into events. Lost partitions are marked before the batch is sorted (their records may be
    /// another's already), others after it (their records stand before the event).
    private func takeRebalances(_ handle: ClientHandle, lost: Bool) {
        if lost, !handle.context.rebalances.contains(where: { $0.kind == .lost }) { return }
        for rebalance in handle.context.rebalances {
            pendingRebalance = rebalance
            switch rebalance.kind {
            case .assign: pendingEvents.append(.assigned(rebalance.partitions))
            case .revoke: pendingEvents.append(.revoking(rebalance.partitions))
            case .lost: pendingEvents.append(.lost(rebalance.partitions))
            }
            if rebalance.kind != .assign { partitions.markRevoking(rebalance.partitions) }
        }
        handle.context.rebalances.removeAll()
    }

    // MARK: Waiting

    private func waitForWake(until deadline: ContinuousClock.Instant?) async {
        let idle = monotonicNanoseconds() &+ Self.idlePollInterval.nanoseconds
        let due = deadline.map { monotonicNanoseconds() &+ ContinuousClock.now.duration(to: $0).nanoseconds }
        thread.alarm = due.map { Swift.min($0, idle) } ?? idle
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                if wasWoken { continuation.resume() } else { waiter = continuation }
            }
        } onCancel: {
            thread.requestWake()
        }
    }

    private func serveWake() {
        serveReplies()
        wakeReader()
    }

    func wakeReader() {
        wasWoken = true
        thread.alarm = nil
        let waiting = waiter
        waiter = nil
        waiting?.resume()
    }

    // MARK: Common

    func openHandle() throws(KafkaLogError) -> ClientHandle {
        guard let handle else { throw .closed }
        return handle
    }

    /// The id of the cluster that this client is connected to; asks a broker once, at most for `timeout`.
    @discardableResult
    public func clusterID(timeout: Duration? = nil) throws(KafkaLogError) -> ClusterID {
        if let cluster { return cluster }
        let client = configuration.client
        let id = try openHandle().clusterID(timeout: timeout ?? client.requestTimeout, servers: client.bootstrapServers)
        cluster = id
        return id
    }

    /// Throws `wrongCluster` unless every position is one of this cluster.
    func checkCluster(_ positions: [TopicPartition: Position]) throws(KafkaLogError) {
        guard !positions.isEmpty else { return }
        let cluster = try clusterID()
        for (partition, position) in positions where position.cluster != cluster {
            throw .wrongCluster(partition, expected: cluster, actual: position.cluster)
        }
        for (partition, position) in positions where position.offset < 0 {
            throw .invalidArgument("\(partition): \(position.offset) is not an offset; logical offsets are not positions")
        }
    }
}
