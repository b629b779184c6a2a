import Foundation
import NIOCore

/// JoinGroup, SyncGroup, Heartbeat and LeaveGroup: the requests by which clients form groups. Fields and versions are those
/// of Kafka's message definitions.
enum GroupHandlers {
    /// Every handler of the group side, for the broker's table.
    static let all: [APIHandler] = [
        findCoordinator, joinGroup, syncGroup, heartbeat, leaveGroup, offsetCommit, offsetFetch, offsetDelete, listGroups,
        describeGroups, deleteGroups,
    ]

    /// Assignors that one member may offer; clients offer one to five.
    static let maxCandidates = 64
    /// A client's name in the member ids that are made for it.
    static let maxNameBytesInMemberID = 200

    static let joinGroup = APIHandler(.joinGroup, versions: 0...9, firstFlexible: 6) { context, reader in
        var reader = reader
        let request = try readJoin(&reader, context)
        let reply: JoinReply
        if let error = try context.groupError(request.groupID) {
            reply = .failed(error, memberID: request.memberID)
        } else {
            reply = try await context.groups.join(request)
        }
        var writer = context.response()
        write(reply, version: context.apiVersion, to: &writer)
        return writer
    }

    private static func readJoin(_ reader: inout WireReader, _ context: RequestContext) throws -> JoinRequest {
        let version = context.apiVersion
        let groupID = try reader.name("group id")
        let sessionTimeout = try reader.int32()
        let rebalanceTimeout = version >= 1 ? try reader.int32() : sessionTimeout
        let memberID = try reader.name("member id")
        let instanceID = version >= 5 ? try reader.nullableName("group instance id") : nil
        let protocolType = try reader.name("protocol type")
        let candidates = try reader.array("protocols") { reader in
            let name = try reader.name("protocol name")
            let metadata = try reader.byteArray("protocol metadata")
            try reader.skipTaggedFields()
            return JoinRequest.Candidate(name: name, metadata: metadata)
        }
        guard candidates.count <= maxCandidates else {
            throw WireError.limitExceeded(field: "protocols", limit: maxCandidates)
        }
        if version >= 8 { _ = try reader.nullableName("reason") }
        try reader.skipTaggedFields()
        let clientID = context.clientID ?? ""
        let name = String(decoding: (instanceID ?? clientID).utf8.prefix(maxNameBytesInMemberID), as: UTF8.self)
        return JoinRequest(
            groupID: groupID, memberID: memberID, instanceID: instanceID, clientID: clientID,
            clientHost: "/\(context.clientHost)", sessionTimeoutMs: sessionTimeout, rebalanceTimeoutMs: rebalanceTimeout,
            protocolType: protocolType, candidates: candidates, requiresKnownMemberID: version >= 4,
            canSkipAssignment: version >= 9, freshMemberID: "\(name)-\(UUID().uuidString.lowercased())")
    }

    private static func write(_ reply: JoinReply, version: Int16, to writer: inout WireWriter) {
        if version >= 2 { writer.int32(0) }  // throttle time
        writer.error(reply.error)
        writer.int32(reply.generation)
        if version >= 7 {
            writer.nullableString(reply.protocolType)
            writer.nullableString(reply.protocolName)
        } else {
            writer.string(reply.protocolName ?? "")
        }
        writer.string(reply.leaderID)
        if version >= 9 { writer.bool(reply.skipAssignment) }
        writer.string(reply.memberID)
        writer.array(reply.members) { writer, member in
            writer.string(member.memberID)
            if version >= 5 { writer.nullableString(member.instanceID) }
            writer.byteArray(member.metadata)
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
    }

    static let syncGroup = APIHandler(.syncGroup, versions: 0...5, firstFlexible: 4) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let claim = try reader.claim(withInstance: version >= 3)
        let protocolType = version >= 5 ? try reader.nullableName("protocol type") : nil
        let protocolName = version >= 5 ? try reader.nullableName("protocol name") : nil
        var assignments: [String: [UInt8]] = [:]
        for _ in 0..<(try reader.arrayCount("assignments")) {
            let memberID = try reader.name("member id")
            assignments[memberID] = try reader.byteArray("assignment")
            try reader.skipTaggedFields()
        }
        try reader.skipTaggedFields()

        let reply: SyncReply
        if let error = try context.groupError(claim.groupID) {
            reply = .failed(error)
        } else {
            reply = try await context.groups.sync(
                SyncRequest(
                    claim: claim, protocolType: protocolType, protocolName: protocolName, assignments: assignments))
        }
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.error(reply.error)
        if version >= 5 {
            writer.nullableString(reply.protocolType)
            writer.nullableString(reply.protocolName)
        }
        writer.byteArray(reply.assignment)
        writer.noTaggedFields()
        return writer
    }

