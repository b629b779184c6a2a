import Foundation

/// A report in the few lines that a terminal shows at the end.
public struct DrillSummary {
    private let report: DrillReport
    public init(_ report: DrillReport) { self.report = report }

    public var text: String {
        var lines = ["", "\(DrillWords.verdict(report))  drill \(report.name): \(report.scenario.summary)", DrillWords.summary(report)]
        for objective in report.verdict.objectives {
            lines.append(
                "  \(objective.met ? "met    " : "NOT MET") \(DrillWords.objective(objective.name)): "
                    + "\(DrillWords.measure(objective.measured, objective.unit)), at most \(DrillWords.measure(objective.wanted, objective.unit))")
        }
        for complaint in report.verdict.complaints { lines.append("  \(complaint)") }
        if !report.counts.lostSamples.isEmpty {
            lines.append("lost, \(report.counts.lostSamples.count) of \(report.counts.lost):")
            lines += report.counts.lostSamples.map { "  \($0.id)  partition \($0.partition), offset \($0.offset) in \(report.origin)" }
        }
        return lines.joined(separator: "\n")
    }
}
