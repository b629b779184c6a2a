import Checkpoints
import KafkaLog
import TestSupport
import Testing

@Suite("The resume rule")
struct ResumePlannerTests {
    typealias Mix = ResumeWorld.Mix

    private func planner(for world: ResumeWorld) -> ResumePlanner {
        var settings = ResumePlanner.Settings()
        settings.slack = ResumeWorld.slack
        settings.disorderBound = 50
        let log = ResumePlanner.Log(
            cluster: ResumeWorld.away, partitionCount: 1, start: Int64(world.logStart), highWatermark: Int64(world.there))
        return ResumePlanner(checkpoint: world.checkpoint, log: log, settings: settings)
    }

    @Test("no loss without an event in any world; exact where the mirror keeps order and does not repeat", arguments: [
        Mix(), Mix(identical: 0.1), Mix(repeats: 0.03), Mix(trimmed: 0.25), Mix(identical: 0.1, repeats: 0.03, trimmed: 0.25),
    ])
    func property(_ mix: Mix) throws {
        let seed = Seed.fresh("the resume rule, \(mix.testDescription)")
        var exact = 0, lostWithEvent = 0, repeated = 0, silent = 0
        let runs = 3000
        for run in 0..<runs {
            var random = SeededGenerator(seed: seed &+ UInt64(run))
            let world = ResumeWorld(mix: mix, using: &random)
            var planner = planner(for: world)
            let (acted, gaps) = try world.resume(planner: &planner)
            let verdict = world.judge(acted)
            if verdict.lost > 0, gaps.isEmpty {
                silent += 1
                print("lost \(verdict.lost) in silence: seed \(seed &+ UInt64(run))")
            }
            if mix.repeats == 0, mix.trimmed == 0, mix.identical == 0 {
                #expect(verdict == (0, 0), "not exact: seed \(seed &+ UInt64(run))")
            }
            lostWithEvent += verdict.lost > 0 ? 1 : 0
            exact += verdict == (0, 0) ? 1 : 0
            repeated += verdict.repeated
        }
        print("resume rule, \(mix.testDescription): \(runs) runs, exact \(exact), lost with an event \(lostWithEvent), repeated \(repeated)")
        #expect(mix.trimmed > 0 || lostWithEvent == 0)
        #expect(silent == 0, "of \(runs) runs")
    }

    enum AnchorKind: String, CaseIterable, Sendable { case right, older, wrong }

