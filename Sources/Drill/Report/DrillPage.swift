import Foundation

/// A report as one HTML page that needs nothing else: readable on a phone, printable, light and dark.
public struct DrillPage {
    private let report: DrillReport
    public init(_ report: DrillReport) { self.report = report }

    static func escape(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }

    private func e(_ text: String) -> String { Self.escape(text) }

    public var html: String {
        """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>Drill \(e(report.name)): \(DrillWords.verdict(report))</title>
        <style>
        \(Self.style)
        </style>
        </head>
        <body>
        <main>
        \([head, figures, timeline, objectives, moves, partitions, counts, phases, preflight, foot].joined(separator: "\n"))
        </main>
        </body>
        </html>

        """
    }

    // MARK: Pieces

    private func table(_ titles: [String], _ rows: [[String]], numbers: Set<Int> = [], style: String = "") -> String {
        guard !rows.isEmpty else { return "" }
        func kind(_ index: Int) -> String { numbers.contains(index) ? #" class="n""# : "" }
        let head = titles.enumerated().map { "<th\(kind($0))>\($1)</th>" }.joined()
        let body = rows.map { "<tr>" + $0.enumerated().map { "<td\(kind($0))>\($1)</td>" }.joined() + "</tr>" }.joined(separator: "\n")
        return "<div class=\"scroll\"><table\(style.isEmpty ? "" : " class=\"\(style)\"")><thead><tr>\(head)</tr></thead><tbody>\n\(body)\n</tbody></table></div>"
    }

    private func section(_ title: String, _ body: [String]) -> String {
        let body = body.filter { !$0.isEmpty }
        return body.isEmpty ? "" : "<section>\n<h2>\(e(title))</h2>\n\(body.joined(separator: "\n"))\n</section>"
    }

    private func lamp(_ isGood: Bool, _ text: String) -> String { "<span class=\"lamp \(isGood ? "good" : "bad")\">\(e(text))</span>" }

    private var head: String {
        let verdict = report.verdict
        let complaints = verdict.complaints.map { "<li>\(e($0))</li>" }.joined()
        let summary = report.scenario.summary
        return """
            <header>
            <p class="verdict \(verdict.met ? "good" : "bad")">\(DrillWords.verdict(report))</p>
            <h1>Drill \(e(report.name))</h1>
            <p>\(e(summary.prefix(1).uppercased() + summary.dropFirst())). \(e(DrillWords.mode(report.mode).capitalizedFirst)); \(e(report.origin))'s topics, group <code>\(e(report.group))</code>.</p>
            <p class="quiet">\(e(report.began)), \(DrillWords.seconds(report.seconds)), by \(e(report.operatorName))\(report.reason.isEmpty ? "" : ": \(e(report.reason))")</p>
            \(complaints.isEmpty ? "" : "<ul class=\"complaints\">\(complaints)</ul>")
            </header>
            """
    }

    private var figures: String {
        let counts = report.counts
        func figure(_ value: String, _ name: String, _ isGood: Bool? = nil) -> String {
            "<div class=\"figure\(isGood.map { $0 ? " good" : " bad" } ?? "")\"><b>\(e(value))</b><span>\(e(name))</span></div>"
        }
        func met(_ name: String) -> Bool? { report.verdict.objectives.first { $0.name == name }?.met }
        var all = [
            figure("\(counts.lost)", "lost", counts.lost == 0), figure("\(counts.repeats.byMoves)", "repeated", met("repeats")),
            figure("\(counts.produced)", "events produced"),
        ]
        for move in report.moves {
            all.append(figure(DrillWords.seconds(move.withoutOwner), "nobody acted: \(move.kind)", met(move.name == .home ? "rto_home" : "rto")))
        }
        return "<div class=\"figures\">\n\(all.joined(separator: "\n"))\n</div>"
    }

    private var timeline: String {
        guard !report.timeline.lanes.isEmpty else { return "" }
        func key(_ style: String, _ text: String) -> String { "<span><i class=\"\(style)\"></i>\(e(text))</span>" }
        var keys = [
            key("produced", "events produced"), key("dc0", "\(report.origin) acts"), key("dc1", "\(report.target) acts"), key("nobody", "nobody acts"), key("repeat", "acted on again"),
            key("moved", "retry or delayed event that moved"),
        ]
        if report.counts.lost > 0 { keys.append(key("lost", "lost")) }
        if !report.interruptions.isEmpty { keys.append(key("stopped", "the drill was interrupted")) }
        return section(
            "Who acted when",
            [
                "<div class=\"wide\">\(DrillTimeline(report, .wide).svg)</div>", "<div class=\"narrow\">\(DrillTimeline(report, .narrow).svg)</div>",
                "<p class=\"keys\">\(keys.joined(separator: " "))</p>",
                "<p class=\"quiet\">Each bar: the actions begun (grey: the events produced) in \(DrillWords.seconds(report.timeline.bucket)).</p>",
            ])
    }

    private var objectives: String {
        section(
            "Objectives",
            [
                table(
                    ["objective", "at most", "measured", ""],
                    report.verdict.objectives.map { objective in
                        [
                            e(DrillWords.objective(objective.name)), DrillWords.measure(objective.wanted, objective.unit),
                            DrillWords.measure(objective.measured, objective.unit), lamp(objective.met, objective.met ? "met" : "not met"),
                        ]
                    }, numbers: [1, 2])
            ])
    }

