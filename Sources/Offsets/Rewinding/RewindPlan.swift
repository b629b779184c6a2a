import Checkpoints
import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// What a rewind would do, and then what it did, partition by partition. Field names are those of the JSON.
public struct RewindPlan: Encodable, Sendable {
    public enum Outcome: String, Encodable, Sendable, Hashable {
        /// Nothing was done yet.
        case planned
        case rewound
        /// The prior position is the new one: left alone.
        case unchanged
        /// It can't be rewound: `problem` says why.
        case refused
        /// It was not written, or not known to be: `problem` says what to do.
        case failed
    }

    public struct Line: Encodable, Sendable, Hashable {
        public var origin: String
        public var topic: String
        public var partition: Int32
        public var owner: String?
        /// Whose cluster the offsets are of.
        public var datacenter: String
        /// nil: it is not known in that cluster.
        public var priorOffset: Int64?
        /// Of the record at the offset, in ms since 1970. nil: there is none, or it carries none.
        public var priorTime: Int64?
        public var newOffset: Int64?
        public var newTime: Int64?
        /// Above 0: so many would be done again. Below: so many would be left out.
        public var records: Int64?
        /// The same as a length of time, from record to record.
        public var milliseconds: Int64?
        public var outcome: Outcome
        public var problem: String?
    }

    public var group: String
    public var to: String
    public var at: Int64
    public var lines: [Line]
    /// The checkpoints to be written, with the revisions that they replace.
    var drafts: [TopicPartition: Draft] = [:]

    struct Draft: Sendable {
        var done: DonePrefix
        var partitionCount: Int32
        var topicID: String?
        var revision: Int64
        var prior: Checkpoint?
    }

    private enum CodingKeys: String, CodingKey { case group, to, at, lines = "partitions" }

    public var toDo: Int { lines.count { $0.outcome == .planned } }
    public var refused: [Line] { lines.filter { $0.outcome == .refused } }

    // MARK: As text

    /// - Parameter isDone: whether it tells what was done, not what would be.
    public func sheet(isDone: Bool) -> Sheet {
        var columns: [Sheet.Column] = [
            .init("TOPIC", shrinksTo: 16), .init("P", isNumber: true), .init("IN", rank: 3), .init("PRIOR", isNumber: true), .init("→ NEW", isNumber: true),
            .init("RECORDS", isNumber: true), .init("TIME", isNumber: true), .init("PRIOR TIME", rank: 5), .init("NEW TIME", rank: 4),
        ]
        columns.append(.init(isDone ? "RESULT" : "WOULD"))
        return Sheet(
            columns,
            rows: lines.map { line in
                [
                    .init(line.topic), .init("\(line.partition)"), .init(line.datacenter), .init(GroupSnapshot.number(line.priorOffset)),
                    .init(GroupSnapshot.number(line.newOffset)), .init(line.records.map { $0 > 0 ? "-\($0)" : $0 < 0 ? "+\(-$0)" : "0" } ?? "-"),
                    .init(line.milliseconds.map { $0 == 0 ? "0s" : ($0 > 0 ? "-" : "+") + shortDuration(milliseconds: Int64(clamping: $0.magnitude)) } ?? "-"),
                    .init(Self.time(line.priorTime)), .init(Self.time(line.newTime)), Self.result(line),
                ]
            })
    }

    private static func time(_ milliseconds: Int64?) -> String { milliseconds.map { MillisecondTimestamp(clamped: $0).text } ?? "-" }

    private static func result(_ line: Line) -> Sheet.Cell {
        switch line.outcome {
        case .planned: (line.records ?? 0) < 0 ? Sheet.Cell("leave out", .warning) : (line.records ?? 0) > 0 ? Sheet.Cell("repeat") : Sheet.Cell("set")
        case .rewound: Sheet.Cell("rewound", .good)
        case .unchanged: Sheet.Cell("unchanged", .dim)
        case .refused: Sheet.Cell("refused", .bad)
        case .failed: Sheet.Cell("failed", .bad)
        }
    }

    public var csv: [[String]] {
        [[
            "group", "to", "origin", "topic", "partition", "owner", "datacenter", "priorOffset", "priorTime", "newOffset", "newTime", "records", "milliseconds",
            "outcome", "problem",
        ]]
            + lines.map { line in
                [
                    group, to, line.origin, line.topic, "\(line.partition)", line.owner ?? "", line.datacenter, GroupSnapshot.field(line.priorOffset),
                    GroupSnapshot.field(line.priorTime), GroupSnapshot.field(line.newOffset), GroupSnapshot.field(line.newTime), GroupSnapshot.field(line.records),
                    GroupSnapshot.field(line.milliseconds), line.outcome.rawValue, line.problem ?? "",
                ]
            }
    }

    public var summary: String {
        let moving = lines.filter { $0.outcome == .planned || $0.outcome == .rewound }
        let back = moving.compactMap(\.records).filter { $0 > 0 }.reduce(0, +)
        let over = moving.compactMap(\.records).filter { $0 < 0 }.reduce(0, -)
        var text = "group \(group) to \(to): \(moving.count) of \(lines.count) partitions, \(back) records would be done again, \(over) left out"
        let unknown = moving.count { $0.records == nil }
        if unknown > 0 { text += ", unknown in \(unknown)" }
        return text
    }
}

/// An operator's rewind of one partition as it is kept in the store, under `rewinds/<group>/<topic>/<partition>/<epoch>`.
public struct RewindRecord: Codable, Sendable, Hashable {
    public var by: String
    public var reason: String
    /// Such as `time 2026-03-01T02:03:04Z`.
    public var to: String
    /// The epoch of the checkpoint that it wrote.
    public var epoch: Int64
    /// nil: there was no checkpoint.
    public var fromOffset: Int64?
    public var fromCluster: String?
    public var toOffset: Int64
    public var toCluster: String
    /// Milliseconds since 1970.
    public var at: Int64

    var encoded: [UInt8]? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map(Array.init)
    }

    static func key(group: String, _ partition: TopicPartition, epoch: Int64) -> StoreKey {
        StoreKey("rewinds", group, partition.topic, String(partition.partition), String(epoch))
    }
}