    @Test("with an anchor: no loss without an event in any world; one that is older, trimmed away or wrong costs time and no record", arguments: [
        Mix(), Mix(identical: 0.1), Mix(repeats: 0.03), Mix(trimmed: 0.25), Mix(identical: 0.1, repeats: 0.03, trimmed: 0.25),
    ], AnchorKind.allCases)
    func anchored(_ mix: Mix, _ kind: AnchorKind) throws {
        // A wrong one is told by its record, so one of the same contents can't be.
        guard kind != .wrong || mix.identical == 0 else { return }
        let seed = Seed.fresh("anchors, \(kind.rawValue), \(mix.testDescription)")
        var used = 0, exact = 0, silent = 0, repeated = 0
        let runs = 2000
        for run in 0..<runs {
            var random = SeededGenerator(seed: seed &+ UInt64(run))
            let world = ResumeWorld(mix: mix, using: &random)
            let anchor = switch kind {
            case .right: world.anchor(after: world.prefix)
            case .older: world.anchor(after: Int.random(in: 0...world.prefix, using: &random))
            case .wrong: world.wrongAnchor(using: &random)
            }
            var planner = planner(for: world)
            var probe = planner
            if case .read? = try? probe.begin(committed: nil, identity: "record", anchor: anchor), probe.isConfirming { used += 1 }
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
        print("anchors, \(kind.rawValue), \(mix.testDescription): \(runs) runs, used in \(used), exact \(exact), repeated \(repeated)")
        #expect(silent == 0, "of \(runs) runs")
        #expect(used > runs / 10)
    }

    @Test("An anchor: no lookup; its record is confirmed, tails before it don't count, and without the tail acting begins there")
    func fromAnchor() throws {
        let there = ClusterID("there")
        func begun(_ change: (inout ResumePlanner.Anchor) -> Void = { _ in }) throws -> (ResumePlanner, ResumePlanner.Step) {
            var anchor = ResumePlanner.Anchor(place: Position(20, in: there), last: b, checkpoint: Position(8, in: Self.here), epoch: 4)
            change(&anchor)
            var planner = ResumePlanner(
                checkpoint: prefix(10, tail: [a, b]), log: ResumePlanner.Log(cluster: there, partitionCount: 3, start: 3, highWatermark: 30))
            let step = try planner.begin(committed: nil, identity: "record", anchor: anchor)
            return (planner, step)
        }
        let lookUp = ResumePlanner.Step.lookUp(MillisecondTimestamp(clamped: 4_000))
        for change in [
            { $0.checkpoint = Position(11, in: Self.here) }, { $0.checkpoint = Position(8, in: ClusterID("third")) }, { $0.epoch = 5 },
            { $0.place = Position(20, in: Self.here) }, { $0.place = Position(3, in: there) }, { $0.place = Position(31, in: there) },
        ] as [(inout ResumePlanner.Anchor) -> Void] { #expect(try begun(change).1 == lookUp) }

        var planner = ResumePlanner(
            checkpoint: prefix(10, tail: [a, b]), log: ResumePlanner.Log(cluster: there, partitionCount: 3, start: 0, highWatermark: 30))
        let anchor = ResumePlanner.Anchor(place: Position(20, in: there), last: b, checkpoint: Position(8, in: Self.here), epoch: 4)
        #expect(try planner.begin(committed: nil, identity: "record", anchor: anchor) == .read(from: 16))
        var other = planner, gone = planner
        for (offset, record) in [(16, a), (17, b), (18, c), (19, b)] {
            #expect(planner.see(offset: Int64(offset), fingerprint: record, timestamp: time, now: 0) == .scanned)
        }
        #expect(planner.phase == .scanning(holding: false), "a tail that ends before the anchor is an older one")
        var unfound = planner
        #expect(planner.see(offset: 20, fingerprint: a, timestamp: time, now: 0) == .scanned)
        #expect(planner.see(offset: 21, fingerprint: b, timestamp: time, now: 0) == .scanned)
        #expect(planner.phase == .acting(from: 22, .tail))

        #expect(unfound.reachedEnd(now: 0) == nil)
        #expect(unfound.reachedEnd(now: 30_000_000_000) == .restart(.read(from: 20), gap: nil))
        #expect(unfound.phase == .acting(from: 20, .anchor) && unfound.resumed == nil)

        #expect(other.see(offset: 19, fingerprint: c, timestamp: time, now: 0) == .restart(lookUp, gap: nil), "another record stands there")
        #expect(gone.isConfirming && gone.see(offset: 22, fingerprint: c, timestamp: time, now: 0) == .restart(lookUp, gap: nil), "compacted away")
        #expect(other.lookedUp(6, firstTimed: 0) == .read(from: 2))
    }

    @Test("Worlds in which an earlier rule lost an event in silence", arguments: [
        310_511_378, 1_451_697_063, 244_925_680_786, 611_978_420_805, 611_978_786_440,
    ] as [UInt64])
    func onceSilent(_ seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let world = ResumeWorld(mix: Mix(identical: 0.1, repeats: 0.03, trimmed: 0.25), using: &random)
        var planner = planner(for: world)
        let (acted, gaps) = try world.resume(planner: &planner)
        #expect(world.judge(acted).lost == 0 || !gaps.isEmpty)
    }

    @Test("A record of the tail that lies before the fallback is not skipped again: one of the same contents after it is another")
    func twinOfWhatLiesBefore() throws {
        var planner = ResumePlanner(
            checkpoint: prefix(10, tail: [a, b]),
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 9))
        _ = try planner.begin(committed: nil, identity: "record")
        #expect(planner.lookedUp(3, firstTimed: 0) == .read(from: 0))
        #expect(planner.see(offset: 0, fingerprint: a, timestamp: time, now: 0) == .scanned)
        #expect(planner.see(offset: 3, fingerprint: c, timestamp: time, now: 0) == .scanned)
        _ = planner.reachedEnd(now: 0)
        guard case .restart(.read(from: 3), nil) = planner.reachedEnd(now: 30_000_000_000) else {
            Issue.record("did not give up")
            return
        }
        #expect(planner.see(offset: 3, fingerprint: a, timestamp: time, now: 0) == .act, "its twin was done, this one was not")
        #expect(planner.see(offset: 4, fingerprint: b, timestamp: time, now: 0) == .alreadyDone)
    }

    @Test("An empty prefix in a trimmed log of another cluster: records that were due may be gone, so it is reported")
    func emptyPrefixInATrimmedLog() throws {
        for (start, beyond, reported) in [(5, [a], true), (0, [a], false), (5, [], true), (0, [], false)] as [(Int64, [Fingerprint], Bool)] {
            var checkpoint = prefix(0, tail: [])
            checkpoint.beyond = beyond
            var planner = ResumePlanner(
                checkpoint: checkpoint,
                log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: start, highWatermark: 9))
            #expect(try planner.begin(committed: nil, identity: "record") == .read(from: start))
            #expect((planner.takeGap() != nil) == reported)
        }
    }

