import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

@Suite("A group's worker, against real clusters")
struct GroupWorkerTests {
    private let eqiad = WorkerWorld.eqiad
    private let codfw = WorkerWorld.codfw

    @Test("A stop drains: what was begun is finished and stored, and the next worker repeats nothing")
    func stopAndGoOn() async throws {
        try await WorkerWorld.run { world in
            world.answer { _, _ in
                try? await Task.sleep(for: .milliseconds(5))
                return .done(status: 200)
            }
            let ids = try world.produce(0..<300)
            let first = try await world.start(eqiad)
            try await eventually("some events are acted on") { world.calls.count > 40 }
            try await first.stop()
            let before = world.calls.count
            #expect(before < 300, "the stop came in the middle")
            let second = try await world.start(eqiad)
            try await world.waitForCalls(ids)
            try await second.stop()
            let counts = world.counts
            #expect(counts.count == 300)
            #expect(counts.values.allSatisfy { $0 == 1 })
        }
    }

    @Test("A failover: the new side begins only when the old lease has run out, and only then is it called stable")
    func failoverWaits() async throws {
        try await WorkerWorld.run { world in
            let old = try await world.start(eqiad)
            let new = try await world.start(codfw)
            try await world.waitForCalls(try world.produce(0..<50))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            // The old side can't reach the store any more, and goes on reading: only its lease stops it.
            old.store.failAll(.unavailable)
            let raised = ContinuousClock.now
            try await world.controller.failover(world.key, to: codfw)
            let flowing = Mutex(true)
            let producer = Task {
                var number = 50
                while flowing.withLock({ $0 }) {
                    try world.produce(number..<number + 1)
                    number += 1
                    try await Task.sleep(for: .milliseconds(5))
                }
                return number
            }
            try await eventually("the new side acts") { world.calls.contains { $0.datacenter == codfw } }
            let states = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            flowing.withLock { $0 = false }
            let end = try await producer.value
            try await world.waitForCalls((0..<end).map { "e\($0)" })
            let calls = world.calls
            let firstNew = try #require(calls.first { $0.datacenter == codfw })
            let lastOld = try #require(calls.last { $0.datacenter == eqiad })
            #expect(lastOld.at < firstNew.at, "never both")
            #expect(raised.duration(to: firstNew.at) >= WorkerWorld.lease)
            #expect(states.owner == codfw && states.epoch == 2)
            // The old side comes back to the store: it sees that it is not its turn, and what it did late is not written.
            old.store.heal()
            try await Task.sleep(for: .milliseconds(500))
            for partition in 0..<2 as Range<Int32> { #expect(try await world.checkpoint(partition)?.epoch == 2) }
            #expect(world.calls.last { $0.datacenter == eqiad }?.at == lastOld.at)
            try await old.stop()
            try await new.stop()
        }
    }

    @Test("While a failover waits for the old lease, the assignment is not stable: a worker that starts then waits too")
    func notStableBeforeTheLeaseEnds() async throws {
        try await WorkerWorld.run { world in
            let old = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            old.store.failAll(.unavailable)
            let raised = ContinuousClock.now
            try await world.controller.failover(world.key, to: codfw)
            let new = try await world.start(codfw)
            var seen: Assignment.Phase?
            while raised.duration(to: .now) < WorkerWorld.lease - .milliseconds(50) {
                seen = try await world.assignment()?.phase
                #expect(seen == .resuming(from: eqiad, scope: .everything))
                try await Task.sleep(for: .milliseconds(20))
            }
            try await eventually("it is stable in the end") { try await world.assignment()?.phase == .stable }
            try await old.stop()
            try await new.stop()
        }
    }

    @Test("There and back by planned handovers while events flow: each event is acted on once")
    func thereAndBack() async throws {
        try await WorkerWorld.run { world in
            world.answer { _, _ in
                try? await Task.sleep(for: .milliseconds(3))
                return .done(status: 200)
            }
            let home = try await world.start(eqiad)
            let away = try await world.start(codfw)
            let flowing = Mutex(true)
            let producer = Task {
                var number = 0
                while flowing.withLock({ $0 }) {
                    try world.produce(number..<number + 5)
                    number += 5
                    try await Task.sleep(for: .milliseconds(10))
                }
                return number
            }
            try await eventually("it acts, and the assignment knows its partitions") {
                try await world.assignment()?.partitions.isEmpty == false && world.calls.count > 50
            }
            for target in [codfw, eqiad, codfw, eqiad] {
                try await world.controller.beginSwitchover(world.key, to: target)
                let end = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
                #expect(end.owner == target)
                let before = world.calls.count
                try await eventually("\(target) acts") { world.calls.dropFirst(before).contains { $0.datacenter == target } }
            }
            flowing.withLock { $0 = false }
            let end = try await producer.value
            try await world.waitForCalls((0..<end).map { "e\($0)" })
            try await Task.sleep(for: .milliseconds(200))
            let counts = world.counts
            let repeated = counts.filter { $0.value > 1 }
            #expect(repeated.isEmpty)
            #expect(counts.count == end)
            #expect(try await world.gaps() == 0)
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("A cancelled drain: the old side goes on in a new epoch, without a loss or a repeat")
    func cancelledDrain() async throws {
        try await WorkerWorld.run { world in
            let home = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            // An action that does not end keeps one partition from being sealed.
            let isHeld = Mutex(true)
            world.answer { id, _ in
                await hold { id == "e20" && isHeld.withLock { $0 } }
                return .done(status: 200)
            }
            try world.produce(20..<60)
            try await world.waitForCalls(["e20"])
            try await world.controller.beginSwitchover(world.key, to: codfw)
            try await eventually("one partition is sealed") { try await world.checkpoint(1)?.sealed == true }
            try await world.controller.cancel(world.key)
            isHeld.withLock { $0 = false }
            try world.produce(60..<100)
            try await world.waitForCalls((0..<100).map { "e\($0)" })
            let counts = world.counts
            #expect(counts.values.allSatisfy { $0 == 1 })
            #expect(try await world.assignment()?.epoch == 2)
            try await eventually("both partitions are written in the new epoch") {
                let epochs = [try await world.checkpoint(0)?.epoch, try await world.checkpoint(1)?.epoch]
                return epochs == [2, 2]
            }
            try await home.stop()
        }
    }

    @Test("A partition that is found sealed in this epoch is final: its former holder writes nothing over it")
    func sealedIsFinal() async throws {
        try await WorkerWorld.run { world in
            let home = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            try await eventually("all is written") { try await world.checkpoint(0)?.position.offset == 10 }
            let held = Mutex<Set<String>>(["e20", "e22"])
            world.answer { id, _ in
                await hold { held.withLock { $0.contains(id) } }
                return .done(status: 200)
            }
            try world.produce(20..<23)
            try await world.waitForCalls(["e20", "e22"])
            try await world.controller.beginSwitchover(world.key, to: codfw)
            try await eventually("the other partition is sealed") { try await world.checkpoint(1)?.sealed == true }
            // As if its own seal had been stored and the answer lost.
            let partition = TopicPartition(topic: WorkerWorld.topic, partition: 0)
            let stored = try #require(try await AssignmentStore(world.store).load(world.key))
            let before = try #require(try await CheckpointStore(world.store).load(group: WorkerWorld.group, partition: partition))
            var sealed = try before.checkpoint.get()
            sealed.sealed = true
            let write = CheckpointWrite(partition: partition, checkpoint: sealed, expectedRevision: before.revision)
            let results = await CheckpointStore(world.store).save(
                group: WorkerWorld.group, [write], fence: stored.fence(world.key))
            #expect(results[partition]?.isSaved == true)
            _ = held.withLock { $0.remove("e22") }
            try await Task.sleep(for: .milliseconds(200))
            #expect(try await world.checkpoint(0) == sealed)
            held.withLock { $0 = [] }
            try await eventually("the drain is over") { try await world.assignment()?.owner == codfw }
            try await home.stop()
            #expect(try await world.checkpoint(0) == sealed)
        }
    }

    @Test("A partition that another member writes too is not sealed at once: that one may be acting, and seals it itself if it holds it")
    func sealWaitsForOtherHolder() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let home = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<10))
            try await eventually("all is written") { try await world.checkpoint(0)?.position.offset == 10 }
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            // Somebody else of this datacenter went on with it.
            let partition = TopicPartition(topic: WorkerWorld.topic, partition: 0)
            let stored = try #require(try await AssignmentStore(world.store).load(world.key))
            let before = try #require(try await CheckpointStore(world.store).load(group: WorkerWorld.group, partition: partition))
            var other = try before.checkpoint.get()
            other.worker = "other"
            other.position = Position(12, in: other.position.cluster)
            let results = await CheckpointStore(world.store).save(
                group: WorkerWorld.group, [CheckpointWrite(partition: partition, checkpoint: other, expectedRevision: before.revision)],
                fence: stored.fence(world.key))
            #expect(results[partition]?.isSaved == true)
            let asked = ContinuousClock.now
            try await world.controller.beginSwitchover(world.key, to: codfw)
            try await eventually("it is sealed after all", timeout: .seconds(30)) { try await world.checkpoint(0)?.sealed == true }
            #expect(asked.duration(to: .now) >= .seconds(5), "the session timeout is 6 s")
            #expect(try await world.checkpoint(0)?.position.offset == 12)
            try await home.stop()
        }
    }

    @Test("A seal answered only after the drain was cancelled and begun again: the partition is sealed in the new epoch too")
    func sealAnsweredLate() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let home = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<10))
            try await eventually("all is written") { try await world.checkpoint(0)?.position.offset == 10 }
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            home.store.delayAnswers(under: StoreKey("checkpoints", WorkerWorld.group), by: .seconds(1))
            try await world.controller.beginSwitchover(world.key, to: codfw)
            try await eventually("the seal is stored") { try await world.checkpoint(0)?.sealed == true }
            try await world.controller.cancel(world.key)
            try await world.waitForCalls(try world.produce(10..<11))
            try await world.controller.beginSwitchover(world.key, to: codfw)
            try await eventually("the partition is sealed in the new epoch") {
                let checkpoint = try await world.checkpoint(0)
                return checkpoint?.epoch == 2 && checkpoint?.sealed == true
            }
            home.store.heal()
            try await eventually("the drain is over") { try await world.assignment()?.owner == codfw }
            try await home.stop()
        }
    }

    @Test("An action that fails for good while draining, then a cancel: its event is met again, not left behind")
    func cancelAfterAFailure() async throws {
        try await WorkerWorld.run(partitions: 2) { world in
            let home = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<10))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            // e10 fails in partition 0; e11 holds the drain open in partition 1 until it is cancelled.
            let isBroken = Mutex(true), isHeld = Mutex(true), isDraining = Mutex(true)
            world.answer { id, _ in
                await hold { id == "e11" && isDraining.withLock { $0 } }
                guard id == "e10", isBroken.withLock({ $0 }) else { return .done(status: 200) }
                await hold { isHeld.withLock { $0 } }
                return .failed(.status(400))
            }
            try world.produce(10..<30)
            try await world.waitForCalls((10..<30).map { "e\($0)" })
            try await world.controller.beginSwitchover(world.key, to: codfw)
            isHeld.withLock { $0 = false }
            try await eventually("what is done before the failure is sealed") { try await world.checkpoint(0)?.sealed == true }
            isBroken.withLock { $0 = false }
            try await world.controller.cancel(world.key)
            isDraining.withLock { $0 = false }
            try world.produce(30..<40)
            try await world.waitForCalls((0..<40).map { "e\($0)" })
            try await eventually("everything is passed") {
                let ends = try await [world.checkpoint(0), world.checkpoint(1)].map { $0?.position.offset }
                return ends == [20, 20]
            }
            let counts = world.counts
            #expect(counts["e10"] == 2)
            #expect(counts.filter { $0.value > 1 }.count == 1)
            try await home.stop()
        }
    }

    @Test("Rules that share a group: each topic is read once, and an event is acted on for every rule that wants it")
    func sharedGroup() async throws {
        try await WorkerWorld.run { world in
            let shared = "group: shared, topic: s, origins: [eqiad], match: {id: '/^e[0-4]$/'}"
            let home = try await world.start(
                eqiad, rule: "  second: {\(shared), exec: {uri: 'http://sink/second-{message.id}'}}")
            try world.produce(0..<10)
            try await world.waitForCalls((0..<10).map { "e\($0)" } + (0..<5).map { "second-e\($0)" })
            try await home.stop()
            #expect(world.counts.count == 15)
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            #expect(await home.worker.counts.read == 10)
        }
    }

    @Test("Workers that know different topics agree on all of them, and the assignment comes to rest")
    func differentTopics() async throws {
        try await WorkerWorld.run { world in
            let older = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<10))
            let newer = try await world.start(eqiad, topics: "[s, other]")
            try await eventually("both topics are named") { try await world.assignment()?.partitions.count == 2 }
            try await Task.sleep(for: .milliseconds(700))
            let before = try await AssignmentStore(world.store).load(world.key)?.revision
            try await Task.sleep(for: .milliseconds(1000))
            #expect(try await AssignmentStore(world.store).load(world.key)?.revision == before)
            try await older.stop()
            try await newer.stop()
        }
    }

    @Test("Workers of one datacenter join and leave: the partitions move, and each event is acted on once")
    func joinAndLeave() async throws {
        try await WorkerWorld.run(partitions: 6) { world in
            world.answer { _, _ in
                try? await Task.sleep(for: .milliseconds(2))
                return .done(status: 200)
            }
            var number = 0
            /// Writes events one by one until they are acted on by that worker.
            func produceUntilActs(_ worker: Int) async throws {
                let deadline = ContinuousClock.now + .seconds(20)
                while !world.calls.contains(where: { $0.worker == worker }), ContinuousClock.now < deadline {
                    try world.produce(number..<number + 1)
                    number += 1
                    try await Task.sleep(for: .milliseconds(4))
                }
                #expect(world.calls.contains { $0.worker == worker })
            }
            let first = try await world.start(eqiad)
            try await produceUntilActs(0)
            let second = try await world.start(eqiad)
            try await produceUntilActs(1)
            try await second.stop()
            let third = try await world.start(eqiad)
            try await produceUntilActs(2)
            try await first.stop()
            try world.produce(number..<number + 60)
            try await world.waitForCalls((0..<number + 60).map { "e\($0)" })
            try await third.stop()
            let repeated = world.counts.filter { $0.value > 1 }
            #expect(repeated.isEmpty)
        }
    }

    @Test("An action that fails for good stops its partition alone; after a restart it is met again, what was done past it is not")
    func haltedPartition() async throws {
        try await WorkerWorld.run { world in
            let isBroken = Mutex(true)
            world.answer { id, _ in id == "e10" && isBroken.withLock { $0 } ? .failed(.status(400)) : .done(status: 200) }
            let first = try await world.start(eqiad)
            let ids = try world.produce(0..<60)
            try await world.waitForCalls(ids.enumerated().filter { $0.offset % 2 == 1 }.map(\.element) + ["e10"])
            try await eventually("all is written") {
                let offsets = [try await world.checkpoint(0)?.position.offset, try await world.checkpoint(1)?.position.offset]
                return offsets == [5, 30]
            }
            try await Task.sleep(for: .milliseconds(200))
            #expect(try await world.checkpoint(0)?.position.offset == 5, "e10 is at 5 in partition 0, and is not passed")
            let done = world.counts
            try await first.stop()
            isBroken.withLock { $0 = false }
            let second = try await world.start(eqiad)
            try await world.waitForCalls(ids)
            try await eventually("it is met again") { world.counts["e10"] == 2 }
            try await second.stop()
            let counts = world.counts
            #expect(done.keys.allSatisfy { $0 == "e10" || counts[$0] == 1 }, "what was done past the failed one was remembered")
        }
    }

    @Test("A poison event with good ones before it: those are acted on, and everything goes on by itself once it is gone")
    func poisonAmongGoodOnes() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            world.answer { _, _ in
                try? await Task.sleep(for: .milliseconds(10))
                return .done(status: 200)
            }
            try world.produce(0..<100)
            try world.clusters[eqiad]?.append([.init(timestamp: 1, value: Array("{}".utf8))], to: WorkerWorld.topic, 0)
            try world.produce(100..<120)
            let running = try await world.start(eqiad)
            try await world.waitForCalls((0..<100).map { "e\($0)" })
            try await eventually("the place right before it is stored") { try await world.checkpoint(0)?.position.offset == 100 }
            #expect(world.counts["e100"] == nil)
            try world.clusters[eqiad]?.deleteRecords(WorkerWorld.topic, 0, before: 101)
            try await world.waitForCalls((100..<120).map { "e\($0)" }, timeout: .seconds(30))
            try await running.stop()
            let counts = world.counts
            #expect(counts.values.allSatisfy { $0 == 1 })
        }
    }

    @Test("A log that was trimmed past the checkpoint is a gap event, and the worker goes on after it")
    func trimmedLog() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let first = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<20))
            try await first.stop()
            try world.produce(20..<60)
            try world.clusters[eqiad]?.deleteRecords(WorkerWorld.topic, 0, before: 40)
            let second = try await world.start(eqiad)
            try await world.waitForCalls((40..<60).map { "e\($0)" })
            try await eventually("the gap is in the store") { try await world.gaps() == 1 }
            let counts = world.counts
            #expect((20..<40).allSatisfy { counts["e\($0)"] == nil })
            #expect((0..<20).allSatisfy { counts["e\($0)"] == 1 })
            try await second.stop()
        }
    }

    @Test("Events that can't be parsed, tombstones and events without an id move the position and stop nothing")
    func poison() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let cluster = try #require(world.clusters[eqiad])
            try world.produce(0..<3)
            for value in [nil, "", "{", "\u{0}", "[]", "{}", #"{"id":null}"#, #"{"id":7}"#] as [String?] {
                try cluster.append([.init(timestamp: -1, value: value.map { Array($0.utf8) })], to: WorkerWorld.topic, 0)
            }
            try world.produce(3..<6)
            let running = try await world.start(eqiad, failures: "{retry_limit: 0, on_failure: skip}")
            try await world.waitForCalls((0..<6).map { "e\($0)" })
            try await eventually("everything is passed") { try await world.checkpoint(0)?.position.offset == 14 }
            try await running.stop()
        }
    }

    @Test("The store is away for a while: actions stop with the lease, go on afterwards, and nothing is done twice")
    func storeAway() async throws {
        try await WorkerWorld.run { world in
            let running = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(0..<20))
            running.store.failAll(.unavailable)
            try await Task.sleep(for: WorkerWorld.lease + .milliseconds(200))
            let stopped = world.calls.count
            try world.produce(20..<60)
            try await Task.sleep(for: .milliseconds(400))
            #expect(world.calls.count == stopped, "the lease has run out")
            running.store.heal()
            try await world.waitForCalls((0..<60).map { "e\($0)" })
            try await running.stop()
            let counts = world.counts
            #expect(counts.values.allSatisfy { $0 == 1 })
        }
    }
}
