import Checkpoints
import Handover
import KafkaLog
import Logging
import Synchronization
import Testing

@Suite("The handover controller")
struct HandoverControllerTests {
    private let eqiad = Datacenter("eqiad").unsafelyUnwrapped
    private let codfw = Datacenter("codfw").unsafelyUnwrapped
    private let store = InMemoryStore()
    private let key = AssignmentKey(group: "g", origin: Datacenter("eqiad").unsafelyUnwrapped)

    private var quiet: Logger {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }

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

    @Test("A store that does not answer for a moment does not end an order to move; what is written says when it was written")
    func storeAway() async throws {
        _ = try await begin()
        store.failNext(2, .unavailable, [.commit])
        let times = Mutex<Int64>(10)
        let controller = HandoverController(store: store, interval: .milliseconds(5), logger: quiet) {
            Assignment.Author(name: "op", now: MillisecondTimestamp(clamped: times.withLock { $0 += 1; return $0 }))
        }
        let moved = try await controller.failover(key, to: codfw).assignment
        #expect(moved.owner == codfw && moved.epoch == 2 && moved.since.milliseconds == 13)
        store.failNext(1, .refused, [.commit])
        await #expect(throws: StoreError.self) { try await controller.failover(key, to: eqiad) }
        #expect(try await AssignmentStore(store).load(key)?.assignment.epoch == 2)
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
        let next = try home.assignment.failedOver(to: codfw, origin: eqiad, now: true, Assignment.Author(name: "op", now: MillisecondTimestamp(clamped: 9)))
        guard case .done(let done) = try await AssignmentStore(store).change(key, to: next, expecting: home.revision) else {
            Issue.record("an ambiguous answer was taken for a no")
            return
        }
        #expect(done.assignment == next)
    }
}

@Suite("The handover controller, with slices")
struct HandoverControllerSliceTests {
    private let eqiad = Datacenter("eqiad").unsafelyUnwrapped
    private let codfw = Datacenter("codfw").unsafelyUnwrapped
    private let store = InMemoryStore()
    private let key = AssignmentKey(group: "g", origin: Datacenter("eqiad").unsafelyUnwrapped)
    private let slice = Slice(topics: ["b"])

    private func controller(_ name: String = "alice") -> HandoverController {
        HandoverController(store: store, interval: .milliseconds(5), logger: Logger(label: "test")) {
            Assignment.Author(name: name, now: MillisecondTimestamp(clamped: 5))
        }
    }

    private func begin(partitions: [String: Int32] = ["eqiad.a": 2, "eqiad.b": 2]) async throws {
        let home = Assignment(owner: eqiad, leaseMilliseconds: 1000, partitions: partitions, by: "w", since: MillisecondTimestamp(clamped: 1))
        guard case .done = try await AssignmentStore(store).change(key, to: home, expecting: 0) else { throw HandoverRefusal.busy(key) }
    }

