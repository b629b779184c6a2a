import DequeModule
import KafkaLog

/// Follows one partition whose origin another datacenter processes: finds each of the other side's checkpoints in the log of its own
/// cluster, so that a take-over goes on from a place that is known (Docs/Design.md section 3, "A warm standby"). A pure state machine that
/// never acts.
///
/// It keeps the records that were read since the last place that it found, and looks for the tail of a newer checkpoint among them: in
/// order, first occurrence. Since a checkpoint only moves on, so do the places, and none is ever past where its checkpoint's records end.
public struct StandbyFollower: Sendable {
    public struct Settings: Sendable, Hashable {
        public var planner = ResumePlanner.Settings()
        /// Most records kept past the place (32 bytes each). When so many are there and the newest checkpoint was found, reading waits
        /// for the next one; when it was not found, its tail is further on, and the oldest are forgotten.
        public var ring = 4_096
        /// Most records kept before the place, so that the whole tail fits.
        public var room = 256
        public init() {}
    }

    private struct Entry: Sendable {
        let offset: Int64
        let fingerprint: Fingerprint
        let timestamp: MillisecondTimestamp?
    }

    private let identity: String
    private let settings: Settings
    private var log: ResumePlanner.Log?
    /// Looks for the first place, and again after a checkpoint that went back.
    private var planner: ResumePlanner?
    private var ring: Deque<Entry> = []
    /// How many records of the ring lie before the place.
    private var before = 0
    /// Records past the place were forgotten.
    private var hasSlid = false
    /// The place is not past where the newest checkpoint's can be, whatever the log's contents.
    private var isBound = false
    private var newest: MillisecondTimestamp?
    private var firstTime: MillisecondTimestamp?
    private var lastTime: MillisecondTimestamp?

    /// The newest checkpoint that was shown.
    public private(set) var target: Checkpoint?
    /// The last place that was found, with the checkpoint whose place it is. nil: none yet that a tail confirms.
    public private(set) var anchor: ResumePlanner.Anchor?
    /// Where acting would begin as far as is known; nil while the first place is looked for.
    public private(set) var place: Int64?
    /// The tail of `target` was found: it ends right before `place`.
    public private(set) var isTailHere = false
    /// What a take-over would report when it begins at `place`.
    public private(set) var gap: GapEvent.Reason?
    /// Why the partition could not be taken over; nil: it could.
    public private(set) var refusal: ResumeRefusal?
    /// LogAppendTime: how much later than here the records of the newest checkpoint that was found were stamped where it was measured, in
    /// milliseconds; 0 or more. nil: not seen yet, or another kind of time.
    public private(set) var appendTimeLag: Int64?
    /// What has to be done next: a lookup (then `lookedUp`), or a move of the reader (then `begun`).
    public private(set) var step: ResumePlanner.Step?
    /// Offset after the last record that was read.
    public private(set) var next: Int64 = 0
    /// Monotonic nanoseconds of the last record, or of when reading began.
    public private(set) var lastReadAt: UInt64 = 0
    private var isReading = false

    /// - Parameter identity: what fingerprints are computed over here.
    public init(identity: String, settings: Settings = Settings()) {
        self.identity = identity
        self.settings = settings
    }

    /// Whether records should be read now.
    public var wantsRecords: Bool { isReading && !(planner == nil && isTailHere && ring.count - before >= settings.ring) }

    /// Whether the place is still looked for by a planner.
    public var isPlanning: Bool { planner != nil }

    /// Whether one record is waited for that confirms a position: an end of the log is believed later then.
    public var isConfirming: Bool { planner?.isConfirming ?? false }

    /// Milliseconds between the first and the last time read from the place on.
    public var span: Int64 {
        guard let firstTime, let lastTime else { return 0 }
        return max(0, lastTime.milliseconds - firstTime.milliseconds)
    }

    /// How far this cluster is behind the newest checkpoint, at least, in milliseconds. nil: its tail is here.
    public var behind: Int64? {
        guard !isTailHere else { return nil }
        guard let witness = target?.witness, let newest else { return 0 }
        return max(0, witness.milliseconds - newest.milliseconds)
    }

    // MARK: Checkpoints

