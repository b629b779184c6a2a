import KafkaLog
import TestSupport
import Testing

@testable import Checkpoints

@Suite("A standby follows the other side's checkpoints")
struct StandbyFollowerTests {
    typealias Mix = ResumeWorld.Mix

    private static var plannerSettings: ResumePlanner.Settings {
        var settings = ResumePlanner.Settings()
        settings.slack = ResumeWorld.slack
        settings.disorderBound = 50
        return settings
    }

    /// Shows a follower a world as a worker would: checkpoints as they are written, records as they arrive.
    private struct Driver {
        let world: ResumeWorld
        var follower: StandbyFollower
        var visible: Int
        var now: UInt64 = 0

        mutating func show(_ checkpoint: Checkpoint) {
            let log = ResumePlanner.Log(
                cluster: ResumeWorld.away, partitionCount: 1, start: Int64(world.logStart), highWatermark: Int64(visible))
            follower.show(checkpoint, log: log)
        }

        /// Reads all that is there and wanted, then says twice that no more comes.
        mutating func read() {
            for _ in 0..<20 {
                if let step = follower.step {
                    if case .lookUp(let time) = step {
                        let (found, firstTimed) = world.lookUp(time, end: visible)
                        follower.lookedUp(found, firstTimed: firstTimed)
                    }
                    follower.begun(now: now)
                }
                while follower.wantsRecords, follower.next < visible {
                    let record = world.mirror[Int(follower.next)]
                    follower.see(offset: follower.next, fingerprint: record.fingerprint, timestamp: record.timestamp, now: now)
                }
                now += 40_000_000_000
                if follower.step == nil { follower.reachedEnd(now: now) }
            }
        }
    }

    @Test("no anchor ever costs a record, whatever the logs are like; without faults each checkpoint's place is found", arguments: [
        Mix(), Mix(identical: 0.1), Mix(repeats: 0.03), Mix(trimmed: 0.25), Mix(identical: 0.1, repeats: 0.03, trimmed: 0.25),
    ], [12, 4_096])
    func property(_ mix: Mix, ring: Int) throws {
        let seed = Seed.fresh("standby, ring \(ring), \(mix.testDescription)")
        var anchored = 0, exact = 0, silent = 0, repeated = 0, current = 0
        let runs = 1500
        for run in 0..<runs {
            var random = SeededGenerator(seed: seed &+ UInt64(run))
            let world = ResumeWorld(mix: mix, using: &random)
            guard let last = world.checkpoint else { continue }
            var settings = StandbyFollower.Settings()
            settings.planner = Self.plannerSettings
            settings.ring = ring
            settings.room = 16
            var driver = Driver(
                world: world, follower: StandbyFollower(identity: "record", settings: settings),
                visible: Int.random(in: world.logStart...world.there, using: &random))
            for count in (0..<4).map({ _ in Int.random(in: 0...world.prefix, using: &random) }).sorted() {
                let earlier = ResumeWorld.checkpoint(world.origin, finished: Set(0..<count), tail: max(1, last.tail.count), using: &random)
                if let earlier { driver.show(earlier) }
                driver.read()
                driver.visible = Int.random(in: driver.visible...world.there, using: &random)
            }
            if random.chance(0.5) {
                driver.visible = world.there
                driver.show(last)
                driver.read()
                if mix.repeats == 0, mix.trimmed == 0, mix.identical == 0, ring > 1000, let place = world.place(after: world.prefix) {
                    #expect(driver.follower.isTailHere && driver.follower.place == Int64(place), "not found: seed \(seed &+ UInt64(run))")
                    current += 1
                }
            }
            let anchor = driver.follower.anchor
            anchored += anchor == nil ? 0 : 1
            var planner = ResumePlanner(
                checkpoint: last,
                log: ResumePlanner.Log(
                    cluster: ResumeWorld.away, partitionCount: 1, start: Int64(world.logStart), highWatermark: Int64(world.there)),
                settings: Self.plannerSettings)
            let (acted, gaps) = try world.resume(planner: &planner, anchor: anchor)
            let verdict = world.judge(acted)
            if verdict.lost > 0, gaps.isEmpty {
                silent += 1
                print("lost \(verdict.lost) in silence: seed \(seed &+ UInt64(run))")
            }
            if mix.repeats == 0, mix.trimmed == 0, mix.identical == 0 {
                #expect(verdict == (0, 0), "not exact: seed \(seed &+ UInt64(run))")
            }
            exact += verdict == (0, 0) ? 1 : 0
            repeated += verdict.repeated
        }
        print("standby, ring \(ring), \(mix.testDescription): \(runs) runs, anchors \(anchored), current \(current), exact \(exact), repeated \(repeated)")
        #expect(silent == 0, "of \(runs) runs")
        #expect(anchored > runs / 3)
    }

    // MARK: One by one

    private static let home = ClusterID("home"), away = ClusterID("away")
    private static let log = ResumePlanner.Log(cluster: away, partitionCount: 1, start: 0, highWatermark: 1_000)

    /// After `count` records, whose fingerprints are their numbers; record n stands at offset 100 + n in the standby's cluster.
    private func checkpoint(_ count: Int, epoch: Int64 = 1, cluster: ClusterID = home) -> Checkpoint {
        let tail = (max(0, count - 4)..<count).map { Fingerprint(bits: UInt64($0)) }
        let done = DonePrefix(
            witness: MillisecondTimestamp(clamped: Int64(count) * 10), disorder: 0, tail: tail, beyond: [], beyondSpan: 0,
            position: Position(Int64(count), in: cluster), timestampType: .createTime)
        return Checkpoint(done: done, partitionCount: 1, identity: "record", epoch: epoch, worker: "w", writtenAt: MillisecondTimestamp(clamped: 1))
    }

