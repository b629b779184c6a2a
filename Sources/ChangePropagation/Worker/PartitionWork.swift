import Checkpoints
import DequeModule
import Handover
import KafkaLog

/// What a worker knows of one partition that its group gave it, and the decisions about it: a state machine without I/O.
struct PartitionWork: Sendable {
    enum Stage: Sendable, Equatable {
        /// Not this worker's to act on now (another DC owns the origin, or its assignment is not known yet).
        case standby
        /// The same, and read along with the owner's checkpoints; nothing is acted on.
        case following
        /// The place to go on from is being looked up.
        case planning
        /// Reading: scanning for the tail, or acting.
        case reading
        /// A planned handover: nothing is begun any more; what runs is finished, then sealed.
        case draining
        case sealed
        /// Met a record that can't be finished: nothing is read any more; what was read before it is still acted on.
        case halting(String)
        /// Stopped, and said so; other partitions go on. Tried again after a while.
        case halted(String)
        /// The group takes it back: what runs is finished, then a last checkpoint.
        case revoking
    }

    /// Most jobs that wait for a slot, and most bytes of them; past either, the partition is paused.
    static let waitingLimit = 2048
    static let waitingBytesLimit = 4 << 20
    /// How far back in the waiting jobs one with a free lane is looked for.
    static let laneSearchLimit = 64
    /// Most records held behind the oldest unfinished one, skipped ones too; past it, the partition is paused.
    static let heldLimit = 65_536

    /// A job that has a slot.
    struct Started: Sendable {
        let fingerprint: Fingerprint
        /// Monotonic nanoseconds.
        let readAt: UInt64
    }

    let partition: TopicPartition
    let origin: Datacenter
    var stage: Stage = .standby
    /// Nothing is done on it here.
    var isStandby: Bool { stage == .standby || stage == .following }
    /// Grows whenever work in progress is dropped.
    private(set) var generation = Generations.next()
    var epoch: Int64 = 0
    var planner: ResumePlanner?
    /// What following this partition found. It stays true: what was finished then is finished.
    var anchor: ResumePlanner.Anchor?
    /// What the standby measured of a LogAppendTime topic, in milliseconds; nil: nothing.
    var appendTimeLag: Int64?
    private(set) var tracker: PrefixTracker?
    private(set) var waiting: Deque<Job> = []
    private var waitingBytes = 0
    /// By offset, what is known of those that have a slot.
    private(set) var running: [Int64: Started] = [:]
    private(set) var delayed = DelayedJobs()
    private var busyLanes: Set<UInt64> = []
    private var recent: RecentIdentities
    /// Revision of the stored checkpoint; 0: there is none.
    var storedRevision: Int64 = 0
    /// A stored checkpoint of this epoch that is further on than this worker: nothing is written until it is passed.
    var storedAhead: Position?
    /// Records before this offset were finished by another member that held the partition; 0: none.
    private var doneBelow: Int64 = 0
    private var brokenSkips = BrokenRule.resumeSkips
    /// The last epoch in which this partition is known to be sealed: in it nothing more is written. 0: none.
    var sealedEpoch: Int64 = 0
    /// Monotonic nanoseconds before which it is not sealed here: another member of the group writes it, and seals it if it still holds it.
    var sealNotBefore: UInt64 = 0
    var lastWritten: DonePrefix?
    /// When all that was done was stored last, in monotonic nanoseconds; nil: not yet.
    var storedAt: UInt64?
    /// Write at the next occasion though nothing moved: a new epoch, or the first time here.
    var mustWrite = false
    var lastCommitted: Int64 = -1
    /// Offset after the last record that was read.
    var nextOffset: Int64 = 0
    var isPaused = true
    /// How the place was found has been said, once for each time that acting begins.
    var isAnnounced = false
    var caughtUpAt: MillisecondTimestamp?
    /// Records dropped as a mirror's repeats.
    private(set) var repeats = 0
    /// Monotonic nanoseconds of the last record that was read.
    var lastReadAt: UInt64 = 0
    /// Monotonic nanoseconds of when a hold was last logged; nil: this one was not yet.
    var holdLoggedAt: UInt64?

