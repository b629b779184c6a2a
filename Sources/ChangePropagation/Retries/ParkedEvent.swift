import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// An event that could not be finished where it was read, as it is kept in a retry topic or in the error topic: a JSON object
/// (Docs/Configuration.md, "Retries and dead letters").
public struct ParkedEvent: Sendable, Equatable {
    /// Where the event itself was read first.
    public struct Source: Sendable, Equatable {
        public var topic: String
        public var partition: Int32
        /// In `cluster` only.
        public var offset: Int64
        /// The cluster's id; nil: not known.
        public var cluster: String?
        /// Milliseconds since 1970; nil: the record has none.
        public var timestamp: Int64?
    }

    /// Why it is parked.
    public struct Reason: Sendable, Equatable {
        /// Short and stable, such as `status_503` or `missing_field`.
        public var label: String
        /// For people; one line.
        public var message: String
    }

    /// When it is to be tried again, and how often it may be.
    public struct Schedule: Sendable, Equatable {
        /// By the clock of the worker that parked it.
        public var due: MillisecondTimestamp
        public var attempts: RetryAttempts
    }

    /// The event as it was read.
    public enum Payload: Sendable, Equatable {
        /// A JSON text.
        case json([UInt8])
        /// Anything else.
        case raw([UInt8])
        /// Too large for the topic: it has to be looked up where it was read.
        case tooLarge(bytes: Int)
    }

    /// Unique to this record: no copy of another event's identity, so that nothing takes the two for one. The same for each try of producing it.
    public var id: String
    public var group: String
    /// nil: no rule could be asked (it can't be parsed).
    public var rule: String?
    /// nil: nobody tries it again by himself; it is a dead letter.
    public var schedule: Schedule?
    /// nil: nothing is wrong with it, it is only not due yet.
    public var reason: Reason?
    public var source: Source
    public var payload: Payload
    public var key: [UInt8]?

    /// The stream into which it goes.
    func stream(_ topics: RetryTopics, datacenters: Set<Datacenter>) -> String {
        guard schedule != nil, let source = OriginTopic(topic: source.topic, known: datacenters) else { return topics.errorStream }
        return topics.retryStream(of: source.stream)
    }

    /// As it is produced into `datacenter`'s topic.
    ///
    /// - Parameters:
    ///   - partitionCount: of a topic; nil: not known, then Kafka's own partitioner chooses.
    func record(
        _ topics: RetryTopics, in datacenter: Datacenter, datacenters: Set<Datacenter>, now: MillisecondTimestamp, partitionCount: (String) -> Int32?
    ) -> ProducerRecord {
        let stream = stream(topics, datacenters: datacenters)
        let topic = OriginTopic(origin: datacenter, stream: stream).topic
        let count = partitionCount(topic).flatMap { $0 > 0 ? $0 : nil }
        return ProducerRecord(
            topic: topic, partition: count.map { source.partition % $0 }, key: key, value: encoded(stream: stream, now: now),
            timestamp: now)
    }

    // MARK: The JSON

    private func encoded(stream: String, now: MillisecondTimestamp) -> [UInt8] {
        var fields: [JSONObject.Field] = []
        func add(_ name: String, _ value: JSONValue?) { if let value { fields.append(JSONObject.Field(name, value)) } }
        let date = Date(timeIntervalSince1970: Double(now.milliseconds) / 1000)
        add("meta", ["id": .string(id), "stream": .string(stream), "dt": .string(date.formatted(.iso8601))])
        add("group", .string(group))
        add("rule", rule.map { .string($0) })
        if let schedule {
            add("due_at", .integer(schedule.due.milliseconds))
            add("attempt", .integer(Int64(schedule.attempts.made)))
            add("retries_left", .integer(Int64(schedule.attempts.left)))
        }
        add("reason", reason.map { ["type": .string($0.label), "message": .string($0.message)] })
        var place: [JSONObject.Field] = [
            .init("topic", .string(source.topic)), .init("partition", .integer(Int64(source.partition))), .init("offset", .integer(source.offset)),
        ]
        if let cluster = source.cluster { place.append(.init("cluster", .string(cluster))) }
        if let timestamp = source.timestamp { place.append(.init("timestamp", .integer(timestamp))) }
        add("source", .object(JSONObject(fields: place)))
        switch payload {
        case .json: break
        case .raw(let bytes):
            if let text = String(validating: bytes, as: UTF8.self) { add("raw_event", .string(text)) } else {
                add("raw_event_base64", .string(Data(bytes).base64EncodedString()))
            }
        case .tooLarge(let count): add("event_bytes", .integer(Int64(count)))
        }
        var bytes = JSONValue.object(JSONObject(fields: fields)).jsonBytes
        // The event's own bytes, not what they parse to: nothing of it changes on the way.
        if case .json(let event) = payload {
            bytes.removeLast()
            bytes += Array(#","original_event":"#.utf8) + event + [UInt8(ascii: "}")]
        }
        return bytes
    }

    init(
        id: String, group: String, rule: String?, schedule: Schedule?, reason: Reason?, source: Source, payload: Payload, key: [UInt8]?
    ) {
        self.id = id
        self.group = group
        self.rule = rule
        self.schedule = schedule
        self.reason = reason
        self.source = source
        self.payload = payload
        self.key = key
    }

    /// Reads what `record` wrote. `key` is the record's.
    ///
    /// - Throws: `notParked` when it is something else.
    init(_ json: JSONValue, key: [UInt8]?) throws(EventError) {
        func integer(_ value: JSONValue?, _ name: String) throws(EventError) -> Int64 {
            guard case .integer(let number)? = value, number >= 0 else { throw EventError(.notParked(missing: name)) }
            return number
        }
        func text(_ value: JSONValue?, _ name: String) throws(EventError) -> String {
            guard let text = value?.string else { throw EventError(.notParked(missing: name)) }
            return text
        }
        id = try text(json["meta"]?["id"], "meta.id")
        group = json["group"]?.string ?? ""
        rule = try text(json["rule"], "rule")
        let due = MillisecondTimestamp(clamped: try integer(json["due_at"], "due_at"))
        let made = try integer(json["attempt"], "attempt"), left = try integer(json["retries_left"], "retries_left")
        schedule = Schedule(due: due, attempts: RetryAttempts(made: Int(clamping: made), left: Int(clamping: left)))
        reason = json["reason"].map { Reason(label: $0["type"]?.string ?? "", message: $0["message"]?.string ?? "") }
        source = Source(
            topic: try text(json["source"]?["topic"], "source.topic"),
            partition: Int32(clamping: try integer(json["source"]?["partition"], "source.partition")),
            offset: try integer(json["source"]?["offset"], "source.offset"), cluster: json["source"]?["cluster"]?.string,
            timestamp: try? integer(json["source"]?["timestamp"], "source.timestamp"))
        guard let event = json["original_event"] else { throw EventError(.notParked(missing: "original_event")) }
        payload = .json(event.jsonBytes)
        self.key = key
    }
}