    /// Shows the newest checkpoint, with the log's ends as they are now and what was stored as an anchor (believed only where it fits).
    public mutating func show(_ checkpoint: Checkpoint, log: ResumePlanner.Log, stored: ResumePlanner.Anchor? = nil) {
        let isLogKnown = self.log?.cluster == log.cluster
        self.log = log
        let isTrimmed = isReading && next < log.start
        guard let old = target, isLogKnown, refusal == nil, Self.isLater(checkpoint, than: old), !isTrimmed else {
            if let target, target == checkpoint, refusal != nil { return }
            return startOver(checkpoint, log, stored)
        }
        guard old != checkpoint else { return }
        let isSamePlace = isTailHere && old.position == checkpoint.position && old.tail == checkpoint.tail
        target = checkpoint
        guard planner == nil else { return }
        if isSamePlace { return noteAnchor() }
        isTailHere = false
        search()
    }

    /// The reader was moved away, or what it stood on is gone: looks for the place anew at the next `show`.
    public mutating func forgetPlace() {
        target = nil
        planner = nil
        step = nil
        isReading = false
    }

    private static func isLater(_ checkpoint: Checkpoint, than old: Checkpoint) -> Bool {
        guard let distance = old.position.distance(to: checkpoint.position) else { return false }
        return distance >= 0 && checkpoint.epoch >= old.epoch && checkpoint.identity == old.identity
    }

    /// The first checkpoint, or one that can't be told to be later: an operator's rewind, another cluster's.
    private mutating func startOver(_ checkpoint: Checkpoint, _ log: ResumePlanner.Log, _ stored: ResumePlanner.Anchor?) {
        target = checkpoint
        refusal = nil
        reset()
        var settings = settings.planner
        // Nothing has to be acted on here: the mirror gets its time.
        settings.waitsForTail = true
        var planner = ResumePlanner(checkpoint: checkpoint, log: log, settings: settings)
        let known = [anchor, stored].compactMap { $0 }.filter { $0.isOf(checkpoint) }.max { $0.place.offset < $1.place.offset }
        anchor = nil
        do throws(ResumeRefusal) { step = try planner.begin(committed: nil, identity: identity, anchor: known) } catch {
            refusal = error
            return
        }
        self.planner = planner
        settleIfFound(gap: nil)
    }

    private mutating func reset() {
        planner = nil
        step = nil
        place = nil
        gap = nil
        isTailHere = false
        isReading = false
        isBound = false
        forgetRecords()
        newest = nil
    }

    private mutating func forgetRecords() {
        ring = []
        before = 0
        hasSlid = false
        firstTime = nil
        lastTime = nil
    }

    // MARK: Reading

    /// The answer to `.lookUp`, as `ResumePlanner.lookedUp` takes it.
    public mutating func lookedUp(_ found: Int64?, firstTimed: Int64?) {
        step = planner?.lookedUp(found, firstTimed: firstTimed)
    }

    /// The reader stands where `step` says: every record from there on is to be shown.
    public mutating func begun(now: UInt64) {
        guard case .read(let from)? = step else { return }
        step = nil
        isReading = true
        next = from
        lastReadAt = now
        forgetRecords()
    }

    /// Takes the next record in log order. `now` is monotonic nanoseconds.
    public mutating func see(offset: Int64, fingerprint: Fingerprint, timestamp: MillisecondTimestamp?, now: UInt64) {
        guard isReading, offset >= next else { return }
        next = offset &+ 1
        lastReadAt = now
        if let timestamp { newest = max(newest ?? timestamp, timestamp) }
        if let place, offset >= place { note(timestamp) }
        ring.append(Entry(offset: offset, fingerprint: fingerprint, timestamp: timestamp))
        if planner != nil {
            if ring.count > settings.ring { ring.removeFirst() }
            switch planner?.see(offset: offset, fingerprint: fingerprint, timestamp: timestamp, now: now) {
            case .restart(let step, let gap)?: restarted(step, gap)
            default: settleIfFound(gap: nil)
            }
            return
        }
        if !isTailHere, ring.count > before, ends(at: ring.count - 1) { return found(at: ring.count - 1) }
        if !isTailHere, ring.count - before > settings.ring {
            // The tail is not among these. Only a match that is no accident counts from now on.
            ring.removeFirst()
            before = max(0, before - 1)
            hasSlid = true
        }
    }

