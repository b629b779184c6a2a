/// DescribeConfigs (32) and IncrementalAlterConfigs (44).
enum ConfigHandlers {
    private enum ResourceType {
        static let topic: Int8 = 2
        static let broker: Int8 = 4
    }

    private struct Resource {
        var type: Int8
        var name: String
        /// nil: all.
        var keys: [String]?
    }

    private struct Setting {
        var name: String
        var value: String
        var source: Int8
        var kind: TopicConfiguration.Kind
        var isReadOnly = false
    }

    static let describe = APIHandler(.describeConfigs, versions: 0...4, firstFlexible: 4) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let resources = try reader.array("resources") { reader in
            let type = try reader.int8()
            let name = try reader.string("resource name")
            let keys = try reader.nullableArray("keys") { try $0.string("key") }
            try reader.skipTaggedFields()
            return Resource(type: type, name: name, keys: keys)
        }
        if version >= 1 { _ = try reader.bool() }  // include synonyms
        if version >= 3 { _ = try reader.bool() }  // include documentation
        try reader.skipTaggedFields()

        var writer = context.response()
        writer.int32(0)  // throttle time
        try writer.array(resources) { writer, resource in
            let (error, message, settings) = try settings(of: resource, context: context)
            writer.error(error)
            writer.nullableString(message)
            writer.int8(resource.type)
            writer.string(resource.name)
            let wanted = settings.filter { resource.keys?.contains($0.name) ?? true }
            writer.array(wanted) { write($1, version: version, to: &$0) }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private static func write(_ setting: Setting, version: Int16, to writer: inout WireWriter) {
        writer.string(setting.name)
        writer.nullableString(setting.value)
        writer.bool(setting.isReadOnly)
        if version == 0 {
            writer.bool(setting.source == TopicConfiguration.defaultSource)
        } else {
            writer.int8(setting.source)
        }
        writer.bool(false)  // sensitive
        if version >= 1 { writer.arrayCount(0) }  // synonyms
        if version >= 3 {
            writer.int8(setting.kind.rawValue)
            writer.nullableString(nil)  // documentation
        }
        writer.noTaggedFields()
    }

    private static func settings(
        of resource: Resource, context: RequestContext
    ) throws -> (error: ErrorCode, message: String?, settings: [Setting]) {
        switch resource.type {
        case ResourceType.topic:
            if let error = try context.injectedError(topic: resource.name) { return (error, nil, []) }
            guard let topic = context.cluster.topics.topic(resource.name) else {
                return (.unknownTopicOrPartition, "no such topic", [])
            }
            let configuration = topic.configuration
            let settings = TopicConfiguration.known.sorted { $0.key < $1.key }.map { name, facts in
                Setting(name: name, value: configuration.value(name), source: configuration.source(of: name), kind: facts.kind)
            }
            return (.none, nil, settings)
        case ResourceType.broker:
            if let error = try context.injectedError() { return (error, nil, []) }
            guard let id = Int32(resource.name), (1...Int32(context.cluster.configuration.brokers.count)).contains(id) else {
                return (.invalidRequest, "no such broker", [])
            }
            return (.none, nil, brokerSettings(id, cluster: context.cluster))
        default:
            return (.invalidRequest, "only topics (2) and brokers (4) have a configuration here", [])
        }
    }

    private static func brokerSettings(_ id: Int32, cluster: LocalKafkaCluster) -> [Setting] {
        let staticSource: Int8 = 4
        func setting(_ name: String, _ value: String, _ kind: TopicConfiguration.Kind) -> Setting {
            Setting(name: name, value: value, source: staticSource, kind: kind, isReadOnly: true)
        }
        return [
            setting("auto.create.topics.enable", "\(cluster.configuration.autoCreateTopics)", .boolean),
            setting("broker.id", "\(id)", .int),
            setting("default.replication.factor", "1", .int),
            setting("message.max.bytes", TopicConfiguration().value("max.message.bytes"), .int),
            setting("num.partitions", "\(cluster.configuration.defaultPartitions)", .int),
        ]
    }

    // MARK: IncrementalAlterConfigs

    private enum Operation {
        static let set: Int8 = 0
        static let delete: Int8 = 1
    }

    static let alter = APIHandler(.incrementalAlterConfigs, versions: 0...1, firstFlexible: 1) { context, reader in
        var reader = reader
        let resources = try reader.array("resources") { reader in
            let type = try reader.int8()
            let name = try reader.string("resource name")
            let changes = try reader.array("configs") { reader in
                let key = try reader.string("config name")
                let operation = try reader.int8()
                let value = try reader.nullableString("config value")
                try reader.skipTaggedFields()
                return (key: key, operation: operation, value: value)
            }
            try reader.skipTaggedFields()
            return (type: type, name: name, changes: changes)
        }
        let validateOnly = try reader.bool()
        try reader.skipTaggedFields()

        var writer = context.response()
        writer.int32(0)  // throttle time
        try writer.array(resources) { writer, resource in
            let failure = try change(
                resource.type, resource.name, resource.changes, validateOnly: validateOnly, context: context)
            writer.error(failure.code)
            writer.nullableString(failure.message)
            writer.int8(resource.type)
            writer.string(resource.name)
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private static func change(
        _ type: Int8, _ name: String, _ changes: [(key: String, operation: Int8, value: String?)], validateOnly: Bool,
        context: RequestContext
    ) throws -> TopicAdminHandlers.Failure {
        guard type == ResourceType.topic else {
            return .init(code: .invalidRequest, message: "only the configuration of topics can be changed here")
        }
        if let error = try context.injectedError(topic: name) { return .init(code: error) }
        guard context.cluster.topics.topic(name) != nil else { return .init(code: .unknownTopicOrPartition) }
        var values: [String: String?] = [:]
        for change in changes {
            guard change.operation == Operation.set || change.operation == Operation.delete else {
                return .init(code: .invalidConfig, message: "only SET and DELETE are served")
            }
            values.updateValue(change.operation == Operation.set ? change.value : nil, forKey: change.key)
        }
        if let problem = TopicConfiguration.problem(in: values.compactMapValues { $0 }) {
            return .init(code: .invalidConfig, message: problem)
        }
        guard !validateOnly else { return .none }
        do {
            try context.cluster.topics.configure(name) { configuration in
                for (key, value) in values { configuration.set(key, to: value) }
            }
            return .none
        } catch {
            return .init(error)
        }
    }
}
