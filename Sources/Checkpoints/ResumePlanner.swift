import KafkaLog

/// Finds, for one partition in one cluster, the record from which to act again: the resume rule of Docs/Design.md
/// section 3, steps 1 to 6, as a pure state machine.
///
/// The owner asks `begin` what to do, makes the lookup that it names, then reads from where it is told and shows every record to
/// `see`, which says what to do with it. The same machine goes on judging records while acting, since records that were
/// finished out of order (`beyond`) still have to be skipped.
public struct ResumePlanner: Sendable {
    /// What the owner does next.
    public enum Step: Sendable, Hashable {
        /// Look up the first offset whose record's time is at or after `time`, and also the first that has a time at all
        /// (a lookup of time 0), then call `lookedUp`.
        case lookUp(MillisecondTimestamp)
        /// Read from this offset and show every record to `see`.
        case read(from: Int64)
    }

    /// What to do with a record that was read.
    public enum Verdict: Sendable, Hashable {
        /// Nothing: it lies before the place, or is its last.
        case scanned
        /// Act on it (or let the rules skip it).
        case act
        /// It was finished before: it moves the prefix, and nothing is done.
        case alreadyDone
        /// Throw away what was read, and read again from here.
        case restart(Step, gap: GapEvent?)
    }

    /// How the place was found. The words of `offsets plan` and of the reports.
    public enum Method: String, Sendable, Hashable, Codable {
        case sameCluster = "same cluster"
        case tail
        /// Where a standby found an older checkpoint's place; the tail of this one was not found after it.
        case anchor
        case time
        case logStart = "log start"
    }

    public enum Phase: Sendable, Hashable {
        /// Reading without acting. `holding`: the log's end was reached and the tail is not there yet.
        case scanning(holding: Bool)
        /// Acting from `from` on.
        case acting(from: Int64, Method)
    }

    public var settings: Settings
    public let checkpoint: Checkpoint?
    public private(set) var log: Log
    public private(set) var phase: Phase = .scanning(holding: false)
    private var stage: Stage = .confirming(at: 0, Fingerprint(bits: 0))
    /// Where step 2 begins; -1 before it was looked up.
    private var start: Int64 = -1
    /// Where an unconfirmed start would begin: `start`, or the log's start when retention may have eaten the place.
    private var fallback: Int64 = -1
    private var fallbackMethod = Method.time
    /// The anchor that the scan began from: no tail ends before its place.
    private var anchor: Anchor?
    /// Whether the record before its place was seen to be the one that it names.
    private var isAnchorConfirmed = false
    /// The log holds something else where the checkpoint was measured (truncated and written anew, or made again).
    private var diverged = false
    private var recent: [Fingerprint] = []
    /// A record of the tail was seen while scanning: this log is the one that the checkpoint speaks of.
    private var tailSeen = false
    /// The tail's last record was seen, so that nothing of it is still to come: where it does not stand in this order, a mirror has repeated a
    /// run in one of the two logs.
    private var tailEndSeen = false
    /// Records of the tail that the scan met before `fallback`: they don't come again, and one of the same contents that does is another.
    private var tailPassed: [Fingerprint] = []
    /// The committed position that won over the checkpoint's, and its last record.
    private var committedLast: Fingerprint?
    private var startedAfterTrim = false
    private var times: [MillisecondTimestamp] = []
    /// The times of the last 16 records before the place, where the tail was found; before them the checkpoint's witness, where the scan
    /// met fewer. nil: no more is known than the witness.
    public private(set) var timesBefore: [MillisecondTimestamp]?
    private var holdUntil: UInt64?
    private var pendingTail: [Fingerprint] = []
    private var pendingBeyond: [Fingerprint]
    private var seenWhileActing: Int64 = 0

    private enum Stage: Sendable, Hashable {
        /// Step 1: the record at this offset must be this one.
        case confirming(at: Int64, Fingerprint)
        /// Step 3.
        case scanning
        case acting
    }

    public init(checkpoint: Checkpoint?, log: Log, settings: Settings = Settings()) {
        self.checkpoint = checkpoint
        self.log = log
        self.settings = settings
        pendingBeyond = checkpoint?.beyond ?? []
        pendingSpan = checkpoint?.beyondSpan ?? 0
    }

