import ChangePropagation
import Checkpoints
import KafkaLog

/// A position of one cluster as a position of another: a line of `offsets translate`. Field names are those of its JSON.
public struct Translation: Encodable, Sendable, Hashable {
    public var topic: String
    public var partition: Int32
    public var from: String
    public var fromOffset: Int64?
    /// Of the record at `fromOffset`, in ms since 1970. nil: there is none there, or it carries none.
    public var time: Int64?
    public var to: String
    public var toOffset: Int64?
    /// How `toOffset` was found: tail (the records before it are the same in both), time (a lookup, unconfirmed), log start, same cluster.
    public var method: String?
    /// The records before the two positions are the same ones.
    public var isConfirmed: Bool
    public var problem: String?

    public static func sheet(_ lines: [Translation]) -> Sheet {
        let (from, to) = (lines.first?.from.uppercased() ?? "FROM", lines.first?.to.uppercased() ?? "TO")
        return Sheet(
            [
                .init("TOPIC", shrinksTo: 16), .init("P", isNumber: true), .init("\(from) OFFSET", isNumber: true), .init("TIME"), .init("\(to) OFFSET", isNumber: true),
                .init("FOUND BY"), .init("", rank: 1),
            ],
            rows: lines.map { line in
                [
                    .init(line.topic), .init("\(line.partition)"), .init(GroupSnapshot.number(line.fromOffset)),
                    .init(line.time.map { MillisecondTimestamp(clamped: $0).text } ?? "-"), .init(GroupSnapshot.number(line.toOffset)),
                    .init(line.method ?? "-", line.isConfirmed ? nil : .warning), .init(line.problem ?? (line.isConfirmed ? "" : "unconfirmed"), .warning),
                ]
            })
    }

    public static func csv(_ lines: [Translation]) -> [[String]] {
        [["topic", "partition", "from", "fromOffset", "time", "to", "toOffset", "method", "isConfirmed", "problem"]]
            + lines.map {
                [
                    $0.topic, "\($0.partition)", $0.from, GroupSnapshot.field($0.fromOffset), GroupSnapshot.field($0.time), $0.to, GroupSnapshot.field($0.toOffset),
                    $0.method ?? "", "\($0.isConfirmed)", $0.problem ?? "",
                ]
            }
    }

    /// What is translated.
    public enum Point: Sendable, Hashable {
        /// The same offset in each partition.
        case offset(Int64)
        /// The first record at or after it in each partition.
        case time(MillisecondTimestamp)
    }
}

extension SnapshotReader {
    /// Finds where the records before each position of `from` end in `to`: as a resume would.
    public func translate(_ topic: String, partitions: Set<Int32>, from: Datacenter, to: Datacenter, _ point: Translation.Point) async throws -> [Translation] {
        let deadline = ContinuousClock.now + timeout
        let logs = try clusterLogs()
        defer { for log in logs.values { Task.detached { await log.close() } } }
        guard let here = logs[from], let there = logs[to] else { throw Refusal.nothingMatches(topic) }
        let (cluster, other) = (try await here.reach(timeout: timeout), try await there.reach(timeout: timeout))
        let counts = (try await here.topics(timeout: timeout), try await there.topics(timeout: timeout))
        let wanted = (0..<(counts.0[topic] ?? 0)).filter { partitions.isEmpty || partitions.contains($0) }.map { TopicPartition(topic: topic, partition: $0) }
        guard !wanted.isEmpty else { throw Refusal.nothingMatches(topic) }
        let ends = try await here.ends(wanted, timeout: Self.left(deadline))
        let otherEnds = try await there.ends(wanted.filter { (counts.1[topic] ?? 0) > $0.partition }, timeout: Self.left(deadline))
        var offsets: [TopicPartition: Int64] = [:]
        switch point {
        case .offset(let offset): for partition in wanted { offsets[partition] = offset }
        case .time(let time):
            let times = Dictionary(uniqueKeysWithValues: wanted.map { ($0, time) })
            for (partition, result) in try await here.admin.lookUp(times: times, timeout: Self.left(deadline)) { offsets[partition] = try? result.get().start.offset }
        }
        var places: [TopicPartition: RewindPlace] = [:]
        for (partition, offset) in offsets {
            guard let log = ends[partition], (log.low.offset...log.high.offset).contains(offset) else { continue }
            places[partition] = RewindPlace(datacenter: from, cluster: cluster, start: log.low.offset, end: log.high.offset, offset: offset)
        }
        let marks = try await here.records(at: places.filter { $0.value.offset < $0.value.end }.mapValues(\.offset), deadline: deadline)
        var resumes: [TopicPartition: PlannedResume] = [:]
        for (partition, done) in try await prefixes(places, here, deadline) {
            guard let log = otherEnds[partition] else { continue }
            let checkpoint = Checkpoint(
                done: done, partitionCount: 1, identity: configuration.identity.text, epoch: 1, worker: "translate", writtenAt: MillisecondTimestamp(clamped: 0))
            resumes[partition] = PlannedResume(
                checkpoint: checkpoint,
                log: ResumePlanner.Log(cluster: other, partitionCount: counts.1[topic] ?? 1, start: log.low.offset, highWatermark: log.high.offset),
                committed: nil, anchor: nil, identity: configuration.identity.text, settings: plannerSettings)
        }
        for _ in 0..<Self.planRounds { guard try await round(&resumes, there, deadline) else { break } }
        return wanted.map { Self.translation($0, from, to, places[$0], offsets[$0], ends[$0], marks[$0], resumes[$0]) }
    }

    private static func translation(
        _ partition: TopicPartition, _ from: Datacenter, _ to: Datacenter, _ place: RewindPlace?, _ offset: Int64?, _ ends: Watermarks?, _ mark: RecordMark?,
        _ resume: PlannedResume?
    ) -> Translation {
        var line = Translation(
            topic: partition.topic, partition: partition.partition, from: from.name, fromOffset: offset, time: mark?.timestamp?.milliseconds, to: to.name,
            isConfirmed: false)
        guard place != nil else {
            let range = ends.map { "\($0.low.offset) to \($0.high.offset)" } ?? "none"
            line.problem = "not in \(from)'s log (\(range) would be right)"
            return line
        }
        guard let resume else {
            line.problem = "\(to) does not have this partition, or it could not be read in time"
            return line
        }
        if let refusal = resume.refusal { line.problem = "\(refusal)" }
        guard case .acting(let found, let method) = resume.planner.phase else { return line }
        line.toOffset = found
        line.method = method.rawValue
        line.isConfirmed = method == .tail || method == .sameCluster
        if resume.waitsForMirror { line.problem = "the mirror has not brought it yet" }
        return line
    }
}