    // MARK: Same cluster

    private static let here = ClusterID("here")

    private func prefix(_ count: Int, tail: [Fingerprint], witness: Int64 = 5_000) -> Checkpoint {
        let done = DonePrefix(
            witness: MillisecondTimestamp(witness), disorder: 0, tail: tail, beyond: [], beyondSpan: 0,
            position: Position(Int64(count), in: Self.here), timestampType: .createTime)
        return Checkpoint(
            done: done, partitionCount: 3, identity: "record", epoch: 4, worker: "w", writtenAt: MillisecondTimestamp(clamped: 1))
    }

    private func log(start: Int64 = 0, highWatermark: Int64, partitions: Int32 = 3) -> ResumePlanner.Log {
        ResumePlanner.Log(cluster: Self.here, partitionCount: partitions, start: start, highWatermark: highWatermark)
    }

    private let a = Fingerprint(bits: 1), b = Fingerprint(bits: 2), c = Fingerprint(bits: 3)
    private let time = MillisecondTimestamp(clamped: 5_000)

    @Test("In its own cluster a checkpoint is confirmed by the record before it, and goes on at its offset")
    func confirmed() throws {
        var planner = ResumePlanner(checkpoint: prefix(10, tail: [a, b]), log: log(highWatermark: 20))
        #expect(try planner.begin(committed: nil, identity: "record") == .read(from: 9))
        #expect(planner.see(offset: 9, fingerprint: b, timestamp: time, now: 0) == .scanned)
        #expect(planner.phase == .acting(from: 10, .sameCluster))
        #expect(planner.see(offset: 10, fingerprint: c, timestamp: time, now: 0) == .act)
        #expect(planner.resumed?.tail == [a, b])
    }

    @Test("Another record where the tail's last should be: the log was cut or made again; found by time, and reported when it isn't")
    func diverged() throws {
        var planner = ResumePlanner(checkpoint: prefix(10, tail: [a, b]), log: log(highWatermark: 20))
        _ = try planner.begin(committed: nil, identity: "record")
        let verdict = planner.see(offset: 9, fingerprint: c, timestamp: time, now: 0)
        #expect(verdict == .restart(.lookUp(MillisecondTimestamp(clamped: 4_000)), gap: nil))
        #expect(planner.lookedUp(3, firstTimed: 0) == .read(from: 0), "with room for the tail before it")
        #expect(planner.reachedEnd(now: 5) == nil)
        guard case .restart(.read(from: 3), let gap) = planner.reachedEnd(now: 5 + 30_000_000_000) else {
            Issue.record("did not give up after the hold time")
            return
        }
        #expect(gap?.reason == .diverged)
        #expect(planner.resumed == nil)
    }

    @Test("The tail's last record compacted away: the offset is good once another record of the tail was seen")
    func compactedTail() throws {
        var planner = ResumePlanner(checkpoint: prefix(10, tail: [a, b]), log: log(highWatermark: 20))
        _ = try planner.begin(committed: nil, identity: "record")
        guard case .restart(.lookUp, nil) = planner.see(offset: 12, fingerprint: c, timestamp: time, now: 0) else {
            Issue.record("a hole was taken for confirmation")
            return
        }
        #expect(planner.lookedUp(7, firstTimed: 0) == .read(from: 3), "with room for the tail before it")
        #expect(planner.see(offset: 8, fingerprint: a, timestamp: time, now: 0) == .scanned)
        #expect(planner.see(offset: 12, fingerprint: c, timestamp: time, now: 0) == .act)
    }

