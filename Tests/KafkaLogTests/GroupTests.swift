import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

/// Who serves the group: two brokers that were written independently.
enum GroupServer: String, CaseIterable, Sendable {
    /// librdkafka's mock cluster.
    case mock
    case localKafka

    func run(topic: String, partitions: Int32, _ body: (String) async throws -> Void) async throws {
        switch self {
        case .mock:
            let mock = try MockCluster()
            mock.createTopic(topic, partitions: partitions)
            try await body(mock.bootstrapServers)
        case .localKafka:
            try await withLocalKafka(partitions: partitions) { cluster in
                try cluster.createTopic(topic, partitions: partitions)
                try await body(cluster.bootstrapServers)
            }
        }
    }
}

/// How the owner answers rebalances.
@Suite(.timeLimit(.minutes(4)), .serialized)
struct GroupTests {
    /// Reads events until `isDone`; answers nothing.
    func events(
        _ consumer: KafkaConsumer, seconds: Double = 45, until isDone: (ConsumerEvent) -> Bool
    ) async throws -> [ConsumerEvent] {
        var seen: [ConsumerEvent] = []
        let deadline = within(seconds)
        while let event = try await consumer.nextEvent(deadline: deadline) {
            seen.append(event)
            if isDone(event) { return seen }
        }
        throw KafkaLogError.deadlineExceeded(what: "waiting for an event after \(seen)")
    }

    func assignment(_ consumer: KafkaConsumer) async throws -> [TopicPartition] {
        while true {
            let last = try await events(consumer) { if case .assigned = $0 { true } else { false } }.last
            if case .assigned(let partitions)? = last { return partitions }
        }
    }

    static let quick = [
        "session.timeout.ms": "6000", "heartbeat.interval.ms": "100", "topic.metadata.refresh.interval.ms": "200",
    ]

    /// The rebalance callback only records: the answer comes later, outside of it, as librdkafka's event interface allows.
    @Test(arguments: ["cooperative-sticky", "range"], GroupServer.allCases)
    func anAssignmentIsAnsweredLaterAndStartsAtItsPositions(strategy: String, server: GroupServer) async throws {
        try await server.run(topic: "t", partitions: 4) { try await answerLater(strategy: strategy, servers: $0) }
    }

    func answerLater(strategy: String, servers: String) async throws {
        try await produce(numbered("t", partitions: 4, each: 50), to: servers)
        let consumer = try makeConsumer(servers, group: "g", strategy: strategy, Self.quick)
        try await consumer.subscribe(to: ["t"])
        let partitions = try await assignment(consumer)
        #expect(Set(partitions) == Set((0..<4).map { TopicPartition(topic: "t", partition: $0) }))
        #expect(try await consumer.nextEvent(deadline: within(0.3)) == nil, "nothing flows before the answer")

        let id = try await consumer.clusterID()
        await #expect(throws: KafkaLogError.self) { try await consumer.acceptAssignment([:]) }
        await #expect(throws: KafkaLogError.noRebalancePending) { try await consumer.completeRevocation() }
        let foreign = starts("t", 4, in: ClusterID("elsewhere"))
        await #expect(throws: KafkaLogError.self) { try await consumer.acceptAssignment(foreign) }
        let held = TopicPartition(topic: "t", partition: 3)
        var positions = starts("t", 4, at: 20, in: id)
        positions[held] = nil
        try await consumer.acceptAssignment(positions, paused: [held])
        let records = try await read(consumer, count: 90)
        #expect(records.count == 90 && records.allSatisfy { $0.position.offset >= 20 && $0.partition != held })
        await #expect(throws: KafkaLogError.missingPositions([held])) { try await consumer.resume([held]) }
        try await consumer.seek([held: Position(45, in: id)])
        try await consumer.resume([held])
        #expect(try await read(consumer, count: 5).map(\.position.offset) == [45, 46, 47, 48, 49])
        try await consumer.commit([held: CommittedOffset(Position(50, in: id), metadata: "epoch 7")])
        let committed = try await consumer.committed([held, TopicPartition(topic: "t", partition: 0)])
        #expect(try committed[held]?.get() == CommittedOffset(Position(50, in: id), metadata: "epoch 7"))
        #expect(try committed[TopicPartition(topic: "t", partition: 0)]?.get() == nil)
        try await consumer.close()
    }

    /// Traps 25, faults F65: a revocation waits for its owner, nothing of the revoked partitions comes after the event, and
    /// the next owner starts where the first one stopped: no record twice, none lost.
    /// Not on librdkafka's mock cluster, which refuses commits while a group changes; Kafka takes them from members of the generation.
    @Test(arguments: [GroupServer.localKafka])
    func aRevocationWaitsForItsOwnerAndNothingIsReadTwice(server: GroupServer) async throws {
        try await server.run(topic: "t", partitions: 4) { try await handOver(servers: $0) }
    }