    static let heartbeat = APIHandler(.heartbeat, versions: 0...4, firstFlexible: 4) { context, reader in
        var reader = reader
        let claim = try reader.claim(withInstance: context.apiVersion >= 3)
        try reader.skipTaggedFields()
        var writer = context.response()
        if context.apiVersion >= 1 { writer.int32(0) }  // throttle time
        writer.error(try context.groupError(claim.groupID) ?? context.groups.heartbeat(claim))
        writer.noTaggedFields()
        return writer
    }

    static let leaveGroup = APIHandler(.leaveGroup, versions: 0...5, firstFlexible: 4) { context, reader in
        var reader = reader
        let version = context.apiVersion
        let groupID = try reader.name("group id")
        var leaving: [LeavingMember] = []
        if version >= 3 {
            leaving = try reader.array("members") { reader in
                let member = LeavingMember(
                    memberID: try reader.name("member id"), instanceID: try reader.nullableName("group instance id"))
                if version >= 5 { _ = try reader.nullableName("reason") }
                try reader.skipTaggedFields()
                return member
            }
        } else {
            leaving = [LeavingMember(memberID: try reader.name("member id"), instanceID: nil)]
        }
        try reader.skipTaggedFields()

        var error = try context.groupError(groupID) ?? .none
        var results: [ErrorCode] = []
        if error == .none { (error, results) = context.groups.leave(groupID: groupID, leaving) }
        var writer = context.response()
        if version >= 1 { writer.int32(0) }  // throttle time
        if version >= 3 {
            writer.error(error)
            writer.array(Array(zip(leaving, results))) { writer, entry in
                writer.string(entry.0.memberID)
                writer.nullableString(entry.0.instanceID)
                writer.error(entry.1)
                writer.noTaggedFields()
            }
        } else {
            writer.error(error == .none ? results.first ?? .none : error)
        }
        writer.noTaggedFields()
        return writer
    }
}

extension RequestContext {
    var groups: GroupService { cluster.groups }

    /// Why this broker does not serve a request about `groupID` at all, or nil: a fault that a test has set, or another
    /// broker coordinates the group.
    func groupError(_ groupID: String) throws -> ErrorCode? {
        if let error = try injectedError() { return error }
        return coordinates(groupID) ? nil : .notCoordinator
    }

    func coordinates(_ groupID: String) -> Bool {
        groups.coordinator(of: groupID, running: cluster.runningBrokers.map(\.id)) == brokerID
    }
}

extension WireReader {
    /// The longest string of the classic protocol; Kafka refuses longer ones in flexible versions too.
    static let maxNameBytes = Int(Int16.max)

    mutating func nullableName(_ field: StaticStringBox) throws -> String? {
        guard let value = try nullableString(field) else { return nil }
        guard value.utf8.count <= Self.maxNameBytes else {
            throw WireError.limitExceeded(field: field, limit: Self.maxNameBytes)
        }
        return value
    }

    mutating func name(_ field: StaticStringBox) throws -> String {
        guard let value = try nullableName(field) else { throw WireError.unexpectedNull(field: field) }
        return value
    }

    /// A copy of the bytes, which may be kept longer than the request.
    mutating func byteArray(_ field: StaticStringBox) throws -> [UInt8] {
        Array(try bytes(field).readableBytesView)
    }

    /// Group, generation, member, and the instance id in versions that have one.
    mutating func claim(withInstance: Bool) throws -> MemberClaim {
        let groupID = try name("group id")
        let generation = try int32()
        let memberID = try name("member id")
        let instanceID = withInstance ? try nullableName("group instance id") : nil
        return MemberClaim(groupID: groupID, memberID: memberID, instanceID: instanceID, generation: generation)
    }
}

extension WireWriter {
    mutating func byteArray(_ value: [UInt8]) {
        bytesLength(value.count)
        buffer.writeBytes(value)
    }
}
