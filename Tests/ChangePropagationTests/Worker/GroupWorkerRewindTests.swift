import Handover
import KafkaLog
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

/// What a living worker makes of an operator's rewind: all that it has in memory counts for nothing, whichever steps it has seen.
@Suite("A group's worker, when its group is rewound")
struct GroupWorkerRewindTests {
    private static let author = Assignment.Author(name: "op", reason: "test", now: MillisecondTimestamp(clamped: 1))
    private static let first = TopicPartition(topic: WorkerWorld.topic, partition: 0)

    /// How far the rewind is carried before the worker may look.
    enum Steps: String, CaseIterable, Sendable { case draining, resuming, stable }

    /// 1. The worker has finished e0 to e9, and has their identities in memory. 2. The epoch goes up, partition 0's checkpoint becomes an empty
    /// prefix. 3. With `stable` the worker may see none of the steps in between: the history alone tells that it was rewound.
    @Test("The rewound partition is done again from its new place, the other goes on as it is", arguments: Steps.allCases)
    func drops(_ steps: Steps) async throws {
        try await WorkerWorld.run { world in
            _ = try await world.start(WorkerWorld.eqiad)
            let ids = try world.produce(0..<10)
            try await world.waitForCalls(ids)
            try await eventually("what is done is stored") {
                let positions = try await [world.checkpoint(0)?.position.offset, world.checkpoint(1)?.position.offset]
                return positions == [5, 5]
            }
            try await rewind(world, steps)
            try world.produce(10..<14)
            try await world.waitForCalls((0..<14).map { "e\($0)" })
            try await eventually("partition 0 is done again", timeout: .seconds(20)) { (0..<10).filter { $0 % 2 == 0 }.allSatisfy { world.counts["e\($0)"] == 2 } }
            try await eventually("stable", timeout: .seconds(20)) { try await world.assignment()?.phase == .stable }
            #expect((0..<14).filter { $0 % 2 == 1 }.allSatisfy { world.counts["e\($0)"] == 1 }, "\(world.counts)")
            // What came while the worker had not seen the new epoch yet may have been acted on before the rewind, and is after it.
            #expect([10, 12].allSatisfy { (1...2).contains(world.counts["e\($0)"] ?? 0) }, "\(world.counts)")
        }
    }

    private func rewind(_ world: WorkerWorld, _ steps: Steps) async throws {
        let assignments = AssignmentStore(world.store)
        let stored = try #require(try await assignments.load(world.key))
        let checkpoint = try #require(try await CheckpointStore(world.store).load(group: WorkerWorld.group, partition: Self.first))
        let prior = try checkpoint.checkpoint.get()
        let begun = try stored.assignment.rewinding(PartitionSet([Self.first]), Self.author)
        guard case .done(let draining) = try await assignments.change(world.key, to: begun, expecting: stored.revision) else {
            throw TestTimeout("the assignment was changed meanwhile")
        }
        let empty = DonePrefix(
            witness: nil, disorder: 0, tail: [], beyond: [], beyondSpan: 0, position: Position(0, in: prior.position.cluster), timestampType: .none)
        let rewound = Checkpoint(
            done: empty, partitionCount: prior.partitionCount, identity: prior.identity, epoch: begun.epoch, sealed: true, worker: "op",
            writtenAt: MillisecondTimestamp(clamped: 1))
        // The worker may have sealed what was stored already; then the operator's command would say so, and he would try again.
        var revision = checkpoint.revision
        while true {
            let write = CheckpointWrite(partition: Self.first, checkpoint: rewound, expectedRevision: revision)
            let result = await CheckpointStore(world.store).save(group: WorkerWorld.group, [write], fence: draining.fence(world.key))[Self.first]
            if case .superseded(let now)? = result {
                revision = now?.revision ?? 0
                continue
            }
            if case .fenced? = result { return try await rewind(world, steps) }
            #expect(result?.isSaved == true)
            break
        }
        // The rest is the worker's to do, or done here at once, so that it has less to see.
        guard steps != .draining else { return }
        let ended = try begun.handedOver(Self.author)
        guard case .done(let resuming) = try await assignments.change(world.key, to: ended, expecting: draining.revision), steps == .stable else { return }
        _ = try await assignments.change(world.key, to: ended.settled(Self.author), expecting: resuming.revision)
    }
}