    func handOver(servers: String) async throws {
        try await produce(numbered("t", partitions: 4, each: 200), to: servers)
        let first = try makeConsumer(servers, group: "g", Self.quick)
        let second = try makeConsumer(servers, group: "g", Self.quick)
        try await first.subscribe(to: ["t"])
        let id = try await first.clusterID()
        _ = try await assignment(first)
        try await first.acceptAssignment(starts("t", 4, in: id))
        let seen = Seen()
        await seen.add(try await read(first, count: 100, max: 50))

        try await second.subscribe(to: ["t"])
        let joining = Task { try await runMember(second, seen, startsAt: { try await committed(second, $0) }) }
        var revoked: [TopicPartition] = []
        while revoked.isEmpty, let event = try await first.nextEvent(max: 10, deadline: within(15)) {
            if case .batch(let batch) = event { await seen.add(batch) }
            if case .assigned = event { try await first.acceptAssignment([:]) }
            if case .revoking(let partitions) = event { revoked = partitions }
        }
        #expect(revoked.count == 2)
        try await produce(numbered("t", partitions: 4, each: 20), to: servers)
        while let batch = try await first.nextBatch(deadline: within(0.5)) {
            #expect(batch.runs.allSatisfy { !revoked.contains($0.partition) })
            await seen.add(batch)
        }
        #expect(await seen.partitions(of: second).isEmpty, "nobody has them before the answer")
        try await first.commit(try await first.positions().mapValues { CommittedOffset($0) })
        try await first.completeRevocation()
        let staying = Task { try await runMember(first, seen, startsAt: { _ in [:] }) }

        let deadline = within(15)
        while await seen.count < 880, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(20)) }
        #expect(await seen.count == 880)
        #expect(await seen.identities.count == 880)
        #expect(await seen.partitions(of: second) == Set(revoked))
        joining.cancel()
        staying.cancel()
        _ = await (joining.result, staying.result)
        try await first.close()
        try await second.close()
    }

    /// What all members have read.
    actor Seen {
        private(set) var count = 0
        private(set) var identities: Set<String> = []
        private var owners: [ObjectIdentifier: Set<TopicPartition>] = [:]

        func add(_ records: [Record], by consumer: KafkaConsumer? = nil) {
            count += records.count
            for record in records {
                identities.insert("\(record.partition)@\(record.position.offset)")
                if let consumer { owners[ObjectIdentifier(consumer), default: []].insert(record.partition) }
            }
        }
        func add(_ batch: RecordBatch, by consumer: KafkaConsumer? = nil) {
            add((0..<batch.count).compactMap { try? batch.detached(at: $0) }, by: consumer)
        }
        func partitions(of consumer: KafkaConsumer) -> Set<TopicPartition> { owners[ObjectIdentifier(consumer)] ?? [] }
    }

    func committed(_ consumer: KafkaConsumer, _ partitions: [TopicPartition]) async throws -> [TopicPartition: Position] {
        try await consumer.committed(partitions).compactMapValues { try $0.get()?.position }
    }

    /// A member of the group that answers everything at once, until it is cancelled.
    func runMember(
        _ consumer: KafkaConsumer, _ seen: Seen,
        startsAt: ([TopicPartition]) async throws -> [TopicPartition: Position]
    ) async throws {
        while let event = try await consumer.nextEvent() {
            switch event {
            case .batch(let batch): await seen.add(batch, by: consumer)
            case .assigned(let partitions): try await consumer.acceptAssignment(try await startsAt(partitions))
            case .revoking, .lost: try await consumer.completeRevocation()
            case .partitionFailed(_, let error): throw error
            case .failed(let error): if error.isFatal { throw error }
            }
        }
    }

    /// The broker is gone: close returns by its deadline all the same.
    @Test func closeKeepsItsDeadlineWhenTheBrokerIsGone() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            let consumer = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
            try await consumer.subscribe(to: ["^t$"])
            #expect(try await assignment(consumer).count == 1)
            try await consumer.acceptAssignment(starts("t", 1, in: consumer.clusterID()))
            try await cluster.stopBroker(1)
            let took = await ContinuousClock().measure { try? await consumer.close(within: .seconds(1)) }
            #expect(took < .seconds(30))
        }
    }

    /// An owner that was thrown out learns that it lost its partitions, and may not commit for them.
    @Test func aMemberWhoseSessionEndedIsToldThatItLostItsPartitions() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            let consumer = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
            try await consumer.subscribe(to: ["t"])
            _ = try await assignment(consumer)
            let id = try await consumer.clusterID()
            try await consumer.acceptAssignment(starts("t", 1, in: id))
            cluster.faults.add(FaultRule(.error(.unknownMemberID), apiKey: .heartbeat))
            let seen = try await events(consumer) { if case .lost = $0 { true } else { false } }
            guard case .lost(let partitions)? = seen.last else { Issue.record("\(seen)"); return }
            #expect(partitions == [TopicPartition(topic: "t", partition: 0)])
            try await consumer.completeRevocation()
            #expect(await consumer.assignedPartitions.isEmpty)
            #expect(try await assignment(consumer) == partitions)
            try await consumer.close()
        }
    }

    /// Two processes with one instance id: the older is fenced and told so by a fatal error.
    @Test func aFencedStaticMemberGetsAFatalError() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            func make() throws -> KafkaConsumer {
                try KafkaConsumer(
                    KafkaConsumerConfiguration(
                        client: client(cluster.bootstrapServers, Self.quick), groupID: "g", groupInstanceID: "one"))
            }
            let older = try make()
            try await older.subscribe(to: ["t"])
            _ = try await assignment(older)
            try await older.acceptAssignment(starts("t", 1, in: older.clusterID()))
            let newer = try make()
            try await newer.subscribe(to: ["t"])
            async let joined = assignment(newer)
            let seen = try await events(older) { if case .failed(let error) = $0 { error.isFatal } else { false } }
            guard case .failed(let error)? = seen.last else { Issue.record("\(seen)"); return }
            #expect(error.label == "fenced_instance_id")
            #expect(try await joined.count == 1)
            try await newer.close()
            try? await older.close(within: .seconds(1))
        }
    }

    /// A member that leaves before the group gave it anything: librdkafka below 2.3 would end the process (its issue 4312).
    @Test func aMemberMayLeaveBeforeItsFirstAssignment() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            let held = cluster.faults.add(FaultRule(.delayReply(.seconds(3)), apiKey: .syncGroup))
            do {
                let consumer = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
                try await consumer.subscribe(to: ["t"])
                let deadline = within(10)
                while cluster.faults.strikes(held) == 0, ContinuousClock.now < deadline {
                    _ = try await consumer.nextEvent(deadline: within(0.02))
                }
                #expect(cluster.faults.strikes(held) == 1, "it has joined, and waits for its first assignment")
                try? await consumer.close(within: .milliseconds(200))
            }
            // Destroying goes on in the background.
            try await Task.sleep(for: .seconds(4))
        }
    }

    /// Commits go on all the time while another member joins: librdkafka below 2.10 would take the partitions for lost (its
    /// issue 4059).
    @Test func commitsWhileTheGroupGrowsLoseNoPartition() async throws {
        try await withLocalKafka(partitions: 4) { cluster in
            try cluster.createTopic("t", partitions: 4)
            let first = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
            try await first.subscribe(to: ["t"])
            _ = try await assignment(first)
            let id = try await first.clusterID()
            try await first.acceptAssignment(starts("t", 4, in: id))
            let second = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
            try await second.subscribe(to: ["t"])
            let joining = Task { try await runMember(second, Seen(), startsAt: { given in
                Dictionary(uniqueKeysWithValues: given.map { ($0, Position(0, in: id)) })
            }) }
            var refused = 0, offset: Int64 = 0
            let deadline = within(20)
            while await second.assignedPartitions.count < 2 || refused == 0, ContinuousClock.now < deadline {
                switch try await first.nextEvent(deadline: within(0.05)) {
                case .lost(let partitions)?: Issue.record("lost \(partitions)")
                case .revoking?:
                    // It joins anew after this: both members' JoinGroups are answered late.
                    cluster.faults.add(FaultRule(.delayReply(.milliseconds(300)), apiKey: .joinGroup, count: 2))
                    try await first.completeRevocation()
                case .assigned?: try await first.acceptAssignment([:])
                case .failed(let error)?: Issue.record("\(error)")
                default: break
                }
                offset += 1
                let kept = await first.assignedPartitions
                do {
                    try await first.enqueueCommit(Dictionary(uniqueKeysWithValues: kept.map { ($0, CommittedOffset(Position(offset, in: id))) }))
                } catch let error as KafkaLogError where error.isRebalance { refused += 1 }
            }
            #expect(refused > 0, "commits came while the group was joining")
            #expect(await second.assignedPartitions.count == 2)
            #expect(await first.assignedPartitions.count == 2)
            joining.cancel()
            _ = await joining.result
            try await first.close()
            try await second.close()
        }
    }

    /// Commits that are not answered yet when the consumer closes: their answers come late, and are no records.
    @Test func aCommitMayBeOnItsWayAtClose() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            for _ in 0..<3 {
                let consumer = try makeConsumer(cluster.bootstrapServers, group: "g", Self.quick)
                try await consumer.subscribe(to: ["t"])
                let given = try await assignment(consumer)
                let id = try await consumer.clusterID()
                try await consumer.acceptAssignment(starts("t", 1, in: id))
                cluster.faults.add(FaultRule(.delayReply(.milliseconds(50)), apiKey: .offsetCommit))
                for offset in 1...20 {
                    try await consumer.enqueueCommit(Dictionary(uniqueKeysWithValues: given.map { ($0, CommittedOffset(Position(Int64(offset), in: id))) }))
                }
                try await consumer.close(within: .seconds(5))
            }
        }
    }
}
