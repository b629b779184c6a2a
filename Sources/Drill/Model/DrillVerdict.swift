/// Holds a drill's objectives against what it measured. Pure.
enum DrillVerdict {
    /// - Parameters:
    ///   - isCounted: false: a real group's move, which is judged by what its workers wrote.
    ///   - ended: `done`, `aborted`, or why it could not be carried through.
    static func judge(
        _ objectives: DrillPlan.Objectives, _ moves: [DrillReport.Move], _ counts: DrillReport.Counts, checks: [DrillReport.Check], cut: Double?,
        ended: String?, isCounted: Bool = true
    ) -> DrillReport.Verdict {
        var results: [DrillReport.Objective] = []
        func add(_ name: String, _ wanted: Double?, _ measured: Double?, _ unit: String) {
            guard let wanted else { return }
            results.append(.init(name: name, wanted: wanted, measured: measured, unit: unit, met: measured.map { $0 <= wanted } ?? false))
        }
        let isOver = ended == "done"
        func whenOver(_ count: Int) -> Double? { isOver && (isCounted || GroupAccount.isExact(moves)) ? Double(count) : nil }
        let there = moves.first { $0.name == .switchOver }, home = moves.first { $0.name == .home }
        add("rto", objectives.rto, there?.withoutOwner, "s")
        add("rto_home", objectives.rtoHome, home?.withoutOwner, "s")
        let caughtUp = there?.intervals.first { $0.name == "caught up" }?.end
        add("caught_up", objectives.caughtUp, cut.flatMap { cut in caughtUp.map { $0 - cut } }, "s")
        add("lost", objectives.lost.map(Double.init), whenOver(counts.lost), "events")
        add("repeats", objectives.repeats.map(Double.init), whenOver(counts.repeats.byMoves), "events")
        add("known_repeats", objectives.knownRepeats.map(Double.init), whenOver(counts.repeats.known), "events")
        add("gaps", objectives.gaps.map(Double.init), whenOver(counts.gaps.count), "events")
        add("fenced_actions", objectives.fencedActions.map(Double.init), whenOver(counts.fencedActions), "events")

        var complaints: [String] = []
        if let ended, ended != "done" { complaints.append(ended == "aborted" ? "the drill was aborted" : ended) }
        if ended == nil { complaints.append("the drill was interrupted; 'switchback drill resume' goes on, 'switchback drill abort' takes it back") }
        let red = checks.filter { $0.light == .red }
        if !red.isEmpty { complaints.append("preflight is red: \(red.map(\.name).joined(separator: ", "))") }
        if counts.strangers > 0 { complaints.append("\(counts.strangers) calls for ids that nobody produced") }
        if counts.repeats.before > 0 { complaints.append("\(counts.repeats.before) events were repeated before anything happened") }
        if isOver, isCounted, counts.acted == 0 { complaints.append("no canary was acted on") }
        // Not an objective that could be left out.
        if isOver, counts.lost > 0, objectives.lost == nil { complaints.append("\(counts.lost) events were lost") }
        return .init(met: isOver && complaints.isEmpty && results.allSatisfy(\.met), objectives: results, complaints: complaints)
    }
}
