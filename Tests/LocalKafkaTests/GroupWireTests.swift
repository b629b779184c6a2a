import Foundation
import Logging
import NIOCore
import Testing

@testable import LocalKafka

/// The group requests byte by byte, written here after Kafka's message definitions.
@Suite struct GroupWireTests {
    private func dispatcher(_ cluster: LocalKafkaCluster, broker: Int32 = 1) -> RequestDispatcher {
        RequestDispatcher(cluster: cluster, brokerID: broker, table: cluster.apiTable, logger: cluster.logger)
    }

    /// One request of the flexible (`f`) or classic kind, and the reader of its answer's body.
    private func ask(
        _ cluster: LocalKafkaCluster, _ key: APIKey, _ version: Int16, broker: Int32 = 1,
        _ body: (inout WireWriter) -> Void
    ) async throws -> WireReader {
        let flexible = GroupHandlers.all.first { $0.key == key }?.isFlexible(version) ?? false
        var writer = WireWriter()
        writer.int16(key.rawValue)
        writer.int16(version)
        writer.int32(77)
        writer.string("test")
        writer.flexible = flexible
        writer.noTaggedFields()
        body(&writer)
        let outcome = try await dispatcher(cluster, broker: broker).serve(writer.buffer, clientHost: "127.0.0.1")
        guard case .reply(let parts) = outcome, case .byteBuffer(let bytes)? = parts.first else {
            throw ConnectionMustClose(reason: "no reply")
        }
        var reader = WireReader(bytes)
        #expect(try reader.int32() == Int32(bytes.readableBytes - 4))
        #expect(try reader.int32() == 77)
        reader.flexible = flexible
        try reader.skipTaggedFields()
        return reader
    }

    private func joinBody(_ writer: inout WireWriter, version: Int16, memberID: String, instance: String? = nil) {
        writer.string("g")
        writer.int32(10_000)
        if version >= 1 { writer.int32(20_000) }
        writer.string(memberID)
        if version >= 5 { writer.nullableString(instance) }
        writer.string("consumer")
        writer.array(["range", "cooperative-sticky"]) { writer, name in
            writer.string(name)
            writer.byteArray([1, 2, 3])
            writer.noTaggedFields()
        }
        if version >= 8 { writer.nullableString("because") }
        writer.noTaggedFields()
    }

