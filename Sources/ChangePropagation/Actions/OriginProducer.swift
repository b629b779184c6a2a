import KafkaLog

/// Writes events of one datacenter: only ever into topics with that datacenter's own prefix. No topic has two writers
/// (Docs/Design.md section 1), so a producer that is configured for eqiad can't write `codfw.*`.
public struct OriginProducer: Sendable {
    public let datacenter: Datacenter
    private let known: Set<Datacenter>
    private let producer: KafkaProducer

    /// - Parameter known: all datacenters; a stream that begins with one's prefix is refused.
    public init(datacenter: Datacenter, known: Set<Datacenter>, producer: KafkaProducer) {
        self.datacenter = datacenter
        self.known = known.union([datacenter])
        self.producer = producer
    }

    /// One event: everything of a record but its topic.
    public struct Event: Sendable {
        public var key: [UInt8]?
        public var value: [UInt8]?
        public var headers: [RecordHeader]
        public var timestamp: MillisecondTimestamp?
        /// nil: by the key, or any.
        public var partition: Int32?
        public init(
            key: [UInt8]?, value: [UInt8]?, headers: [RecordHeader] = [], timestamp: MillisecondTimestamp?, partition: Int32? = nil
        ) {
            self.key = key
            self.value = value
            self.headers = headers
            self.timestamp = timestamp
            self.partition = partition
        }
    }

    public struct WrongOrigin: Error, Sendable, CustomStringConvertible {
        public let stream: String
        public let datacenter: Datacenter
        public var description: String {
            "'\(stream)' names a datacenter: streams are written without a prefix, and this producer writes only '\(datacenter).*'"
        }
    }

    /// The topic of `stream` here. Throws `WrongOrigin` when `stream` begins with a datacenter's prefix.
    public func topic(_ stream: String) throws(WrongOrigin) -> OriginTopic {
        try Self.topic(stream, datacenter: datacenter, known: known)
    }

    /// The same without a producer, for checks before anything is touched.
    public static func topic(_ stream: String, datacenter: Datacenter, known: Set<Datacenter>) throws(WrongOrigin) -> OriginTopic {
        guard !stream.isEmpty, OriginTopic(topic: stream, known: known.union([datacenter])) == nil else {
            throw WrongOrigin(stream: stream, datacenter: datacenter)
        }
        return OriginTopic(origin: datacenter, stream: stream)
    }

    /// Sends events in order and returns when each is acknowledged by all replicas, or has failed.
    public func send(_ events: [Event], stream: String) async throws(WrongOrigin) -> [Result<Delivery, KafkaLogError>] {
        let topic = try topic(stream).topic
        return await producer.send(
            contentsOf: events.map {
                ProducerRecord(topic: topic, partition: $0.partition, key: $0.key, value: $0.value, headers: $0.headers, timestamp: $0.timestamp)
            })
    }

    /// Waits for what is on its way, at most for `limit`, and closes the producer.
    public func close(within limit: Duration) async { try? await producer.close(within: limit) }
}
