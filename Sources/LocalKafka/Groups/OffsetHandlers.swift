import NIOCore

/// OffsetCommit, OffsetFetch and OffsetDelete.
extension GroupHandlers {
    /// Versions 0 (Kafka kept those offsets in ZooKeeper) is served as a commit by a simple consumer.
    static let offsetCommit = APIHandler(.offsetCommit, versions: 0...9, firstFlexible: 8) { context, reader in
        var reader = reader
        let version = context.apiVersion
        var claim = MemberClaim(groupID: try reader.name("group id"), memberID: "", instanceID: nil, generation: -1)
        if version >= 1 {
            claim.generation = try reader.int32()
            claim.memberID = try reader.name("member id")
        }
        if version >= 7 { claim.instanceID = try reader.nullableName("group instance id") }
        if (2...4).contains(version) { _ = try reader.int64() }  // retention time: offsets are kept for ever
        let topics = try reader.array("topics") { try readCommittedTopic(&$0, version: version) }
        try reader.skipTaggedFields()

        let offsets = topics.flatMap { topic in
            topic.partitions.map { (GroupPartition(topic: topic.name, partition: $0.partition), $0.offset) }
        }
        var refused: [Int: ErrorCode] = [:]
        let elsewhere: ErrorCode? = context.coordinates(claim.groupID) ? nil : .notCoordinator
        for (index, (partition, _)) in offsets.enumerated() {
            let injected = try context.injectedError(topic: partition.topic, partition: partition.partition)
            refused[index] =
                injected ?? elsewhere ?? (context.hasPartition(partition) ? nil : .unknownTopicOrPartition)
        }
        let results = context.groups.commit(claim, offsets, refused: refused)

        var writer = context.response()
        if version >= 3 { writer.int32(0) }  // throttle time
        var next = results.makeIterator()
        writer.array(topics) { writer, topic in
            writer.string(topic.name)
            writer.array(topic.partitions) { writer, partition in
                writer.int32(partition.partition)
                writer.error(next.next() ?? .unknownServerError)
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private struct CommittedTopic {
        var name: String
        var partitions: [(partition: Int32, offset: CommittedOffset)]
    }

    private static func readCommittedTopic(_ reader: inout WireReader, version: Int16) throws -> CommittedTopic {
        let name = try reader.name("topic")
        let partitions = try reader.array("partitions") { reader in
            let partition = try reader.int32()
            let offset = try reader.int64()
            let epoch = version >= 6 ? try reader.int32() : -1
            if version == 1 { _ = try reader.int64() }  // commit time
            let metadata = try reader.nullableName("metadata") ?? ""
            try reader.skipTaggedFields()
            return (partition: partition, offset: CommittedOffset(offset: offset, leaderEpoch: epoch, metadata: metadata))
        }
        try reader.skipTaggedFields()
        return CommittedTopic(name: name, partitions: partitions)
    }

    // MARK: OffsetFetch

    /// One group's part of an OffsetFetch; nil topics asks for all that the group has committed.
    private struct FetchedGroup {
        var groupID: String
        var topics: [(name: String, partitions: [Int32])]?
    }

    static let offsetFetch = APIHandler(.offsetFetch, versions: 0...9, firstFlexible: 6) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let groups: [FetchedGroup]
        if version >= 8 {
            groups = try reader.array("groups") { reader in
                let groupID = try reader.name("group id")
                if version >= 9 {
                    _ = try reader.nullableName("member id")
                    _ = try reader.int32()
                }
                let group = FetchedGroup(groupID: groupID, topics: try readFetchedTopics(&reader, version: version))
                try reader.skipTaggedFields()
                return group
            }
        } else {
            groups = [
                FetchedGroup(
                    groupID: try reader.name("group id"), topics: try readFetchedTopics(&reader, version: version))
            ]
        }
        if version >= 7 { _ = try reader.bool() }  // require stable: there are no transactions here
        try reader.skipTaggedFields()

        var writer = context.response()
        if version >= 3 { writer.int32(0) }  // throttle time
        if version >= 8 {
            try writer.array(groups) { writer, group in
                writer.string(group.groupID)
                writer.error(try writeFetched(group, context, to: &writer))
                writer.noTaggedFields()
            }
        } else if let group = groups.first {
            let error = try writeFetched(group, context, to: &writer)
            if version >= 2 { writer.error(error) }
        }
        writer.noTaggedFields()
        return writer
    }

    private static func readFetchedTopics(
        _ reader: inout WireReader, version: Int16
    ) throws -> [(name: String, partitions: [Int32])]? {
        let topics = try reader.nullableArray("topics") { reader in
            let name = try reader.name("topic")
            let partitions = try reader.array("partitions") { try $0.int32() }
            try reader.skipTaggedFields()
            return (name: name, partitions: partitions)
        }
        guard topics != nil || version >= 2 else { throw WireError.unexpectedNull(field: "topics") }
        return topics
    }

    /// Writes the topics of one group and returns the group's error.
    private static func writeFetched(
        _ group: FetchedGroup, _ context: RequestContext, to writer: inout WireWriter
    ) throws -> ErrorCode {
        let version = context.apiVersion
        let groupError = try context.groupError(group.groupID)
        let topics = group.topics ?? (groupError == nil ? allTopics(of: group.groupID, context) : [])
        try writer.array(topics) { writer, topic in
            writer.string(topic.name)
            try writer.array(topic.partitions) { writer, index in
                let injected = try context.injectedError(topic: topic.name, partition: index)
                // Until version 2 there was no other place for the group's error.
                let error = injected ?? (version < 2 ? groupError : nil) ?? .none
                let committed =
                    error == .none && groupError == nil
                    ? context.groups.committed(
                        groupID: group.groupID, GroupPartition(topic: topic.name, partition: index)) : nil
                writer.int32(index)
                writer.int64(committed?.offset ?? -1)
                if version >= 5 { writer.int32(committed?.leaderEpoch ?? -1) }
                writer.nullableString(committed?.metadata ?? "")
                writer.error(error)
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        return groupError ?? .none
    }

    private static func allTopics(of groupID: String, _ context: RequestContext) -> [(name: String, partitions: [Int32])] {
        var topics: [(name: String, partitions: [Int32])] = []
        for (partition, _) in context.groups.committed(groupID: groupID) {
            if topics.last?.name == partition.topic {
                topics[topics.count - 1].partitions.append(partition.partition)
            } else {
                topics.append((partition.topic, [partition.partition]))
            }
        }
        return topics
    }

    // MARK: OffsetDelete

    static let offsetDelete = APIHandler(.offsetDelete, versions: 0...0, firstFlexible: nil) { context, reader in
        var reader = reader
        let groupID = try reader.name("group id")
        let topics = try reader.array("topics") { reader in
            (name: try reader.name("topic"), partitions: try reader.array("partitions") { try $0.int32() })
        }
        let partitions = topics.flatMap { topic in
            topic.partitions.map { GroupPartition(topic: topic.name, partition: $0) }
        }
        var error = try context.groupError(groupID) ?? .none
        var results: [GroupPartition: ErrorCode] = [:]
        if error == .none { (error, results) = context.groups.deleteOffsets(groupID: groupID, partitions) }
        var writer = context.response()
        writer.error(error)
        writer.int32(0)  // throttle time
        writer.array(error == .none ? topics : []) { writer, topic in
            writer.string(topic.name)
            writer.array(topic.partitions) { writer, partition in
                writer.int32(partition)
                writer.error(results[GroupPartition(topic: topic.name, partition: partition)] ?? .none)
            }
        }
        return writer
    }
}

extension RequestContext {
    func hasPartition(_ partition: GroupPartition) -> Bool {
        cluster.topics.partition(partition.topic, partition.partition) != nil
    }
}

extension LocalKafkaCluster {
    /// The broker that coordinates a consumer group now; nil when no broker runs.
    public func coordinator(ofGroup groupID: String) -> Int32? {
        groups.coordinator(of: groupID, running: runningBrokers.map(\.id))
    }

    /// Makes another broker the group's coordinator (nil: the one that the group's name leads to). Members that wait for
    /// a rebalance are answered NOT_COORDINATOR; members, generation and committed offsets stay. The old one is the
    /// coordinator again while `brokerID` does not run.
    public func moveCoordinator(ofGroup groupID: String, to brokerID: Int32?) {
        groups.moveCoordinator(of: groupID, to: brokerID)
    }

    /// What a group has committed, by topic and partition: for looking at in tests and reports.
    public func committedOffsets(ofGroup groupID: String) -> [String: [Int32: Int64]] {
        var result: [String: [Int32: Int64]] = [:]
        for (partition, committed) in groups.committed(groupID: groupID) {
            result[partition.topic, default: [:]][partition.partition] = committed.offset
        }
        return result
    }
}
