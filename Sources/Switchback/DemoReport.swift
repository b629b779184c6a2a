import Demo
import Foundation
import TextTable

/// A demonstration's result, as tables and as JSON.
struct DemoReport {
    private let result: DemoResult
    init(_ result: DemoResult) { self.result = result }

    // MARK: Text

    private struct Line {
        let what: String
        let home: String
        let away: String
    }

    private struct Place {
        let partition: Int32
        let before: String
        let after: String
        let found: String
    }

    var text: String {
        let (home, away) = (result.home, result.away)
        func line(_ what: String, _ value: (Ledger.Account) -> Int) -> Line { Line(what: what, home: "\(value(home))", away: "\(value(away))") }
        func seconds(_ value: Double) -> String { String(format: "%.1f s", value) }
        let lines = [
            line("produced (acknowledged)", \.produced), line("not wanted by the rule", \.skipped), line("acted on", \.acted),
            line("lost", \.lost), line("repeated after the failover", \.repeatsAfterFailover),
            line("  of these: named as done by a checkpoint", \.repeatsKnown),
            line("repeated by the planned switchback", \.repeatsAfterSwitchback),
            Line(what: "nobody acting: after the kill", home: seconds(result.idleAfterFailover), away: "-"),
            Line(what: "nobody acting: at the switchback", home: seconds(result.idleAtSwitchback), away: "-"),
        ]
        let table = TextTable<Line> {
            [
                Column("EVENTS" <- $0.what), Column("eqiad.*" <- $0.home, align: .right), Column("codfw.*" <- $0.away, align: .right),
            ]
        }
        var text = "\n" + (table.string(for: lines, style: Style.plain) ?? "")
        text += "\n" + places("FAILOVER", "CHECKPOINT IN EQIAD", "RESUMED IN CODFW", result.failover)
        text += "\n" + places("SWITCHBACK", "CHECKPOINT IN CODFW", "RESUMED IN EQIAD", result.switchback) + "\n"
        if result.complaints.isEmpty {
            text += "Nothing lost, nothing repeated that could have been known, in \(Int(result.seconds)) s."
            if home.repeatsAfterFailover > 0 {
                text += "\nThe \(home.repeatsAfterFailover) repeats after the kill had been finished after the last checkpoint."
            }
        } else {
            text += "NOT GOOD: " + result.complaints.joined(separator: "; ")
        }
        return text
    }

    private func places(_ title: String, _ before: String, _ after: String, _ resumptions: [DemoResult.Resumption]) -> String {
        let rows = resumptions.map {
            Place(
                partition: $0.partition.partition, before: $0.checkpoint.map(String.init) ?? "none", after: "\($0.resumedAt)", found: $0.found)
        }
        let table = TextTable<Place> {
            [
                Column("\(title): PARTITION" <- $0.partition), Column(before <- $0.before, align: .right),
                Column(after <- $0.after, align: .right), Column("FOUND BY" <- $0.found),
            ]
        }
        return table.string(for: rows, style: Style.plain) ?? ""
    }

    // MARK: JSON

    struct JSON: Encodable {
        struct Account: Encodable {
            let produced, skipped, acted, lost, unwanted, unacknowledged: Int
            let repeatedBefore, repeatedAfterFailover, repeatedKnown, repeatedBySwitchback: Int

            init(_ account: Ledger.Account) {
                (produced, skipped, acted, lost) = (account.produced, account.skipped, account.acted, account.lost)
                (unwanted, unacknowledged) = (account.unwanted, account.unacknowledged)
                (repeatedBefore, repeatedAfterFailover) = (account.repeatsBefore, account.repeatsAfterFailover)
                (repeatedKnown, repeatedBySwitchback) = (account.repeatsKnown, account.repeatsAfterSwitchback)
            }
        }

        struct Place: Encodable {
            let partition: Int32
            /// null: there was no checkpoint.
            let checkpointOffset: Int64?
            let resumedOffset: Int64
            let found: String

            init(_ place: DemoResult.Resumption) {
                (partition, checkpointOffset) = (place.partition.partition, place.checkpoint)
                (resumedOffset, found) = (place.resumedAt, place.found)
            }
        }

        let good: Bool
        let complaints: [String]
        let eqiad, codfw: Account
        let gaps, waitedInEqiad: Int
        let secondsIdleAfterKill, secondsIdleAtSwitchback, seconds: Double
        let failover, switchback: [Place]
    }

    var json: JSON {
        JSON(
            good: result.complaints.isEmpty, complaints: result.complaints, eqiad: .init(result.home), codfw: .init(result.away),
            gaps: result.gaps, waitedInEqiad: result.stranded, secondsIdleAfterKill: result.idleAfterFailover,
            secondsIdleAtSwitchback: result.idleAtSwitchback, seconds: result.seconds, failover: result.failover.map(JSON.Place.init),
            switchback: result.switchback.map(JSON.Place.init))
    }
}