    // MARK: Beginning

    /// The first step. `identity` is what fingerprints are computed over here; an anchor that is not of this cluster, this log or of an
    /// older state of this checkpoint is left aside.
    public mutating func begin(committed: Committed?, identity: String, anchor: Anchor? = nil) throws(ResumeRefusal) -> Step {
        guard let checkpoint else {
            if let committed { return try sameCluster(offset: committed.offset, last: committed.last) }
            return act(from: log.start, .logStart)
        }
        try refuseWhatCannotBe(checkpoint, identity: identity)
        if let best = bestHere(checkpoint, committed) {
            if best.offset != checkpoint.position.offset || checkpoint.position.cluster != log.cluster { committedLast = best.last }
            return try sameCluster(offset: best.offset, last: best.last)
        }
        if let anchor, isUsable(anchor, for: checkpoint) { return scan(from: anchor, checkpoint) }
        return lookUpOrScan()
    }

    /// Whether the record before its place can still be there, and the place is not past this checkpoint's.
    private func isUsable(_ anchor: Anchor, for checkpoint: Checkpoint) -> Bool {
        anchor.place.cluster == log.cluster && anchor.place.offset > log.start && anchor.place.offset <= log.highWatermark
            && !checkpoint.tail.isEmpty && anchor.isOf(checkpoint)
    }

    /// Step 1 with an anchor: no lookup, since everything before its place is finished.
    private mutating func scan(from anchor: Anchor, _ checkpoint: Checkpoint) -> Step {
        self.anchor = anchor
        stage = .scanning
        phase = .scanning(holding: false)
        fallback = anchor.place.offset
        fallbackMethod = .anchor
        start = max(log.start, fallback - max(1, 2 * Int64(checkpoint.tail.count)))
        return .read(from: start)
    }

    /// The record before the anchor's place is another one, or gone: step 2, as if there were no anchor.
    private mutating func abandonAnchor() -> Verdict {
        anchor = nil
        fallbackMethod = .time
        tailSeen = false
        times = []
        recent = []
        holdUntil = nil
        return .restart(lookUpOrScan(), gap: nil)
    }

    private func refuseWhatCannotBe(_ checkpoint: Checkpoint, identity: String) throws(ResumeRefusal) {
        if checkpoint.identity != identity {
            throw .identityChanged(stored: checkpoint.identity, here: identity)
        }
        if log.partitionCount < checkpoint.partitionCount {
            throw .partitionCount(stored: checkpoint.partitionCount, here: log.partitionCount)
        }
        if checkpoint.position.cluster == log.cluster, let stored = checkpoint.topicID, let here = log.topicID, stored != here {
            throw .topicRecreated(stored: stored, here: here)
        }
    }

    /// Step 1's candidates: the higher epoch wins, then the higher offset of this cluster (both are done prefixes).
    private func bestHere(_ checkpoint: Checkpoint, _ committed: Committed?) -> (offset: Int64, last: Fingerprint?)? {
        let stored = checkpoint.position.cluster == log.cluster ? (checkpoint.position.offset, checkpoint.tail.last) : nil
        guard let committed, committed.epoch >= checkpoint.epoch else { return stored }
        if committed.epoch == checkpoint.epoch, let stored, stored.0 >= committed.offset { return stored }
        return (committed.offset, committed.last)
    }

    private mutating func sameCluster(offset: Int64, last: Fingerprint?) throws(ResumeRefusal) -> Step {
        guard offset <= log.highWatermark else {
            throw .aboveHighWatermark(stored: offset, highWatermark: log.highWatermark)
        }
        if offset < log.start { return startAfterTrim(offset: offset) }
        // At the log's very start there is no record before it that could be compared.
        guard let last, offset > log.start else { return act(from: offset, .sameCluster) }
        stage = .confirming(at: offset - 1, last)
        return .read(from: offset - 1)
    }

    /// Retention passed the position in its own cluster (F08): the gap is known to the record.
    private var knownGap: GapEvent?
    private mutating func startAfterTrim(offset: Int64) -> Step {
        knownGap = GapEvent(
            reason: .retention, from: Position(offset, in: log.cluster), to: Position(log.start, in: log.cluster),
            records: log.start - offset, since: checkpoint?.witness, until: nil)
        startedAfterTrim = true
        return act(from: log.start, .logStart)
    }