    /// - Parameter orphans: actions of earlier work on this partition that have not ended, by its generation.
    init(partition: TopicPartition, origin: Datacenter, dedupeWindow: Int, orphans: [Int: Int] = [:]) {
        self.partition = partition
        self.origin = origin
        self.orphans = orphans
        recent = RecentIdentities(limit: dedupeWindow)
    }

    // MARK: Changes of stage

    /// Forgets all work in progress. What still runs goes on running; its results will be dropped, and nothing is planned
    /// anew before it has ended (`hasOrphans`).
    mutating func drop(to stage: Stage) {
        if !running.isEmpty { orphans[generation] = running.count }
        generation = Generations.next()
        self.stage = stage
        planner = nil
        tracker = nil
        waiting = []
        delayed.removeAll()
        waitingBytes = 0
        running = [:]
        busyLanes = []
        mustWrite = false
        lastWritten = nil
        storedAt = nil
        storedAhead = nil
        doneBelow = 0
        sealNotBefore = 0
        isAnnounced = false
        retryAt = nil
        // What was read and not finished will be read again, and must not pass for a repeat then.
        recent.removeAll()
    }

    /// Actions of dropped work that have not ended.
    private var orphans: [Int: Int] = [:]
    var hasOrphans: Bool { !orphans.isEmpty }

    /// Begins nothing more. What waits is kept, in case the drain is cancelled.
    mutating func drain() { stage = .draining }

    /// The drain was cancelled and nobody else acted meanwhile: goes on where it stopped, under the new epoch, once the reader
    /// stands at `nextOffset` again (records that came while draining were dropped). False: nothing to go on with; plan anew. So it is
    /// where a record is neither finished nor waiting nor running (its action failed for good): reading on would leave it behind.
    mutating func undrain(in epoch: Int64) -> Bool {
        guard let tracker, stage == .draining || stage == .sealed || stage == .reading,
            tracker.running == waiting.count + delayed.count + running.count
        else { return false }
        stage = .planning
        // Drained again before anything is written, it has to be sealed in this epoch.
        self.epoch = epoch
        mustWrite = true
        return true
    }

    /// The epoch went up and the partition did not change hands: everything goes on as it is, and is written in the new epoch.
    mutating func goOn(in epoch: Int64) { self.epoch = epoch }

    /// Stops beginning actions; what runs goes on, what waits is left for whoever reads it next.
    mutating func stopBeginning(_ stage: Stage) {
        self.stage = stage
        waiting = []
        delayed.removeAll()
        waitingBytes = 0
    }

    var isIdle: Bool { running.isEmpty }

    /// When the unfinished record at `offset` was read, in monotonic nanoseconds; nil: it is not kept.
    func readAt(_ offset: Int64) -> UInt64? { running[offset]?.readAt ?? (waiting.first { $0.offset == offset } ?? delayed[offset: offset])?.readAt }

    var isActing: Bool {
        guard stage == .reading, case .acting? = planner?.phase else { return false }
        return true
    }

    var isScanning: Bool {
        guard stage == .reading, case .scanning? = planner?.phase else { return false }
        return true
    }

    /// Nothing is held back: everything read is finished.
    var isAllDone: Bool { (tracker?.running ?? 0) == 0 && waiting.isEmpty }

    // MARK: Records

    enum Seen {
        /// Nothing to do: before the place, repeated, or done before.
        case nothing
        /// To be judged by the rules.
        case event(PrefixTracker.Ticket)
        case restart(ResumePlanner.Step, GapEvent?)
    }

