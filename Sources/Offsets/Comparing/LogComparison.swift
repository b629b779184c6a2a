import Checkpoints
import KafkaLog

/// Compares one partition's log with its mirror's, record by record, in bounded memory: both are streams of fingerprints, and only a window of each
/// is kept. Pure: the owner feeds it.
public struct LogComparison: Sendable {
    /// What was found. Counts are of records.
    public struct Counts: Encodable, Sendable, Hashable {
        /// The same record in both, in the same order.
        public var same: Int64 = 0
        /// In the first log and nowhere in the second (within the window), though later ones are there: lost.
        public var missing: Int64 = 0
        /// Once more in the second log.
        public var repeated: Int64 = 0
        /// In both, in another order.
        public var reordered: Int64 = 0
        /// In the second log and not in the first (within the window).
        public var extra: Int64 = 0
        /// Before the second log's first record, which begins later: retention took them there.
        public var trimmed: Int64 = 0
        /// After the last record that the second log has: the mirror has not brought them yet.
        public var behind: Int64 = 0
    }

    /// A record that stands for others of its kind.
    public struct Sample: Encodable, Sendable, Hashable {
        public enum Kind: String, Encodable, Sendable, Hashable { case missing, repeated, reordered, extra }
        public var kind: Kind
        /// In the first log; of `repeated` and `extra` in the second.
        public var offset: Int64
        public var time: Int64?
        public var fingerprint: String
    }

    public private(set) var counts = Counts()
    public private(set) var samples: [Sample] = []
    /// How far apart the same record may lie in the two logs, in records.
    public let window: Int
    private let isMirrorTrimmed: Bool
    private var first = Stream(), second = Stream()
    /// Records of the first log that were passed: they are missing, unless they still come.
    private var passed = Stream()
    private var passedAt: [Int64] = []
    /// Fingerprints that stood in both lately, for what comes again.
    private var recent: [Fingerprint] = []
    private var recentStart = 0
    private var recentCounts: [Fingerprint: Int] = [:]
    private var hasMatched = false

    /// Samples kept of each partition.
    public static let sampleLimit = 5

    /// A queue with a count of each fingerprint in it.
    private struct Stream {
        private var records: [RecordMark] = []
        private var start = 0
        private var numbers: [Fingerprint: Int] = [:]
        var hasEnded = false

        var count: Int { records.count - start }
        var isEmpty: Bool { count == 0 }
        var head: RecordMark? { isEmpty ? nil : records[start] }
        func contains(_ fingerprint: Fingerprint) -> Bool { numbers[fingerprint] != nil }

        mutating func append(_ record: RecordMark) {
            records.append(record)
            numbers[record.fingerprint, default: 0] += 1
        }

        mutating func popFirst() -> RecordMark? {
            guard let record = head else { return nil }
            start += 1
            forget(record.fingerprint)
            if start > 4096, start * 2 > records.count {
                records.removeFirst(start)
                start = 0
            }
            return record
        }

        /// Takes the first of these out of the middle; its place in the queue.
        mutating func remove(_ fingerprint: Fingerprint) -> (index: Int, record: RecordMark)? {
            guard contains(fingerprint), let index = records[start...].firstIndex(where: { $0.fingerprint == fingerprint }) else { return nil }
            let record = records.remove(at: index)
            forget(fingerprint)
            return (index - start, record)
        }

        private mutating func forget(_ fingerprint: Fingerprint) {
            numbers[fingerprint] = (numbers[fingerprint] ?? 1) > 1 ? (numbers[fingerprint] ?? 1) - 1 : nil
        }
    }

    /// - Parameters:
    ///   - isMirrorTrimmed: the second log does not begin at offset 0.
    ///   - window: 1 or more.
    public init(isMirrorTrimmed: Bool, window: Int = 8192) {
        self.isMirrorTrimmed = isMirrorTrimmed
        self.window = max(1, window)
    }