    /// A gap that planning itself found, to be raised before the first record is acted on. Taken once.
    public mutating func takeGap() -> GapEvent? {
        defer { knownGap = nil }
        return knownGap
    }

    /// Steps 2 and 5.
    private mutating func lookUpOrScan() -> Step {
        guard let checkpoint else { return act(from: log.start, .logStart) }
        guard !checkpoint.tail.isEmpty else { return startOfEmptyPrefix(checkpoint) }
        stage = .scanning
        phase = .scanning(holding: false)
        tailPassed = []
        tailEndSeen = false
        guard let time = lookUpTime else {
            start = log.start
            fallback = log.start
            fallbackMethod = .logStart
            return .read(from: log.start)
        }
        return .lookUp(time)
    }

    /// Nothing was finished without a break, so everything that is there is due, but for what `beyond` names. A trimmed log may have lost
    /// records that were due, and what `beyond` names, in whose place a later record of the same contents would be skipped: not silent.
    private mutating func startOfEmptyPrefix(_ checkpoint: Checkpoint) -> Step {
        if log.start > 0 {
            knownGap = GapEvent(
                reason: .retention, from: checkpoint.position, to: Position(log.start, in: log.cluster), records: nil,
                since: checkpoint.witness, until: nil)
        }
        return act(from: log.start, .logStart)
    }

    /// Step 1 did not hold: on to step 2. Without a checkpoint there is nothing to find the place by.
    private mutating func findPlace() -> Step {
        committedLast = nil
        if checkpoint == nil {
            knownGap = GapEvent(
                reason: .diverged, from: nil, to: Position(log.start, in: log.cluster), records: nil, since: nil, until: nil)
        }
        return lookUpOrScan()
    }

    private var lookUpTime: MillisecondTimestamp? {
        guard let checkpoint, let witness = checkpoint.witness else { return nil }
        return witness.moved(by: -(max(min(checkpoint.disorder, settings.disorderBound), settings.slack) + appendTimeStep))
    }

    /// The lookup by the measured lag found no place that the tail confirms.
    private var lagFailed = false
    private var appendTimeStep: Int64 {
        guard checkpoint?.timestampType == .logAppendTime else { return 0 }
        guard let lag = settings.appendTimeLag, !lagFailed else { return settings.appendTimeBound }
        return min(lag, settings.appendTimeBound)
    }

    /// The answer to `.lookUp`: concrete offsets, nil where the broker answered "none".
    public mutating func lookedUp(_ found: Int64?, firstTimed: Int64?) -> Step {
        // "None" is the high watermark that was read before, never END, which a later moment would resolve (trap 7).
        start = max(log.start, min(found ?? log.highWatermark, log.highWatermark))
        fallback = start
        // Some records more, so that the whole tail fits before the place: of a part of it, a record of the same contents further
        // on could be taken for the end.
        start = max(log.start, start - 2 * Int64(checkpoint?.tail.count ?? 0))
        if log.start > 0, firstTimed == nil || found == firstTimed {
            // Nothing here is older than the looked-up time: retention may have eaten the place.
            fallback = log.start
            fallbackMethod = .logStart
        }
        return .read(from: start)
    }

    private mutating func act(from offset: Int64, _ method: Method) -> Step {
        stage = .acting
        phase = .acting(from: offset, method)
        times = []
        recent = []
        return .read(from: offset)
    }

    // MARK: Reading

    /// So many records in a row, as they stand in the tail, are no accident.
    static let sureMatch = 4

    /// Whether the one record that confirms a position of this cluster (or an anchor) is waited for.
    public var isConfirming: Bool {
        if case .confirming = stage { true } else { anchor != nil && !isAnchorConfirmed && stage == .scanning }
    }

    /// Judges the next record, in log order. `now` is monotonic nanoseconds.
    public mutating func see(
        offset: Int64, fingerprint: Fingerprint, timestamp: MillisecondTimestamp?, now: UInt64
    ) -> Verdict {
        switch stage {
        case .confirming(let at, let expected):
            if offset == at, fingerprint == expected {
                _ = act(from: offset &+ 1, .sameCluster)
                return .scanned
            }
            diverged = offset == at
            return .restart(findPlace(), gap: takeGap())
        case .scanning:
            return scan(offset: offset, fingerprint: fingerprint, timestamp: timestamp, now: now)
        case .acting:
            return judge(fingerprint, timestamp)
        }
    }