    /// Takes the next record in log order.
    mutating func see(
        offset: Int64, fingerprint: Fingerprint, hasIdentity: Bool, timestamp: MillisecondTimestamp?, type: TimestampType, now: UInt64,
        limits: PrefixTracker.Limits
    ) -> Seen {
        guard case .reading = stage, let verdict = planner?.see(offset: offset, fingerprint: fingerprint, timestamp: timestamp, now: now) else {
            return .nothing
        }
        nextOffset = max(nextOffset, offset &+ 1)
        lastReadAt = now
        switch verdict {
        case .scanned:
            if hasIdentity { _ = recent.insert(fingerprint) }
            return .nothing
        case .restart(let step, let gap):
            recent.removeAll()
            return .restart(step, gap)
        case .act, .alreadyDone:
            if tracker == nil { beginTracking(limits) }
            guard let ticket = tracker?.began(offset: offset, fingerprint: fingerprint, timestamp: timestamp, type: type) else {
                return .nothing
            }
            // A mirror that crashed writes a run again: known ids are dropped (Docs/Design.md section 3, step 7).
            let isRepeat = hasIdentity && !recent.insert(fingerprint)
            if verdict == .alreadyDone || offset < doneBelow || takesBrokenSkip() {
                // It must stay known while an older record holds the prefix back.
                tracker?.finished(ticket, .acted)
                return .nothing
            }
            if isRepeat {
                // Not `.acted`: the one that it repeats may still be running, and `beyond` would name both.
                repeats += 1
                tracker?.finished(ticket, .skipped)
                return .nothing
            }
            return .event(ticket)
        }
    }

    /// Whether a test wants this event lost (`BrokenRule`).
    private mutating func takesBrokenSkip() -> Bool {
        guard brokenSkips > 0, case .acting(_, .tail)? = planner?.phase else { return false }
        brokenSkips -= 1
        return true
    }

    /// Takes records that no rule wants, as long as one follows the other while acting: of most events that is all there is to do.
    ///
    /// - Parameter unwanted: what a record is, if it is one that no rule wants.
    /// - Returns: index of the first record that was not taken; how many were unwanted.
    mutating func skim(
        _ batch: RecordBatch, _ range: Range<Int>, now: UInt64, limits: PrefixTracker.Limits,
        unwanted: (borrowing RecordView) -> (Fingerprint, hasIdentity: Bool)?
    ) -> (end: Int, skipped: Int) {
        guard isActing else { return (range.lowerBound, 0) }
        var skipped = 0
        for index in range {
            let isTaken = batch.withRecord(at: index) { record in
                guard let (fingerprint, hasIdentity) = unwanted(record) else { return false }
                // While acting nothing restarts the reading.
                let seen = see(
                    offset: record.offset, fingerprint: fingerprint, hasIdentity: hasIdentity, timestamp: record.timestamp,
                    type: record.timestampType, now: now, limits: limits)
                if case .event(let ticket) = seen {
                    tracker?.finished(ticket, .skipped)
                    skipped += 1
                }
                return true
            }
            guard isTaken else { return (index, skipped) }
        }
        return (range.upperBound, skipped)
    }

    /// The planner has found the place: tracking begins there.
    mutating func beginTracking(_ limits: PrefixTracker.Limits) {
        guard case .acting(let from, _)? = planner?.phase, let planner else { return }
        tracker = PrefixTracker(resuming: planner.resumed, at: Position(from, in: planner.log.cluster), times: planner.timesBefore, limits: limits)
        mustWrite = true
    }

    mutating func finishSkipped(_ ticket: PrefixTracker.Ticket) { tracker?.finished(ticket, .skipped) }

    mutating func enqueue(_ job: Job) {
        waitingBytes += job.size
        if job.dueAt > 0 { delayed.insert(job) } else { waiting.append(job) }
    }

    // MARK: Jobs that are not due yet

    /// Most of them; past it, the partition is paused.
    static let delayedLimit = 2048
    /// A job that is due within this many nanoseconds is waited for, whatever it holds up.
    static let nearlyDue: UInt64 = 2_000_000_000
    /// One that only fills the memory is kept for so long before it makes room.
    static let delayedHold: UInt64 = 10_000_000_000

    /// Lets those that are due by now wait for a slot, in the order of their due times.
    mutating func releaseDue(now: UInt64) {
        while let job = delayed.takeDue(now) { waiting.append(job) }
    }

    /// The oldest unfinished job, when it is not due for long and holds others up: it is to be parked anew, behind them. As many records as may
    /// be finished beyond the prefix wait for it, or there is no room to read on. Taken as one that was started. nil: there is none.
    mutating func takeParkedAnew(now: UInt64) -> Job? {
        guard stage == .reading, !delayed.isEmpty, let tracker, tracker.isFull || isOverfull, let oldest = tracker.oldestRunning?.offset,
            let job = delayed[offset: oldest], job.dueAt > now &+ Self.nearlyDue,
            tracker.isFull || now &- min(now, job.readAt) >= Self.delayedHold
        else { return nil }
        delayed.remove(offset: oldest)
        waitingBytes -= job.size
        running[job.offset] = Started(fingerprint: job.fingerprint, readAt: job.readAt)
        return job
    }

