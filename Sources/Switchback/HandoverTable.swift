import Foundation
import Handover
import Offsets

extension HandoverCommand {
    /// An assignment as `handover show` and `handover history` show it. Field names are those of the JSON (Docs/Offsets.md).
    struct Row: Encodable {
        var group: String
        var origin: String
        /// Owns what is not placed elsewhere.
        var owner: String
        /// How many of the reported partitions each datacenter owns.
        var shares: [String: Int]
        var partitions: Int
        /// `stable`, `draining`, `rewinding` or `resuming`.
        var phase: String
        /// The partitions that it is about; nil: all of them, or it is stable.
        var scope: Int?
        /// The target of a drain, or who owned what is being resumed.
        var other: String?
        var epoch: Int64
        var kind: String
        /// Milliseconds since 1970.
        var since: Int64
        var by: String
        var begunBy: String
        var reason: String

        init(group: String, origin: String, _ assignment: Assignment) {
            self.group = group
            self.origin = origin
            owner = assignment.owner.name
            shares = Dictionary(uniqueKeysWithValues: assignment.shares.map { ($0.key.name, $0.value) })
            partitions = assignment.reported.count
            if case .only(let partitions)? = assignment.phase.scope { scope = partitions.count }
            switch assignment.phase {
            case .stable: phase = "stable"
            case .draining where assignment.kind == .rewind: phase = "rewinding"
            case .draining(let target, _): (phase, other) = ("draining", target.name)
            case .resuming(let from, _): (phase, other) = ("resuming", from.name)
            }
            epoch = assignment.epoch
            kind = assignment.kind.rawValue
            since = assignment.since.milliseconds
            by = assignment.by
            begunBy = assignment.begunBy
            reason = assignment.reason
        }

        private var phaseText: String {
            let number = scope.map { " \($0)" } ?? ""
            return phase + number + (other.map { phase == "draining" ? " to \($0)" : " from \($0)" } ?? "")
        }

        /// The assignment's own line, then one for each other datacenter that owns partitions.
        static func sheet(_ rows: [Row]) -> Sheet {
            let columns: [Sheet.Column] = [
                .init("GROUP", shrinksTo: 12), .init("ORIGIN"), .init("OWNER"), .init("PARTS"), .init("PHASE", shrinksTo: 12), .init("EPOCH", isNumber: true),
                .init("KIND", rank: 1), .init("SINCE", rank: 2), .init("BY", rank: 3),
            ]
            return Sheet(
                columns,
                rows: rows.flatMap { row -> [[Sheet.Cell]] in
                    func count(_ owned: Int) -> String { owned == row.partitions ? "\(owned)" : "\(owned) of \(row.partitions)" }
                    let since = Date(timeIntervalSince1970: Double(row.since) / 1000).ISO8601Format()
                    let by = row.by + (row.reason.isEmpty ? "" : " (\(row.reason))")
                    let own: [Sheet.Cell] = [
                        .init(row.group), .init(row.origin), .init(row.owner), .init(count(row.shares[row.owner] ?? 0)),
                        .init(row.phaseText, row.phase == "stable" ? nil : .warning), .init("\(row.epoch)"), .init(row.kind), .init(since), .init(by),
                    ]
                    let others = row.shares.filter { $0.key != row.owner }.sorted { $0.key < $1.key }
                    return [own] + others.map { [.init(row.group), .init(row.origin), .init($0.key), .init(count($0.value))] }
                })
        }

        static func csv(_ rows: [Row]) -> [[String]] {
            [["group", "origin", "owner", "shares", "partitions", "phase", "scope", "other", "epoch", "kind", "since", "by", "begunBy", "reason"]]
                + rows.map { row in
                    let shares = row.shares.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ";")
                    return [
                        row.group, row.origin, row.owner, shares, "\(row.partitions)", row.phase, row.scope.map { "\($0)" } ?? "", row.other ?? "", "\(row.epoch)",
                        row.kind, "\(row.since)", row.by, row.begunBy, row.reason,
                    ]
                }
        }
    }
}
