import NIOCore

/// FindCoordinator, ListGroups, DescribeGroups and DeleteGroups.
extension GroupHandlers {
    private enum KeyType: Int8 {
        case group = 0
        case transaction = 1
    }

    private struct Coordinator {
        var error: ErrorCode
        var message: String?
        var id: Int32 = -1
        var host = ""
        var port: Int32 = -1
    }

    static let findCoordinator = APIHandler(.findCoordinator, versions: 0...4, firstFlexible: 3) { context, reader in
        var reader = reader
        let version = context.apiVersion
        var keys: [String] = []
        if version <= 3 { keys = [try reader.name("key")] }
        let type = version >= 1 ? try reader.int8() : KeyType.group.rawValue
        if version >= 4 { keys = try reader.array("keys") { try $0.name("key") } }
        try reader.skipTaggedFields()

        let injected = try context.injectedError()
        let found = keys.map { key in
            injected.map { Coordinator(error: $0) } ?? coordinator(of: key, type: KeyType(rawValue: type), context)
        }
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        if version >= 4 {
            writer.array(Array(zip(keys, found))) { writer, entry in
                let (key, coordinator) = entry
                writer.string(key)
                writer.int32(coordinator.id)
                writer.string(coordinator.host)
                writer.int32(coordinator.port)
                writer.error(coordinator.error)
                writer.nullableString(coordinator.message)
                writer.noTaggedFields()
            }
        } else if let coordinator = found.first {
            writer.error(coordinator.error)
            if version >= 1 { writer.nullableString(coordinator.message) }
            writer.int32(coordinator.id)
            writer.string(coordinator.host)
            writer.int32(coordinator.port)
        }
        writer.noTaggedFields()
        return writer
    }

    private static func coordinator(of key: String, type: KeyType?, _ context: RequestContext) -> Coordinator {
        switch type {
        case .group:
            let running = context.cluster.runningBrokers
            guard let id = context.groups.coordinator(of: key, running: running.map(\.id)),
                let broker = running.first(where: { $0.id == id })
            else { return Coordinator(error: .coordinatorNotAvailable, message: "no broker is running") }
            return Coordinator(
                error: .none, message: nil, id: id, host: broker.host, port: Int32(truncatingIfNeeded: broker.port))
        case .transaction:
            // A retriable error would let a transactional producer wait for ever without a word.
            return Coordinator(error: .transactionalIDAuthorizationFailed, message: "this broker has no transactions")
        case nil:
            return Coordinator(error: .invalidRequest, message: "unknown kind of coordinator")
        }
    }

    static let listGroups = APIHandler(.listGroups, versions: 0...5, firstFlexible: 3) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let states = version >= 4 ? try reader.array("states") { try $0.name("state") } : []
        let types = version >= 5 ? try reader.array("types") { try $0.name("type") } : []
        try reader.skipTaggedFields()

        let error = try context.injectedError() ?? .none
        let wanted = Set(states.map { $0.lowercased() })
        let classic = types.isEmpty || types.contains { $0.lowercased() == "classic" }
        // Each broker lists the groups that it coordinates; clients ask all brokers.
        let groups = (error == .none && classic ? context.groups.list() : []).filter { group in
            (wanted.isEmpty || wanted.contains(group.state.rawValue.lowercased())) && context.coordinates(group.groupID)
        }
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.error(error)
        writer.array(groups) { writer, group in
            writer.string(group.groupID)
            writer.string(group.protocolType)
            if version >= 4 { writer.string(group.state.rawValue) }
            if version >= 5 { writer.string("classic") }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    static let describeGroups = APIHandler(.describeGroups, versions: 0...5, firstFlexible: 5) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let groupIDs = try reader.array("groups") { try $0.name("group id") }
        if version >= 3 { _ = try reader.bool() }  // include authorized operations: there is no authorization here
        try reader.skipTaggedFields()

        let injected = try context.injectedError()
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.array(groupIDs) { writer, groupID in
            let error = injected ?? (context.coordinates(groupID) ? .none : .notCoordinator)
            write(error, error == .none ? context.groups.describe(groupID) : nil, groupID, version, to: &writer)
        }
        writer.noTaggedFields()
        return writer
    }

    private static func write(
        _ error: ErrorCode, _ group: GroupDescription?, _ groupID: String, _ version: Int16, to writer: inout WireWriter
    ) {
        writer.error(error)
        writer.string(groupID)
        writer.string(group?.state.rawValue ?? "")
        writer.string(group?.protocolType ?? "")
        writer.string(group?.protocolName ?? "")
        writer.array(group?.members ?? []) { writer, member in
            writer.string(member.memberID)
            if version >= 4 { writer.nullableString(member.instanceID) }
            writer.string(member.clientID)
            writer.string(member.clientHost)
            writer.byteArray(member.metadata)
            writer.byteArray(member.assignment)
            writer.noTaggedFields()
        }
        if version >= 3 { writer.int32(.min) }  // authorized operations: not given
        writer.noTaggedFields()
    }

    static let deleteGroups = APIHandler(.deleteGroups, versions: 0...2, firstFlexible: 2) { context, reader in
        var reader = reader
        let groupIDs = try reader.array("groups") { try $0.name("group id") }
        try reader.skipTaggedFields()
        let injected = try context.injectedError()
        var writer = context.response()
        writer.int32(0)  // throttle time
        writer.array(groupIDs) { writer, groupID in
            writer.string(groupID)
            writer.error(injected ?? (context.coordinates(groupID) ? context.groups.delete(groupID) : .notCoordinator))
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }
}

extension ErrorCode {
    static let transactionalIDAuthorizationFailed = ErrorCode(rawValue: 53)
}
