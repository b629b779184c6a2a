import Foundation

/// How numbers and names of a report are written, the same in Markdown, in HTML and on the terminal.
enum DrillWords {
    /// Such as `2.31 s`, `340 ms`, `1 min 12 s`; nil is `-`.
    static func seconds(_ value: Double?) -> String {
        guard let value else { return "-" }
        if value < 0.9995 { return "\(Int((value * 1000).rounded())) ms" }
        if value < 60 { return String(format: "%.2f s", value) }
        return "\(Int(value) / 60) min \(Int(value.rounded()) % 60) s"
    }

    /// Seconds since the drill began: `12.3 s`.
    static func moment(_ value: Double?) -> String { value.map { String(format: "%.1f s", $0) } ?? "-" }

    static func measure(_ value: Double?, _ unit: String) -> String {
        guard let value else { return "not measured" }
        return unit == "s" ? seconds(value) : "\(Int(value))"
    }

    static func objective(_ name: String) -> String {
        switch name {
        case "rto": "time without an owner, at the switch"
        case "rto_home": "time without an owner, on the way home"
        case "caught_up": "from the cut until all caught up"
        case "lost": "events lost"
        case "repeats": "events repeated by the moves"
        case "known_repeats": "repeats that a checkpoint named as done"
        case "gaps": "gap events"
        case "fenced_actions": "actions of the fenced side"
        default: name
        }
    }

    static func outcome(_ phase: DrillReport.Phase) -> String {
        (phase.outcome?.rawValue ?? "not ended") + (phase.restarts > 0 ? ", begun \(phase.restarts + 1) times" : "")
    }

    static func mode(_ mode: DrillSetting.Mode) -> String {
        switch mode {
        case .embedded: "two embedded datacenters"
        case .liveCanary: "live clusters, canaries only"
        case .liveGroup: "live clusters, the real group"
        }
    }

    static func verdict(_ report: DrillReport) -> String {
        if report.verdict.met { return "MET" }
        return report.verdict.complaints.contains("the drill was aborted") ? "ABORTED" : "NOT MET"
    }

    /// What happened, in a sentence or two.
    static func summary(_ report: DrillReport) -> String {
        let counts = report.counts
        let moves = report.moves.map { "\($0.kind.capitalized) from \($0.from) to \($0.to): nobody acted for \(seconds($0.withoutOwner))." }
        if report.mode == .liveGroup { return moves.joined(separator: " ") }
        var text = "\(counts.produced) events were produced, \(counts.acted) of them acted on, \(counts.lost) lost, \(counts.repeats.byMoves) repeated"
        if counts.repeats.byMoves > 0 { text += " (\(counts.repeats.known) of them known as done)" }
        return ([text + "."] + moves).joined(separator: " ")
    }

    static func method(_ move: DrillReport.PartitionMove) -> String { move.resumption?.method ?? "not reported" }
}