    private mutating func scan(
        offset: Int64, fingerprint: Fingerprint, timestamp: MillisecondTimestamp?, now: UInt64
    ) -> Verdict {
        guard let checkpoint else { return .act }
        if let anchor, !isAnchorConfirmed, offset &+ 1 >= anchor.place.offset {
            guard offset &+ 1 == anchor.place.offset, fingerprint == anchor.last else { return abandonAnchor() }
            isAnchorConfirmed = true
        }
        recent.append(fingerprint)
        if recent.count > checkpoint.tail.count { recent.removeFirst() }
        if checkpoint.position.cluster == log.cluster, tailSeen, !diverged, offset >= checkpoint.position.offset {
            // The tail's last record was compacted away, others of it are here: the offset itself is good.
            _ = act(from: offset, .sameCluster)
            return judge(fingerprint, timestamp)
        }
        if checkpoint.tail.contains(fingerprint) {
            tailSeen = true
            if offset < fallback { tailPassed.append(fingerprint) }
        }
        // Only as much of the tail as fits between the scan's start and here; the first occurrence, so that a mirror that
        // repeated a run costs repeats and never a loss.
        // None ends before an anchor's place.
        if fingerprint == checkpoint.tail.last, offset &+ 1 >= anchor?.place.offset ?? 0,
            recent.elementsEqual(checkpoint.tail.suffix(recent.count))
        {
            let isSure = recent.count == checkpoint.tail.count && recent.count >= Self.sureMatch
            note(timestamp)
            timesBefore = times.count == Checkpoint.witnesses ? times : [checkpoint.witness].compactMap(\.self) + times
            _ = act(from: offset &+ 1, .tail)
            guard !isSure, log.start > 0 else { return .scanned }
            // Retention may have taken the place and what came after it, and this may be another record of the same contents:
            // not silent.
            let gap = GapEvent(
                reason: .retention, from: checkpoint.position, to: Position(offset &+ 1, in: log.cluster), records: nil,
                since: checkpoint.witness, until: nil)
            return .restart(.read(from: offset &+ 1), gap: gap)
        }
        if fingerprint == checkpoint.tail.last { tailEndSeen = true }
        note(timestamp)
        if offset &+ 1 < log.highWatermark {
            // Silence before what was there already was a slow fetch: nothing was waited for yet.
            holdUntil = nil
            phase = .scanning(holding: false)
        }
        if let timestamp, let lookUpTime, timestamp < lookUpTime {
            // Older ground still arriving: the mirror is behind, which is no reason to give up.
            holdUntil = nil
        }
        // A sealed tail is looked for in all that is there, and then for the hold time at least (`reachedEnd`); an anchor is not acted from
        // before it is confirmed.
        if isPast, !isConfirming, !settings.waitsForTail { return giveUp() }
        return .scanned
    }

    /// Tells that everything up to the log's end has been read. nil: nothing to do but wait for more.
    public mutating func reachedEnd(now: UInt64) -> Verdict? {
        switch stage {
        case .acting: return nil
        case .confirming:
            // The record before the position is not there any more (compaction): find the place by time.
            return .restart(findPlace(), gap: takeGap())
        case .scanning where isConfirming: return abandonAnchor()
        case .scanning:
            phase = .scanning(holding: true)
            if settings.waitsForTail, !tailEndSeen, fallbackMethod != .logStart, !isPast, !isAfterSeal {
                holdUntil = nil
                return nil
            }
            guard let until = holdUntil else {
                holdUntil = now &+ settings.hold
                return nil
            }
            return now >= until ? giveUp() : nil
        }
    }

    /// When `reachedEnd` should be called again though nothing was read. nil: no need.
    public var nextDeadline: UInt64? { stage == .scanning ? holdUntil : nil }

    private mutating func note(_ timestamp: MillisecondTimestamp?) {
        guard let timestamp else { return }
        times.append(timestamp)
        if times.count > Checkpoint.witnesses { times.removeFirst() }
    }

