import ChangePropagation
import Checkpoints
import KafkaLog

/// A record as `offsets peek` shows it. Field names are those of its JSON.
public struct PeekedRecord: Encodable, Sendable, Hashable {
    public var topic: String
    public var partition: Int32
    public var datacenter: String
    public var offset: Int64
    /// The first one at or after the position.
    public var isNext: Bool
    /// Milliseconds since 1970. nil: it carries none.
    public var time: Int64?
    /// `createTime`, `logAppendTime` or `none`.
    public var timestampType: String
    public var fingerprint: String
    /// UTF-8; what is none is shown as `�`. nil: the key is null.
    public var key: String?
    /// nil: the value is null (a tombstone).
    public var value: String?
    /// In bytes; nil: the value is null.
    public var valueSize: Int?

    public static func sheet(_ records: [PeekedRecord]) -> Sheet {
        Sheet(
            [
                .init(""), .init("OFFSET", isNumber: true), .init("TIME"), .init("KEY", shrinksTo: 8), .init("FINGERPRINT", rank: 2),
                .init("SIZE", isNumber: true, rank: 3), .init("VALUE", shrinksTo: 20),
            ],
            rows: records.map { record in
                [
                    .init(record.isNext ? "→" : "", .good), .init("\(record.offset)"), .init(record.time.map { MillisecondTimestamp(clamped: $0).text } ?? "-"),
                    .init(record.key.map(oneLine) ?? "null", record.key == nil ? .dim : nil), .init(record.fingerprint),
                    .init(record.valueSize.map { "\($0)" } ?? "-"), .init(record.value.map(oneLine) ?? "null", record.value == nil ? .dim : nil),
                ]
            })
    }

    /// Terminals must not be steered by what stands in a record.
    private static func oneLine(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || (0x7F..<0xA0).contains($0.value) ? "·" : $0 }))
    }

    public static func csv(_ records: [PeekedRecord]) -> [[String]] {
        [["topic", "partition", "datacenter", "offset", "isNext", "time", "timestampType", "fingerprint", "key", "valueSize", "value"]]
            + records.map {
                [
                    $0.topic, "\($0.partition)", $0.datacenter, "\($0.offset)", "\($0.isNext)", GroupSnapshot.field($0.time), $0.timestampType, $0.fingerprint,
                    $0.key ?? "", GroupSnapshot.field($0.valueSize), $0.value ?? "",
                ]
            }
    }
}

extension SnapshotReader {
    /// Records around a position.
    ///
    /// - Parameters: `before`, `after`: how many records at most; the one at the position counts as after.
    /// - Throws: `Refusal.nothingMatches` where the cluster has no such partition or the offset is outside its log.
    public func peek(
        _ partition: TopicPartition, in datacenter: Datacenter, at point: Translation.Point, before: Int, after: Int
    ) async throws -> [PeekedRecord] {
        let deadline = ContinuousClock.now + timeout
        let logs = try clusterLogs()
        defer { for log in logs.values { Task.detached { await log.close() } } }
        guard let log = logs[datacenter] else { throw Refusal.nothingMatches(partition.topic) }
        try await log.reach(timeout: timeout)
        guard (try await log.topics(timeout: timeout)[partition.topic] ?? 0) > partition.partition, let ends = try await log.ends([partition], timeout: timeout)[partition] else {
            throw PeekRefusal(description: "\(datacenter) has no partition \(partition); 'offsets describe' lists them")
        }
        let offset: Int64
        switch point {
        case .offset(let wanted): offset = wanted
        case .time(let time):
            guard let found = try await log.admin.lookUp(times: [partition: time], timeout: timeout)[partition]?.get() else { return [] }
            offset = found.start.offset
        }
        guard (ends.low.offset...ends.high.offset).contains(offset) else {
            throw PeekRefusal(description: "offset \(offset) is not in \(datacenter)'s log of \(partition): \(ends.low.offset) to \(ends.high.offset) would be right")
        }
        var found: [PeekedRecord] = []
        // Holes lie between records: some more are read than are shown.
        let from = max(ends.low.offset, offset - Int64(before) * 4)
        let start = from < ends.high.offset ? [partition: from] : [:]
        try await log.scan(start, deadline: deadline) { _, record in
            let isAfter = record.offset >= offset
            found.append(Self.peeked(record, log, isNext: isAfter && !found.contains(where: \.isNext)))
            if !isAfter, found.count > before { found.removeFirst() }
            return record.offset + 1 < ends.high.offset && found.count(where: { $0.offset >= offset }) < after
        }
        return after == 0 ? found.filter { $0.offset < offset } : found
    }

    private static func peeked(_ record: borrowing RecordView, _ log: ClusterLogs, isNext: Bool) -> PeekedRecord {
        let mark = log.mark(record)
        let type =
            switch mark.timestampType {
            case .none: "none"
            case .createTime: "createTime"
            case .logAppendTime: "logAppendTime"
            }
        let partition = record.topicPartition
        return PeekedRecord(
            topic: partition.topic, partition: partition.partition, datacenter: log.datacenter.name, offset: mark.offset, isNext: isNext,
            time: mark.timestamp?.milliseconds, timestampType: type, fingerprint: mark.fingerprint.description,
            key: record.withKey { $0.map { String(decoding: $0, as: UTF8.self) } }, value: record.withValue { $0.map { String(decoding: $0, as: UTF8.self) } },
            valueSize: record.valueSize)
    }

    /// What can't be shown, and what would be right.
    public struct PeekRefusal: Error, Sendable, Hashable, CustomStringConvertible { public let description: String }
}
