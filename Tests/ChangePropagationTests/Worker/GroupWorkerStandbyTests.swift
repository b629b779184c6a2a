import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

@Suite("A warm standby, against real clusters")
struct GroupWorkerStandbyTests {
    private let eqiad = WorkerWorld.eqiad
    private let codfw = WorkerWorld.codfw

    private func report(_ world: WorkerWorld, _ partition: Int32) async throws -> StandbyReport? {
        try await StandbyReport.load(from: world.store, group: WorkerWorld.group)[TopicPartition(topic: WorkerWorld.topic, partition: partition)]?[codfw]?.get()
    }

    @Test("It follows while the owner acts and never acts itself; it says what a failover would meet, and takes over there without a lookup by time")
    func takesOverFromTheAnchor() async throws {
        try await WorkerWorld.run { world in
            let old = try await world.start(eqiad)
            let new = try await world.start(codfw)
            try await world.waitForCalls(try world.produce(0..<40))
            for partition in 0..<2 as Range<Int32> {
                try await eventually("the place is found") { try await report(world, partition)?.anchor?.checkpointOffset == 20 }
                let found = try #require(try await report(world, partition))
                #expect(found.isTailHere && found.resumeOffset == 120 && found.repeatsAtMost == 0 && found.gap == nil && found.refusal == nil)
                #expect(found.behindMilliseconds == nil && found.checkpointOffset == 20 && found.checkpointEpoch == 1)
            }
            // What is acted on and not in a checkpoint yet may be repeated.
            let isHeld = Mutex(true)
            world.answer { _, datacenter in
                await hold { datacenter == WorkerWorld.eqiad && isHeld.withLock { $0 } }
                return .done(status: 200)
            }
            try world.produce(40..<60)
            for partition in 0..<2 as Range<Int32> {
                try await eventually("it counts what may be repeated") { try await report(world, partition)?.repeatsAtMost == 10 }
                try await eventually("it tells its time") { try await report(world, partition)?.spanMilliseconds == 18 }
                #expect(try await report(world, partition)?.resumeOffset == 120)
            }
            #expect(!world.calls.contains { $0.datacenter == codfw })

            let lookups = new.counted.lookUps
            old.store.failAll(.unavailable)
            try await world.controller.failover(world.key, to: codfw)
            try await eventually("the new side acts on all") { Set(world.calls.filter { $0.datacenter == codfw }.map(\.id)).count == 20 }
            isHeld.withLock { $0 = false }
            #expect(new.counted.lookUps == lookups, "no lookup by time")
            for partition in 0..<2 as Range<Int32> {
                let resumed = try await ResumeReport.load(from: world.store, group: WorkerWorld.group, TopicPartition(topic: WorkerWorld.topic, partition: partition))
                #expect(resumed?.datacenter == "codfw" && resumed?.method == "tail" && resumed?.offset == 120)
            }
            #expect(world.calls.filter { $0.datacenter == codfw }.count == 20)
            #expect(try await world.gaps() == 0)
            old.store.heal()
            try await old.stop()
            try await new.stop()
        }
    }

    @Test("A worker that was not there before takes over from what another standby of its datacenter published; a mirror behind is told")
    func storedAnchor() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let old = try await world.start(eqiad)
            let first = try await world.start(codfw)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the place is found") { try await report(world, 0)?.anchor?.checkpointOffset == 20 }
            try await world.waitForCalls(try world.produce(20..<50, mirrored: false))
            try await eventually("the mirror is behind") { try await report(world, 0)?.isTailHere == false }
            // The oldest of the last 16 finished is e34, the newest here e19.
            try await eventually("it tells by how much") { try await report(world, 0)?.behindMilliseconds == 15 }
            #expect(try await report(world, 0)?.resumeOffset == 120)
            try await first.stop()
            old.store.failAll(.unavailable)
            let second = try await world.start(codfw)
            try await world.controller.failover(world.key, to: codfw)
            for number in 20..<60 { try world.append(number, to: codfw) }
            try await world.waitForCalls((50..<60).map { "e\($0)" })
            #expect(second.counted.lookUps == 0)
            let resumed = try await ResumeReport.load(from: world.store, group: WorkerWorld.group, TopicPartition(topic: WorkerWorld.topic, partition: 0))
            #expect(resumed?.method == "tail" && resumed?.offset == 150)
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            old.store.heal()
            try await old.stop()
            try await second.stop()
        }
    }

    @Test("What is kept of a partition is bounded: reading waits for the owner's checkpoint, and goes on with it")
    func ringIsBounded() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let isHeld = Mutex(false)
            world.answer { _, _ in
                await hold { isHeld.withLock { $0 } }
                return .done(status: 200)
            }
            let old = try await world.start(eqiad)
            let new = try await world.start(codfw)
            try await world.waitForCalls(try world.produce(0..<10))
            try await eventually("the place is found") { try await report(world, 0)?.resumeOffset == 110 }
            isHeld.withLock { $0 = true }
            try world.produce(10..<4800)
            try await eventually("all is counted", timeout: .seconds(30)) { try await report(world, 0)?.repeatsAtMost == 4790 }
            let partition = TopicPartition(topic: WorkerWorld.topic, partition: 0)
            try await eventually("reading waits") {
                let isPaused = await new.worker.works[partition]?.isPaused
                let wants = await new.worker.standbys[partition]?.follower.wantsRecords
                return isPaused == true && wants == false
            }
            let read = try #require(await new.worker.standbys[partition]?.follower.next)
            #expect(read >= 110 + 4096 && read < 110 + 4096 + 600)
            isHeld.withLock { $0 = false }
            try await eventually("it goes on to the end", timeout: .seconds(60)) { try await report(world, 0)?.resumeOffset == 4900 }
            #expect(!world.calls.contains { $0.datacenter == codfw })
            try await old.stop()
            try await new.stop()
        }
    }

    @Test("standby: false: nothing is read or published, and a take-over looks its place up")
    func turnedOff() async throws {
        try await WorkerWorld.run { world in
            let old = try await world.start(eqiad)
            let new = try await world.start(codfw, extra: "standby: false")
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            try await world.controller.beginSwitchover(world.key, to: codfw)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            try await world.waitForCalls(try world.produce(20..<40))
            #expect(new.counted.lookUps > 0)
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            #expect(try await report(world, 0) == nil)
            try await old.stop()
            try await new.stop()
        }
    }
}
