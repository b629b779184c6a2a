import ChangePropagation
import Checkpoints
import KafkaLog

/// The same topics in two clusters, as `offsets diff` shows them. Field names are those of its JSON.
public struct LogDifference: Encodable, Sendable {
    public struct Line: Encodable, Sendable {
        public var topic: String
        public var partition: Int32
        public var counts: LogComparison.Counts
        public var samples: [LogComparison.Sample]
        /// Why the partition could not be compared to its end.
        public var problem: String?
    }

    public var first: String
    public var second: String
    public var totals: LogComparison.Counts
    public var partitions: [Line]

    public init(first: String, second: String, partitions: [Line]) {
        self.first = first
        self.second = second
        self.partitions = partitions
        totals = partitions.reduce(into: LogComparison.Counts()) { sum, line in
            sum.same += line.counts.same
            sum.missing += line.counts.missing
            sum.repeated += line.counts.repeated
            sum.reordered += line.counts.reordered
            sum.extra += line.counts.extra
            sum.trimmed += line.counts.trimmed
            sum.behind += line.counts.behind
        }
    }

    /// Everything was compared, and nothing is lost.
    public var isGood: Bool { totals.missing == 0 && partitions.allSatisfy { $0.problem == nil } }

    // MARK: As text

    public var sheet: Sheet {
        func bad(_ count: Int64, _ tone: Sheet.Tone) -> Sheet.Cell { .init("\(count)", count == 0 ? nil : tone) }
        return Sheet(
            [
                .init("TOPIC", shrinksTo: 16), .init("P", isNumber: true), .init("SAME", isNumber: true), .init("MISSING", isNumber: true),
                .init("REPEATED", isNumber: true), .init("REORDERED", isNumber: true), .init("EXTRA", isNumber: true, rank: 2), .init("TRIMMED", isNumber: true, rank: 3),
                .init("BEHIND", isNumber: true, rank: 1),
            ],
            rows: partitions.map { line in
                let counts = line.counts
                return [
                    .init(line.topic), .init("\(line.partition)"), .init("\(counts.same)"), bad(counts.missing, .bad), bad(counts.repeated, .warning),
                    bad(counts.reordered, .warning), bad(counts.extra, .warning), .init("\(counts.trimmed)"), .init("\(counts.behind)"),
                ]
            })
    }

    public var csv: [[String]] {
        [["first", "second", "topic", "partition", "same", "missing", "repeated", "reordered", "extra", "trimmed", "behind", "problem"]]
            + partitions.map { line in
                let counts = line.counts
                let numbers = [counts.same, counts.missing, counts.repeated, counts.reordered, counts.extra, counts.trimmed, counts.behind].map { "\($0)" }
                return [first, second, line.topic, "\(line.partition)"] + numbers + [line.problem ?? ""]
            }
    }

    public var summary: String {
        let cut = partitions.count { $0.problem != nil }
        let found = totals.missing > 0 ? "\(totals.missing) records of \(first) are missing in \(second)" : "nothing of \(first) is missing in \(second)"
        let verdict = switch cut {
            case 0: found
            case partitions.count where totals.missing == 0: "not one could be compared to its end"
            default: "\(found), but \(cut == 1 ? "1 partition" : "\(cut) partitions") could not be compared to the end"
        }
        return "\(partitions.count) partitions, \(totals.same) records the same: \(verdict); \(totals.repeated) repeated, \(totals.reordered) reordered, "
            + "\(totals.extra) only in \(second), \(totals.trimmed) trimmed there, \(totals.behind) not mirrored yet"
    }

    public var remarks: [String] {
        partitions.flatMap { line in
            (line.problem.map { ["\(line.topic)/\(line.partition): not compared to its end: \($0)"] } ?? [])
                + line.samples.map { sample in
                    let log = sample.kind == .missing || sample.kind == .reordered ? first : second
                    let time = sample.time.map { ", \(MillisecondTimestamp(clamped: $0).text)" } ?? ""
                    return "\(line.topic)/\(line.partition): \(sample.kind.rawValue): \(log) offset \(sample.offset)\(time), fingerprint \(sample.fingerprint)"
                }
        }
    }
}

/// Reads one partition of one cluster in pieces, to an end that was set before.
private final class LogStream {
    let consumer: KafkaConsumer
    private var end: Int64 = 0
    private var next: Int64 = 0
    private let partition: TopicPartition

    init(_ client: KafkaClientConfiguration, _ partition: TopicPartition, _ ends: Watermarks, from: Int64) async throws {
        self.partition = partition
        consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        end = ends.high.offset
        next = max(from, ends.low.offset)
        if next < end { try await consumer.assign([partition: Position(next, in: ends.high.cluster)]) }
    }

