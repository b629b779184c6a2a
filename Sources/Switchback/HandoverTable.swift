import Foundation
import Handover
import TextTable

extension HandoverCommand {
    /// One line of the tables: an assignment, or a slice of it that is elsewhere.
    struct Row {
        var group: String
        var origin: String
        var owner: String
        var partitions: String
        var phase = ""
        var epoch = ""
        var kind = ""
        var since = ""
        var by = ""

        /// The assignment's own line, then one for each other datacenter that owns partitions.
        static func rows(group: String, origin: String, _ assignment: Assignment) -> [Row] {
            let shares = assignment.shares
            let total = assignment.reported.count
            func count(_ owned: Int) -> String { owned == total ? "\(total)" : "\(owned) of \(total)" }
            var first = Row(
                group: group, origin: origin, owner: assignment.owner.name, partitions: count(shares[assignment.owner] ?? 0))
            first.phase = phase(assignment)
            first.epoch = "\(assignment.epoch)"
            first.kind = assignment.kind.rawValue
            first.since = Date(timeIntervalSince1970: Double(assignment.since.milliseconds) / 1000).ISO8601Format()
            first.by = assignment.by + (assignment.reason.isEmpty ? "" : " (\(assignment.reason))")
            let slices = shares.filter { $0.key != assignment.owner }.sorted { $0.key < $1.key }.map {
                Row(group: group, origin: origin, owner: $0.key.name, partitions: count($0.value))
            }
            return [first] + slices
        }

        private static func phase(_ assignment: Assignment) -> String {
            let number = if case .only(let partitions)? = assignment.phase.scope { " \(partitions.count)" } else { "" }
            return switch assignment.phase {
            case .stable: "stable"
            case .draining where assignment.kind == .rewind: "rewinding\(number)"
            case .draining(let target, _): "draining\(number) to \(target)"
            case .resuming(let from, _): "resuming\(number) from \(from)"
            }
        }

        static func table() -> TextTable<Row> { TextTable<Row> {
            [
                Column("GROUP" <- $0.group), Column("ORIGIN" <- $0.origin), Column("OWNER" <- $0.owner), Column("PARTS" <- $0.partitions),
                Column("PHASE" <- $0.phase), Column("EPOCH" <- $0.epoch), Column("KIND" <- $0.kind), Column("SINCE" <- $0.since),
                Column("BY" <- $0.by),
            ]
        } }
    }
}
