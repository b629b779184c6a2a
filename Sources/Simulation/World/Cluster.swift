import ChangePropagation
import KafkaLog

/// What happened in the world that is watched: it is the same event in whatever cluster and at whatever offset it stands.
struct Event: Hashable {
    /// Counts from 0 over the whole simulation.
    let number: Int
    /// Produced with the same contents and time as another one, and no id: they can't be told apart.
    let contents: Int
    let key: Int
    /// Whether a rule wants it.
    let isWanted: Bool
    let timestamp: MillisecondTimestamp?

    func value(withID: Bool) -> [UInt8] {
        let id = withID ? "e\(number)" : "c\(contents)"
        return Array(#"{"id":"\#(id)","type":"\#(isWanted ? "edit" : "log")"}"#.utf8)
    }
}

struct LogRecord {
    let offset: Int64
    let event: Event
    /// As this cluster has it: LogAppendTime is another one in each.
    let timestamp: MillisecondTimestamp?
    let appendedAt: Moment
}

/// One partition's log in one cluster.
struct PartitionLog {
    private(set) var start: Int64
    private(set) var end: Int64
    /// Offsets rising, with holes; those below `start` are gone for readers and kept for the checks.
    private(set) var records: [LogRecord] = []

    /// `end` above `start`: what stood between was compacted away.
    init(start: Int64, end: Int64) {
        self.start = start
        self.end = end
    }

    mutating func append(_ event: Event, at moment: Moment, timestamp: MillisecondTimestamp?, hole: Int64) -> LogRecord {
        let record = LogRecord(offset: end + hole, event: event, timestamp: timestamp, appendedAt: moment)
        records.append(record)
        end = record.offset + 1
        return record
    }

    mutating func trim(to offset: Int64) { start = min(end, max(start, offset)) }

    /// Index of the first record at or after `offset` that readers can have.
    func index(from offset: Int64) -> Int {
        let wanted = max(offset, start)
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].offset < wanted { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func firstOffset(from time: MillisecondTimestamp) -> Int64? {
        records[index(from: start)...].first { ($0.timestamp?.milliseconds ?? -1) >= time.milliseconds }?.offset
    }
}

/// One DC's Kafka cluster.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Cluster: @unchecked Sendable {
    let datacenter: Datacenter
    let id: ClusterID
    private(set) var logs: [TopicPartition: PartitionLog] = [:]
    /// Topics whose times the broker sets.
    let appendTimeTopics: Set<String>
    var isDown = false
    private let time: SimulatedTime
    private var random: SeededRandom
    /// How far this cluster's time of day is off, in milliseconds.
    private let wallSkew: Int64
    /// Called with every partition that got something.
    var appended: [(TopicPartition) -> Void] = []

    init(
        _ datacenter: Datacenter, partitions: [TopicPartition], appendTimeTopics: Set<String>, isWhole: Bool, time: SimulatedTime, random: SeededRandom
    ) {
        self.datacenter = datacenter
        id = ClusterID("cluster-\(datacenter.name)")
        self.appendTimeTopics = appendTimeTopics
        self.time = time
        self.random = random
        wallSkew = Int64(self.random.int(-400...400))
        // The same event has other offsets in each cluster.
        for partition in partitions {
            let end = Int64(self.random.int(0...1000))
            logs[partition] = PartitionLog(start: isWhole ? 0 : end, end: end)
        }
    }

    @discardableResult
    func append(_ event: Event, to partition: TopicPartition) -> LogRecord? {
        let stamped = appendTimeTopics.contains(partition.topic)
        let now = MillisecondTimestamp(clamped: Host.epochMilliseconds + Int64(time.now / 1_000_000) + wallSkew)
        let hole = random.chance(0.03) ? Int64(random.int(1...3)) : 0
        let record = logs[partition]?.append(event, at: time.now, timestamp: stamped ? now : event.timestamp, hole: hole)
        for notice in appended { notice(partition) }
        return record
    }

    func trim(_ partition: TopicPartition, to offset: Int64) { logs[partition]?.trim(to: offset) }

    var partitions: [TopicPartition] { logs.keys.sorted() }
}

/// Copies one origin's topics to another cluster: in order, each once unless it was started again.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class MirrorLink: @unchecked Sendable {
    let origin: Cluster
    let target: Cluster
    /// Until when it stands still.
    var stoppedUntil: Moment = 0
    private let time: SimulatedTime
    private let trace: Trace
    private var random: SeededRandom
    /// Milliseconds that a record takes.
    private let lag: Int
    /// Told of records that retention took before they were copied: nobody in the target's datacenter can ever see them.
    var missed: (Event, TopicPartition) -> Void = { _, _ in }
    /// Share of records that it leaves out (a mutant).
    var loses = 0.0
    /// Index of the next record of each partition.
    private var next: [TopicPartition: Int] = [:]

    init(from origin: Cluster, to target: Cluster, lag: Int, time: SimulatedTime, trace: Trace, random: SeededRandom) {
        self.origin = origin
        self.target = target
        self.lag = lag
        self.time = time
        self.trace = trace
        self.random = random
    }

    /// Records that it has not brought yet.
    var isBehind: Bool {
        origin.partitions.contains { $0.topic.hasPrefix(origin.datacenter.name + ".") && next[$0, default: 0] < (origin.logs[$0]?.records.count ?? 0) }
    }

    func run() {
        time.after(.milliseconds(random.int(10...60))) { [self] in
            if time.now >= stoppedUntil, !origin.isDown, !target.isDown { copy() }
            run()
        }
    }

    private func copy() {
        for partition in origin.partitions where partition.topic.hasPrefix(origin.datacenter.name + ".") {
            guard let log = origin.logs[partition] else { continue }
            var index = next[partition, default: 0]
            while index < log.records.count {
                let record = log.records[index]
                guard record.appendedAt &+ .milliseconds(lag) <= time.now else { break }
                if record.offset < log.start { missed(record.event, partition) } else if !random.chance(loses) { target.append(record.event, to: partition) }
                index += 1
            }
            next[partition] = index
        }
    }

    /// It crashed before it noted how far it had come: it writes a run again.
    func repeatSome() {
        for partition in origin.partitions {
            guard let index = next[partition], index > 0 else { continue }
            let back = random.int(0...min(6, index))
            next[partition] = index - back
            if back > 0 {
                trace.note("mirror repeats", Int64(back), words: "the mirror \(origin.datacenter) to \(target.datacenter) starts again: \(back) of \(partition) come twice")
            }
        }
    }
}