    private func assignment() async throws -> Assignment { try #require(try await AssignmentStore(store).load(key)).assignment }

    private func save(_ topic: String, _ partition: Int32, sealed: Bool) async throws {
        let stored = try #require(try await AssignmentStore(store).load(key))
        let target = TopicPartition(topic: topic, partition: partition)
        let done = DonePrefix(
            witness: nil, disorder: 0, tail: [Fingerprint(bits: 1)], beyond: [], beyondSpan: 0,
            position: Position(5, in: ClusterID("c")), timestampType: .none)
        let checkpoint = Checkpoint(
            done: done, partitionCount: 2, identity: "record", epoch: stored.assignment.epoch, sealed: sealed, worker: "w",
            writtenAt: MillisecondTimestamp(clamped: 1))
        let before = try await CheckpointStore(store).load(group: "g", partition: target)?.revision ?? 0
        let write = CheckpointWrite(partition: target, checkpoint: checkpoint, expectedRevision: before)
        guard case .saved? = await CheckpointStore(store).save(group: "g", [write], fence: stored.fence(key))[target] else {
            throw HandoverRefusal.busy(key)
        }
    }

    @Test("A slice's drain waits for the slice alone, whoever else has checkpoints in the epoch")
    func waitsForTheSlice() async throws {
        try await begin()
        try await controller().beginSwitchover(key, to: codfw, slice: slice)
        try await save("eqiad.a", 0, sealed: false)
        try await save("eqiad.b", 0, sealed: true)
        #expect(try await controller().finishDrain(key) == false)
        let progress = await #expect(throws: HandoverController.TimedOut.self) { try await controller().carryThrough(key, timeout: .milliseconds(30)) }
        #expect(progress?.progress == .draining(sealed: 1, of: 2, open: [TopicPartition(topic: "eqiad.b", partition: 1)]))
        try await save("eqiad.b", 1, sealed: true)
        #expect(try await controller("somebody else").finishDrain(key))
        let moved = try await assignment()
        #expect(moved.epoch == 2 && moved.owner == eqiad && moved.shares == [eqiad: 2, codfw: 2] && moved.begunBy == "alice")
        // Resumed is counted over the slice too.
        try await save("eqiad.b", 0, sealed: false)
        let resuming = await #expect(throws: HandoverController.TimedOut.self) { try await controller().carryThrough(key, timeout: .milliseconds(30)) }
        #expect(resuming?.progress == .resuming(done: 1, of: 2))
    }

    @Test("Two operators at once: one handover is begun, and the other is told whose it is; beginning the same one again goes on with it")
    func twoAtOnce() async throws {
        for round in 0..<20 {
            let store = InMemoryStore()
            let home = Assignment(
                owner: eqiad, leaseMilliseconds: 1000, partitions: ["eqiad.a": 2, "eqiad.b": 2], by: "w", since: MillisecondTimestamp(clamped: 1))
            _ = try await AssignmentStore(store).change(key, to: home, expecting: 0)
            let outcomes = await withTaskGroup(of: (String, Result<StoredAssignment, any Error>).self) { group in
                for (name, topic) in [("alice", "a"), ("bob", "b")] {
                    group.addTask { [key, codfw] in
                        let controller = HandoverController(store: store, logger: Logger(label: "test")) {
                            Assignment.Author(name: name, now: MillisecondTimestamp(clamped: 5))
                        }
                        do { return (name, .success(try await controller.beginSwitchover(key, to: codfw, slice: Slice(topics: [topic])))) } catch {
                            return (name, .failure(error))
                        }
                    }
                }
                var outcomes: [String: Result<StoredAssignment, any Error>] = [:]
                for await (name, outcome) in group { outcomes[name] = outcome }
                return outcomes
            }
            let stored = try #require(try await AssignmentStore(store).load(key))
            for (name, outcome) in outcomes {
                switch outcome {
                case .success(let begun): #expect(begun == stored && name == stored.assignment.by, "round \(round)")
                case .failure(let error): #expect("\(error)".contains("begun by \(stored.assignment.by)"), "\(error)")
                }
            }
            #expect(outcomes.values.count { (try? $0.get()) != nil } == 1)
        }
        try await begin()
        let first = try await controller().beginSwitchover(key, to: codfw, slice: slice)
        #expect(try await controller("bob").beginSwitchover(key, to: codfw, slice: slice) == first)
    }

    @Test("Every state of a slice's way has its line of history, with its slice")
    func history() async throws {
        try await begin()
        try await controller().beginSwitchover(key, to: codfw, slice: slice)
        try await controller().cancel(key)
        try await controller().failover(key, to: codfw, slice: slice)
        let history = try await AssignmentStore(store).history(key)
        #expect(history.map(\.epoch) == [1, 1, 2, 3])
        #expect(history.last?.shares == [eqiad: 2, codfw: 2])
        #expect(history[1].phase.scope == history[3].phase.scope && history[1].phase.scope != .everything)
    }

    @Test("A slice of what nobody has reported, and of a topic that nobody knows, is refused before anything is touched")
    func refused() async throws {
        try await begin(partitions: [:])
        let tenth = Slice(share: Slice.Share(percent: 10))
        await #expect(throws: HandoverRefusal.notReported(key, owner: eqiad)) { try await controller().beginSwitchover(key, to: codfw, slice: tenth) }
        await #expect(throws: HandoverRefusal.notReported(key, owner: eqiad)) { try await controller().failover(key, to: codfw, slice: tenth) }
        await #expect(throws: HandoverRefusal.notReported(key, owner: eqiad)) { try await controller().failover(key, to: codfw, slice: slice) }
        #expect(try await AssignmentStore(store).history(key).count == 1)
    }
}
