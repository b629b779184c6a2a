import CRdKafka
import Glibc

/// A consumer group, as the brokers list it.
public struct GroupListing: Hashable, Sendable {
    public let id: String
    /// Kafka's name of the state, such as `Stable` or `Empty`.
    public let state: String
}

/// All groups that could be listed, and which brokers' lists are missing.
public struct GroupListings: Sendable {
    public let groups: [GroupListing]
    /// Empty: the list is whole.
    public let failures: [KafkaLogError]
}

/// A group and its members.
public struct GroupDescription: Hashable, Sendable {
    public let id: String
    /// Kafka's name of the state. `Dead`: there is no such group.
    public let state: String
    /// The assignment strategy that the members agreed on; empty without members.
    public let strategy: String
    public let members: [Member]

    public struct Member: Hashable, Sendable {
        public let memberID: String
        public let clientID: String
        /// nil: a dynamic member.
        public let instanceID: String?
        public let host: String
        public let partitions: [TopicPartition]
    }
}

extension KafkaAdmin {
    public func listGroups(timeout: Duration = .seconds(10)) async throws(KafkaLogError) -> GroupListings {
        try await request(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, "list groups", timeout: timeout) { handle, options in
            rd_kafka_ListConsumerGroups(handle.client, options, handle.replyQueue)
        } read: { event in
            let result = rd_kafka_event_ListConsumerGroups_result(event.event)
            var count = 0
            let valid = rd_kafka_ListConsumerGroups_result_valid(result, &count)
            let groups = (0..<(valid == nil ? 0 : count)).compactMap { index -> GroupListing? in
                guard let listing = valid?[index], let id = rd_kafka_ConsumerGroupListing_group_id(listing) else { return nil }
                return GroupListing(
                    id: String(cString: id), state: Self.stateName(rd_kafka_ConsumerGroupListing_state(listing)))
            }
            let errors = rd_kafka_ListConsumerGroups_result_errors(result, &count)
            let failures = (0..<(errors == nil ? 0 : count)).compactMap { Self.failure(errors?[$0], "list groups") }
            return GroupListings(groups: groups.sorted { $0.id < $1.id }, failures: failures)
        }
    }

