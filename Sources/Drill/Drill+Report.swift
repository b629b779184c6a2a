import ChangePropagation
import Foundation
import KafkaLog

extension Drill {
    /// What took part, with its version.
    static func versions(_ setting: DrillSetting) -> [String: String] {
        ["switchback": Worker.version, "librdkafka": KafkaVersion.text, "store": setting.store]
    }

    /// Makes the report of where the drill stands and writes it beside the journal, as JSON, Markdown and HTML.
    func report() throws -> DrillReport {
        let report = Self.report(
            of: state, produced: produced.all, sent: produced.sentIDs, calls: target.calls, at: clock.now, versions: Self.versions(setting))
        try Self.write(report, to: directory)
        return report
    }

    /// The same of a drill that nobody runs any more.
    public static func reportOf(_ directory: URL) throws -> DrillReport {
        let state = try DrillJournal.load(directory)
        let (events, sent) = try DrillProduced.load(directory)
        let calls = try DrillTarget.load(directory)
        let report = report(of: state, produced: events, sent: sent, calls: calls, at: state.last, versions: state.setting.map(versions) ?? [:])
        try write(report, to: directory)
        return report
    }

    private static func write(_ report: DrillReport, to directory: URL) throws {
        try DrillJSON(report).text.write(to: directory.appending(path: "report.json"), atomically: true, encoding: .utf8)
        try DrillMarkdown(report).text.write(to: directory.appending(path: "report.md"), atomically: true, encoding: .utf8)
        try DrillPage(report).html.write(to: directory.appending(path: "report.html"), atomically: true, encoding: .utf8)
    }

    /// Pure.
    static func report(
        of state: DrillState, produced: [ProducedEvent], sent: Set<String>, calls: [TargetCall], at now: Double, versions: [String: String]
    ) -> DrillReport {
        let setting = state.setting ?? Self.noSetting
        let plan = setting.plan
        let account = DrillAccount(produced: produced, sent: sent, calls: calls, state: state)
        let isComplete = state.marks[.loadEnded] != nil && state.phases[.verifyHome]?.outcome == .done
        let isCounted = setting.mode != .liveGroup
        var counts = account.counts(isComplete: isComplete)
        if !isCounted { counts.method = GroupAccount.method }
        let moves = isCounted ? account.moves() : GroupAccount.moves(state)
        let phases = DrillPhase.allCases.compactMap { phase in
            state.phases[phase].map {
                DrillReport.Phase(
                    name: phase.rawValue, title: phase.title(plan.scenario), start: $0.start, end: $0.end, outcome: $0.outcome, detail: $0.detail ?? "",
                    restarts: $0.restarts)
            }
        }
        let verdict = DrillVerdict.judge(
            plan.objectives, moves, counts, checks: state.checks, cut: state.marks[.cut], ended: state.ended, isCounted: isCounted)
        return DrillReport(
            id: setting.id, name: plan.name, scenario: plan.scenario, mode: setting.mode, began: time(setting.beganAt),
            ended: time(setting.beganAt + Int64(now * 1000)), seconds: now, operatorName: setting.operatorName, reason: plan.reason, versions: versions,
            configHash: plan.hash, seed: setting.seed, group: setting.group, origin: setting.origin, target: setting.target, verdict: verdict,
            preflight: state.checks, phases: phases, moves: moves, counts: counts, retries: account.moved(delayed: false, isComplete: isComplete),
            delayed: account.moved(delayed: true, isComplete: isComplete), interruptions: state.interruptions, notes: state.notes,
            marks: Dictionary(uniqueKeysWithValues: state.marks.map { ($0.key.rawValue, $0.value) }), timeline: isCounted ? account.timeline(end: now, isComplete: isComplete) : .init())
    }

    private static func time(_ milliseconds: Int64) -> String {
        Date(timeIntervalSince1970: Double(milliseconds) / 1000).formatted(.iso8601)
    }

    /// A state always has one by the time it is reported on.
    private static let noSetting = DrillSetting(
        id: "", plan: DrillPlan(.planned), mode: .embedded, seed: 0, store: "", origin: "", target: "", group: "", operatorName: "", beganAt: 0, version: "")
}

/// A report as JSON: fields in a fixed order, one value a line.
public struct DrillJSON {
    private let report: DrillReport
    public init(_ report: DrillReport) { self.report = report }

    public var text: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(report), as: UTF8.self) + "\n"
        }
    }
}