    @Test(arguments: 0...9 as ClosedRange<Int16>)
    func everyVersionOfJoinGroupReadsAndWritesItsFields(version: Int16) async throws {
        try await withGroupCluster { cluster, _ in
            var memberID = ""
            if version >= 4 {
                var first = try await ask(cluster, .joinGroup, version) { joinBody(&$0, version: version, memberID: "") }
                _ = try first.int32()
                #expect(try first.int16() == ErrorCode.memberIDRequired.rawValue)
                #expect(try first.int32() == -1)
                if version >= 7 {
                    #expect(try first.nullableString() == nil)
                    #expect(try first.nullableString() == nil)
                } else {
                    #expect(try first.string() == "")
                }
                #expect(try first.string() == "")
                if version >= 9 { #expect(try first.bool() == false) }
                memberID = try first.string()
                #expect(memberID.hasPrefix("test-"))
            }
            var reply = try await ask(cluster, .joinGroup, version) { joinBody(&$0, version: version, memberID: memberID) }
            if version >= 2 { #expect(try reply.int32() == 0) }
            #expect(try reply.int16() == 0)
            #expect(try reply.int32() == 1)
            if version >= 7 { #expect(try reply.nullableString() == "consumer") }
            #expect(try reply.string() == "range")
            let leader = try reply.string()
            if version >= 9 { #expect(try reply.bool() == false) }
            #expect(try reply.string() == leader)
            #expect(try reply.arrayCount() == 1)
            #expect(try reply.string() == leader)
            if version >= 5 { #expect(try reply.nullableString() == nil) }
            #expect(try reply.byteArray("metadata") == [1, 2, 3])
            try reply.skipTaggedFields()
            try reply.skipTaggedFields()
            #expect(reply.remaining == 0)
        }
    }

    @Test(arguments: 1...9 as ClosedRange<Int16>)
    func offsetsComeBackAsTheyWereCommitted(version: Int16) async throws {
        try await withGroupCluster { cluster, _ in
            var reply = try await ask(cluster, .offsetCommit, version) { writer in
                writer.string("g")
                writer.int32(-1)
                writer.string("")
                if version >= 7 { writer.nullableString(nil) }
                if (2...4).contains(version) { writer.int64(-1) }
                writer.array(["t", "absent"]) { writer, topic in
                    writer.string(topic)
                    writer.array([0, 3, 9] as [Int32]) { writer, partition in
                        writer.int32(partition)
                        writer.int64(40 + Int64(partition))
                        if version >= 6 { writer.int32(5) }
                        if version == 1 { writer.int64(0) }
                        writer.nullableString(partition == 3 ? nil : "meta")
                        writer.noTaggedFields()
                    }
                    writer.noTaggedFields()
                }
                writer.noTaggedFields()
            }
            if version >= 3 { _ = try reply.int32() }
            let errors = try reply.array { reader in
                _ = try reader.string()
                let errors = try reader.array { reader in
                    _ = try reader.int32()
                    let error = try reader.int16()
                    try reader.skipTaggedFields()
                    return error
                }
                try reader.skipTaggedFields()
                return errors
            }
            try reply.skipTaggedFields()
            #expect(reply.remaining == 0)
            #expect(errors == [[0, 0, 3], [3, 3, 3]])

            for all in version >= 2 ? [false, true] : [false] {
                var fetched = try await ask(cluster, .offsetFetch, version) { writer in
                    if version >= 8 { writer.arrayCount(1) }
                    writer.string("g")
                    if version >= 9 {
                        writer.nullableString(nil)
                        writer.int32(-1)
                    }
                    if all {
                        writer.nullArray()
                    } else {
                        writer.arrayCount(1)
                        writer.string("t")
                        writer.array([0, 1, 3] as [Int32]) { $0.int32($1) }
                        writer.noTaggedFields()
                    }
                    if version >= 8 { writer.noTaggedFields() }
                    if version >= 7 { writer.bool(true) }
                    writer.noTaggedFields()
                }
                if version >= 3 { _ = try fetched.int32() }
                if version >= 8 {
                    #expect(try fetched.arrayCount() == 1)
                    #expect(try fetched.string() == "g")
                }
                #expect(try fetched.arrayCount() == 1)
                #expect(try fetched.string() == "t")
                let offsets = try fetched.array { reader in
                    _ = try reader.int32()
                    let offset = try reader.int64()
                    if version >= 5 { #expect(try reader.int32() == (offset >= 0 && version >= 6 ? 5 : -1)) }
                    #expect(try reader.nullableString() == (offset == 40 ? "meta" : ""))
                    #expect(try reader.int16() == 0)
                    try reader.skipTaggedFields()
                    return offset
                }
                #expect(offsets == (all ? [40, 43] : [40, -1, 43]))
                try fetched.skipTaggedFields()
                if version >= 2 { #expect(try fetched.int16() == 0) }
                try fetched.skipTaggedFields()
                if version >= 8 { try fetched.skipTaggedFields() }
                #expect(fetched.remaining == 0)
            }
        }
    }

    @Test(arguments: 0...4 as ClosedRange<Int16>)
    func everyBrokerNamesTheSameCoordinatorAndTheOtherRefuses(version: Int16) async throws {
        try await withGroupCluster(brokers: 2) { cluster, _ in
            let coordinator = try #require(cluster.coordinator(ofGroup: "g"))
            for broker in 1...2 as ClosedRange<Int32> {
                var reply = try await ask(cluster, .findCoordinator, version, broker: broker) { writer in
                    if version <= 3 { writer.string("g") }
                    if version >= 1 { writer.int8(0) }
                    if version >= 4 { writer.array(["g"]) { $0.string($1) } }
                    writer.noTaggedFields()
                }
                if version >= 1 { _ = try reply.int32() }
                if version >= 4 {
                    #expect(try reply.arrayCount() == 1)
                    #expect(try reply.string() == "g")
                } else {
                    #expect(try reply.int16() == 0)
                    if version >= 1 { _ = try reply.nullableString() }
                }
                #expect(try reply.int32() == coordinator)
                #expect(try reply.string() == "127.0.0.1")
                #expect(try reply.int32() == Int32(cluster.brokerAddresses[Int(coordinator) - 1].port))

                var heartbeat = try await ask(cluster, .heartbeat, 0, broker: broker) { writer in
                    writer.string("g")
                    writer.int32(1)
                    writer.string("m")
                }
                let expected = broker == coordinator ? ErrorCode.unknownMemberID : .notCoordinator
                #expect(try heartbeat.int16() == expected.rawValue)
            }
        }
    }

    @Test func injectedErrorsAreAnsweredAndNothingIsDone() async throws {
        try await withGroupCluster { cluster, _ in
            cluster.faults.add(FaultRule(.error(.coordinatorLoadInProgress), apiKey: .offsetCommit, topic: "t", partition: 1))
            var reply = try await ask(cluster, .offsetCommit, 2) { writer in
                writer.string("g")
                writer.int32(-1)
                writer.string("")
                writer.int64(-1)
                writer.arrayCount(1)
                writer.string("t")
                writer.array([0, 1] as [Int32]) { writer, partition in
                    writer.int32(partition)
                    writer.int64(7)
                    writer.nullableString(nil)
                }
            }
            _ = try reply.arrayCount()
            _ = try reply.string()
            let errors = try reply.array { reader in
                _ = try reader.int32()
                return try reader.int16()
            }
            #expect(errors == [0, 14])
            #expect(cluster.committedOffsets(ofGroup: "g") == ["t": [0: 7]])
        }
    }

    @Test func topicsThatAreDeletedTakeTheirOffsetsWithThem() async throws {
        try await withGroupCluster { cluster, _ in
            let claim = MemberClaim(groupID: "g", memberID: "", instanceID: nil, generation: -1)
            let offset = CommittedOffset(offset: 1, leaderEpoch: -1, metadata: "")
            _ = cluster.groups.commit(
                claim, [(GroupPartition(topic: "t", partition: 0), offset), (GroupPartition(topic: "u", partition: 0), offset)],
                refused: [:])
            try cluster.deleteTopic("t")
            #expect(cluster.committedOffsets(ofGroup: "g") == ["u": [0: 1]])
            #expect(cluster.groups.delete("g") == .none)
            #expect(cluster.committedOffsets(ofGroup: "g").isEmpty)
        }
    }

    /// Random bodies, and right ones that are cut short or changed in one byte: an answer or an error, never a trap.
    @Test func hostileBytesNeverTrap() async throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("seed \(seed)")
        var rng = GroupSeed(state: seed)
        try await withGroupCluster { cluster, _ in
            let dispatcher = dispatcher(cluster)
            var answered = 0
            var refused = 0
            for handler in GroupHandlers.all {
                for version in handler.versions {
                    for round in 0..<60 {
                        var writer = WireWriter()
                        writer.int16(handler.key.rawValue)
                        writer.int16(version)
                        writer.int32(1)
                        writer.nullableString(nil)
                        writer.flexible = handler.isFlexible(version)
                        writer.noTaggedFields()
                        if round % 2 == 0 || handler.key != .joinGroup {
                            let palette: [UInt8] = [0, 0, 0, 1, 2, 3, 4, 0x67, 0x7f, 0x80, 0xff]
                            for _ in 0..<Int.random(in: 0...80, using: &rng) {
                                writer.int8(Int8(bitPattern: palette.randomElement(using: &rng) ?? 0))
                            }
                        } else {
                            joinBody(&writer, version: version, memberID: "")
                            let bytes = writer.buffer.readableBytes
                            let index = Int.random(in: 12..<bytes, using: &rng)
                            writer.buffer.setInteger(UInt8.random(in: 0...255, using: &rng), at: index)
                            if Bool.random(using: &rng) { writer.buffer.moveWriterIndex(to: index) }
                        }
                        let frame = writer.buffer
                        // Cancelled at once, so that a join that is let in does not wait.
                        let task = Task { try await dispatcher.serve(frame, clientHost: "127.0.0.1") }
                        task.cancel()
                        switch await task.result {
                        case .success: answered += 1
                        case .failure: refused += 1
                        }
                    }
                }
            }
            #expect(answered > 0)
            #expect(refused > 0)
        }
    }
}
