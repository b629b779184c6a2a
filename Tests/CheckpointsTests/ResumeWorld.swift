import Checkpoints
import KafkaLog
import TestSupport
import Testing

/// Random logs and a mirror of them, for the property tests of the resume rule: unsorted, tied, absent and far-off times,
/// lagging and repeating mirrors, trimmed logs, identical contents.
struct ResumeWorld {
    struct Mix: Sendable, CustomTestStringConvertible {
        var identical = 0.0
        var repeats = 0.0
        var trimmed = 0.0
        var testDescription: String { "identical \(identical), repeats \(repeats), trimmed \(trimmed)" }
    }

    struct LogRecord: Hashable {
        let content: Int
        let timestamp: MillisecondTimestamp?
        /// Place in the origin's log.
        let index: Int
        var fingerprint: Fingerprint {
            withUnsafeBytes(of: content) { Fingerprint.ofRecord(key: nil, value: $0, timestamp: timestamp) }
        }
    }

    static let home = ClusterID("home"), away = ClusterID("away")
    static let slack: Int64 = 20
    let origin: [LogRecord]
    /// The other cluster's log; the part from `there` on arrives after planning.
    let mirror: [LogRecord]
    let there: Int
    let logStart: Int
    let finished: Set<Int>
    let checkpoint: Checkpoint?

    init(mix: Mix, using random: inout SeededGenerator) {
        origin = Self.makeOrigin(identical: mix.identical, using: &random)
        let cut = Int.random(in: 0...origin.count, using: &random)
        let arrived = Self.mirrored(origin, 0..<cut, repeats: mix.repeats, using: &random)
        mirror = arrived + Self.mirrored(origin, cut..<origin.count, repeats: mix.repeats, using: &random)
        there = arrived.count
        logStart = !arrived.isEmpty && random.chance(mix.trimmed) ? Int.random(in: 0...arrived.count, using: &random) : 0
        let prefix = Int.random(in: 0...origin.count, using: &random)
        var finished = Set(0..<prefix)
        for index in prefix..<min(origin.count, prefix + 8) where random.chance(0.4) { finished.insert(index) }
        self.finished = finished
        checkpoint = Self.checkpoint(origin, finished: finished, tail: [1, 4, 16].randomElement(using: &random) ?? 16, using: &random)
    }

    static func makeOrigin(identical: Double, using random: inout SeededGenerator) -> [LogRecord] {
        var now: Int64 = 1000
        let spread = [Int64](arrayLiteral: 0, 0, 3, 10).randomElement(using: &random) ?? 0
        let tied = random.chance(0.5)
        return (0..<Int.random(in: 0...120, using: &random)).map { index in
            now += tied ? [0, 0, 1, 2].randomElement(using: &random) ?? 0 : Int64.random(in: 0...4, using: &random)
            var time = now - Int64.random(in: 0...spread, using: &random)
            if random.chance(0.02) { time = now + 500 }
            if random.chance(0.02) { time = -1 }
            let content = random.chance(identical) ? -Int.random(in: 1...4, using: &random) : index
            return LogRecord(content: content, timestamp: MillisecondTimestamp(time), index: index)
        }
    }

    static func mirrored(
        _ origin: [LogRecord], _ range: Range<Int>, repeats: Double, using random: inout SeededGenerator
    ) -> [LogRecord] {
        var log: [LogRecord] = []
        var index = range.lowerBound
        while index < range.upperBound {
            log.append(origin[index])
            index += 1
            if random.chance(repeats) { index = max(0, index - Int.random(in: 1...6, using: &random)) }
        }
        return log
    }

    /// What a worker writes that finished `finished` in a random order.
    static func checkpoint(
        _ origin: [LogRecord], finished: Set<Int>, tail: Int, using random: inout SeededGenerator
    ) -> Checkpoint? {
        var limits = PrefixTracker.Limits()
        limits.tail = tail
        var tracker = PrefixTracker(resuming: nil, at: Position(0, in: home), limits: limits)
        let tickets = origin.map { record in
            tracker.began(
                offset: Int64(record.index), fingerprint: record.fingerprint, timestamp: record.timestamp, type: .createTime)
        }
        for index in finished.shuffled(using: &random) {
            if let ticket = tickets[index] { tracker.finished(ticket, .acted) }
        }
        return Checkpoint(
            done: tracker.done(), partitionCount: 1, identity: "record", epoch: 1, worker: "w",
            writtenAt: MillisecondTimestamp(clamped: 0))
    }