    @Test("Retention passed the position in its own cluster: a gap with the exact count, then the log's start")
    func retention() throws {
        var planner = ResumePlanner(checkpoint: prefix(10, tail: [a, b]), log: log(start: 14, highWatermark: 20))
        #expect(try planner.begin(committed: nil, identity: "record") == .read(from: 14))
        let taken = planner.takeGap()
        let gap = try #require(taken)
        #expect(gap.reason == .retention && gap.records == 4)
        #expect(planner.takeGap() == nil)
    }

    @Test("Above the high watermark, fewer partitions, another identity, another topic id: refused, with the next step")
    func refusals() {
        func refusal(_ log: ResumePlanner.Log, identity: String = "record", topicID: String? = nil) -> ResumeRefusal? {
            var checkpoint = prefix(10, tail: [a, b])
            checkpoint.topicID = topicID
            var planner = ResumePlanner(checkpoint: checkpoint, log: log)
            do throws(ResumeRefusal) {
                _ = try planner.begin(committed: nil, identity: identity)
                return nil
            } catch { return error }
        }
        #expect(refusal(log(highWatermark: 9)) == .aboveHighWatermark(stored: 10, highWatermark: 9))
        #expect(refusal(log(highWatermark: 20, partitions: 2)) == .partitionCount(stored: 3, here: 2))
        #expect(refusal(log(highWatermark: 20, partitions: 6)) == nil)
        #expect(refusal(log(highWatermark: 20), identity: "json:meta.id") == .identityChanged(stored: "record", here: "json:meta.id"))
        var other = log(highWatermark: 20)
        other.topicID = "new"
        #expect(refusal(other, topicID: "old") == .topicRecreated(stored: "old", here: "new"))
        #expect(refusal(other) == nil)
    }

    @Test("Local commits: the higher epoch wins, then the higher offset; an older epoch's commit is not believed", arguments: [
        (4, 15, Int64(14)), (4, 8, 9), (5, 8, 7), (3, 15, 9),
    ])
    func commits(epoch: Int64, offset: Int64, readFrom: Int64) throws {
        var planner = ResumePlanner(checkpoint: prefix(10, tail: [a, b]), log: log(highWatermark: 20))
        let committed = ResumePlanner.Committed(offset: offset, epoch: epoch, last: c)
        #expect(try planner.begin(committed: committed, identity: "record") == .read(from: readFrom))
        if readFrom == offset - 1 {
            #expect(planner.see(offset: readFrom, fingerprint: c, timestamp: time, now: 0) == .scanned)
            #expect(planner.resumed?.tail == [c])
        }
    }

    // MARK: Other cluster

