import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

/// A slice of an origin moves between the datacenters of a `WorkerWorld` with four partitions; the rest stays in eqiad.
@Suite("A group's worker, when a slice moves")
struct GroupWorkerSliceTests {
    private let eqiad = WorkerWorld.eqiad
    private let codfw = WorkerWorld.codfw
    private static let partitions: Int32 = 4
    /// Half of four: two move and two stay.
    private let slice = Slice(share: Slice.Share(percent: 50))

    /// Events that come all the while, one after the other round the partitions; slowly, so that none waits for its turn.
    private final class Flow: Sendable {
        private let next = Mutex(0)
        private let isFlowing = Mutex(true)
        private let task = Mutex<Task<Void, any Error>?>(nil)
        private let made = Mutex<[ContinuousClock.Instant]>([])

        init(_ world: WorkerWorld) {
            task.withLock {
                $0 = Task {
                    while self.isFlowing.withLock({ $0 }) {
                        let number = self.next.withLock { number in
                            defer { number += 1 }
                            return number
                        }
                        self.made.withLock { $0.append(.now) }
                        try world.produce(number..<number + 1)
                        try await Task.sleep(for: .milliseconds(15))
                    }
                }
            }
        }

        /// A number that has not been written yet, of an event in `partition`.
        func upcoming(in partition: Int32) -> Int {
            let number = next.withLock { $0 } + 8
            return number + (Int(partition) - number % 4 + 4) % 4
        }

        /// When event `number` was written.
        func made(_ number: Int) -> ContinuousClock.Instant? { made.withLock { $0.indices.contains(number) ? $0[number] : nil } }

        /// The ids of all that were written.
        func stop() async throws -> [String] {
            isFlowing.withLock { $0 = false }
            try await task.withLock { $0 }?.value
            return next.withLock { (0..<$0).map { "e\($0)" } }
        }
    }

    /// Runs `body` when eqiad acts, everything is reported and codfw has joined; with the partitions of the slice, and the others.
    private func withWorld(
        exec: String = "{uri: 'http://sink/{message.id}'}",
        _ body: (WorkerWorld, WorkerWorld.Running, WorkerWorld.Running, Set<Int32>, Set<Int32>) async throws -> Void
    ) async throws {
        try await WorkerWorld.run(partitions: Self.partitions) { world in
            let home = try await world.start(eqiad, exec: exec)
            let away = try await world.start(codfw, exec: exec)
            try await eventually("the assignment knows its partitions", timeout: .seconds(20)) {
                try await world.assignment()?.partitions["eqiad.s"] == Self.partitions
            }
            // A slice that moves before the home side has found its places would be resumed for the first time in a later epoch.
            try await eventually("every partition is acted on at home", timeout: .seconds(20)) {
                for partition in 0..<Self.partitions where try await resumedIn(world, partition) != 1 { return false }
                return true
            }
            let scope = try await world.assignment()?.scope(of: slice, to: codfw, origin: eqiad)
            guard case .only(let moving)? = scope else { throw TestTimeout("half of four is no slice: \(String(describing: scope))") }
            let inside = Set(moving.sorted.map(\.partition))
            #expect(inside.count == 2)
            try await body(world, home, away, inside, Set(0..<Self.partitions).subtracting(inside))
        }
    }

    private func partition(_ call: WorkerWorld.Call) -> Int32 { Int32((Int(call.id.drop { !$0.isNumber }) ?? 0) % 4) }

    private func ids(_ numbers: Range<Int>, in partitions: Set<Int32>) -> [String] {
        numbers.filter { partitions.contains(Int32($0 % 4)) }.map { "e\($0)" }
    }

    private func resumedIn(_ world: WorkerWorld, _ partition: Int32) async throws -> Int64? {
        try await ResumeReport.load(from: world.store, group: WorkerWorld.group, TopicPartition(topic: WorkerWorld.topic, partition: partition))?.epoch
    }

    /// Looks every millisecond whether the partitions are being read, until it is cancelled; what else it saw.
    private func interruptions(_ running: WorkerWorld.Running, _ partitions: Set<Int32>) async -> [String] {
        var seen: [String] = []
        while !Task.isCancelled {
            for (partition, work) in await running.worker.works where partitions.contains(partition.partition) && work.stage != .reading {
                seen.append("\(partition) \(work.stage)")
            }
            try? await Task.sleep(for: .milliseconds(1))
        }
        return seen
    }

    private func move(_ world: WorkerWorld, to target: Datacenter) async throws {
        try await world.controller.beginSwitchover(world.key, to: target, slice: slice)
        _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
    }

