import NIOCore

/// What tests, demonstrations and the simulator's real-socket runs do to a cluster from inside its process.
extension LocalKafkaCluster {
    // MARK: Topics

    /// Makes a topic. `partitions` nil takes the cluster's default. Throws `LocalKafkaError.topic`.
    public func createTopic(_ name: String, partitions: Int32? = nil, configuration: [String: String] = [:]) throws {
        try topics.create(
            name, partitions: partitions ?? self.configuration.defaultPartitions,
            configuration: self.configuration.topicDefaults.merging(configuration) { $1 })
    }

    public func deleteTopic(_ name: String) throws {
        try topics.delete(name)
        // A new topic of the same name starts at offset 0: what groups committed of the old one would skip its records.
        groups.topicDeleted(name)
    }

    /// Raises the number of partitions to `total`.
    public func addPartitions(_ name: String, total: Int32) throws {
        try topics.addPartitions(name, total: total, validateOnly: false)
    }

    /// Changes a topic's configuration; nil goes back to the default. Batches that are in the log stay as they are.
    public func configureTopic(_ name: String, _ key: String, _ value: String?) throws {
        if let value, let problem = TopicConfiguration.problem(in: [key: value]) {
            throw LocalKafkaError.topic(name: name, code: .invalidConfig, reason: problem)
        }
        try topics.configure(name) { $0.set(key, to: value) }
    }

    public var topicNames: [String] { topics.all.map(\.name) }

    /// The topic's id in Kafka's text form; nil when there is no such topic.
    public func topicID(_ name: String) -> String? { topics.topic(name)?.id.description }

    // MARK: Logs

    /// What is known of one partition.
    public struct PartitionStatus: Sendable, Equatable {
        /// The lowest offset that can be read.
        public var logStart: Int64
        /// The offset that the next record gets.
        public var nextOffset: Int64
        public var leader: Int32
        public var leaderEpoch: Int32
        /// Batches that can be read, and their size on disk.
        public var batches: Int
        public var bytes: Int64
    }

    public func status(_ topic: String, _ partition: Int32) throws -> PartitionStatus {
        try log(topic, partition).state.withLock { state in
            PartitionStatus(
                logStart: state.logStart, nextOffset: state.nextOffset, leader: state.leader, leaderEpoch: state.leaderEpoch,
                batches: state.index.entries.count,
                bytes: state.index.endPosition - (state.index.entries.first?.position ?? state.index.endPosition))
        }
    }

    /// How many fetches wait for records of this partition.
    public func waitingFetches(_ topic: String, _ partition: Int32) throws -> Int {
        try log(topic, partition).state.withLock { $0.waiters.count }
    }

    func log(_ topic: String, _ partition: Int32) throws -> PartitionLog {
        guard let log = topics.partition(topic, partition) else {
            throw LocalKafkaError.unknownPartition(topic: topic, partition: partition)
        }
        return log
    }

    /// Appends one record batch of format 2, with the timestamps, producer and flags that it has, as a mirror that keeps
    /// everything would. Control batches and holes among its offsets are allowed. Returns its base offset.
    ///
    /// `keepsOffset`: the batch stays at its own base offset, which must not be below the next offset; what lies
    /// between becomes a hole. Otherwise it gets the next offset.
    /// Throws `LocalKafkaError.topic` with the code that a client would get.
    @discardableResult
    public func append(
        rawBatch: [UInt8], to topic: String, _ partition: Int32, keepsOffset: Bool = false
    ) throws -> Int64 {
        let log = try log(topic, partition)
        let checked = ValidBatch.check(ByteBuffer(bytes: rawBatch), origin: .direct, maxBytes: Limits.maxRequestBytes)
        switch checked.flatMap({ log.append($0, as: nil, stampTime: nil, keepsOffset: keepsOffset) }) {
        case .success(let appended): return appended.baseOffset
        case .failure(let code): throw LocalKafkaError.topic(name: topic, code: code, reason: "append refused")
        }
    }

    /// Appends records as one uncompressed batch; see `append(rawBatch:to:_:keepsOffset:)`.
    @discardableResult
    public func append(_ records: [RawRecord], to topic: String, _ partition: Int32) throws -> Int64 {
        try append(rawBatch: RecordBatchBuilder(records: records).bytes(), to: topic, partition)
    }

    /// Leaves a hole of `count` offsets at the log's end, as transaction markers and compaction do.
    public func skipOffsets(_ topic: String, _ partition: Int32, count: Int64) throws {
        try log(topic, partition).skipOffsets(count)
        try topics.save(topic)
    }

    /// Raises the log's start to `offset` (-1: the end), as retention does. Returns the new start.
    @discardableResult
    public func deleteRecords(_ topic: String, _ partition: Int32, before offset: Int64) throws -> Int64 {
        switch try log(topic, partition).deleteRecords(before: offset, broker: nil) {
        case .success(let start):
            try topics.save(topic)
            return start
        case .failure(let code):
            throw LocalKafkaError.topic(name: topic, code: code, reason: "offset \(offset) can't be the log's start")
        }
    }

    /// Cuts the log off, as an unclean election does: batches that hold `offset` or later ones are gone. The leader epoch
    /// stays; `moveLeader` raises it. Returns the new next offset (a batch boundary, at most `offset`).
    @discardableResult
    public func truncate(_ topic: String, _ partition: Int32, to offset: Int64) throws -> Int64 {
        let end = try log(topic, partition).truncate(to: offset)
        try topics.save(topic)
        return end
    }

    // MARK: Requests

    /// How many requests of this kind clients have sent since the cluster was started, to all brokers together.
    public func requests(_ key: APIKey) -> Int { requestCounts.withLock { $0[key.rawValue] ?? 0 } }

    // MARK: Brokers

    /// Makes `broker` the leader of a partition, in a new leader epoch. The same broker is allowed: only the epoch grows.
    public func moveLeader(_ topic: String, _ partition: Int32, to broker: Int32) throws {
        guard (1...Int32(configuration.brokers.count)).contains(broker) else { throw LocalKafkaError.unknownBroker(broker) }
        try log(topic, partition).moveLeader(to: broker)
        try topics.save(topic)
    }

    /// Sets how far a broker's clock is off, in milliseconds, for the times that it stamps on LogAppendTime records.
    public func skewClock(ofBroker broker: Int32, by milliseconds: Int64) {
        clockSkews.withLock { $0[broker] = milliseconds }
    }
}
