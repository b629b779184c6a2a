import KafkaLog

/// A group's snapshot as a table, as CSV, and in words.
extension GroupSnapshot {
    /// `-` is "not known".
    static func number(_ value: Int64?) -> String { value.map { "\($0)" } ?? "-" }
    static func duration(_ value: Int64?) -> String { value.map { shortDuration(milliseconds: $0) } ?? "-" }
    /// For CSV, where "not known" is an empty field.
    static func field(_ value: (some CustomStringConvertible)?) -> String { value.map { "\($0)" } ?? "" }

    private var datacenters: [String] { clusters.map(\.datacenter) }

    public var sheet: Sheet {
        var columns: [Sheet.Column] = [
            .init("TOPIC", shrinksTo: 28), .init("P", isNumber: true), .init("OWNER"), .init("STATE"), .init("LAG", isNumber: true), .init("AGE", isNumber: true),
            .init("MIRROR", isNumber: true), .init("POSITION", isNumber: true, rank: 1), .init("CHECKPOINT", isNumber: true, rank: 3),
            .init("CKPT AGE", isNumber: true, rank: 2), .init("EPOCH", isNumber: true, rank: 5),
            .init("SEALED", rank: 9), .init("COMMITTED", isNumber: true, rank: 6),
        ]
        for datacenter in datacenters { columns.append(.init("\(datacenter.uppercased()) LOG", isNumber: true, rank: 4)) }
        columns.append(.init("CHECKPOINT TIME", rank: 8))
        columns.append(.init("WORKER", rank: 10))
        return Sheet(columns, rows: partitions.map(row))
    }

    private func row(_ state: PartitionState) -> [Sheet.Cell] {
        let owned = state.clusters.first { $0.datacenter == state.owner }
        let checkpoint = state.checkpoint
        let place = checkpoint.map { found in found.datacenter == state.owner ? "\(found.offset)" : "\(found.offset)@\(found.datacenter ?? "?")" } ?? "-"
        let mirrorTone: Sheet.Tone? = (state.mirrorLagMilliseconds ?? 0) > 60_000 ? .warning : nil
        var cells: [Sheet.Cell] = [
            .init(state.topic), .init("\(state.partition)"), .init(state.owner ?? "-"), .init(state.state.rawValue, Self.tones[state.state] ?? nil),
            .init(Self.number(state.lagRecords)), .init(Self.duration(state.lagMilliseconds)), .init(Self.duration(state.mirrorLagMilliseconds), mirrorTone),
            .init(Self.number(state.position)), .init(place), .init(Self.duration(checkpoint?.ageMilliseconds)), .init(Self.number(checkpoint?.epoch)),
            .init(checkpoint.map { $0.sealed ? "yes" : "no" } ?? "-"), .init(Self.number(owned?.committed)),
        ]
        for datacenter in datacenters {
            let log = state.clusters.first { $0.datacenter == datacenter }
            cells.append(.init(log?.logEnd.map { "\(Self.number(log?.logStart))..\($0)" } ?? "-"))
        }
        cells.append(.init(checkpoint.map { MillisecondTimestamp(clamped: $0.writtenAt / 1000 * 1000).text } ?? "-"))
        cells.append(.init(checkpoint?.worker ?? "-"))
        return cells
    }

    private static let tones: [PartitionState.State: Sheet.Tone?] = [.idle: .good, .moving: nil, .stuck: .bad, .waiting: nil, .gap: .bad, .unknown: .warning]

    public var csv: [[String]] {
        var names = [
            "group", "origin", "stream", "topic", "partition", "owner", "state", "position", "lagRecords", "lagMilliseconds", "mirrorLagRecords",
            "mirrorLagMilliseconds", "checkpointOffset", "checkpointDatacenter", "checkpointWrittenAt", "checkpointAgeMilliseconds", "checkpointEpoch", "checkpointSealed",
            "checkpointWorker", "gapReason", "gapRecords", "problem",
        ]
        for datacenter in datacenters { names += ["logStart", "logEnd", "committed"].map { "\($0).\(datacenter)" } }
        return [names] + partitions.map(csvRow)
    }

    private func csvRow(_ state: PartitionState) -> [String] {
        let checkpoint = state.checkpoint
        var row = [
            group, state.origin, state.stream, state.topic, "\(state.partition)", state.owner ?? "", state.state.rawValue, Self.field(state.position),
            Self.field(state.lagRecords), Self.field(state.lagMilliseconds), Self.field(state.mirrorLagRecords), Self.field(state.mirrorLagMilliseconds),
            Self.field(checkpoint?.offset), checkpoint?.datacenter ?? "", Self.field(checkpoint?.writtenAt), Self.field(checkpoint?.ageMilliseconds),
            Self.field(checkpoint?.epoch), Self.field(checkpoint?.sealed), checkpoint?.worker ?? "", state.gap?.reason ?? "", Self.field(state.gap?.records),
            state.problem ?? "",
        ]
        for datacenter in datacenters {
            let log = state.clusters.first { $0.datacenter == datacenter }
            row += [Self.field(log?.logStart), Self.field(log?.logEnd), Self.field(log?.committed)]
        }
        return row
    }

    /// What a table has no room for: clusters that don't answer, gaps, positions that can't be.
    public var remarks: [String] {
        var lines = clusters.compactMap { one in one.problem.map { "\(one.datacenter): \($0)" } }
        let gaps = partitions.filter { $0.gap != nil }
        for state in gaps.prefix(Self.remarkLimit) {
            let records = state.gap?.records.map { "\($0) records" } ?? "an unknown number of records"
            lines.append("\(state.topic)/\(state.partition): gap (\(state.gap?.reason ?? "")), \(records)")
        }
        if gaps.count > Self.remarkLimit { lines.append("… and \(gaps.count - Self.remarkLimit) more partitions with a gap") }
        let problems = partitions.filter { $0.problem != nil }
        for state in problems.prefix(Self.remarkLimit) { lines.append("\(state.topic)/\(state.partition): \(state.problem ?? "")") }
        if problems.count > Self.remarkLimit { lines.append("… and \(problems.count - Self.remarkLimit) more partitions with a problem") }
        return lines
    }

    private static let remarkLimit = 10
}

extension GroupSnapshot.Totals {
    /// Such as `group g: 12 partitions (10 idle, 2 stuck), 340 records to do, the oldest 2m 3s; mirrors up to 1.2s behind`.
    public func text(group: String) -> String {
        let counts = [(idle, "idle"), (moving, "moving"), (stuck, "stuck"), (waiting, "waiting for their retry"), (gap, "gap"), (unknown, "unknown")].filter { $0.0 > 0 }
        let states = counts.isEmpty ? "" : " (" + counts.map { "\($0.0) \($0.1)" }.joined(separator: ", ") + ")"
        let lag = lagRecords == 0 ? "nothing to do" : "\(lagRecords) records to do, the oldest \(GroupSnapshot.duration(lagMilliseconds))"
        let mirrors = mirrorLagMilliseconds.map { "; mirrors " + ($0 == 0 ? "level" : "up to \(shortDuration(milliseconds: $0)) behind") } ?? ""
        return "group \(group): \(partitions) partition\(partitions == 1 ? "" : "s")\(states), \(lag)\(mirrors)"
    }
}
