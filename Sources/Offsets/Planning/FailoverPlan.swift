import Checkpoints
import KafkaLog

/// What a failover would meet now, partition by partition: `offsets plan`. Field names are those of its JSON.
public struct FailoverPlan: Encodable, Sendable, Hashable {
    public struct Line: Encodable, Sendable, Hashable {
        public var origin: String
        public var topic: String
        public var partition: Int32
        public var owner: String?
        /// Whether the target owns it already: nothing would change.
        public var stays: Bool
        /// Where acting would begin in the target's cluster. nil: it can't, or it would wait for the mirror first.
        public var resumeOffset: Int64?
        /// `ResumePlanner.Method`: same cluster, tail, anchor, time, log start.
        public var method: String?
        /// The place is not confirmed yet: the take-over would wait for the mirror, at most for the hold time (a sealed one without end).
        public var waitsForMirror: Bool
        /// At most so many records may be done a second time.
        public var repeatsAtMost: Int64?
        /// Between the times of the first and the last of them.
        public var repeatMilliseconds: Int64?
        /// Records of the origin that the target's cluster may not hold yet: they would wait where they are.
        public var notMirrored: Int64?
        /// Between the newest record of the target's cluster and the newest of the origin's.
        public var notMirroredMilliseconds: Int64?
        public var drain: Drain
        /// What the owner has not done of what is in its cluster. nil: not known.
        public var openRecords: Int64?
        public var gap: PartitionState.Gap?
        /// Why the take-over of this partition would be refused.
        public var refusal: String?
    }

    public enum Drain: String, Encodable, Sendable, Hashable {
        /// No worker of this epoch will act on it again.
        case sealed
        /// Everything in its owner's cluster is done.
        case done
        case open
        case unknown
    }

    public var group: String
    public var target: String
    /// Milliseconds since 1970.
    public var at: Int64
    public var totals: Totals
    public var partitions: [Line]

    public struct Totals: Encodable, Sendable, Hashable {
        public var partitions = 0
        public var moving = 0
        public var repeatsAtMost: Int64 = 0
        public var repeatMilliseconds: Int64?
        public var notMirrored: Int64 = 0
        public var waiting = 0
        public var gaps = 0
        public var refused = 0
    }

    public init(group: String, target: String, at: MillisecondTimestamp, partitions: [Line]) {
        self.group = group
        self.target = target
        self.at = at.milliseconds
        self.partitions = partitions
        totals = Totals()
        totals.partitions = partitions.count
        let moving = partitions.filter { !$0.stays }
        totals.moving = moving.count
        totals.repeatsAtMost = moving.reduce(0) { $0 + ($1.repeatsAtMost ?? 0) }
        totals.repeatMilliseconds = moving.compactMap(\.repeatMilliseconds).max()
        totals.notMirrored = moving.reduce(0) { $0 + ($1.notMirrored ?? 0) }
        totals.waiting = moving.count(where: \.waitsForMirror)
        totals.gaps = moving.count { $0.gap != nil }
        totals.refused = moving.count { $0.refusal != nil }
    }

    /// Whether a failover would go through without a gap and without a partition being refused.
    public var isGood: Bool { totals.gaps == 0 && totals.refused == 0 }

    // MARK: As text

    public var sheet: Sheet {
        Sheet(
            [
                .init("TOPIC", shrinksTo: 16), .init("P", isNumber: true), .init("OWNER", rank: 5), .init("GOES ON AT", isNumber: true), .init("FOUND BY"),
                .init("REPEATS ≤", isNumber: true), .init("SPAN", isNumber: true, rank: 2), .init("UNMIRRORED ≤", isNumber: true, rank: 3), .init("DRAIN", rank: 4),
                .init("GAP"),
            ],
            rows: partitions.map { line in
                if line.stays {
                    let known: [Sheet.Cell] = [.init(line.topic), .init("\(line.partition)"), .init(line.owner ?? "-"), .init("-"), .init("stays", .dim)]
                    return known + [Sheet.Cell](repeating: .init("-"), count: 5)
                }
                let found = line.refusal != nil ? "refused" : line.waitsForMirror ? "\(line.method ?? "tail"), waits" : line.method ?? "-"
                let gap = line.gap.map { $0.reason + ($0.records.map { " \($0)" } ?? "") } ?? "none"
                let open = line.drain == .open ? "open \(GroupSnapshot.number(line.openRecords))" : line.drain.rawValue
                return [
                    .init(line.topic), .init("\(line.partition)"), .init(line.owner ?? "-"), .init(GroupSnapshot.number(line.resumeOffset)),
                    .init(found, line.refusal != nil ? .bad : line.waitsForMirror ? .warning : nil), .init(GroupSnapshot.number(line.repeatsAtMost)),
                    .init(GroupSnapshot.duration(line.repeatMilliseconds)), .init(GroupSnapshot.number(line.notMirrored)), .init(open),
                    .init(gap, line.gap == nil ? nil : .bad),
                ]
            })
    }

    public var csv: [[String]] {
        [[
            "group", "target", "origin", "topic", "partition", "owner", "stays", "resumeOffset", "method", "waitsForMirror", "repeatsAtMost", "repeatMilliseconds",
            "notMirrored", "notMirroredMilliseconds", "drain", "openRecords", "gapReason", "gapRecords", "refusal",
        ]]
            + partitions.map { line in
                [
                    group, target, line.origin, line.topic, "\(line.partition)", line.owner ?? "", "\(line.stays)", GroupSnapshot.field(line.resumeOffset),
                    line.method ?? "", "\(line.waitsForMirror)", GroupSnapshot.field(line.repeatsAtMost), GroupSnapshot.field(line.repeatMilliseconds),
                    GroupSnapshot.field(line.notMirrored), GroupSnapshot.field(line.notMirroredMilliseconds), line.drain.rawValue, GroupSnapshot.field(line.openRecords), line.gap?.reason ?? "",
                    GroupSnapshot.field(line.gap?.records), line.refusal ?? "",
                ]
            }
    }

    /// The plan in one sentence, and one for each partition that would not go through as it should.
    public var remarks: [String] {
        var lines = partitions.compactMap { line in line.refusal.map { "\(line.topic)/\(line.partition): refused: \($0)" } }
        for line in partitions {
            guard let gap = line.gap else { continue }
            let records = gap.records.map { "\($0) records" } ?? "an unknown number of records"
            lines.append("\(line.topic)/\(line.partition): gap (\(gap.reason)): \(records) may be missing or repeated")
        }
        let waits = partitions.filter(\.waitsForMirror)
        if !waits.isEmpty { lines.append("\(waits.count) partitions would wait for the mirror first: what the last checkpoint names is not in \(target) yet") }
        return lines
    }

    public var summary: String {
        if totals.moving == 0 { return "group \(group): \(target) owns all \(totals.partitions) partitions already" }
        let span = totals.repeatMilliseconds.map { " (\(shortDuration(milliseconds: $0)))" } ?? ""
        return "group \(group) to \(target): \(totals.moving) of \(totals.partitions) partitions would move, at most \(totals.repeatsAtMost) records\(span) repeated, "
            + "at most \(totals.notMirrored) not mirrored yet, \(totals.gaps) gap\(totals.gaps == 1 ? "" : "s"), \(totals.refused) refused"
    }
}
