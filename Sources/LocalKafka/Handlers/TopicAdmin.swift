/// CreateTopics (19), DeleteTopics (20), CreatePartitions (37).
enum TopicAdminHandlers {
    /// What went wrong with one topic, as the client is told.
    struct Failure {
        var code: ErrorCode
        var message: String?

        init(_ error: any Error) {
            if case .topic(_, let code, let reason)? = error as? LocalKafkaError {
                self.code = code
                message = reason
            } else {
                code = .kafkaStorageError
                message = "\(error)"
            }
        }
        init(code: ErrorCode, message: String? = nil) {
            self.code = code
            self.message = message
        }
        static let none = Failure(code: .none)
    }

    // MARK: CreateTopics

    private struct NewTopic {
        var name: String
        var partitions: Int32
        var replicationFactor: Int16
        /// The brokers of each partition that the client chose; empty: the cluster chooses.
        var assignments: [(partition: Int32, brokers: [Int32])]
        var configuration: [String: String]
    }

    static let createTopics = APIHandler(.createTopics, versions: 0...7, firstFlexible: 5) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let partitions = try reader.int32()
            let replicationFactor = try reader.int16()
            let assignments = try reader.array("assignments") { reader in
                let partition = try reader.int32()
                let brokers = try reader.array("brokers") { try $0.int32() }
                try reader.skipTaggedFields()
                return (partition: partition, brokers: brokers)
            }
            let settings = try reader.array("configs") { reader in
                let name = try reader.string("config name")
                let value = try reader.nullableString("config value")
                try reader.skipTaggedFields()
                return (name, value)
            }
            try reader.skipTaggedFields()
            let configuration = settings.reduce(into: [:]) { $0[$1.0] = $1.1 }
            return NewTopic(
                name: name, partitions: partitions, replicationFactor: replicationFactor, assignments: assignments,
                configuration: configuration)
        }
        _ = try reader.int32()  // timeout: it is done when the answer goes out
        let validateOnly = version >= 1 ? try reader.bool() : false
        try reader.skipTaggedFields()

        let results = try topics.map { topic in (topic, try create(topic, validateOnly: validateOnly, context: context)) }
        var writer = context.response()
        if version >= 2 { writer.int32(0) }  // throttle time
        writer.array(results) { writer, result in
            let (topic, failure) = result
            let made = failure.code == .none ? context.cluster.topics.topic(topic.name) : nil
            writer.string(topic.name)
            if version >= 7 { writer.uuid(made?.id ?? .zero) }
            writer.error(failure.code)
            if version >= 1 { writer.nullableString(failure.message) }
            if version >= 5 {
                writer.int32(made.map { Int32($0.partitions.count) } ?? -1)
                writer.int16(made == nil ? -1 : 1)  // replication factor
                writeConfiguration(made?.configuration, to: &writer)
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private static func writeConfiguration(_ configuration: TopicConfiguration?, to writer: inout WireWriter) {
        guard let configuration else {
            writer.nullArray()
            return
        }
        writer.array(TopicConfiguration.known.keys.sorted()) { writer, name in
            writer.string(name)
            writer.nullableString(configuration.value(name))
            writer.bool(false)  // read-only
            writer.int8(configuration.source(of: name))
            writer.bool(false)  // sensitive
            writer.noTaggedFields()
        }
    }

    private static func create(_ topic: NewTopic, validateOnly: Bool, context: RequestContext) throws -> Failure {
        if let code = try context.injectedError(topic: topic.name) { return Failure(code: code) }
        let cluster = context.cluster
        let brokers = Int16(clamping: cluster.configuration.brokers.count)
        let count: Int32
        var leaders: [Int32]?
        if topic.assignments.isEmpty {
            count = topic.partitions == -1 ? cluster.configuration.defaultPartitions : topic.partitions
            guard topic.replicationFactor == -1 || (1...brokers).contains(topic.replicationFactor) else {
                return Failure(
                    code: .invalidReplicationFactor,
                    message: "replication factor \(topic.replicationFactor); there are \(brokers) brokers")
            }
        } else {
            let sorted = topic.assignments.sorted { $0.partition < $1.partition }
            let isWhole = sorted.enumerated().allSatisfy { number, assignment in
                assignment.partition == Int32(clamping: number)
                    && !assignment.brokers.isEmpty
                    && assignment.brokers.allSatisfy { (1...Int32(brokers)).contains($0) }
            }
            guard isWhole, topic.partitions == -1 else {
                return Failure(code: .invalidReplicaAssignment, message: "partitions must count from 0, each on known brokers")
            }
            count = Int32(clamping: sorted.count)
            leaders = sorted.map { $0.brokers[0] }
        }
        let configuration = cluster.configuration.topicDefaults.merging(topic.configuration) { $1 }
        do {
            if validateOnly {
                try cluster.topics.validateNew(topic.name, partitions: count, configuration: configuration)
            } else {
                try cluster.topics.create(topic.name, partitions: count, configuration: configuration, leaders: leaders)
            }
            return .none
        } catch {
            return Failure(error)
        }
    }

    // MARK: DeleteTopics

    static let deleteTopics = APIHandler(.deleteTopics, versions: 0...6, firstFlexible: 4) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let topics = try reader.array("topics") { reader -> (name: String?, id: KafkaUUID) in
            guard version >= 6 else { return (try reader.string("topic"), .zero) }
            let name = try reader.nullableString("topic")
            let id = try reader.uuid()
            try reader.skipTaggedFields()
            return (name, id)
        }
        _ = try reader.int32()  // timeout
        try reader.skipTaggedFields()

        let results = try topics.map { asked in
            let topic = asked.name.flatMap(context.cluster.topics.topic) ?? context.cluster.topics.topic(id: asked.id)
            let name = asked.name ?? topic?.name
            guard let name else { return (name, asked.id, Failure(code: .unknownTopicID)) }
            if let code = try context.injectedError(topic: name) { return (name, asked.id, Failure(code: code)) }
            do {
                try context.cluster.deleteTopic(name)
                return (name, topic?.id ?? .zero, Failure.none)
            } catch {
                return (name, asked.id, Failure(error))
            }
        }
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.array(results) { writer, result in
            let (name, id, failure) = result
            if version >= 6 { writer.nullableString(name) } else { writer.string(name ?? "") }
            if version >= 6 { writer.uuid(id) }
            writer.error(failure.code)
            if version >= 5 { writer.nullableString(failure.message) }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    // MARK: CreatePartitions

    static let createPartitions = APIHandler(.createPartitions, versions: 0...3, firstFlexible: 2) { context, reader in
        var reader = reader
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let count = try reader.int32()
            // Which brokers should lead is the cluster's own choice here.
            _ = try reader.nullableArray("assignments") { reader in
                _ = try reader.array("brokers") { try $0.int32() }
                try reader.skipTaggedFields()
            }
            try reader.skipTaggedFields()
            return (name: name, count: count)
        }
        _ = try reader.int32()  // timeout
        let validateOnly = try reader.bool()
        try reader.skipTaggedFields()

        let results = try topics.map { topic in
            if let code = try context.injectedError(topic: topic.name) { return (topic.name, Failure(code: code)) }
            do {
                try context.cluster.topics.addPartitions(topic.name, total: topic.count, validateOnly: validateOnly)
                return (topic.name, Failure.none)
            } catch {
                return (topic.name, Failure(error))
            }
        }
        var writer = context.response()
        writer.int32(0)  // throttle time
        writer.array(results) { writer, result in
            writer.string(result.0)
            writer.error(result.1.code)
            writer.nullableString(result.1.message)
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }
}