    /// Which log it can't go on without; nil: both have ended, and all is counted.
    public enum Side: Sendable, Hashable { case first, second }
    public var wants: Side? {
        if second.isEmpty, !second.hasEnded { return .second }
        if first.count < window, !first.hasEnded, !second.isEmpty { return .first }
        if second.hasEnded, second.isEmpty, !first.hasEnded { return .first }
        return nil
    }

    /// Takes the next records of one log, in its order; `isLast`: there are no more.
    public mutating func feed(_ records: [RecordMark], to side: Side, isLast: Bool) {
        for record in records { if side == .first { first.append(record) } else { second.append(record) } }
        if isLast { if side == .first { first.hasEnded = true } else { second.hasEnded = true } }
        while wants == nil || wants == .first, let next = second.head {
            // A head that is the same needs no look ahead.
            if let mine = first.head, mine.fingerprint == next.fingerprint { matchHeads() } else if wants == .first { break } else { settle(next) }
        }
        if second.hasEnded, second.isEmpty { finish() }
    }

    private mutating func matchHeads() {
        _ = first.popFirst()
        guard let record = second.popFirst() else { return }
        counts.same += 1
        hasMatched = true
        remember(record.fingerprint)
    }

    private mutating func settle(_ next: RecordMark) {
        _ = second.popFirst()
        if let late = passed.remove(next.fingerprint) {
            passedAt.remove(at: late.index)
            counts.reordered += 1
            note(.reordered, late.record)
            remember(next.fingerprint)
        } else if first.contains(next.fingerprint) {
            if recentCounts[next.fingerprint] != nil, isRepeat(next.fingerprint) { return countRepeat(next) }
            while let skipped = first.popFirst() {
                if skipped.fingerprint == next.fingerprint { break }
                if !hasMatched, isMirrorTrimmed { counts.trimmed += 1 } else {
                    passed.append(skipped)
                    passedAt.append(counts.same)
                }
            }
            counts.same += 1
            hasMatched = true
            remember(next.fingerprint)
        } else if recentCounts[next.fingerprint] != nil { countRepeat(next) } else {
            counts.extra += 1
            note(.extra, next)
        }
        flushPassed(all: false)
    }

    /// Of a record that came lately and stands further on in the first log too: a mirror that repeats a run goes back, so what follows is also
    /// known already. Without looking further the nearer explanation is taken: the first log's next records are not skipped for it.
    private func isRepeat(_ fingerprint: Fingerprint) -> Bool { first.head.map { $0.fingerprint != fingerprint } ?? true }

    private mutating func countRepeat(_ record: RecordMark) {
        counts.repeated += 1
        note(.repeated, record)
    }

    private mutating func remember(_ fingerprint: Fingerprint) {
        recent.append(fingerprint)
        recentCounts[fingerprint, default: 0] += 1
        guard recent.count - recentStart > window else { return }
        let old = recent[recentStart]
        recentStart += 1
        recentCounts[old] = (recentCounts[old] ?? 1) > 1 ? (recentCounts[old] ?? 1) - 1 : nil
        if recentStart > window {
            recent.removeFirst(recentStart)
            recentStart = 0
        }
    }

    /// What was passed so long ago does not come any more.
    private mutating func flushPassed(all: Bool) {
        while let at = passedAt.first, all || counts.same - at > Int64(window) || passed.count > window {
            passedAt.removeFirst()
            guard let record = passed.popFirst() else { return }
            counts.missing += 1
            note(.missing, record)
        }
    }

    /// The second log has ended: what is left of the first has not been brought yet.
    private mutating func finish() {
        flushPassed(all: true)
        while first.popFirst() != nil { counts.behind += 1 }
    }

    private mutating func note(_ kind: Sample.Kind, _ record: RecordMark) {
        guard samples.count(where: { $0.kind == kind }) < Self.sampleLimit else { return }
        samples.append(Sample(kind: kind, offset: record.offset, time: record.timestamp?.milliseconds, fingerprint: record.fingerprint.description))
    }
}