    private func following(ring: Int = 10, _ count: Int) -> StandbyFollower {
        var settings = StandbyFollower.Settings()
        settings.ring = ring
        settings.room = 4
        var follower = StandbyFollower(identity: "record", settings: settings)
        follower.show(checkpoint(count), log: Self.log)
        if case .lookUp? = follower.step { follower.lookedUp(108, firstTimed: 100) }
        follower.begun(now: 0)
        return follower
    }

    private func read(_ follower: inout StandbyFollower, to end: Int) {
        while follower.wantsRecords, follower.next < 100 + end {
            let number = max(0, follower.next - 100)
            follower.see(
                offset: 100 + number, fingerprint: Fingerprint(bits: UInt64(number)), timestamp: MillisecondTimestamp(clamped: number * 10), now: 0)
        }
    }

    @Test("LogAppendTime: it measures how much later the same records were stamped where the checkpoint was written")
    func appendTimeLag() {
        func checkpoint(_ offset: Int64, tail: [Fingerprint], witness: Int64?, type: TimestampType) -> Checkpoint {
            let done = DonePrefix(
                witness: witness.map { MillisecondTimestamp(clamped: $0) }, disorder: 0, tail: tail, beyond: [], beyondSpan: 0,
                position: Position(offset, in: ResumeWorld.home), timestampType: type)
            return Checkpoint(
                done: done, partitionCount: 1, identity: "record", epoch: 1, worker: "w", writtenAt: MillisecondTimestamp(clamped: 0))
        }
        for (type, expected) in [(TimestampType.logAppendTime, 8_000), (.createTime, nil)] as [(TimestampType, Int64?)] {
            var follower = StandbyFollower(identity: "record")
            let log = ResumePlanner.Log(cluster: ResumeWorld.away, partitionCount: 1, start: 0, highWatermark: 6)
            follower.show(checkpoint(0, tail: [], witness: nil, type: type), log: log)
            follower.begun(now: 0)
            for offset in 0..<6 as Range<Int64> {
                let time = MillisecondTimestamp(clamped: 1_000 + offset)
                follower.see(offset: offset, fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: time, now: 0)
            }
            #expect(follower.appendTimeLag == nil)
            let tail = (2..<6).map { Fingerprint(bits: UInt64($0)) }
            follower.show(checkpoint(6, tail: tail, witness: 9_000, type: type), log: log)
            #expect(follower.isTailHere && follower.place == 6)
            #expect(follower.appendTimeLag == expected)
        }
    }

    @Test("The ring is bounded: full, it asks for a pause until a checkpoint moves it on")
    func pauses() {
        var follower = following(20)
        read(&follower, to: 500)
        #expect(follower.next == 130 && !follower.wantsRecords, "ten records past the place")
        #expect(follower.place == 120 && follower.isTailHere && follower.behind == nil && follower.span == 90)
        follower.show(checkpoint(25), log: Self.log)
        #expect(follower.place == 125 && follower.wantsRecords)
        #expect(follower.anchor?.place == Position(125, in: Self.away) && follower.anchor?.last == Fingerprint(bits: 24))
        read(&follower, to: 500)
        #expect(follower.next == 135)
        // A checkpoint that is further on than what was read: the records up to it are passed, not kept.
        follower.show(checkpoint(300), log: Self.log)
        #expect(!follower.isTailHere && follower.wantsRecords && follower.place == 125)
        #expect(follower.behind == Int64(3_000 - 340))
        read(&follower, to: 500)
        #expect(follower.place == 400 && follower.isTailHere && follower.next == 410)
    }

    @Test("A checkpoint that went back, or is of another cluster, is looked for anew; the anchor of the later one is not used")
    func wentBack() {
        for earlier in [checkpoint(12), checkpoint(20, cluster: ClusterID("third")), checkpoint(19, epoch: 3)] {
            var follower = following(20)
            read(&follower, to: 25)
            #expect(follower.anchor?.checkpoint.offset == 20)
            follower.show(earlier, log: Self.log)
            #expect(follower.anchor == nil && follower.place == nil && follower.isPlanning)
            guard case .lookUp? = follower.step else {
                Issue.record("no new lookup")
                return
            }
        }
        var follower = following(20)
        read(&follower, to: 25)
        follower.show(checkpoint(20, epoch: 2), log: Self.log)
        #expect(follower.isTailHere && follower.anchor?.epoch == 2, "another epoch at the same place")
    }

    @Test("A stored anchor spares the lookup; a refusal is kept until the checkpoint changes")
    func storedAndRefused() {
        var follower = StandbyFollower(identity: "record")
        let stored = ResumePlanner.Anchor(
            place: Position(115, in: Self.away), last: Fingerprint(bits: 14), checkpoint: Position(15, in: Self.home), epoch: 1)
        follower.show(checkpoint(20), log: Self.log, stored: stored)
        #expect(follower.step == .read(from: 107))
        follower.begun(now: 0)
        read(&follower, to: 22)
        #expect(follower.place == 120 && follower.isTailHere)

        var other = StandbyFollower(identity: "json:id")
        other.show(checkpoint(20), log: Self.log)
        #expect(other.refusal == .identityChanged(stored: "record", here: "json:id") && other.step == nil && !other.wantsRecords)
    }
}
