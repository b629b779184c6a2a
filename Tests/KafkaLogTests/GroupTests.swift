import Foundation
import Testing

@_spi(Testing) @testable import KafkaLog

/// Groups, against librdkafka's mock cluster: what is tested is how the owner answers rebalances.
@Suite(.timeLimit(.minutes(1)), .serialized)
struct GroupTests {
    /// Reads events until `isDone`; answers nothing.
    func events(
        _ consumer: KafkaConsumer, seconds: Double = 15, until isDone: (ConsumerEvent) -> Bool
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
    @Test(arguments: ["cooperative-sticky", "range"])
    func anAssignmentIsAnsweredLaterAndStartsAtItsPositions(strategy: String) async throws {
        let mock = try MockCluster()
        mock.createTopic("t", partitions: 4)
        try await produce(numbered("t", partitions: 4, each: 50), to: mock.bootstrapServers)
        let consumer = try makeConsumer(mock.bootstrapServers, group: "g", strategy: strategy, Self.quick)
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

    /// Traps 25, faults F65: a revocation waits for its owner, the other partitions flow on, and the next owner starts
    /// where the first one stopped: no record twice, none lost.
    @Test func aRevocationWaitsForItsOwnerAndNothingIsReadTwice() async throws {
        let mock = try MockCluster()
        mock.createTopic("t", partitions: 4)
        try await produce(numbered("t", partitions: 4, each: 200), to: mock.bootstrapServers)
        let first = try makeConsumer(mock.bootstrapServers, group: "g", Self.quick)
        let second = try makeConsumer(mock.bootstrapServers, group: "g", Self.quick)
        try await first.subscribe(to: ["t"])
        let id = try await first.clusterID()
        _ = try await assignment(first)
        try await first.acceptAssignment(starts("t", 4, in: id))
        var seen: [Record] = try await read(first, count: 100, max: 50)

        try await second.subscribe(to: ["t"])
        let secondAssignment = Task { try await assignment(second) }
        var revoked: [TopicPartition] = []
        var atRevocation: [TopicPartition: Position] = [:]
        while revoked.isEmpty {
            guard let event = try await first.nextEvent(max: 10, deadline: within(15)) else { Issue.record("no rebalance"); return }
            switch event {
            case .batch(let batch): for index in 0..<batch.count { seen.append(try batch.detached(at: index)) }
            case .assigned: try await first.acceptAssignment([:])
            case .revoking(let partitions):
                revoked = partitions
                atRevocation = try await first.positions().filter { partitions.contains($0.key) }
            default: Issue.record("\(event)")
            }
        }
        #expect(revoked.count == 2)
        // Others flow while this one is being finished; of the revoked ones nothing more comes.
        try await produce(numbered("t", partitions: 4, each: 20), to: mock.bootstrapServers)
        var whileRevoking: [Record] = []
        while whileRevoking.filter({ $0.position.offset >= 200 }).count < 40 {
            guard let batch = try await first.nextBatch(deadline: within(5)) else { break }
            for index in 0..<batch.count { whileRevoking.append(try batch.detached(at: index)) }
        }
        print("DBG", revoked, atRevocation, try await first.positions(), whileRevoking.count)
        #expect(whileRevoking.filter { $0.position.offset >= 200 }.count == 40)
        #expect(whileRevoking.allSatisfy { !revoked.contains($0.partition) })
        seen += whileRevoking
        try await first.commit(atRevocation.mapValues { CommittedOffset($0) })
        try await first.completeRevocation()

        // The mock may rebalance once more before it settles.
        async let settle: Void = answerEmptyAssignments(first)
        var got = try await secondAssignment.value
        while got.isEmpty {
            try await second.acceptAssignment([:])
            got = try await assignment(second)
        }
        #expect(Set(got) == Set(revoked))
        let committed = try await second.committed(got)
        var positions: [TopicPartition: Position] = [:]
        for (partition, result) in committed { positions[partition] = try result.get()?.position }
        try await second.acceptAssignment(positions)
        let missing = 4 * 220 - seen.count
        seen += try await read(second, count: missing)
        try await settle
        let identities = seen.map { "\($0.partition)@\($0.position.offset)" }
        #expect(identities.count == 880)
        #expect(Set(identities).count == 880)
        try await first.close()
        try await second.close()
    }

    func answerEmptyAssignments(_ consumer: KafkaConsumer) async throws {
        let deadline = within(1)
        while let event = try await consumer.nextEvent(deadline: deadline) {
            if case .assigned = event { try await consumer.acceptAssignment([:]) }
        }
    }

    /// The broker is gone: close returns by its deadline all the same.
    @Test func closeKeepsItsDeadlineWhenTheBrokerIsGone() async throws {
        let mock = try MockCluster()
        mock.createTopic("t", partitions: 1)
        let consumer = try makeConsumer(mock.bootstrapServers, group: "g", Self.quick)
        try await consumer.subscribe(to: ["t"])
        _ = try await assignment(consumer)
        try await consumer.acceptAssignment(starts("t", 1, in: consumer.clusterID()))
        mock.setBroker(1, isUp: false)
        let clock = ContinuousClock()
        let took = await clock.measure { try? await consumer.close(within: .seconds(1)) }
        #expect(took < .seconds(2))
    }
}
