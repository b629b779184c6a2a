/// Metadata (3): brokers, topics, leaders; makes unknown topics where the cluster and the client allow it.
enum MetadataHandler {
    static let handler = APIHandler(.metadata, versions: 0...12, firstFlexible: 9) { context, reader in
        let request = try Request(reader, version: context.apiVersion)
        let topics = try describe(request, context: context)
        var writer = context.response()
        let version = context.apiVersion
        if version >= 3 { writer.int32(0) }  // throttle time
        writer.array(context.cluster.runningBrokers) { writer, broker in
            writer.int32(broker.id)
            writer.string(broker.host)
            writer.int32(Int32(broker.port))
            if version >= 1 { writer.nullableString(nil) }  // rack
            writer.noTaggedFields()
        }
        if version >= 2 { writer.nullableString(context.cluster.clusterID) }
        if version >= 1 { writer.int32(context.cluster.controllerID) }
        writer.array(topics) { $1.write(to: &$0, version: version) }
        if version >= 8 && version <= 10 { writer.int32(unknownOperations) }
        writer.noTaggedFields()
        return writer
    }

    /// "Not asked for", in the fields that list what a client is allowed to do.
    static let unknownOperations = Int32.min

    struct Request {
        /// nil: all topics.
        var topics: [(id: KafkaUUID, name: String?)]?
        var allowsAutoCreation = true

        init(_ source: WireReader, version: Int16) throws {
            var reader = source
            topics = try reader.nullableArray("topics") { reader in
                let id = version >= 10 ? try reader.uuid() : .zero
                let name = version >= 10 ? try reader.nullableString("topic") : try reader.string("topic")
                try reader.skipTaggedFields()
                return (id, name)
            }
            if version == 0, topics?.isEmpty == true { topics = nil }
            if version >= 4 { allowsAutoCreation = try reader.bool() }
            if version >= 8 && version <= 10 { _ = try reader.bool() }  // include cluster operations
            if version >= 8 { _ = try reader.bool() }  // include topic operations
            try reader.skipTaggedFields()
        }
    }

    struct TopicAnswer {
        var error: ErrorCode
        var name: String?
        var id: KafkaUUID
        var partitions: [(error: ErrorCode, number: Int32, leader: Int32, epoch: Int32)] = []

        func write(to writer: inout WireWriter, version: Int16) {
            writer.error(error)
            if version >= 12 { writer.nullableString(name) } else { writer.string(name ?? "") }
            if version >= 10 { writer.uuid(id) }
            if version >= 1 { writer.bool(name?.hasPrefix("__") ?? false) }  // is internal
            writer.array(partitions) { writer, partition in
                writer.error(partition.error)
                writer.int32(partition.number)
                writer.int32(partition.leader)
                if version >= 7 { writer.int32(partition.epoch) }
                let replicas = partition.leader >= 0 ? [partition.leader] : []
                writer.array(replicas) { $0.int32($1) }
                writer.array(replicas) { $0.int32($1) }
                if version >= 5 { writer.arrayCount(0) }  // offline replicas
                writer.noTaggedFields()
            }
            if version >= 8 { writer.int32(MetadataHandler.unknownOperations) }
            writer.noTaggedFields()
        }
    }

    private static func describe(_ request: Request, context: RequestContext) throws -> [TopicAnswer] {
        let cluster = context.cluster
        let running = Set(cluster.runningBrokers.map(\.id))
        guard let wanted = request.topics else {
            return try cluster.topics.all.map { try answer($0, running: running, context: context) }
        }
        return try wanted.map { id, name in
            if name == nil || id != .zero {
                guard let topic = cluster.topics.topic(id: id) else {
                    return TopicAnswer(error: .unknownTopicID, name: name, id: id)
                }
                return try answer(topic, running: running, context: context)
            }
            let name = name ?? ""
            if let topic = cluster.topics.topic(name) { return try answer(topic, running: running, context: context) }
            if let error = try context.injectedError(topic: name) { return TopicAnswer(error: error, name: name, id: .zero) }
            guard TopicCatalog.isValidName(name) else { return TopicAnswer(error: .invalidTopic, name: name, id: .zero) }
            guard request.allowsAutoCreation, cluster.configuration.autoCreateTopics else {
                return TopicAnswer(error: .unknownTopicOrPartition, name: name, id: .zero)
            }
            guard let topic = autoCreate(name, in: cluster) else {
                return TopicAnswer(error: .leaderNotAvailable, name: name, id: .zero)
            }
            return try answer(topic, running: running, context: context)
        }
    }

    private static func autoCreate(_ name: String, in cluster: LocalKafkaCluster) -> Topic? {
        do {
            return try cluster.topics.create(
                name, partitions: cluster.configuration.defaultPartitions, configuration: cluster.configuration.topicDefaults)
        } catch {
            // Another client may have made it in the meantime; otherwise this one asks again.
            return cluster.topics.topic(name)
        }
    }

    private static func answer(_ topic: Topic, running: Set<Int32>, context: RequestContext) throws -> TopicAnswer {
        var answer = TopicAnswer(error: .none, name: topic.name, id: topic.id)
        for (number, log) in topic.partitions.enumerated() {
            let number = Int32(number)
            let (leader, epoch) = log.state.withLock { ($0.leader, $0.leaderEpoch) }
            let isUp = running.contains(leader)
            let error = try context.injectedError(topic: topic.name, partition: number)
            answer.partitions.append((error ?? (isUp ? .none : .leaderNotAvailable), number, isUp ? leader : -1, epoch))
        }
        return answer
    }
}
