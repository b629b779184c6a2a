import KafkaLog

/// Where a worker puts events that it can't finish now: its datacenter's retry topics and error topic.
public struct Parking: Sendable {
    let topics: RetryTopics
    let datacenter: Datacenter
    let datacenters: Set<Datacenter>
    let producer: any RecordProducer
    let makeID: @Sendable () -> String

    /// Until the next try of a produce that failed: at first, and at most.
    static let firstPause = Duration.milliseconds(250)
    static let lastPause = Duration.seconds(5)
    /// For one try; then it is said that it failed, and tried again.
    public static let deliveryTimeout = Duration.seconds(10)

    /// - Parameters:
    ///   - producer: with acks=all, into the cluster of `datacenter`.
    ///   - makeID: gives each record's own id; never the same twice.
    public init(
        service: String, datacenter: Datacenter, datacenters: Set<Datacenter>, producer: any RecordProducer,
        makeID: @escaping @Sendable () -> String = HTTPAction.randomRequestID
    ) {
        topics = RetryTopics(service: service)
        self.datacenter = datacenter
        self.datacenters = datacenters
        self.producer = producer
        self.makeID = makeID
    }

    var errorTopic: String { OriginTopic(origin: datacenter, stream: topics.errorStream).topic }

    /// One try. nil: acknowledged by all replicas.
    func produce(_ parked: ParkedEvent, now: MillisecondTimestamp, partitionCounts: [String: Int32]) async -> KafkaLogError? {
        let record = parked.record(topics, in: datacenter, datacenters: datacenters, now: now) { partitionCounts[$0] }
        switch await producer.send(contentsOf: [record]).first {
        case .success?: return nil
        case .failure(let error)?: return error
        case nil: return .closed
        }
    }
}

extension ParkedEvent {
    /// What is kept of it when the topic does not take a record of its size: where it is. Nobody can try it again from that.
    var withoutPayload: ParkedEvent {
        var small = self
        switch payload {
        case .json(let bytes), .raw(let bytes): small.payload = .tooLarge(bytes: bytes.count)
        case .tooLarge: break
        }
        small.key = nil
        if schedule != nil {
            small.schedule = nil
            let why = reason.map { "; before that: \($0.message)" } ?? ""
            small.reason = Reason(label: "too_large", message: "the event is too large for the retry topic\(why)")
        }
        return small
    }
}
