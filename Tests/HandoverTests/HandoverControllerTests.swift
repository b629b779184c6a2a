import Checkpoints
import Handover
import KafkaLog
import Logging
import Testing

@Suite("The handover controller")
struct HandoverControllerTests {
    private let eqiad = Datacenter("eqiad").unsafelyUnwrapped
    private let codfw = Datacenter("codfw").unsafelyUnwrapped
    private let store = InMemoryStore()
    private let key = AssignmentKey(group: "g", origin: Datacenter("eqiad").unsafelyUnwrapped)

    private var controller: HandoverController {
        HandoverController(store: store, interval: .milliseconds(5), logger: Logger(label: "test")) {
            Assignment.Author(name: "op", now: MillisecondTimestamp(clamped: 5))
        }
    }

    private func begin(partitions: [String: Int32] = ["eqiad.s": 2]) async throws -> StoredAssignment {
        let home = Assignment(owner: eqiad, leaseMilliseconds: 1000, partitions: partitions, by: "w", since: MillisecondTimestamp(clamped: 1))
        guard case .done(let stored) = try await AssignmentStore(store).change(key, to: home, expecting: 0) else {
            throw HandoverRefusal.busy(key)
        }
        return stored
    }

    private func checkpoint(epoch: Int64, sealed: Bool, offset: Int64 = 5) -> Checkpoint {
        let done = DonePrefix(
            witness: nil, disorder: 0, tail: [Fingerprint(bits: 1)], beyond: [], beyondSpan: 0,
            position: Position(offset, in: ClusterID("c")), timestampType: .none)
        return Checkpoint(
            done: done, partitionCount: 2, identity: "record", epoch: epoch, sealed: sealed, worker: "w",
            writtenAt: MillisecondTimestamp(clamped: 1))
    }

    private func save(_ partition: Int32, epoch: Int64, sealed: Bool, offset: Int64 = 5, fence: StoredAssignment) async throws -> CheckpointWriteResult {
        let target = TopicPartition(topic: "eqiad.s", partition: partition)
        let before = try await CheckpointStore(store).load(group: "g", partition: target)?.revision ?? 0
        let write = CheckpointWrite(
            partition: target, checkpoint: checkpoint(epoch: epoch, sealed: sealed, offset: offset), expectedRevision: before)
        return try #require(await CheckpointStore(store).save(group: "g", [write], fence: fence.fence(key))[target])
    }

    @Test("The epoch goes up only when every reported partition is sealed in the drain's epoch")
    func waitsForSeals() async throws {
        _ = try await begin()
        let draining = try await controller.beginSwitchover(key, to: codfw)
        _ = try await save(0, epoch: 1, sealed: true, fence: draining)
        _ = try await save(1, epoch: 1, sealed: false, fence: draining)
        await #expect(throws: HandoverController.TimedOut.self) { try await controller.carryThrough(key, timeout: .milliseconds(50)) }
        #expect(try await AssignmentStore(store).load(key)?.assignment.epoch == 1)
        _ = try await save(1, epoch: 1, sealed: true, fence: draining)
        await #expect(throws: HandoverController.TimedOut.self) { try await controller.carryThrough(key, timeout: .milliseconds(50)) }
        let moved = try #require(try await AssignmentStore(store).load(key))
        #expect(moved.assignment.epoch == 2 && moved.assignment.owner == codfw)
    }

    @Test("Checkpoints of a topic that nobody reads any more do not hold up a drain")
    func removedTopic() async throws {
        let home = try await begin()
        let old = TopicPartition(topic: "eqiad.gone", partition: 0)
        let write = CheckpointWrite(partition: old, checkpoint: checkpoint(epoch: 1, sealed: false), expectedRevision: 0)
        _ = await CheckpointStore(store).save(group: "g", [write], fence: home.fence(key))
        let draining = try await controller.beginSwitchover(key, to: codfw)
        for partition in 0..<2 as Range<Int32> { _ = try await save(partition, epoch: 1, sealed: true, fence: draining) }
        await #expect(throws: HandoverController.TimedOut.self) { try await controller.carryThrough(key, timeout: .milliseconds(50)) }
        #expect(try await AssignmentStore(store).load(key)?.assignment.owner == codfw)
    }

    @Test("A write under the fence of an older assignment is refused, and nothing of it lands (F48)")
    func fencing() async throws {
        let home = try await begin()
        guard case .saved = try await save(0, epoch: 1, sealed: false, fence: home) else {
            Issue.record("the owner could not write")
            return
        }
        try await controller.failover(key, to: codfw)
        guard case .fenced = try await save(0, epoch: 1, sealed: false, offset: 9, fence: home) else {
            Issue.record("a zombie's write landed")
            return
        }
        let stored = try await CheckpointStore(store).load(group: "g", partition: TopicPartition(topic: "eqiad.s", partition: 0))
        #expect(try stored?.checkpoint.get().position.offset == 5)
    }

    @Test("A drain whose partitions nobody has reported yet is refused: nobody could know what must be sealed")
    func notReported() async throws {
        _ = try await begin(partitions: [:])
        await #expect(throws: HandoverRefusal.notReported(key, owner: eqiad)) { try await controller.beginSwitchover(key, to: codfw) }
    }

    @Test("Unknown groups are refused; beginning the same handover again goes on with it; a cancelled one goes back")
    func resumable() async throws {
        await #expect(throws: HandoverRefusal.unknown(key)) { try await controller.beginSwitchover(key, to: codfw) }
        _ = try await begin()
        let first = try await controller.beginSwitchover(key, to: codfw)
        #expect(try await controller.beginSwitchover(key, to: codfw) == first)
        let back = try await controller.cancel(key).assignment
        #expect(back.owner == eqiad && back.epoch == 2)
        #expect(try await AssignmentStore(store).history(key).map(\.epoch) == [1, 1, 2])
    }

    @Test("An applied change whose answer was lost counts as done (F47)")
    func ambiguousChange() async throws {
        let home = try await begin()
        store.answerAmbiguouslyNext()
        let next = try home.assignment.failedOver(to: codfw, now: true, Assignment.Author(name: "op", now: MillisecondTimestamp(clamped: 9)))
        guard case .done(let done) = try await AssignmentStore(store).change(key, to: next, expecting: home.revision) else {
            Issue.record("an ambiguous answer was taken for a no")
            return
        }
        #expect(done.assignment == next)
    }
}
