import Foundation

/// A report as Markdown.
public struct DrillMarkdown {
    private let report: DrillReport
    public init(_ report: DrillReport) { self.report = report }

    public var text: String {
        (head + timeWithoutOwner + phases + counts + partitions + preflight + foot).joined(separator: "\n") + "\n"
    }

    private func cell(_ text: String) -> String { text.replacing("|", with: "\\|").replacing("\n", with: " ") }

    private func table(_ titles: [String], _ rows: [[String]], numbers: Set<Int> = []) -> [String] {
        guard !rows.isEmpty else { return [] }
        let rule = titles.indices.map { numbers.contains($0) ? "---:" : "---" }
        return ([titles, rule] + rows.map { $0.map(cell) }).map { "| " + $0.joined(separator: " | ") + " |" } + [""]
    }

    private var head: [String] {
        var lines = [
            "# Drill \(report.name): \(DrillWords.verdict(report))", "",
            "\(report.scenario.summary.prefix(1).uppercased())\(report.scenario.summary.dropFirst()); \(DrillWords.mode(report.mode)). "
                + "\(report.origin)'s topics, group `\(report.group)`.", "",
            DrillWords.summary(report), "",
        ]
        lines += report.verdict.complaints.map { "- **\(cell($0))**" }
        if !report.verdict.complaints.isEmpty { lines.append("") }
        lines += table(
            ["objective", "wanted", "measured", ""],
            report.verdict.objectives.map { objective in
                [
                    DrillWords.objective(objective.name), "at most \(DrillWords.measure(objective.wanted, objective.unit))",
                    DrillWords.measure(objective.measured, objective.unit), objective.met ? "met" : "**not met**",
                ]
            }, numbers: [1, 2])
        return lines
    }

    private var timeWithoutOwner: [String] {
        guard !report.moves.isEmpty else { return [] }
        var lines = ["## Time without an owner", ""]
        for move in report.moves {
            lines += [
                "\(move.kind.capitalized) from \(move.from) to \(move.to)\(move.epoch.map { ", epoch \($0)" } ?? ""): nobody acted for "
                    + "**\(DrillWords.seconds(move.withoutOwner))** (slowest partition).", "",
            ]
            lines += table(
                ["part", "from", "to", "took"],
                move.intervals.map { [$0.name, DrillWords.moment($0.start), DrillWords.moment($0.end), DrillWords.seconds($0.seconds)] },
                numbers: [1, 2, 3])
        }
        return lines
    }

    private var phases: [String] {
        ["## Phases", ""]
            + table(
                ["phase", "began", "took", "outcome", ""],
                report.phases.map { phase in
                    [
                        phase.title, DrillWords.moment(phase.start), DrillWords.seconds(phase.end.map { $0 - phase.start }),
                        DrillWords.outcome(phase), phase.detail,
                    ]
                }, numbers: [1, 2])
            + report.interruptions.map { "Interrupted in phase \($0.phase) at \(DrillWords.moment($0.stopped)), gone on with at \(DrillWords.moment($0.resumed))." }
            + (report.interruptions.isEmpty ? [] : [""])
    }

    private var counts: [String] {
        let counts = report.counts, repeats = counts.repeats
        var lines = ["## Events, counted by id", ""]
        lines += table(
            ["", "events"],
            [
                ["produced (acknowledged)", "\(counts.produced)"], ["acted on", "\(counts.acted)"], ["lost", "\(counts.lost)"],
                ["repeated by the switch", "\(repeats.bySwitch)"], ["of these named as done by a checkpoint", "\(repeats.known)"],
                ["repeated by the way home", "\(repeats.byHome)"], ["repeated by an interruption of the drill", "\(repeats.byInterruption)"],
                ["in the lost datacenter alone at the cut", "\(counts.stranded)"], ["actions of the fenced side", "\(counts.fencedActions)"],
                ["gap events", "\(counts.gaps.count)"],
            ], numbers: [1])
        lines += counts.gaps.map { "- gap: \($0)" }
        lines += [counts.method, ""]
        lines += table(
            ["pending at the cut", "how many", "acted on by \(report.target)", "after the way home", "lost"],
            [("retries", report.retries), ("delayed events", report.delayed)].map { name, moved in
                [name, "\(moved.pending)", "\(moved.byNewSide)", "\(moved.afterHome)", "\(moved.lost)"]
            }, numbers: [1, 2, 3, 4])
        lines += samples("Lost", counts.lost, counts.lostSamples) + samples("Repeated", repeats.total, counts.repeatSamples)
        return lines
    }

    private func samples(_ title: String, _ total: Int, _ samples: [DrillReport.Sample]) -> [String] {
        guard !samples.isEmpty else { return [] }
        return ["\(title), \(samples.count) of \(total):", ""]
            + table(
                ["id", "partition", "offset in \(report.origin)", "produced", "actions"],
                samples.map { ["`\($0.id)`", "\($0.partition)", "\($0.offset)", DrillWords.moment($0.producedAt), $0.actions.joined(separator: ", ")] },
                numbers: [1, 2, 3])
    }

    private var partitions: [String] {
        report.moves.flatMap { move in
            ["## \(move.kind.capitalized) from \(move.from) to \(move.to), by partition", ""]
                + table(
                    ["partition", "checkpoint", "resumed at", "found by", "nobody acted for", "repeated", "repeats span"],
                    move.partitions.map { partition in
                        [
                            partition.label, partition.resumption?.checkpointOffset.map(String.init) ?? "none",
                            partition.resumption.map { "\($0.resumedOffset)" } ?? "-", DrillWords.method(partition),
                            DrillWords.seconds(partition.pause), "\(partition.repeats)", DrillWords.seconds(partition.repeatSeconds),
                        ]
                    }, numbers: [0, 1, 2, 4, 5, 6])
        }
    }

    private var preflight: [String] {
        guard !report.preflight.isEmpty else { return [] }
        return ["## Preflight", ""] + table(["", "check", "found"], report.preflight.map { [$0.light.rawValue, $0.name, $0.detail] })
    }

    private var foot: [String] {
        let versions = report.versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return [
            "---", "",
            "\(report.began) to \(report.ended) (\(DrillWords.seconds(report.seconds))). Operator: \(report.operatorName)."
                + (report.reason.isEmpty ? "" : " Reason: \(report.reason).") + " \(versions). Plan \(report.configHash), seed \(report.seed), drill \(report.id).",
        ]
    }
}