    /// The last 16 times read are all newer than the checkpoint's witness can be, which is the oldest of the last 16 at its place. One newer time
    /// says nothing: where records are rare, those 16 span minutes.
    private var isPast: Bool {
        guard let lastPlaceTime, times.count >= Checkpoint.witnesses, let oldest = times.min() else { return false }
        return oldest > lastPlaceTime
    }

    /// The last time read is newer than the seal itself, by so much that no clock explains it: what was sealed would stand before it.
    private var isAfterSeal: Bool {
        guard let checkpoint, checkpoint.sealed, let last = times.last else { return false }
        return last > checkpoint.writtenAt.moved(by: checkpoint.disorder + 2 * settings.slack + settings.disorderBound)
    }

    /// The latest time that the oldest of the 16 records before the checkpoint's place can have.
    private var lastPlaceTime: MillisecondTimestamp? {
        guard let checkpoint, let witness = checkpoint.witness else { return nil }
        return witness.moved(by: checkpoint.disorder + 2 * settings.slack + appendTimeStep)
    }

    private mutating func giveUp() -> Verdict {
        if checkpoint?.timestampType == .logAppendTime, settings.appendTimeLag != nil, !lagFailed, anchor == nil {
            lagFailed = true
            holdUntil = nil
            times = []
            recent = []
            return .restart(lookUpOrScan(), gap: nil)
        }
        let trimmed = log.start > 0
        let from = fallback
        let mustReport = trimmed || diverged || checkpoint?.timestampType == .logAppendTime
        let reason: GapEvent.Reason = diverged ? .diverged : trimmed ? .retention : .unconfirmedAppendTime
        let gap = GapEvent(
            reason: reason, from: checkpoint?.position, to: Position(from, in: log.cluster), records: nil,
            since: checkpoint?.witness, until: nil)
        pendingTail = checkpoint?.tail ?? []
        for passed in tailPassed { pendingTail.firstIndex(of: passed).map { _ = pendingTail.remove(at: $0) } }
        return .restart(act(from: from, fallbackMethod), gap: mustReport ? gap : nil)
    }

    // MARK: Acting

    /// Records past this many times the span of `beyond` (and this many more) are not looked for in it any longer.
    private static let beyondReach: (times: Int64, more: Int64) = (2, 4_096)

    private mutating func judge(_ fingerprint: Fingerprint, _ timestamp: MillisecondTimestamp?) -> Verdict {
        if pendingTail.isEmpty, pendingBeyond.isEmpty { return .act }
        note(timestamp)
        if isPast { pendingTail = [] }
        seenWhileActing += 1
        if pendingTail.isEmpty, seenWhileActing > pendingSpan * Self.beyondReach.times + Self.beyondReach.more {
            pendingBeyond = []
        }
        if let index = pendingTail.firstIndex(of: fingerprint) {
            pendingTail.remove(at: index)
            return .alreadyDone
        }
        if let index = pendingBeyond.firstIndex(of: fingerprint) {
            pendingBeyond.remove(at: index)
            return .alreadyDone
        }
        return .act
    }

    /// What the tracker goes on from once acting has begun: the checkpoint where its tail lies right before the place,
    /// nil where the place is unconfirmed (the old tail would not be in the order of this log).
    public var resumed: DonePrefix? {
        guard case .acting(_, let method) = phase, let checkpoint else { return nil }
        guard method == .sameCluster || method == .tail || startedAfterTrim else { return nil }
        var done = checkpoint.done
        if let committedLast { done.tail = [committedLast] }
        return done
    }

    /// Records that another holder of this partition finished past its prefix, and that have not been read here: they are skipped when they go
    /// by. `span`: how many records they are spread over, from here on.
    public mutating func skip(_ fingerprints: [Fingerprint], span: Int64) {
        pendingBeyond += fingerprints
        pendingSpan = max(pendingSpan, span)
        seenWhileActing = 0
    }

    /// How many records past the place `pending` is spread over.
    public private(set) var pendingSpan: Int64

    /// Fingerprints that are still to be skipped when they go by: part of the next checkpoint's `beyond`, so that a crash
    /// now does not forget them.
    public var pending: [Fingerprint] { pendingTail + pendingBeyond }
}
