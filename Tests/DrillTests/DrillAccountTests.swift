import Testing

@testable import Drill

@Suite("A drill's account, verdict and journal, from a fixed journal")
struct DrillAccountTests {
    @Test("Lost, repeated, known and moved events are told by their ids")
    func counts() throws {
        let report = try FixedDrill.report()
        let counts = report.counts
        #expect(counts.produced == 20 && counts.acted == 19 && counts.lost == 1 && counts.strangers == 0)
        #expect(counts.lostSamples.map(\.id) == ["e15"])
        #expect(counts.repeats.bySwitch == 3 && counts.repeats.byHome == 0 && counts.repeats.before == 0)
        #expect(counts.repeats.known == 1, "e02 lies before the checkpoint's offset 103; e05 and e13 do not")
        #expect(counts.stranded == 2)
        #expect(report.retries.pending == 1 && report.retries.byNewSide == 1)
        #expect(report.delayed.pending == 1 && report.delayed.byNewSide == 1)
        #expect(counts.fencedActions == 0)
    }

    @Test("Time without an owner is the slowest partition's, from the cut on, and its parts are told apart")
    func moves() throws {
        let report = try FixedDrill.report()
        let there = try #require(report.moves.first), home = try #require(report.moves.last)
        #expect(there.kind == "failover" && there.epoch == 2 && abs((there.withoutOwner ?? 0) - 3.3) < 0.001)
        #expect(there.intervals.map(\.name) == ["detect", "decide", "fence", "resolve", "first action", "caught up"])
        #expect(there.partitions.map(\.repeats) == [2, 1])
        #expect(home.kind == "switchback" && home.intervals.map(\.name) == ["drain", "fence", "resolve", "first action", "caught up"])
        // Codfw's last action at 13.3 (produced at 13), eqiad's first at 14.4 (produced at 14.3): nobody had anything to do for most of it.
        #expect(home.partitions.allSatisfy { ($0.pause ?? 1) < 0.001 })
    }

    @Test("A lost event, and a repeat that was known as done, are objectives that are not met")
    func verdict() throws {
        let verdict = try FixedDrill.report().verdict
        #expect(!verdict.met)
        #expect(verdict.objectives.filter { !$0.met }.map(\.name) == ["lost", "known_repeats"])
        #expect(verdict.complaints == [])
    }

    @Test("What an interrupted drill could not measure is not met")
    func interrupted() throws {
        let cut = FixedDrill.journal.firstIndex { $0.mark == .raised } ?? 0
        let state = try FixedDrill.state(Array(FixedDrill.journal.prefix(cut)))
        #expect(state.current == .fence && state.ended == nil && state.hasMoved)
        let report = try FixedDrill.report(state)
        #expect(!report.verdict.met && report.verdict.objectives.first { $0.name == "lost" }?.measured == nil)
        #expect(report.verdict.complaints.contains { $0.contains("drill resume") })
        #expect(report.counts.lost == 0, "what is not acted on yet is not lost")
    }

    @Test("An interruption's repeats are its own, and its phase is begun again")
    func resumed() throws {
        let cut = FixedDrill.journal.firstIndex { $0.mark == .stable } ?? 0
        var entries = Array(FixedDrill.journal.prefix(cut))
        entries.append(FixedDrill.entry(9.25, .resumed))
        entries.append(FixedDrill.entry(9.26, .phaseStarted) { $0.phase = .switchOver })
        let state = try FixedDrill.state(entries)
        #expect(state.phases[.switchOver]?.restarts == 1)
        let report = try FixedDrill.report(state)
        #expect(report.counts.repeats.byInterruption == 3 && report.counts.repeats.bySwitch == 0)
        #expect(report.interruptions.map(\.phase) == ["switch"])
    }

    @Test("A journal out of order is refused")
    func order() throws {
        var state = DrillState()
        #expect(throws: DrillState.Disorder.self) { try state.apply(FixedDrill.entry(0, .note)) }
        try state.apply(FixedDrill.journal[0])
        #expect(throws: DrillState.Disorder.self) { try state.apply(FixedDrill.entry(1, .phaseStarted) { $0.phase = .fence }) }
        #expect(throws: DrillState.Disorder.self) { try state.apply(FixedDrill.entry(1, .phaseEnded) { ($0.phase, $0.outcome) = (.preflight, .done) }) }
        try state.apply(FixedDrill.entry(1, .ended) { $0.text = "aborted" })
        #expect(throws: DrillState.Disorder.self) { try state.apply(FixedDrill.entry(2, .note)) }
    }

    @Test("A last line that a crash cut off is left out; any other that can't be read is named with its number")
    func lines() throws {
        #expect(DrillLines.complete("a\nb\nhalf") == ["a", "b"])
        #expect(DrillLines.complete("half") == [])
    }
}
