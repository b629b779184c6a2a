import CRdKafka
import Glibc

/// What a cluster says about its brokers and topics at one moment.
public struct ClusterMetadata: Sendable, Hashable {
    public let brokers: [Broker]
    public let topics: [Topic]

    public struct Broker: Sendable, Hashable {
        public let id: Int32
        public let host: String
        public let port: Int32
    }

    public struct Topic: Sendable, Hashable {
        public let name: String
        /// Kafka's topic id; nil: this librdkafka can't tell (2.0.2 can't).
        public let topicID: String?
        public let partitions: [Partition]
        /// Such as UNKNOWN_TOPIC_OR_PART; nil: the topic is there.
        public let failure: LibraryFailure?

        public init(name: String, topicID: String? = nil, partitions: [Partition], failure: LibraryFailure? = nil) {
            self.name = name
            self.topicID = topicID
            self.partitions = partitions
            self.failure = failure
        }
    }

    public struct Partition: Sendable, Hashable {
        public let id: Int32
        /// The leading broker's id; nil: none at the moment.
        public let leader: Int32?
        public let replicas: [Int32]
        public let inSyncReplicas: [Int32]
        public let failure: LibraryFailure?

        public init(
            id: Int32, leader: Int32?, replicas: [Int32] = [], inSyncReplicas: [Int32] = [], failure: LibraryFailure? = nil
        ) {
            self.id = id
            self.leader = leader
            self.replicas = replicas
            self.inSyncReplicas = inSyncReplicas
            self.failure = failure
        }
    }

    public init(brokers: [Broker], topics: [Topic]) {
        self.brokers = brokers
        self.topics = topics
    }
}

/// Which topics to ask for.
public enum TopicSelection: Sendable, Hashable {
    case all
    case topic(String)
    /// Topics whose name matches a POSIX extended regular expression, as librdkafka's subscriptions use. With or without
    /// the leading `^` that a subscription needs.
    case matching(String)
}

extension ClientHandle {
    /// Blocks the client's thread, at most `timeout`.
    func metadata(_ selection: TopicSelection, timeout: Duration) throws(KafkaLogError) -> ClusterMetadata {
        var single: OpaquePointer?
        defer { if let single { rd_kafka_topic_destroy(single) } }
        if case .topic(let name) = selection {
            guard !name.isEmpty, let topic = rd_kafka_topic_new(client, name, nil) else {
                throw .invalidArgument("'\(name)' is not a topic's name")
            }
            single = topic
        }
        var pattern: TopicPattern?
        if case .matching(let text) = selection { pattern = try TopicPattern(text) }
        var result: UnsafePointer<rd_kafka_metadata>?
        let code = rd_kafka_metadata(client, single == nil ? 1 : 0, single, &result, timeout.timeoutMilliseconds)
        try KafkaLogError.check(code, "metadata")
        guard let result else { throw .failed(LibraryFailure(RD_KAFKA_RESP_ERR__FAIL, operation: "metadata")) }
        defer { rd_kafka_metadata_destroy(result) }
        return ClusterMetadata(result.pointee) { pattern?.matches($0) ?? true }
    }

    /// The cluster's id, from memory once a broker has told it.
    func clusterID(timeout: Duration, servers: [String]) throws(KafkaLogError) -> ClusterID {
        guard let text = rd_kafka_clusterid(client, timeout.timeoutMilliseconds) else {
            throw .clusterUnknown(bootstrapServers: servers.joined(separator: ","))
        }
        defer { rd_kafka_mem_free(client, text) }
        return ClusterID(String(cString: text))
    }
}

extension ClusterMetadata {
    fileprivate init(_ raw: rd_kafka_metadata, where isWanted: (String) -> Bool) {
        brokers = (0..<Int(raw.broker_cnt)).map { index in
            let broker = raw.brokers[index]
            return Broker(id: broker.id, host: broker.host.map { String(cString: $0) } ?? "", port: broker.port)
        }
        topics = (0..<Int(raw.topic_cnt)).compactMap { index in
            let topic = raw.topics[index]
            let name = topic.topic.map { String(cString: $0) } ?? ""
            guard isWanted(name) else { return nil }
            let partitions = (0..<Int(topic.partition_cnt)).map { Partition(topic.partitions[$0]) }
            return Topic(
                name: name, topicID: nil, partitions: partitions.sorted { $0.id < $1.id },
                failure: topic.err == RD_KAFKA_RESP_ERR_NO_ERROR
                    ? nil : LibraryFailure(topic.err, operation: "metadata of \(name)"))
        }
    }
}

extension ClusterMetadata.Partition {
    fileprivate init(_ raw: rd_kafka_metadata_partition) {
        id = raw.id
        leader = raw.leader < 0 ? nil : raw.leader
        replicas = (0..<Int(raw.replica_cnt)).map { raw.replicas[$0] }
        inSyncReplicas = (0..<Int(raw.isr_cnt)).map { raw.isrs[$0] }
        failure = raw.err == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : LibraryFailure(raw.err, operation: "metadata")
    }
}

/// A topic pattern in the dialect of librdkafka's subscriptions (on Linux the C library's extended regular expressions).
struct TopicPattern: ~Copyable {
    private let expression = UnsafeMutablePointer<regex_t>.allocate(capacity: 1)

    init(_ text: String) throws(KafkaLogError) {
        expression.initialize(to: regex_t())
        let result = regcomp(expression, text, REG_EXTENDED | REG_NOSUB)
        guard result == 0 else {
            var message = [CChar](repeating: 0, count: 256)
            regerror(result, expression, &message, message.count)
            expression.deallocate()
            throw .invalidArgument("topic pattern '\(text)': \(string(fromNullTerminated: message))")
        }
    }

    deinit {
        regfree(expression)
        expression.deallocate()
    }

    borrowing func matches(_ name: String) -> Bool { regexec(expression, name, 0, nil, 0) == 0 }
}