    public func describeGroups(_ ids: [String], timeout: Duration = .seconds(10)) async throws(KafkaLogError)
        -> [String: Result<GroupDescription, KafkaLogError>]
    {
        guard !ids.isEmpty else { return [:] }
        return try await request(
            RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, "describe groups", timeout: timeout
        ) { handle, options in
            let names = ids.map { strdup($0) }
            defer { for name in names { free(name) } }
            var list = names.map { UnsafePointer<CChar>($0) }
            rd_kafka_DescribeConsumerGroups(handle.client, &list, list.count, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let groups = rd_kafka_DescribeConsumerGroups_result_groups(
                rd_kafka_event_DescribeConsumerGroups_result(event.event), &count)
            var outcome: [String: Result<GroupDescription, KafkaLogError>] = [:]
            for index in 0..<(groups == nil ? 0 : count) {
                guard let group = groups?[index], let id = rd_kafka_ConsumerGroupDescription_group_id(group) else { continue }
                let name = String(cString: id)
                let error = Self.failure(rd_kafka_ConsumerGroupDescription_error(group), "describe group \(name)")
                outcome[name] = error.map { .failure($0) } ?? .success(Self.description(of: group, id: name))
            }
            return outcome
        }
    }

    /// What a group has committed; nil `partitions`: everything that it has committed. A nil result: nothing for that partition.
    public func groupOffsets(
        _ group: String, partitions: [TopicPartition]? = nil, timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>] {
        if partitions?.isEmpty ?? false { return [:] }
        let cluster = try clusterID(timeout: timeout)
        let result: Result<[TopicPartition: Result<CommittedOffset?, KafkaLogError>], KafkaLogError> = try await request(
            RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, "group offsets", timeout: timeout
        ) { handle, options in
            let list = PartitionList(partitions ?? [])
            var requests: [OpaquePointer?] = [
                rd_kafka_ListConsumerGroupOffsets_new(group, partitions == nil ? nil : list.list)
            ]
            defer { rd_kafka_ListConsumerGroupOffsets_destroy(requests[0]) }
            rd_kafka_ListConsumerGroupOffsets(handle.client, &requests, 1, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
                rd_kafka_event_ListConsumerGroupOffsets_result(event.event), &count)
            return Self.groupResult(groups, count, "group offsets") { element in
                element.offset < 0
                    ? nil : CommittedOffset(Position(element.offset, in: cluster), metadata: element.metadata)
            }
        }
        return try result.get()
    }

    /// Sets what a group without members has committed.
    public func alterGroupOffsets(
        _ group: String, _ offsets: [TopicPartition: CommittedOffset], timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>] {
        guard !offsets.isEmpty else { return [:] }
        let cluster = try clusterID(timeout: timeout)
        for (partition, offset) in offsets where offset.position.cluster != cluster {
            throw .wrongCluster(partition, expected: cluster, actual: offset.position.cluster)
        }
        let result: Result<[TopicPartition: Result<CommittedOffset?, KafkaLogError>], KafkaLogError> = try await request(
            RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, "alter group offsets", timeout: timeout
        ) { handle, options in
            let list = PartitionList(capacity: offsets.count)
            for (partition, offset) in offsets {
                list.add(partition, offset: offset.position.offset, metadata: offset.metadata)
            }
            var requests: [OpaquePointer?] = [rd_kafka_AlterConsumerGroupOffsets_new(group, list.list)]
            defer { rd_kafka_AlterConsumerGroupOffsets_destroy(requests[0]) }
            rd_kafka_AlterConsumerGroupOffsets(handle.client, &requests, 1, options, handle.replyQueue)
        } read: { event in
            var count = 0
            let groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(
                rd_kafka_event_AlterConsumerGroupOffsets_result(event.event), &count)
            return Self.groupResult(groups, count, "alter group offsets") { offsets[$0.partition] }
        }
        return try result.get()
    }

    private static func groupResult(
        _ groups: UnsafeMutablePointer<OpaquePointer?>?, _ count: Int, _ operation: String,
        _ value: (PartitionList.Element) -> CommittedOffset?
    ) -> Result<[TopicPartition: Result<CommittedOffset?, KafkaLogError>], KafkaLogError> {
        var outcome: [TopicPartition: Result<CommittedOffset?, KafkaLogError>] = [:]
        for index in 0..<(groups == nil ? 0 : count) {
            guard let group = groups?[index] else { continue }
            if let error = failure(rd_kafka_group_result_error(group), operation) { return .failure(error) }
            PartitionList.forEach(rd_kafka_group_result_partitions(group)) { element in
                outcome[element.partition] =
                    element.failure(operation).map { .failure(.partitionFailed(element.partition, $0)) }
                    ?? .success(value(element))
            }
        }
        return .success(outcome)
    }

    /// librdkafka keeps the error object.
    private static func failure(_ error: OpaquePointer?, _ operation: String) -> KafkaLogError? {
        guard let error, rd_kafka_error_code(error) != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        return .failed(
            LibraryFailure(
                rd_kafka_error_code(error), operation: operation, text: String(cString: rd_kafka_error_string(error))))
    }

    private static func stateName(_ state: rd_kafka_consumer_group_state_t) -> String {
        rd_kafka_consumer_group_state_name(state).map { String(cString: $0) } ?? "Unknown"
    }

    private static func description(of group: OpaquePointer, id: String) -> GroupDescription {
        let members = (0..<rd_kafka_ConsumerGroupDescription_member_count(group)).compactMap { index in
            rd_kafka_ConsumerGroupDescription_member(group, index).map { member in
                GroupDescription.Member(
                    memberID: rd_kafka_MemberDescription_consumer_id(member).map { String(cString: $0) } ?? "",
                    clientID: rd_kafka_MemberDescription_client_id(member).map { String(cString: $0) } ?? "",
                    instanceID: rd_kafka_MemberDescription_group_instance_id(member).map { String(cString: $0) },
                    host: rd_kafka_MemberDescription_host(member).map { String(cString: $0) } ?? "",
                    partitions: PartitionList.partitions(
                        in: rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(member))))
            }
        }
        return GroupDescription(
            id: id, state: stateName(rd_kafka_ConsumerGroupDescription_state(group)),
            strategy: rd_kafka_ConsumerGroupDescription_partition_assignor(group).map { String(cString: $0) } ?? "",
            members: members)
    }
}
