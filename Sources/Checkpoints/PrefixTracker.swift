import DequeModule
import KafkaLog

/// Follows which records of one partition are finished, in any order, and says how far the done prefix reaches
/// (Docs/Design.md section 3). Pure: the owner tells it of every record in log order (`began`) and of every finish.
public struct PrefixTracker: Sendable {
    /// Names one record that was begun. Unique within its tracker.
    public struct Ticket: Hashable, Sendable {
        fileprivate let sequence: UInt64
    }

    /// How a record ended. Every record ends: skipped and unparsable ones move the prefix too.
    public enum Outcome: Sendable, Hashable {
        /// Something was done that doing again would repeat: it counts in `beyond` until the prefix reaches it.
        case acted
        /// Nothing was done that could be repeated (no rule matched, or it had been done before).
        case skipped
    }

    public struct Limits: Sendable, Hashable {
        /// Fingerprints kept in `tail`; 1 or more.
        public var tail = 16
        /// Most records that may be finished past the prefix (`isFull`); bounds a checkpoint's size.
        public var beyond = 96
        public init() {}
    }

    private struct Entry {
        let offset: Int64
        let fingerprint: Fingerprint
        let timestamp: MillisecondTimestamp?
        var outcome: Outcome?
    }

    public let limits: Limits
    private let cluster: ClusterID
    private var entries: Deque<Entry> = []
    private var firstSequence: UInt64 = 0
    private var prefixEnd: Int64
    private var tail: Deque<Fingerprint>
    private var times: Deque<MillisecondTimestamp>
    private var disorder: DisorderMeter
    private var timestampType: TimestampType
    /// Records begun and not finished.
    public private(set) var running = 0
    /// Records acted on past the prefix.
    public private(set) var actedBeyond = 0

    /// Goes on from `resumed` (nil: an empty prefix) where the first record to be begun is at `position` or later.
    /// - Parameter times: of the last records before it, where they are known. Of the witness alone nobody can tell when it has been passed by
    ///   sixteen more, so that it would be handed on from one short reign to the next, older and older.
    public init(resuming resumed: DonePrefix?, at position: Position, times: [MillisecondTimestamp]? = nil, limits: Limits = Limits()) {
        self.limits = limits
        cluster = position.cluster
        prefixEnd = position.offset
        tail = Deque(resumed?.tail.suffix(limits.tail) ?? [])
        self.times = Deque(times?.suffix(Checkpoint.witnesses) ?? resumed?.witness.map { [$0] } ?? [])
        disorder = DisorderMeter(resumed?.disorder ?? 0)
        timestampType = resumed?.timestampType ?? .none
    }

    /// Where the done prefix ends: one past its last record. Reading again from here repeats nothing that is done,
    /// except what `beyond` names.
    public var position: Position { Position(prefixEnd, in: cluster) }

    /// True when as many records are finished past the prefix as may be: begin no further action until it moves.
    public var isFull: Bool { actedBeyond >= limits.beyond }

    /// Records kept: those past the prefix, finished or not.
    public var held: Int { entries.count }

    /// Offset and time of the oldest record that holds the prefix back; nil when nothing is running.
    public var oldestRunning: (offset: Int64, timestamp: MillisecondTimestamp?)? {
        entries.first.map { ($0.offset, $0.timestamp) }
    }

    /// Of the records past the prefix that were acted on, in log order.
    public var fingerprintsBeyond: [Fingerprint] { actedBeyond == 0 ? [] : entries.compactMap { $0.outcome == .acted ? $0.fingerprint : nil } }

    /// Takes note of the next record in log order, acted on or not. Offsets may leave holes, which are done ground.
    /// nil: `offset` is not above the ones before (a repeated or overlapping batch, FAULTS F19): drop the record.
    public mutating func began(
        offset: Int64, fingerprint: Fingerprint, timestamp: MillisecondTimestamp?, type: TimestampType
    ) -> Ticket? {
        guard offset >= (entries.last.map { $0.offset + 1 } ?? prefixEnd) else { return nil }
        if timestamp != nil, type != .none { timestampType = type }
        let ticket = Ticket(sequence: firstSequence + UInt64(entries.count))
        entries.append(Entry(offset: offset, fingerprint: fingerprint, timestamp: timestamp))
        running += 1
        return ticket
    }

    /// Takes note that a record has ended, and moves the prefix over unbroken ground. False: it was finished before.
    @discardableResult
    public mutating func finished(_ ticket: Ticket, _ outcome: Outcome) -> Bool {
        guard ticket.sequence >= firstSequence else { return false }
        let index = Int(ticket.sequence - firstSequence)
        guard index < entries.count, entries[index].outcome == nil else { return false }
        entries[index].outcome = outcome
        running -= 1
        if outcome == .acted { actedBeyond += 1 }
        while let first = entries.first, let outcome = first.outcome {
            entries.removeFirst()
            firstSequence += 1
            if outcome == .acted { actedBeyond -= 1 }
            absorb(first)
        }
        return true
    }

    private mutating func absorb(_ entry: Entry) {
        prefixEnd = Self.offsetAfter(entry.offset)
        tail.append(entry.fingerprint)
        if tail.count > limits.tail { tail.removeFirst() }
        guard let timestamp = entry.timestamp else { return }
        times.append(timestamp)
        if times.count > Checkpoint.witnesses { times.removeFirst() }
        disorder.see(timestamp)
    }

    /// The one place that turns "processed" into "next to read" (TRAPS 2).
    static func offsetAfter(_ offset: Int64) -> Int64 { offset &+ 1 }

    /// What is done now. `pending` are fingerprints of an earlier checkpoint that have not gone by yet: they stay known.
    public func done(pending: [Fingerprint] = [], pendingSpan: Int64 = 0) -> DonePrefix {
        let beyond = fingerprintsBeyond
        let span = beyond.isEmpty ? 0 : Int64((entries.lastIndex { $0.outcome == .acted } ?? 0) + 1)
        return DonePrefix(
            witness: times.min(), disorder: disorder.milliseconds, tail: Array(tail),
            beyond: beyond + pending, beyondSpan: max(span, pendingSpan), position: position, timestampType: timestampType)
    }
}

/// How far back in time records stepped lately: the largest step within the last one to two generations of records, so
/// that one wild timestamp is forgotten after a while.
struct DisorderMeter: Sendable {
    /// Records in a generation.
    static let generation = 1024

    private var newest: (now: Int64, before: Int64) = (0, 0)
    private var step: (now: Int64, before: Int64)
    private var seen = 0

    init(_ initial: Int64) { step = (initial, initial) }

    var milliseconds: Int64 { max(step.now, step.before) }

    mutating func see(_ timestamp: MillisecondTimestamp) {
        let time = timestamp.milliseconds
        newest.now = max(newest.now, time)
        step.now = max(step.now, max(newest.now, newest.before) - time)
        seen += 1
        guard seen == Self.generation else { return }
        newest = (0, newest.now)
        step = (0, step.now)
        seen = 0
    }
}