    /// Whether reading on would keep too much in memory.
    var isOverfull: Bool {
        waiting.count >= Self.waitingLimit || delayed.count >= Self.delayedLimit || waitingBytes >= Self.waitingBytesLimit || tracker?.held ?? 0 >= Self.heldLimit
    }
    /// Whether there is room again (with some distance, so that it does not flutter).
    var hasRoom: Bool {
        waiting.count <= Self.waitingLimit / 4 && delayed.count <= Self.delayedLimit * 3 / 4 && waitingBytes <= Self.waitingBytesLimit / 4 && tracker?.held ?? 0 <= Self.heldLimit / 2
    }

    /// The next job that may start, taken out of the waiting ones. nil: none may.
    ///
    /// - Parameter now: monotonic nanoseconds.
    mutating func takeJob(now: UInt64 = .max) -> Job? {
        guard !waiting.isEmpty, let isFull = tracker?.isFull else { return nil }
        switch stage {
        case .reading, .halting: break
        default: return nil
        }
        guard !isFull else {
            // The one record that holds everything back may go all the same: nothing else can move the prefix.
            guard let oldest = tracker?.oldestRunning?.offset,
                let index = waiting.firstIndex(where: { $0.offset == oldest && $0.notBefore <= now })
            else { return nil }
            return start(index)
        }
        for index in 0..<min(waiting.count, Self.laneSearchLimit) where waiting[index].notBefore <= now {
            if let lane = waiting[index].lane {
                guard !busyLanes.contains(lane), !waiting.prefix(index).contains(where: { $0.lane == lane }) else { continue }
            }
            return start(index)
        }
        return nil
    }

    private mutating func start(_ index: Int) -> Job {
        let job = waiting.remove(at: index)
        if let lane = job.lane { busyLanes.insert(lane) }
        waitingBytes -= job.size
        running[job.offset] = Started(fingerprint: job.fingerprint, readAt: job.readAt)
        return job
    }

    /// Stops the partition at a record that can't be finished. What was read before it is still acted on; what was read after it
    /// waits for the next try. `offset` nil: nothing has been read at all.
    mutating func halt(_ why: String, at offset: Int64?) {
        guard tracker != nil, let offset else { return drop(to: .halted(why)) }
        haltingAt = min(offset, isHalting ? haltingAt : offset)
        stage = .halting(why)
        waiting.removeAll { $0.offset > haltingAt }
        // They would hold the halt up until they are due; they are read again.
        delayed.removeAll()
        waitingBytes = waiting.reduce(0) { $0 + $1.size }
        settleHalt()
    }

    /// Offset of the record that stops the partition: what comes after it is begun no more.
    private var haltingAt: Int64 = 0
    private var isHalting: Bool { if case .halting = stage { true } else { false } }

    private mutating func settleHalt() {
        guard case .halting(let why) = stage, waiting.isEmpty, running.isEmpty else { return }
        stage = .halted(why)
    }

    /// Tries in a row that ended in a halt without the done prefix having moved, and when the next one is due (monotonic nanoseconds).
    private(set) var halts = 0
    private(set) var retryAt: UInt64?
    private var haltedOffset: Int64 = -1

    /// Sets when a halted partition is tried again: after `first`, then twice as long each time, at most `last` (nanoseconds).
    mutating func planRetry(now: UInt64, first: UInt64, last: UInt64) {
        let offset = tracker?.position.offset ?? -1
        halts = offset == haltedOffset ? halts + 1 : 0
        haltedOffset = offset
        retryAt = now &+ min(last, first << UInt64(min(halts, 20)))
    }

    mutating func takeRetry(now: UInt64) -> Bool {
        guard case .halted = stage, let due = retryAt, now >= due else { return false }
        retryAt = nil
        return true
    }