    private var moves: String {
        section(
            "Time without an owner",
            report.moves.map { move in
                "<h3>\(e(move.kind.capitalized)) from \(e(move.from)) to \(e(move.to))\(move.epoch.map { ", epoch \($0)" } ?? "")</h3>\n"
                    + "<p>Nobody acted for <b>\(DrillWords.seconds(move.withoutOwner))</b> in the slowest partition.</p>\n" + bars(move)
            })
    }

    /// The parts of a move below each other, each where it lies in time.
    private func bars(_ move: DrillReport.Move) -> String {
        guard let start = move.intervals.map(\.start).min(), let end = move.intervals.map(\.end).max(), end > start else { return "" }
        let rows = move.intervals.map { interval in
            let left = (interval.start - start) / (end - start) * 100, width = max(0.6, interval.seconds / (end - start) * 100)
            return "<tr><td>\(e(interval.name))</td><td class=\"n\">\(DrillWords.seconds(interval.seconds))</td><td class=\"bar\"><span style=\"margin-left:"
                + String(format: "%.1f", min(left, 99.4)) + "%;width:" + String(format: "%.1f", min(width, 100)) + "%\"></span></td></tr>"
        }
        return "<table class=\"parts\"><tbody>\n\(rows.joined(separator: "\n"))\n</tbody></table>"
    }

    private var partitions: String {
        section(
            "By partition",
            report.moves.map { move in
                "<h3>\(e(move.kind.capitalized)) from \(e(move.from)) to \(e(move.to))</h3>\n"
                    + table(
                        ["partition", "checkpoint", "resumed at", "found by", "nobody acted", "repeated", "they span"],
                        move.partitions.map { partition in
                            [
                                e(partition.label), partition.resumption?.checkpointOffset.map(String.init) ?? "none",
                                partition.resumption.map { "\($0.resumedOffset)" } ?? "-", e(DrillWords.method(partition)),
                                DrillWords.seconds(partition.pause), "\(partition.repeats)", DrillWords.seconds(partition.repeatSeconds),
                            ]
                        }, numbers: [0, 1, 2, 4, 5, 6])
            })
    }

    private var counts: String {
        let counts = report.counts, repeats = counts.repeats
        let rows = [
            ("produced (acknowledged)", counts.produced), ("acted on", counts.acted), ("lost", counts.lost), ("repeated by the switch", repeats.bySwitch),
            ("of these named as done by a checkpoint", repeats.known), ("repeated by the way home", repeats.byHome),
            ("repeated by an interruption of the drill", repeats.byInterruption), ("in the lost datacenter alone at the cut", counts.stranded),
            ("actions of the fenced side", counts.fencedActions), ("gap events", counts.gaps.count),
        ]
        return section(
            "Events, counted by id",
            [
                table(["", "events"], rows.map { [e($0.0), "\($0.1)"] }, numbers: [1], style: "small"),
                counts.gaps.isEmpty ? "" : "<ul>" + counts.gaps.map { "<li>gap: \(e($0))</li>" }.joined() + "</ul>",
                table(
                    ["pending at the cut", "how many", "acted on by \(e(report.target))", "after the way home", "lost"],
                    [("retries", report.retries), ("delayed events", report.delayed)].map { name, moved in
                        [name, "\(moved.pending)", "\(moved.byNewSide)", "\(moved.afterHome)", "\(moved.lost)"]
                    }, numbers: [1, 2, 3, 4]),
                samples("Lost", counts.lost, counts.lostSamples), samples("Repeated", repeats.total, counts.repeatSamples),
                "<p class=\"quiet\">\(e(counts.method))</p>",
            ])
    }

    private func samples(_ title: String, _ total: Int, _ samples: [DrillReport.Sample]) -> String {
        guard !samples.isEmpty else { return "" }
        return "<details\(title == "Lost" ? " open" : "")><summary>\(title): \(samples.count) of \(total)</summary>\n"
            + table(
                ["id", "partition", "offset in \(e(report.origin))", "produced", "actions"],
                samples.map {
                    ["<code>\(e($0.id))</code>", "\($0.partition)", "\($0.offset)", DrillWords.moment($0.producedAt), e($0.actions.joined(separator: ", "))]
                }, numbers: [1, 2, 3]) + "</details>"
    }

    private var phases: String {
        section(
            "Phases",
            [
                table(
                    ["phase", "began", "took", "outcome", ""],
                    report.phases.map { phase in
                        [
                            e(phase.title), DrillWords.moment(phase.start), DrillWords.seconds(phase.end.map { $0 - phase.start }),
                            lamp(phase.outcome == .done || phase.outcome == .skipped, DrillWords.outcome(phase)), e(phase.detail),
                        ]
                    }, numbers: [1, 2]),
                report.interruptions.map {
                    "<p>Interrupted in phase \(e($0.phase)) at \(DrillWords.moment($0.stopped)), gone on with at \(DrillWords.moment($0.resumed)).</p>"
                }.joined(),
            ])
    }

    private var preflight: String {
        section("Preflight", [table(["", "check", "found"], report.preflight.map { [lamp($0.light == .green, $0.light.rawValue), e($0.name), e($0.detail)] })])
    }

    private var foot: String {
        let versions = report.versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
        return "<footer>\(e(versions)). Plan \(e(report.configHash)), seed \(report.seed), drill \(e(report.id)). Ended \(e(report.ended)).</footer>"
    }
}

extension String {
    fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
