/// What a group's worker asks of its cluster, as protocols: so that the same worker runs on librdkafka and in a simulation.

/// A member of a consumer group, as its worker sees it. `KafkaConsumer` says what each call means.
public protocol GroupConsumer: Sendable {
    func subscribe(to topics: [String]) async throws(KafkaLogError)
    /// The next event; nil when none comes within `limit`. Throws `CancellationError`, or what ends the client for good.
    func nextEvent(max count: Int, within limit: Duration) async throws -> ConsumerEvent?
    func acceptAssignment(_ positions: [TopicPartition: Position], paused: Set<TopicPartition>) async throws(KafkaLogError)
    func completeRevocation() async throws(KafkaLogError)
    func pause(_ partitions: [TopicPartition]) async throws(KafkaLogError)
    func resume(_ partitions: [TopicPartition]) async throws(KafkaLogError)
    func seek(_ positions: [TopicPartition: Position], timeout: Duration) async throws(KafkaLogError)
    func commit(_ offsets: [TopicPartition: CommittedOffset], timeout: Duration) async throws(KafkaLogError)
    func enqueueCommit(_ offsets: [TopicPartition: CommittedOffset]) async throws(KafkaLogError)
    func committed(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>]
    /// The id of the cluster; asks a broker once, at most for `timeout` (nil: the client's own).
    func clusterID(timeout: Duration?) async throws(KafkaLogError) -> ClusterID
    func close(within limit: Duration) async throws(KafkaLogError)
}

/// Questions about a cluster's topics and offsets. `KafkaAdmin` says what each call means.
public protocol ClusterLookups: Sendable {
    func metadata(_ selection: TopicSelection, timeout: Duration) async throws(KafkaLogError) -> ClusterMetadata
    func watermarks(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>]
    func lookUp(
        times: [TopicPartition: MillisecondTimestamp], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>]
}

/// Sends records, each acknowledged by all replicas or failed. `KafkaProducer` says what it means.
public protocol RecordProducer: Sendable {
    /// One result per record, in their order.
    func send(contentsOf records: [ProducerRecord]) async -> [Result<Delivery, KafkaLogError>]
}

extension KafkaProducer: RecordProducer {}

extension KafkaConsumer: GroupConsumer {
    public func nextEvent(max count: Int, within limit: Duration) async throws -> ConsumerEvent? {
        try await nextEvent(max: count, deadline: .now + limit)
    }

    public func resume(_ partitions: [TopicPartition]) throws(KafkaLogError) { try resume(partitions, timeout: .seconds(10)) }
    public func pause(_ partitions: [TopicPartition]) throws(KafkaLogError) { try pause(AnyCollection(partitions)) }
    public func committed(
        _ wanted: [TopicPartition], timeout: Duration
    ) throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>] {
        try committed(AnyCollection(wanted), timeout: timeout)
    }
}

extension KafkaAdmin: ClusterLookups {
    public func watermarks(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>] {
        try await watermarks(AnyCollection(wanted), timeout: timeout)
    }
}