    /// Nothing more comes for now: the log's end, as far as it can be told. What the planner wants done about it; nil: wait.
    mutating func reachedEnd(now: UInt64) -> (ResumePlanner.Step, GapEvent?)? {
        guard case .restart(let step, let gap)? = planner?.reachedEnd(now: now) else { return nil }
        // They are read again, to be acted on this time, and must not pass for a mirror's repeats.
        recent.removeAll()
        return (step, gap)
    }

    /// A job that was started has ended. False: it belonged to work that was dropped since.
    @discardableResult
    mutating func ended(_ job: Job, _ ending: Ending) -> Bool {
        guard job.generation == generation else {
            if let left = orphans[job.generation] { orphans[job.generation] = left > 1 ? left - 1 : nil }
            return false
        }
        guard running.removeValue(forKey: job.offset) != nil else { return false }
        if let lane = job.lane { busyLanes.remove(lane) }
        switch ending {
        case .finished: tracker?.finished(job.ticket, .acted)
        // Not `.acted`: the one that it repeats may still be running, and `beyond` would name both.
        case .skipped: tracker?.finished(job.ticket, .skipped)
        case .again: putBack(job, notBefore: 0)
        case .later(let time): putBack(job, notBefore: time)
        case .halt(let why):
            switch stage {
            case .reading, .halting: halt(why, at: job.offset)
            default: break
            }
        }
        settleHalt()
        return true
    }

    private mutating func putBack(_ job: Job, notBefore: UInt64) {
        // In planning: a cancelled drain goes on with this work once the reader stands at its place again.
        switch stage {
        case .halting where job.offset > haltingAt: break
        case .reading, .draining, .planning, .halting:
            var job = job
            job.notBefore = notBefore
            waiting.prepend(job)
            waitingBytes += job.size
        default: break
        }
    }

    // MARK: Checkpoints

    /// What is done now, with what an earlier checkpoint named and has not gone by. nil: acting has not begun.
    func done() -> DonePrefix? {
        tracker?.done(pending: planner?.pending ?? [], pendingSpan: planner?.pendingSpan ?? 0)
    }

    /// Another member that held the partition before has written more of what it finished, in this epoch and this cluster. What it names is not
    /// begun here any more and stays named. Only of one that is not behind: of what lies before this worker's own position nobody can tell
    /// which names have gone by, and another record of the same contents must not be skipped for one that has.
    mutating func adopt(_ found: Checkpoint) {
        guard stage == .reading, var planner, let tracker, found.epoch == epoch, let ahead = tracker.position.distance(to: found.position), ahead >= 0,
            case .acting = planner.phase
        else { return }
        doneBelow = max(doneBelow, found.position.offset)
        var named = found.beyond.reduce(into: [Fingerprint: Int]()) { $0[$1, default: 0] += 1 }
        func take(_ fingerprint: Fingerprint) -> Bool {
            guard let left = named[fingerprint] else { return false }
            named[fingerprint] = left > 1 ? left - 1 : nil
            return true
        }
        // Those that are known here already: finished or running here too, or to come from the checkpoint that both went on from.
        for fingerprint in tracker.fingerprintsBeyond + planner.pending { _ = take(fingerprint) }
        for (offset, job) in running where offset >= doneBelow { _ = take(job.fingerprint) }
        let known = Array(waiting) + delayed.all
        waiting = []
        delayed.removeAll()
        waitingBytes = 0
        for job in known {
            if job.offset < doneBelow || take(job.fingerprint) {
                self.tracker?.finished(job.ticket, .acted)
            } else {
                enqueue(job)
            }
        }
        let unread = found.beyond.filter { take($0) }
        if !unread.isEmpty { planner.skip(unread, span: found.beyondSpan) }
        self.planner = planner
    }

    /// What should be written now; nil: nothing new. `force`: also when it was written before (for seals).
    func toWrite(force: Bool = false) -> DonePrefix? {
        guard let done = done(), force || mustWrite || done != lastWritten else { return nil }
        // An unconfirmed start has no tail yet: the stored checkpoint says more until something is finished.
        if done.tail.isEmpty, let stored = planner?.checkpoint, !stored.tail.isEmpty, planner?.resumed == nil {
            return mustWrite || force ? stored.done : nil
        }
        if let ahead = storedAhead, let distance = done.position.distance(to: ahead), distance > 0 { return nil }
        return done
    }
}