    @Test("A lookup that answers none starts at the watermark read before it, never at a later end (trap 7, mutant '-1 as END')")
    func noneIsTheWatermark() throws {
        var planner = ResumePlanner(
            checkpoint: prefix(10, tail: [a, b]),
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 6))
        #expect(try planner.begin(committed: nil, identity: "record") == .lookUp(MillisecondTimestamp(clamped: 4_000)))
        #expect(planner.lookedUp(nil, firstTimed: 2) == .read(from: 2), "the watermark, less room for the tail")
        #expect(planner.reachedEnd(now: 1) == nil)
        #expect(planner.phase == .scanning(holding: true))
        #expect(planner.see(offset: 6, fingerprint: a, timestamp: time, now: 2) == .scanned)
        #expect(planner.see(offset: 7, fingerprint: b, timestamp: time, now: 2) == .scanned)
        #expect(planner.see(offset: 8, fingerprint: c, timestamp: time, now: 2) == .act)
    }

    @Test("Older ground that still arrives is no reason to give up holding")
    func holdWhileOlderGroundArrives() throws {
        var planner = ResumePlanner(
            checkpoint: prefix(10, tail: [a, b]),
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 0))
        _ = try planner.begin(committed: nil, identity: "record")
        _ = planner.lookedUp(nil, firstTimed: nil)
        let second: UInt64 = 1_000_000_000
        #expect(planner.reachedEnd(now: 0) == nil)
        #expect(planner.see(offset: 0, fingerprint: c, timestamp: MillisecondTimestamp(clamped: 1), now: 29 * second) == .scanned)
        #expect(planner.reachedEnd(now: 31 * second) == nil)
        #expect(planner.reachedEnd(now: 60 * second) == nil)
        #expect(planner.reachedEnd(now: 61 * second) != nil)
    }

    @Test("A slow fetch in the midst of a scan is not the log's end: the hold begins when what was there has been read")
    func holdBeginsAtTheEnd() throws {
        var planner = ResumePlanner(
            checkpoint: prefix(10, tail: [a, b]),
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 9))
        _ = try planner.begin(committed: nil, identity: "record")
        _ = planner.lookedUp(5, firstTimed: 2)
        let second: UInt64 = 1_000_000_000
        #expect(planner.reachedEnd(now: 0) == nil)
        #expect(planner.see(offset: 5, fingerprint: c, timestamp: time, now: second) == .scanned)
        #expect(planner.phase == .scanning(holding: false))
        #expect(planner.reachedEnd(now: 31 * second) == nil, "thirty seconds since the silence, none since the end")
        #expect(planner.see(offset: 8, fingerprint: c, timestamp: time, now: 32 * second) == .scanned)
        #expect(planner.reachedEnd(now: 60 * second) == nil)
        #expect(planner.reachedEnd(now: 61 * second) != nil)
    }

    @Test("A sealed tail is waited for without end, unless retention may have eaten the place or newer ground has come")
    func sealedTail() throws {
        func verdict(start: Int64, seen newer: Bool) throws -> ResumePlanner.Verdict? {
            var checkpoint = prefix(10, tail: [a, b])
            checkpoint.position = Position(10, in: ClusterID("elsewhere"))
            checkpoint.sealed = true
            var planner = ResumePlanner(checkpoint: checkpoint, log: log(start: start, highWatermark: 20))
            planner.settings.waitsForTail = true
            _ = try planner.begin(committed: nil, identity: "record")
            // The lookup's answer: something older lies before it where the log is whole; nothing where it is trimmed.
            _ = planner.lookedUp(newer ? 19 : nil, firstTimed: start > 0 ? nil : 3)
            if newer { #expect(planner.see(offset: 19, fingerprint: c, timestamp: MillisecondTimestamp(clamped: 900_000), now: 0) == .scanned) }
            #expect(planner.reachedEnd(now: 1) == nil)
            return planner.reachedEnd(now: 3_600_000_000_000)
        }
        #expect(try verdict(start: 0, seen: false) == nil, "the mirror has not brought it yet: an hour is no reason to give up")
        guard case .restart(.read(from: 5), .some)? = try verdict(start: 5, seen: false) else {
            Issue.record("an idle partition whose last event retention took would stand still for ever")
            return
        }
        guard case .restart(.read(from: 19), _)? = try verdict(start: 0, seen: true) else {
            Issue.record("newer events would wait for ever")
            return
        }
    }

    @Test("Where records are rare, one that is newer than the witness is no reason to give a sealed tail up")
    func rareRecords() throws {
        let elsewhere = ClusterID("elsewhere")
        var tracker = PrefixTracker(resuming: nil, at: Position(0, in: elsewhere))
        // One every ten seconds: the sixteen of the witness span minutes.
        let times = (0..<40).map { 1_000_000 + Int64($0) * 10_000 }
        for (offset, time) in times.enumerated() {
            let ticket = tracker.began(
                offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: MillisecondTimestamp(time), type: .createTime)
            tracker.finished(try #require(ticket), .acted)
        }
        let checkpoint = Checkpoint(
            done: tracker.done(), partitionCount: 3, identity: "record", epoch: 1, sealed: true, worker: "w",
            writtenAt: MillisecondTimestamp(clamped: times.last ?? 0))
        // The mirror stands still three records before the end.
        var planner = ResumePlanner(checkpoint: checkpoint, log: log(highWatermark: 37))
        planner.settings.waitsForTail = true
        guard case .lookUp(let time) = try planner.begin(committed: nil, identity: "record") else {
            Issue.record("no lookup")
            return
        }
        let start = times.firstIndex { $0 >= time.milliseconds } ?? 0
        guard case .read(let from) = planner.lookedUp(Int64(start), firstTimed: 0) else {
            Issue.record("nothing to read")
            return
        }
        for offset in Int(from)..<37 {
            let verdict = planner.see(
                offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: MillisecondTimestamp(times[offset]), now: 0)
            #expect(verdict == .scanned)
        }
        #expect(planner.reachedEnd(now: 1) == nil)
        #expect(planner.reachedEnd(now: 3_600_000_000_000) == nil, "an hour later it still may come")
        for offset in 37..<40 {
            _ = planner.see(
                offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: MillisecondTimestamp(times[offset]), now: 0)
        }
        #expect(planner.phase == .acting(from: 40, .tail))
    }

    @Test("One record far in the past among the last ones: the place is found all the same, and nothing is repeated")
    func oldRecordAmongTheLast() throws {
        let elsewhere = ClusterID("elsewhere")
        for old in [30_000, 90_000, 300_000, 3_600_000] as [Int64] {
            var tracker = PrefixTracker(resuming: nil, at: Position(0, in: elsewhere))
            let times = (0..<1_000).map { 10_000_000 + Int64($0) } + [10_001_000 - old] + (0..<5).map { 10_001_001 + Int64($0) }
            for (offset, time) in times.enumerated() {
                let ticket = tracker.began(
                    offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: MillisecondTimestamp(time), type: .createTime)
                tracker.finished(try #require(ticket), .acted)
            }
            for isSealed in [true, false] {
                let checkpoint = Checkpoint(
                    done: tracker.done(), partitionCount: 3, identity: "record", epoch: 1, sealed: isSealed, worker: "w",
                    writtenAt: MillisecondTimestamp(clamped: 1))
                var planner = ResumePlanner(checkpoint: checkpoint, log: log(highWatermark: Int64(times.count)))
                planner.settings.waitsForTail = isSealed
                guard case .lookUp(let time) = try planner.begin(committed: nil, identity: "record") else {
                    Issue.record("no lookup")
                    return
                }
                let found = times.firstIndex { $0 >= time.milliseconds }
                guard case .read(let from) = planner.lookedUp(found.map(Int64.init), firstTimed: 0) else { return }
                for offset in Int(from)..<times.count {
                    let verdict = planner.see(
                        offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: MillisecondTimestamp(times[offset]), now: 0)
                    #expect(verdict == .scanned, "\(old) ms, offset \(offset)")
                    guard verdict == .scanned else { return }
                }
                #expect(planner.phase == .acting(from: Int64(times.count), .tail))
            }
        }
    }

    @Test("A sealed tail in which a mirror repeated a run never comes in that order: it is not waited for without end where its last record is")
    func sealedTailWithARepeat() throws {
        var planner = ResumePlanner(
            checkpoint: { var sealed = prefix(10, tail: [a, b, c, b, c]); sealed.sealed = true; return sealed }(),
            log: ResumePlanner.Log(cluster: ClusterID("home"), partitionCount: 3, start: 0, highWatermark: 4))
        planner.settings.waitsForTail = true
        _ = try planner.begin(committed: nil, identity: "record")
        #expect(planner.lookedUp(0, firstTimed: 0) == .read(from: 0))
        for (offset, record) in [a, b].enumerated() {
            #expect(planner.see(offset: Int64(offset), fingerprint: record, timestamp: time, now: 0) == .scanned)
        }
        #expect(planner.reachedEnd(now: 0) == nil)
        #expect(planner.reachedEnd(now: 3_600_000_000_000) == nil, "its last record may still come")
        #expect(planner.see(offset: 2, fingerprint: c, timestamp: time, now: 0) == .scanned)
        #expect(planner.reachedEnd(now: 0) == nil)
        guard case .restart(.read(from: 0), nil) = planner.reachedEnd(now: 30_000_000_000) else {
            Issue.record("waits for ever")
            return
        }
        let verdicts = [a, b, c].enumerated().map { planner.see(offset: Int64($0), fingerprint: $1, timestamp: time, now: 0) }
        #expect(verdicts == [.alreadyDone, .alreadyDone, .alreadyDone])
        #expect(planner.see(offset: 3, fingerprint: Fingerprint(bits: 4), timestamp: time, now: 0) == .act)
    }

    /// Each owner finishes fewer than sixteen records before it hands over: the witness must not stay the first one's for ever, since in the
    /// end whatever stands before the tail would look newer than it.
    @Test("The witness keeps up with handovers that follow each other after a few records, and a sealed tail that the mirror has not brought is waited for")
    func shortReigns() throws {
        func time(_ offset: Int) -> MillisecondTimestamp { MillisecondTimestamp(clamped: Int64(offset) * 10_000) }
        var done: DonePrefix?
        for reign in 0..<6 {
            let cluster = ClusterID("cluster \(reign % 2)"), first = reign * 12
            var times: [MillisecondTimestamp]?
            if let last = done {
                var planner = ResumePlanner(
                    checkpoint: checkpoint(last), log: .init(cluster: cluster, partitionCount: 3, start: 0, highWatermark: Int64(first)))
                planner.settings.waitsForTail = true
                guard case .lookUp(let witness) = try planner.begin(committed: nil, identity: "record") else {
                    Issue.record("no lookup")
                    return
                }
                let found = (0..<first).first { time($0) >= witness }.map(Int64.init)
                guard case .read(let from) = planner.lookedUp(found, firstTimed: 0) else { return }
                for offset in Int(from)..<first {
                    // The mirror brings the last ten a second later than the others.
                    if offset == first - 10 { #expect(planner.reachedEnd(now: 1_000_000_000) == nil) }
                    let verdict = planner.see(
                        offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: time(offset), now: 1_000_000_000)
                    #expect(verdict == .scanned, "reign \(reign), offset \(offset)")
                }
                #expect(planner.phase == .acting(from: Int64(first), .tail))
                times = planner.timesBefore
            }
            var tracker = PrefixTracker(resuming: done, at: Position(Int64(first), in: cluster), times: times)
            for offset in first..<first + 12 {
                let ticket = tracker.began(
                    offset: Int64(offset), fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: time(offset), type: .createTime)
                tracker.finished(try #require(ticket), .acted)
            }
            done = tracker.done()
            #expect(done?.witness == time(max(0, first + 12 - 16)), "reign \(reign)")
        }
    }

    private func checkpoint(_ done: DonePrefix) -> Checkpoint {
        Checkpoint(
            done: done, partitionCount: 3, identity: "record", epoch: 1, sealed: true, worker: "w", writtenAt: MillisecondTimestamp(clamped: 1))
    }

    @Test("A LogAppendTime checkpoint steps back by the measured lag first, and by the bound only when no tail confirms a place there")
    func measuredLag() throws {
        var checkpoint = prefix(10, tail: [a, b], witness: 2_000_000)
        checkpoint.timestampType = .logAppendTime
        var planner = ResumePlanner(
            checkpoint: checkpoint,
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 9))
        planner.settings.appendTimeLag = 5_000
        #expect(try planner.begin(committed: nil, identity: "record") == .lookUp(MillisecondTimestamp(clamped: 2_000_000 - 6_000)))
        var confirmed = planner
        _ = confirmed.lookedUp(6, firstTimed: 0)
        #expect(confirmed.see(offset: 6, fingerprint: a, timestamp: nil, now: 0) == .scanned)
        #expect(confirmed.see(offset: 7, fingerprint: b, timestamp: nil, now: 0) == .scanned)
        #expect(confirmed.phase == .acting(from: 8, .tail))

        _ = planner.lookedUp(6, firstTimed: 0)
        _ = planner.reachedEnd(now: 0)
        #expect(planner.reachedEnd(now: 30_000_000_000) == .restart(.lookUp(MillisecondTimestamp(clamped: 2_000_000 - 601_000)), gap: nil))
        _ = planner.lookedUp(2, firstTimed: 0)
        #expect(planner.reachedEnd(now: 31_000_000_000) == nil)
        guard case .restart(.read(from: 2), let gap) = planner.reachedEnd(now: 61_000_000_000) else {
            Issue.record("did not give up after the bound")
            return
        }
        #expect(gap?.reason == .unconfirmedAppendTime)
    }

    @Test("A LogAppendTime checkpoint steps back by the configured bound, and an unconfirmed start is reported")
    func logAppendTime() throws {
        var checkpoint = prefix(10, tail: [a, b], witness: 2_000_000)
        checkpoint.timestampType = .logAppendTime
        var planner = ResumePlanner(
            checkpoint: checkpoint,
            log: ResumePlanner.Log(cluster: ClusterID("there"), partitionCount: 3, start: 0, highWatermark: 9))
        #expect(try planner.begin(committed: nil, identity: "record") == .lookUp(MillisecondTimestamp(clamped: 2_000_000 - 601_000)))
        _ = planner.lookedUp(4, firstTimed: 0)
        _ = planner.reachedEnd(now: 0)
        guard case .restart(.read(from: 4), let gap) = planner.reachedEnd(now: 30_000_000_000) else {
            Issue.record("did not give up")
            return
        }
        #expect(gap?.reason == .unconfirmedAppendTime)
    }
}
