/// The words of Docs/Design.md section 2 that every room shares: datacenters, topics, clusters, positions, times.

/// A datacenter's name, such as `eqiad`: lower-case letters, digits and `-`, at most 63 characters, no dot
/// (a dot ends the prefix of a topic, so `eqiad` never is a prefix of `eqiad2.x`).
public struct Datacenter: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let name: String

    /// nil when `name` is not a datacenter's name as described above.
    public init?(_ name: String) {
        let allowed = name.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
        }
        guard allowed, (1...63).contains(name.utf8.count) else { return nil }
        self.name = name
    }

    public var description: String { name }
    public static func < (a: Datacenter, b: Datacenter) -> Bool { a.name < b.name }
}

/// A topic that carries its origin: `<origin>.<stream>`. Streams may have dots in them.
public struct OriginTopic: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// The datacenter in whose cluster the topic is produced.
    public let origin: Datacenter
    /// The topic's name without the prefix, such as `mediawiki.page_change`. Never empty.
    public let stream: String

    public init(origin: Datacenter, stream: String) {
        self.origin = origin
        self.stream = stream
    }

    /// nil when `topic` has no prefix of a datacenter in `known`, or nothing after it.
    public init?(topic: String, known: some Sequence<Datacenter>) {
        guard let dot = topic.firstIndex(of: "."), topic.index(after: dot) < topic.endIndex,
            let origin = Datacenter(String(topic[..<dot])), known.contains(origin)
        else { return nil }
        self.init(origin: origin, stream: String(topic[topic.index(after: dot)...]))
    }

    /// The whole name, as Kafka has it.
    public var topic: String { "\(origin.name).\(stream)" }
    public var description: String { topic }
    public static func < (a: OriginTopic, b: OriginTopic) -> Bool { a.topic < b.topic }
}

/// One partition of one topic, by the topic's whole name. Partitions count from 0.
public struct TopicPartition: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let topic: String
    public let partition: Int32

    public init(topic: String, partition: Int32) {
        self.topic = topic
        self.partition = partition
    }

    public var description: String { "\(topic)/\(partition)" }
    public static func < (a: TopicPartition, b: TopicPartition) -> Bool {
        a.topic == b.topic ? a.partition < b.partition : a.topic < b.topic
    }
}

/// A Kafka cluster's own id (Metadata's `cluster_id`). An offset means something only together with one.
public struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    public let id: String
    public init(_ id: String) { self.id = id }
    public var description: String { id }
}

/// The next offset to read, in one cluster. Offsets never travel without their cluster: rooms above `KafkaLog` pass
/// positions, and every consumer refuses a position of another cluster (`KafkaLogError.wrongCluster`).
public struct Position: Hashable, Sendable, CustomStringConvertible {
    public let cluster: ClusterID
    /// Never negative: logical offsets (-1 END, -2 BEGINNING) are not positions.
    public let offset: Int64

    public init(_ offset: Int64, in cluster: ClusterID) {
        self.offset = offset
        self.cluster = cluster
    }

    /// nil when `other` is a position of another cluster: the two can't be compared.
    public func distance(to other: Position) -> Int64? {
        cluster == other.cluster ? other.offset - offset : nil
    }

    public var description: String { "\(offset)@\(cluster)" }
}

/// Milliseconds since 1970-01-01T00:00:00Z, as Kafka keeps them in records. Never negative: Kafka's -1 is `nil`.
public struct MillisecondTimestamp: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let milliseconds: Int64

    /// nil for negative values, which is how Kafka writes "no timestamp".
    public init?(_ milliseconds: Int64) {
        guard milliseconds >= 0 else { return nil }
        self.milliseconds = milliseconds
    }

    /// This moment moved by `milliseconds`, stopping at 0 and at the largest value.
    public func moved(by milliseconds: Int64) -> MillisecondTimestamp {
        let (sum, overflow) = self.milliseconds.addingReportingOverflow(milliseconds)
        return MillisecondTimestamp(clamped: overflow ? (milliseconds < 0 ? 0 : .max) : sum)
    }

    /// Negative values become 0.
    public init(clamped milliseconds: Int64) { self.milliseconds = max(0, milliseconds) }

    public var description: String { "\(milliseconds) ms" }
    public static func < (a: MillisecondTimestamp, b: MillisecondTimestamp) -> Bool { a.milliseconds < b.milliseconds }
}

/// Who sets a record's timestamp (Kafka's `message.timestamp.type`). Raw values are those of the checkpoint format.
public enum TimestampType: UInt8, Sendable, Hashable {
    /// No record with a timestamp was seen yet, or the records carry none.
    case none = 0
    /// Set by the producer; a mirror keeps it.
    case createTime = 1
    /// Set by the broker on arrival: later in a mirror than at the origin.
    case logAppendTime = 2
}