    /// Tells that everything up to the log's end has been read.
    public mutating func reachedEnd(now: UInt64) {
        guard isReading, case .restart(let step, let gap)? = planner?.reachedEnd(now: now) else { return }
        restarted(step, gap)
    }

    private mutating func restarted(_ step: ResumePlanner.Step, _ gap: GapEvent?) {
        settleIfFound(gap: gap)
        // Where the reader stands already it need not be moved to.
        if case .read(from: next) = step { return }
        self.step = step
        isReading = false
    }

    private mutating func note(_ timestamp: MillisecondTimestamp?) {
        guard let timestamp else { return }
        if firstTime == nil { firstTime = timestamp }
        lastTime = timestamp
    }

    // MARK: Places

    /// The planner has come to where it would act: from here on tails are looked for in what is read.
    private mutating func settleIfFound(gap: GapEvent?) {
        guard case .acting(let from, let method)? = planner?.phase else { return }
        let reported = gap ?? planner?.takeGap()
        let seen = planner?.checkpoint
        planner = nil
        place = from
        self.gap = reported?.reason
        before = ring.firstIndex { $0.offset >= from } ?? ring.count
        let isFound = reported == nil && (method == .tail || method == .sameCluster)
        isBound = isFound || method == .anchor || log?.start == 0
        renewTimes()
        if isFound, let seen {
            noteAnchor(seen)
            isTailHere = seen == target
        }
        // Nothing was finished yet: there is no tail to wait for.
        if reported == nil, target?.tail.isEmpty == true { isTailHere = true }
        search()
    }

    /// Looks for the newest checkpoint's tail in what was read since the place.
    private mutating func search() {
        guard planner == nil, !isTailHere, let last = target?.tail.last else { return }
        for index in max(0, before - 1)..<max(ring.count, max(0, before - 1)) where ring[index].fingerprint == last && ends(at: index) {
            return found(at: index)
        }
    }

    /// Whether the newest checkpoint's tail ends with this record of the ring: as much of it as fits between the ring's start and here.
    private func ends(at index: Int) -> Bool {
        guard let tail = target?.tail, let last = tail.last, ring[index].fingerprint == last else { return false }
        let count = min(tail.count, index + 1)
        guard zip(tail.suffix(count), ring[(index + 1 - count)...index]).allSatisfy({ $0 == $1.fingerprint }) else { return false }
        // A short match may be another record of the same contents, which is no harm as long as the right one can't lie before it.
        let isSure = count == tail.count && count >= ResumePlanner.sureMatch
        return isSure || isBound && !hasSlid
    }

    private mutating func found(at index: Int) {
        place = ring[index].offset &+ 1
        before = index + 1
        measureLag()
        isTailHere = true
        isBound = true
        hasSlid = false
        gap = nil
        let spare = before - settings.room
        if spare > 0 {
            ring.removeFirst(spare)
            before -= spare
        }
        renewTimes()
        noteAnchor()
    }

    /// The checkpoint's witness against the oldest of the same records here.
    private mutating func measureLag() {
        guard let target, target.timestampType == .logAppendTime, let witness = target.witness,
            let oldest = ring.prefix(before).suffix(Checkpoint.witnesses).compactMap(\.timestamp).min()
        else { return }
        appendTimeLag = max(0, witness.milliseconds - oldest.milliseconds)
    }

    private mutating func renewTimes() {
        firstTime = nil
        lastTime = nil
        for entry in ring.dropFirst(before) { note(entry.timestamp) }
    }

    private mutating func noteAnchor() {
        if let target { noteAnchor(target) }
    }

    /// The place belongs to `checkpoint`. Where the record before it is gone, nothing could confirm an anchor.
    private mutating func noteAnchor(_ checkpoint: Checkpoint) {
        guard let place, let log, before > 0, ring[before - 1].offset &+ 1 == place else { return }
        anchor = ResumePlanner.Anchor(
            place: Position(place, in: log.cluster), last: ring[before - 1].fingerprint, checkpoint: checkpoint.position,
            epoch: checkpoint.epoch)
    }
}
