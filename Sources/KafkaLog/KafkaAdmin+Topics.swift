import CRdKafka

/// A topic to make.
public struct NewTopic: Hashable, Sendable {
    public var name: String
    public var partitions: Int32
    /// -1: the broker's default.
    public var replication: Int32
    /// Kafka's topic settings, such as `message.timestamp.type`.
    public var settings: [String: String]

    public init(_ name: String, partitions: Int32, replication: Int32 = -1, settings: [String: String] = [:]) {
        self.name = name
        self.partitions = partitions
        self.replication = replication
        self.settings = settings
    }
}

/// One of a topic's settings, as the cluster has it.
public struct TopicSetting: Hashable, Sendable {
    /// nil: the broker keeps it to itself (a secret).
    public let value: String?
    public let isDefault: Bool
    public let isReadOnly: Bool
}

extension KafkaAdmin {
    public typealias TopicResults = [String: Result<Void, KafkaLogError>]

    /// Makes topics. One that exists is a failure of its own (`TOPIC_ALREADY_EXISTS`).
    public func createTopics(_ topics: [NewTopic], timeout: Duration = .seconds(10)) async throws(KafkaLogError) -> TopicResults {
        guard !topics.isEmpty else { return [:] }
        return try await request(
            RD_KAFKA_ADMIN_OP_CREATETOPICS, "create topics", timeout: timeout
        ) { (handle, options) throws(KafkaLogError) in
            var list: [OpaquePointer?] = []
            defer { for topic in list { rd_kafka_NewTopic_destroy(topic) } }
            for topic in topics { list.append(try Self.make(topic)) }
            rd_kafka_CreateTopics(handle.client, &list, list.count, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.event), &count)
            return Self.topicResults(results, count, "create topic")
        }
    }

    private static func make(_ topic: NewTopic) throws(KafkaLogError) -> OpaquePointer {
        var text = [CChar](repeating: 0, count: 256)
        guard let new = rd_kafka_NewTopic_new(topic.name, topic.partitions, topic.replication, &text, text.count) else {
            throw .invalidArgument("topic '\(topic.name)': \(string(fromNullTerminated: text))")
        }
        for (name, value) in topic.settings {
            let code = rd_kafka_NewTopic_set_config(new, name, value)
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                rd_kafka_NewTopic_destroy(new)
                throw .invalidArgument("topic '\(topic.name)': setting '\(name)'")
            }
        }
        return new
    }

    /// Deletes topics with all their records.
    public func deleteTopics(_ topics: [String], timeout: Duration = .seconds(10)) async throws(KafkaLogError) -> TopicResults {
        guard !topics.isEmpty else { return [:] }
        guard topics.allSatisfy({ !$0.isEmpty }) else { throw .invalidArgument("a topic's name is empty") }
        return try await request(RD_KAFKA_ADMIN_OP_DELETETOPICS, "delete topics", timeout: timeout) { handle, options in
            var list: [OpaquePointer?] = topics.map { rd_kafka_DeleteTopic_new($0) }
            defer { for topic in list { rd_kafka_DeleteTopic_destroy(topic) } }
            rd_kafka_DeleteTopics(handle.client, &list, list.count, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event.event), &count)
            return Self.topicResults(results, count, "delete topic")
        }
    }

    /// Lets topics grow to these numbers of partitions.
    public func createPartitions(_ totals: [String: Int], timeout: Duration = .seconds(10)) async throws(KafkaLogError)
        -> TopicResults
    {
        guard !totals.isEmpty else { return [:] }
        return try await request(
            RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, "create partitions", timeout: timeout
        ) { (handle, options) throws(KafkaLogError) in
            var list: [OpaquePointer?] = []
            defer { for entry in list { rd_kafka_NewPartitions_destroy(entry) } }
            for (topic, total) in totals {
                var text = [CChar](repeating: 0, count: 256)
                guard let new = rd_kafka_NewPartitions_new(topic, max(0, total), &text, text.count) else {
                    throw .invalidArgument("topic '\(topic)': \(string(fromNullTerminated: text))")
                }
                list.append(new)
            }
            rd_kafka_CreatePartitions(handle.client, &list, list.count, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let results = rd_kafka_CreatePartitions_result_topics(
                rd_kafka_event_CreatePartitions_result(event.event), &count)
            return Self.topicResults(results, count, "create partitions")
        }
    }

    private static func topicResults(
        _ results: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int, _ operation: String
    ) -> TopicResults {
        var outcome: TopicResults = [:]
        for index in 0..<(results == nil ? 0 : count) {
            guard let result = results?[index], let name = rd_kafka_topic_result_name(result) else { continue }
            let topic = String(cString: name)
            let code = rd_kafka_topic_result_error(result)
            let text = rd_kafka_topic_result_error_string(result).map { String(cString: $0) }
            outcome[topic] =
                code == RD_KAFKA_RESP_ERR_NO_ERROR
                ? .success(()) : .failure(.failed(LibraryFailure(code, operation: "\(operation) \(topic)", text: text)))
        }
        return outcome
    }

    /// The settings of topics, by Kafka's names. librdkafka asks for one topic after the other.
    public func describeTopicConfigs(_ topics: [String], timeout: Duration = .seconds(10)) async throws(KafkaLogError)
        -> [String: Result<[String: TopicSetting], KafkaLogError>]
    {
        guard !topics.isEmpty else { return [:] }
        guard topics.allSatisfy({ !$0.isEmpty }) else { throw .invalidArgument("a topic's name is empty") }
        return try await request(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, "describe configs", timeout: timeout) { handle, options in
            var list: [OpaquePointer?] = topics.map { rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, $0) }
            defer { for resource in list { rd_kafka_ConfigResource_destroy(resource) } }
            rd_kafka_DescribeConfigs(handle.client, &list, list.count, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let resources = rd_kafka_DescribeConfigs_result_resources(
                rd_kafka_event_DescribeConfigs_result(event.event), &count)
            var outcome: [String: Result<[String: TopicSetting], KafkaLogError>] = [:]
            for index in 0..<(resources == nil ? 0 : count) {
                guard let resource = resources?[index], let name = rd_kafka_ConfigResource_name(resource) else { continue }
                outcome[String(cString: name)] = Self.settings(of: resource)
            }
            return outcome
        }
    }

    private static func settings(of resource: OpaquePointer) -> Result<[String: TopicSetting], KafkaLogError> {
        let code = rd_kafka_ConfigResource_error(resource)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            let text = rd_kafka_ConfigResource_error_string(resource).map { String(cString: $0) }
            return .failure(.failed(LibraryFailure(code, operation: "describe configs", text: text)))
        }
        var count = 0
        let entries = rd_kafka_ConfigResource_configs(resource, &count)
        var settings: [String: TopicSetting] = [:]
        for index in 0..<(entries == nil ? 0 : count) {
            guard let entry = entries?[index], let name = rd_kafka_ConfigEntry_name(entry) else { continue }
            settings[String(cString: name)] = TopicSetting(
                value: rd_kafka_ConfigEntry_value(entry).map { String(cString: $0) },
                isDefault: rd_kafka_ConfigEntry_is_default(entry) > 0,
                isReadOnly: rd_kafka_ConfigEntry_is_read_only(entry) > 0)
        }
        return .success(settings)
    }

    /// Deletes every record below these positions. The result is each log's new first position.
    public func deleteRecords(
        before positions: [TopicPartition: Position], timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Position, KafkaLogError>] {
        guard !positions.isEmpty else { return [:] }
        let cluster = try clusterID(timeout: timeout)
        for (partition, position) in positions where position.cluster != cluster {
            throw .wrongCluster(partition, expected: cluster, actual: position.cluster)
        }
        return try await request(RD_KAFKA_ADMIN_OP_DELETERECORDS, "delete records", timeout: timeout) { handle, options in
            let list = PartitionList(capacity: positions.count)
            for (partition, position) in positions { list.add(partition, offset: max(0, position.offset)) }
            var requests: [OpaquePointer?] = [rd_kafka_DeleteRecords_new(list.list)]
            defer { rd_kafka_DeleteRecords_destroy(requests[0]) }
            rd_kafka_DeleteRecords(handle.client, &requests, 1, options, handle.replyQueue)
        } read: { event in
            var outcome: [TopicPartition: Result<Position, KafkaLogError>] = [:]
            PartitionList.forEach(rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.event))) {
                if let failure = $0.failure("delete records") {
                    outcome[$0.partition] = .failure(.partitionFailed($0.partition, failure))
                } else {
                    outcome[$0.partition] = .success(Position($0.offset, in: cluster))
                }
            }
            return outcome
        }
    }
}