    @Test("A share goes there and back while events flow: each is acted on once; what stays is not planned anew, and an action that runs goes on")
    func thereAndBack() async throws {
        // Two requests an event: the second asks whether it may start after the epoch has gone up twice.
        try await withWorld(exec: "[{uri: 'http://sink/first-{message.id}'}, {uri: 'http://sink/{message.id}'}]") { world, home, away, inside, staying in
            let held = Mutex<String?>(nil)
            world.answer { id, _ in
                await hold { held.withLock { $0 } == id }
                return .done(status: 200)
            }
            let flow = Flow(world)
            try await eventually("every partition is acted on", timeout: .seconds(20)) { Set(world.calls.map(partition)).count == 4 }
            let long = flow.upcoming(in: try #require(staying.min()))
            held.withLock { $0 = "first-e\(long)" }
            try await world.waitForCalls(["first-e\(long)"])
            let watch = Task { await interruptions(home, staying) }
            for target in [codfw, eqiad] {
                let before = world.calls.count
                try await move(world, to: target)
                let assignment = try #require(try await world.assignment())
                #expect(assignment.owner == eqiad && assignment.shares[codfw] == (target == codfw ? 2 : nil))
                try await eventually("\(target) acts on the slice") {
                    world.calls.dropFirst(before).contains { $0.datacenter == target && inside.contains(partition($0)) }
                }
            }
            watch.cancel()
            #expect(await watch.value.isEmpty, "what stays was interrupted")
            #expect(try await world.assignment()?.epoch == 3)
            held.withLock { $0 = nil }
            let ids = try await flow.stop()
            try await world.waitForCalls(ids + ids.map { "first-" + $0 })
            try await Task.sleep(for: .milliseconds(200))
            let repeated = world.counts.filter { $0.value > 1 }
            #expect(repeated.isEmpty)
            #expect(world.calls.allSatisfy { inside.contains(partition($0)) || $0.datacenter == eqiad }, "what stays was acted on elsewhere")
            for partition in staying { #expect(try await resumedIn(world, partition) == 1, "partition \(partition) was planned anew") }
            for partition in inside { #expect(try await resumedIn(world, partition) == 3) }
            #expect(try await world.gaps() == 0)
            // What stayed is written under the new epoch, so that a worker that starts now goes on from there.
            try await eventually("all is stored in epoch 3") {
                for partition in 0..<Self.partitions where try await world.checkpoint(partition)?.epoch != 3 { return false }
                return true
            }
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("A failover of a slice: the slice waits for the old lease, the rest goes on without a pause")
    func failoverOfASlice() async throws {
        try await withWorld { world, home, away, inside, staying in
            let flow = Flow(world)
            try await move(world, to: codfw)
            try await eventually("codfw acts on the slice") { world.calls.contains { $0.datacenter == codfw } }
            away.store.failAll(.unavailable)
            let raised = ContinuousClock.now
            try await world.controller.failover(world.key, to: eqiad, slice: slice)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            let ids = try await flow.stop()
            try await world.waitForCalls(ids)
            let calls = world.calls
            let lastOld = try #require(calls.last { $0.datacenter == codfw })
            let firstNew = try #require(calls.first { $0.at > raised && $0.datacenter == eqiad && inside.contains(partition($0)) })
            #expect(raised.duration(to: firstNew.at) >= WorkerWorld.lease)
            #expect(lastOld.at < firstNew.at, "never both")
            // Those that were written while the slice waited were acted on meanwhile.
            let end = raised + WorkerWorld.lease
            var prompt = 0
            for call in calls where staying.contains(partition(call)) {
                guard let number = Int(call.id.dropFirst()), let made = flow.made(number) else { continue }
                guard made > raised, made < raised + .milliseconds(500) else { continue }
                #expect(call.at < end - .milliseconds(50), "\(call.id) of a partition that stays was held up")
                prompt += 1
            }
            #expect(prompt > 5)
            let repeated = world.counts.filter { call in call.value > 1 && staying.contains(Int32((Int(call.key.dropFirst()) ?? 0) % 4)) }
            #expect(repeated.isEmpty)
            for partition in staying { #expect(try await resumedIn(world, partition) == 1, "partition \(partition) was planned anew") }
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("A slice whose drain is cancelled goes on where it was; what stays does not notice")
    func cancelled() async throws {
        try await withWorld { world, home, away, inside, staying in
            let isHeld = Mutex(false), stuck = Mutex("")
            world.answer { id, _ in
                await hold { id == stuck.withLock { $0 } && isHeld.withLock { $0 } }
                return .done(status: 200)
            }
            let flow = Flow(world)
            isHeld.withLock { $0 = true }
            let number = flow.upcoming(in: try #require(inside.min()))
            stuck.withLock { $0 = "e\(number)" }
            try await world.waitForCalls(["e\(number)"])
            // An action that does not end keeps one partition of the slice from being sealed.
            try await world.controller.beginSwitchover(world.key, to: codfw, slice: slice)
            try await eventually("the other is sealed") { try await world.checkpoint(try #require(inside.max()))?.sealed == true }
            try await world.controller.cancel(world.key)
            isHeld.withLock { $0 = false }
            let end = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            #expect(end.epoch == 2 && end.placed.isEmpty)
            let ids = try await flow.stop()
            try await world.waitForCalls(ids)
            let repeated = world.counts.filter { $0.value > 1 }
            #expect(repeated.isEmpty)
            #expect(world.calls.allSatisfy { $0.datacenter == eqiad })
            for partition in staying { #expect(try await resumedIn(world, partition) == 1, "partition \(partition) was planned anew") }
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("Epochs that a worker misses because it can't reach the store: what nobody else owned meanwhile is not planned anew")
    func missedEpochs() async throws {
        try await withWorld { world, home, away, inside, staying in
            let flow = Flow(world)
            try await eventually("every partition is acted on", timeout: .seconds(20)) { Set(world.calls.map(partition)).count == 4 }
            home.store.failAll(.unavailable)
            try await world.controller.failover(world.key, to: codfw, slice: slice)
            try await world.controller.failover(world.key, to: eqiad, slice: slice)
            home.store.heal()
            let end = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            #expect(end.epoch == 3 && end.placed.isEmpty)
            let ids = try await flow.stop()
            try await world.waitForCalls(ids)
            for partition in staying { #expect(try await resumedIn(world, partition) == 1, "partition \(partition) was planned anew") }
            for partition in inside { #expect(try await resumedIn(world, partition) == 3, "somebody else may have had \(partition)") }
            let repeated = world.counts.filter { call in call.value > 1 && staying.contains(Int32((Int(call.key.dropFirst()) ?? 0) % 4)) }
            #expect(repeated.isEmpty)
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("The controller, the old side and the new side crash one after the other: the handover of the slice is carried through all the same")
    func crashes() async throws {
        try await withWorld { world, home, away, inside, staying in
            try await world.waitForCalls(try world.produce(0..<40))
            // The controller begins it and is gone; so is the old side, before it could seal.
            home.store.failAll(.unavailable)
            try await away.stop()
            try await world.controller.beginSwitchover(world.key, to: codfw, slice: slice)
            try await home.stop()
            try world.produce(40..<80)
            // Another worker of the old side drains the slice and goes on with the rest. There is no new side yet.
            let second = try await world.start(eqiad)
            try await eventually("the epoch goes up", timeout: .seconds(20)) { try await world.assignment()?.epoch == 2 }
            try await world.waitForCalls(ids(0..<80, in: staying))
            let early = Set(world.counts.keys).intersection(ids(40..<80, in: inside))
            #expect(early.isEmpty)
            // Nobody resumes it: it can go back by force, without a worker in codfw.
            try await world.controller.failover(world.key, to: eqiad, slice: slice)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            try await world.waitForCalls(ids(0..<80, in: [0, 1, 2, 3]))
            // And again, with a new side that comes late.
            try await world.controller.beginSwitchover(world.key, to: codfw, slice: slice)
            try await eventually("the epoch goes up") { try await world.assignment()?.epoch == 4 }
            try world.produce(80..<120)
            let third = try await world.start(codfw)
            let end = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            #expect(end.shares == [eqiad: 2, codfw: 2])
            try await world.waitForCalls(ids(0..<120, in: [0, 1, 2, 3]))
            // The first forty may repeat: who acted on them could not store it any more.
            let late = Set(ids(40..<120, in: [0, 1, 2, 3]))
            let repeated = world.counts.filter { late.contains($0.key) && $0.value > 1 }
            #expect(repeated.isEmpty)
            try await second.stop()
            try await third.stop()
        }
    }

    @Test("A mirror that has more partitions than the origin does not make the origin's worker drain what it has not")
    func widerMirror() async throws {
        try await withWorld { world, home, away, _, _ in
            try world.clusters[codfw]?.addPartitions(WorkerWorld.topic, total: Self.partitions + 2)
            try await world.waitForCalls(try world.produce(0..<16))
            try await home.stop()
            // Only codfw's worker is there to say that the slice is resumed.
            try await world.controller.failover(world.key, to: codfw, slice: slice, now: true)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            #expect(try await world.assignment()?.partitions[WorkerWorld.topic] == Self.partitions)
            let back = try await world.start(eqiad)
            try await world.waitForCalls(try world.produce(16..<32))

            // All the rest.
            try await world.controller.beginSwitchover(world.key, to: codfw)
            let end = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            #expect(end.owner == codfw && end.placed.isEmpty)
            try await world.waitForCalls(try world.produce(32..<48))
            try await back.stop()
            try await away.stop()
        }
    }
}