    /// Some more records; `isLast`: nothing follows. Throws `deadlineExceeded` when nothing comes for `patience`.
    func read(_ patience: Duration) async throws -> (records: [RecordMark], isLast: Bool) {
        guard next < end else { return ([], true) }
        // Only holes may be left before the end: they bring nothing, so a silence there is the end.
        let isNearEnd = end - next <= 64
        guard let batch = try await consumer.nextBatch(max: 2048, deadline: .now + (isNearEnd ? min(patience, .seconds(2)) : patience)) else {
            if isNearEnd { return ([], true) }
            throw KafkaLogError.deadlineExceeded(what: "reading \(partition) at \(next) of \(end)")
        }
        var records: [RecordMark] = []
        batch.forEach { record in
            guard record.offset < end else { return }
            records.append(
                RecordMark(offset: record.offset, timestamp: record.timestamp, timestampType: record.timestampType, fingerprint: Fingerprint.ofRecord(record)))
        }
        next = (records.last?.offset ?? end) + 1
        return (records, next >= end)
    }

    func close() async { try? await consumer.close(within: .seconds(1)) }
}

extension SnapshotReader {
    /// Compares topics of two clusters, one partition after the other.
    ///
    /// - Parameters:
    ///   - since: from the first record at or after this time on; nil: everything that is there.
    ///   - progress: partitions done, of how many, records read so far.
    /// - Throws: what keeps a cluster from being asked at all; `Refusal.nothingMatches`.
    public func diff(
        _ first: Datacenter, _ second: Datacenter, filter: PartitionFilter, since: MillisecondTimestamp?,
        progress: (_ done: Int, _ of: Int, _ records: Int64) -> Void
    ) async throws -> LogDifference {
        let logs = try clusterLogs()
        defer { for log in logs.values { Task.detached { await log.close() } } }
        guard let here = logs[first], let there = logs[second] else { throw Refusal.nothingMatches("diff") }
        for log in [here, there] { try await log.reach(timeout: timeout) }
        let (topics, mirrored) = (try await here.topics(timeout: timeout), try await there.topics(timeout: timeout))
        let known = Set(configuration.datacenters.keys)
        let wanted = topics.flatMap { topic, count in (0..<count).map { TopicPartition(topic: topic, partition: $0) } }.filter { partition in
            OriginTopic(topic: partition.topic, known: known).map { filter.contains($0, partition.partition) } == true
        }.sorted()
        guard !wanted.isEmpty else { throw Refusal.nothingMatches(first.name) }
        let present = wanted.filter { (mirrored[$0.topic] ?? 0) > $0.partition }
        // The mirror's ends first: what comes meanwhile is behind, never extra.
        let secondEnds = try await there.ends(present, timeout: timeout)
        let firstEnds = try await here.ends(wanted, timeout: timeout)
        var starts: (first: [TopicPartition: Int64], second: [TopicPartition: Int64]) = ([:], [:])
        if let since {
            let times = Dictionary(uniqueKeysWithValues: present.map { ($0, since) })
            for (partition, result) in try await here.admin.lookUp(times: times, timeout: timeout) { starts.first[partition] = try? result.get().start.offset }
            for (partition, result) in try await there.admin.lookUp(times: times, timeout: timeout) { starts.second[partition] = try? result.get().start.offset }
        }
        var lines: [LogDifference.Line] = []
        var records: Int64 = 0
        for partition in wanted {
            progress(lines.count, wanted.count, records)
            var line = LogDifference.Line(topic: partition.topic, partition: partition.partition, counts: .init(), samples: [])
            if let mine = firstEnds[partition], let mirror = secondEnds[partition] {
                do {
                    let done = lines.count
                    let found = try await compare(
                        partition, (here.scanClient, mine, starts.first[partition] ?? 0), (there.scanClient, mirror, starts.second[partition] ?? 0),
                        // From a time on both begin in the middle, where unsorted times differ.
                        isTrimmed: since != nil || mirror.low.offset > 0) { progress(done, wanted.count, records + $0) }
                    (line.counts, line.samples) = (found.counts, found.samples)
                    records += found.counts.same
                } catch { line.problem = "\(error)" }
            } else { line.problem = (mirrored[partition.topic] ?? 0) > partition.partition ? "its ends can't be read" : "\(second) does not have it" }
            lines.append(line)
        }
        progress(lines.count, wanted.count, records)
        return LogDifference(first: first.name, second: second.name, partitions: lines)
    }

    private func compare(
        _ partition: TopicPartition, _ first: (client: KafkaClientConfiguration, ends: Watermarks, from: Int64),
        _ second: (client: KafkaClientConfiguration, ends: Watermarks, from: Int64), isTrimmed: Bool, _ progress: (Int64) -> Void
    ) async throws -> LogComparison {
        let mine = try await LogStream(first.client, partition, first.ends, from: first.from)
        let mirror = try await LogStream(second.client, partition, second.ends, from: second.from)
        var comparison = LogComparison(isMirrorTrimmed: isTrimmed)
        do {
            while let side = comparison.wants {
                let (records, isLast) = try await (side == .first ? mine : mirror).read(timeout)
                comparison.feed(records, to: side, isLast: isLast)
                progress(comparison.counts.same)
            }
        } catch {
            await mine.close()
            await mirror.close()
            throw error
        }
        Task.detached { [mine = mine.consumer, mirror = mirror.consumer] in
            try? await mine.close(within: .seconds(1))
            try? await mirror.close(within: .seconds(1))
        }
        return comparison
    }
}