    /// Resumes in the mirror as a worker would; what it acted on, and the gaps that were raised.
    func resume(planner: inout ResumePlanner, anchor: ResumePlanner.Anchor? = nil) throws -> (acted: [LogRecord], gaps: [GapEvent]) {
        var acted: [LogRecord] = [], gaps: [GapEvent] = []
        var step = try planner.begin(committed: nil, identity: "record", anchor: anchor)
        var visible = there
        var now: UInt64 = 0
        reading: while true {
            var offset: Int
            switch step {
            case .lookUp(let time): step = lookUp(time, &planner); continue reading
            case .read(let from): offset = Int(from)
            }
            if let gap = planner.takeGap() { gaps.append(gap) }
            while true {
                if offset >= visible {
                    now += 1_000_000_000
                    if case .restart(let again, let gap) = planner.reachedEnd(now: now) {
                        gap.map { gaps.append($0) }
                        step = again
                        continue reading
                    }
                    // The mirror brings the rest while the planner holds.
                    if visible < mirror.count { visible = mirror.count; continue }
                    if planner.nextDeadline == nil { return (acted, gaps) }
                    continue
                }
                let record = mirror[offset]
                switch planner.see(
                    offset: Int64(offset), fingerprint: record.fingerprint, timestamp: record.timestamp, now: now)
                {
                case .act: acted.append(record)
                case .scanned, .alreadyDone: break
                case .restart(let again, let gap):
                    gap.map { gaps.append($0) }
                    step = again
                    continue reading
                }
                offset += 1
            }
        }
    }

    private func lookUp(_ time: MillisecondTimestamp, _ planner: inout ResumePlanner) -> ResumePlanner.Step {
        let (found, firstTimed) = lookUp(time, end: there)
        return planner.lookedUp(found, firstTimed: firstTimed)
    }

    /// The broker's answers while the log ends at `end`.
    func lookUp(_ time: MillisecondTimestamp, end: Int) -> (found: Int64?, firstTimed: Int64?) {
        let range = logStart..<max(logStart, end)
        let found = range.first { (mirror[$0].timestamp?.milliseconds ?? -1) >= time.milliseconds }
        let firstTimed = range.first { mirror[$0].timestamp != nil }
        return (found.map(Int64.init), firstTimed.map(Int64.init))
    }

    // MARK: Anchors

    /// How much of the origin's log is finished without a break.
    var prefix: Int { (0...origin.count).first { !finished.contains($0) } ?? 0 }

    /// Where the mirror's log goes on after `count` finished records: past the first copy of the last of them. nil: it is not there yet.
    func place(after count: Int) -> Int? { count == 0 ? nil : mirror[..<there].firstIndex { $0.index == count - 1 }.map { $0 + 1 } }

    /// What a standby would have written that found the checkpoint after `count` records; nil: nothing.
    func anchor(after count: Int) -> ResumePlanner.Anchor? {
        guard let place = place(after: count) else { return nil }
        return ResumePlanner.Anchor(
            place: Position(Int64(place), in: Self.away), last: mirror[place - 1].fingerprint,
            checkpoint: Position(Int64(count), in: Self.home), epoch: 1)
    }

    /// An anchor of a log that is not this one any more: any place, with a record that does not stand before it.
    func wrongAnchor(using random: inout SeededGenerator) -> ResumePlanner.Anchor? {
        guard there > 0, let record = origin.randomElement(using: &random) else { return nil }
        let place = Int.random(in: 1...there, using: &random)
        guard mirror[place - 1] != record else { return nil }
        return ResumePlanner.Anchor(
            place: Position(Int64(place), in: Self.away), last: record.fingerprint,
            checkpoint: Position(Int64.random(in: 0...Int64(origin.count), using: &random), in: Self.home), epoch: 1)
    }

    /// Records that had to be acted on and were not, those that retention took among them; records acted on that had been done.
    func judge(_ acted: [LogRecord]) -> (lost: Int, repeated: Int) {
        var due: [Fingerprint: Int] = [:]
        for index in Set(mirror.map(\.index)) where !finished.contains(index) {
            due[origin[index].fingerprint, default: 0] += 1
        }
        var got: [Fingerprint: Int] = [:]
        for record in acted { got[record.fingerprint, default: 0] += 1 }
        let lost = due.reduce(0) { $0 + max(0, $1.value - got[$1.key, default: 0]) }
        let repeated = got.reduce(0) { $0 + max(0, $1.value - due[$1.key, default: 0]) }
        return (lost, repeated)
    }
}
