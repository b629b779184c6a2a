/// A record's header. Names may repeat; `value` nil is Kafka's null, another thing than an empty value.
public struct RecordHeader: Hashable, Sendable {
    public var name: String
    public var value: [UInt8]?

    public init(name: String, value: [UInt8]?) {
        self.name = name
        self.value = value
    }
}

/// A record that owns its bytes: a copy out of a batch (`RecordView.detached`), free to outlive it.
public struct Record: Hashable, Sendable {
    public let partition: TopicPartition
    /// Where this record stands in its cluster: to go on after it, read from `offset + 1`.
    public let position: Position
    /// nil: the record carries none.
    public let timestamp: MillisecondTimestamp?
    public let timestampType: TimestampType
    /// nil is Kafka's null key; empty is an empty key.
    public let key: [UInt8]?
    /// nil is Kafka's null value (a tombstone); empty is an empty value.
    public let value: [UInt8]?
    public let headers: [RecordHeader]

    public init(
        partition: TopicPartition, position: Position, timestamp: MillisecondTimestamp?, timestampType: TimestampType,
        key: [UInt8]?, value: [UInt8]?, headers: [RecordHeader]
    ) {
        self.partition = partition
        self.position = position
        self.timestamp = timestamp
        self.timestampType = timestampType
        self.key = key
        self.value = value
        self.headers = headers
    }
}

/// A record to send.
public struct ProducerRecord: Hashable, Sendable {
    public var topic: String
    /// nil: librdkafka's partitioner chooses, by the key.
    public var partition: Int32?
    /// nil is Kafka's null key.
    public var key: [UInt8]?
    /// nil is Kafka's null value (a tombstone).
    public var value: [UInt8]?
    public var headers: [RecordHeader]
    /// nil: the moment of sending. A LogAppendTime topic sets its own.
    /// librdkafka can't send the timestamp 0: it stands for "now" there, so 0 is refused.
    public var timestamp: MillisecondTimestamp?
    /// Sends Kafka's -1, "no timestamp", whatever `timestamp` says: for mirrors.
    public var isTimestampAbsent = false

    public init(
        topic: String, partition: Int32? = nil, key: [UInt8]? = nil, value: [UInt8]?, headers: [RecordHeader] = [],
        timestamp: MillisecondTimestamp? = nil
    ) {
        self.topic = topic
        self.partition = partition
        self.key = key
        self.value = value
        self.headers = headers
        self.timestamp = timestamp
    }
}
