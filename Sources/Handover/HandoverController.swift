import Checkpoints
import KafkaLog
import Logging

/// Carries a handover through from wherever it stands: any controller may begin it, and any other may go on after a crash,
/// since everything that it knows is in the store.
public struct HandoverController: Sendable {
    /// Where a handover stands, for whoever watches.
    public enum Progress: Sendable, Hashable {
        /// Sealed and expected partitions; the names of those that are not sealed yet.
        case draining(sealed: Int, of: Int, open: [TopicPartition])
        /// `owner`: of what was moved.
        case epochRaised(Int64, owner: Datacenter)
        /// Partitions that the new owner has resumed, and those it has to.
        case resuming(done: Int, of: Int)
        /// `owner`: of what is not placed elsewhere.
        case stable(epoch: Int64, owner: Datacenter)
    }

    public struct TimedOut: Error, CustomStringConvertible {
        public let key: AssignmentKey
        public let progress: Progress?
        public var description: String {
            let next =
                switch progress {
                case .resuming:
                    "do the workers of the new owner run? It ends by itself when they have resumed; 'handover failover' takes it elsewhere"
                default: "it goes on by 'handover resume', and 'handover cancel' takes a drain back"
                }
            let how =
                switch progress {
                case .draining(let sealed, let total, let open):
                    "\(sealed) of \(total) partitions sealed, open: \(open.prefix(5).map(\.description).joined(separator: ", "))"
                case .resuming(let done, let total): "\(done) of \(total) partitions resumed by the new owner"
                default: "no progress was seen"
                }
            return "the handover of \(key) is not finished (\(how)); \(next)"
        }
    }

    private let assignments: AssignmentStore
    private let checkpoints: CheckpointStore
    private let author: @Sendable () -> Assignment.Author
    private let logger: Logger
    /// How often the store is read when no hint comes.
    private let interval: Duration

    private let clock: HostClock

    private let patience: StorePatience

    /// - Parameters:
    ///   - patience: with a store that does not answer when a move is ordered.
    ///   - author: the operator's name, the reason, and the time of day.
    public init(
        store: any SharedStore, interval: Duration = .milliseconds(200), patience: StorePatience = StorePatience(), clock: HostClock = .system, logger: Logger,
        author: @escaping @Sendable () -> Assignment.Author
    ) {
        assignments = AssignmentStore(store)
        checkpoints = CheckpointStore(store)
        self.interval = interval
        self.patience = patience
        self.clock = clock
        self.logger = logger
        self.author = author
    }

    // MARK: Beginning

    /// Begins a planned handover of `slice`, unless the very same one is under way already. Returns at once.
    ///
    /// Throws `HandoverRefusal` where another one is under way, whatever its slice, or where there is nothing to move.
    @discardableResult
    public func beginSwitchover(_ key: AssignmentKey, to target: Datacenter, slice: Slice = .all) async throws -> StoredAssignment {
        let begun = try await change(key) { assignment throws(HandoverRefusal) in
            try requireReported(key, assignment, unless: slice == .all && assignment.phase != .stable)
            if case .draining(target, let scope) = assignment.phase,
                (try? assignment.scope(of: slice, to: target, origin: key.origin)) == scope { return nil }
            return try assignment.draining(to: target, origin: key.origin, slice: slice, author())
        }
        CrashPoints.hit(.markedDraining)
        return begun
    }

    /// Forces `slice` over at once, which fences the old owner. Unless `now`, the new one waits out the old lease.
    ///
    /// Throws `HandoverRefusal` where there is nothing to move, or where more than one datacenter would be fenced and
    /// `slice.from` does not say which.
    @discardableResult
    public func failover(
        _ key: AssignmentKey, to target: Datacenter, slice: Slice = .all, now: Bool = false
    ) async throws -> StoredAssignment {
        try await change(key) { assignment throws(HandoverRefusal) in
            try requireReported(key, assignment, unless: slice.topics.isEmpty && slice.share == nil)
            return try assignment.failedOver(to: target, origin: key.origin, slice: slice, now: now, author())
        }
    }

    private func requireReported(_ key: AssignmentKey, _ assignment: Assignment, unless exempt: Bool) throws(HandoverRefusal) {
        guard exempt || !assignment.partitions.isEmpty else { throw .notReported(key, owner: assignment.owner) }
    }

    /// Takes a drain back.
    @discardableResult
    public func cancel(_ key: AssignmentKey) async throws -> StoredAssignment {
        try await change(key) { assignment throws(HandoverRefusal) in try assignment.cancelled(author()) }
    }

    /// How often a change that others overtook is tried again.
    private static let changeAttempts = 10

    /// Where the store does not answer for a moment, and surely did nothing, everything is looked at again, and made anew: an author's time is when
    /// it happened, not when it was asked for.
    private func change(
        _ key: AssignmentKey, _ next: (Assignment) throws(HandoverRefusal) -> Assignment?
    ) async throws -> StoredAssignment {
        try await patience.trying(clock: clock, logger: logger, where: { ($0 as? StoreError)?.kind == .unavailable }) {
            try await changeAtOnce(key, next)
        }
    }

    private func changeAtOnce(
        _ key: AssignmentKey, _ next: (Assignment) throws(HandoverRefusal) -> Assignment?
    ) async throws -> StoredAssignment {
        for _ in 0..<Self.changeAttempts {
            guard let stored = try await assignments.load(key) else { throw HandoverRefusal.unknown(key) }
            guard let wanted = try next(stored.assignment) else { return stored }
            if case .done(let done) = try await assignments.change(key, to: wanted, expecting: stored.revision) { return done }
        }
        throw HandoverRefusal.busy(key)
    }

    // MARK: Carrying through

    /// Raises the epoch when a drain is over; false: there is none, or it is not over yet. The owner's workers ask for this too, so
    /// that a drain whose controller has died is carried through all the same.
    public func finishDrain(_ key: AssignmentKey) async throws -> Bool {
        guard let stored = try await assignments.load(key), case .draining = stored.assignment.phase,
            try await drainState(key, stored.assignment).open.isEmpty
        else { return false }
        CrashPoints.hit(.allSealed)
        if case .done = try await assignments.change(key, to: try stored.assignment.handedOver(author()), expecting: stored.revision) {
            CrashPoints.hit(.raisedByOwner)
        }
        return true
    }

    /// Goes on with whatever handover is under way until the assignment is stable, at most for `timeout`.
    public func carryThrough(
        _ key: AssignmentKey, timeout: Duration, progress: @Sendable (Progress) -> Void = { _ in }
    ) async throws -> Assignment {
        let deadline = clock.monotonic() &+ timeout.nanoseconds
        var last: Progress?
        func report(_ next: Progress) {
            if next != last { progress(next) }
            last = next
        }
        while true {
            let asked = clock.monotonic()
            do {
                if let end = try await step(key, report) { return end }
            } catch let error as StoreError where error.isRetriable && clock.monotonic() < deadline {
                // Everything that a handover knows is in the store: it goes on when the store answers again.
                logger.warning("The store can't be used; trying on", metadata: ["error": "\(error)"])
                try await clock.sleep(max(interval, Self.storePause))
            }
            guard clock.monotonic() < deadline else { throw TimedOut(key: key, progress: last) }
            CrashPoints.hit(.waiting)
            // Reading thousands of checkpoints takes a while: the store rests for as long as that took, but not for as long as it was away.
            let took = Duration.nanoseconds(Int64(clamping: clock.monotonic() &- asked))
            try await clock.sleep(max(interval, min(took, Self.storePause)))
        }
    }

    private static let storePause = Duration.seconds(1)

    /// Looks, and does what is to be done next; the assignment once it is stable.
    private func step(_ key: AssignmentKey, _ report: (Progress) -> Void) async throws -> Assignment? {
        guard let stored = try await assignments.load(key) else { throw HandoverRefusal.unknown(key) }
        let assignment = stored.assignment
        switch assignment.phase {
        case .stable:
            report(.stable(epoch: assignment.epoch, owner: assignment.owner))
            return assignment
        case .draining(let target, _):
            let drain = try await drainState(key, assignment)
            report(.draining(sealed: drain.sealed, of: drain.total, open: drain.open))
            guard drain.open.isEmpty else { return nil }
            let next = try assignment.handedOver(author())
            CrashPoints.hit(.seenSealed)
            if case .done(let done) = try await assignments.change(key, to: next, expecting: stored.revision) {
                CrashPoints.hit(.raised)
                report(.epochRaised(done.assignment.epoch, owner: target))
            }
        case .resuming:
            let resumed = try await resumeState(key, assignment)
            report(.resuming(done: resumed.done, of: resumed.total))
        }
        return nil
    }

    /// Which partitions must be sealed in the assignment's epoch, and are not.
    private func drainState(_ key: AssignmentKey, _ assignment: Assignment) async throws -> (sealed: Int, total: Int, open: [TopicPartition]) {
        let stored = try await originCheckpoints(key)
        let expected = Self.expected(assignment, stored)
        let open = expected.filter { partition in
            guard let checkpoint = try? stored[partition]?.checkpoint.get() else { return true }
            return !(checkpoint.sealed && checkpoint.epoch == assignment.epoch)
        }
        return (expected.count - open.count, expected.count, open.sorted())
    }

    /// Which partitions must be written in the assignment's epoch, and how many are.
    private func resumeState(_ key: AssignmentKey, _ assignment: Assignment) async throws -> (done: Int, total: Int) {
        let stored = try await originCheckpoints(key)
        let expected = Self.expected(assignment, stored)
        let done = expected.count { (try? stored[$0]?.checkpoint.get())?.epoch == assignment.epoch }
        return (done, expected.count)
    }

    private func originCheckpoints(_ key: AssignmentKey) async throws -> [TopicPartition: StoredCheckpoint] {
        try await checkpoints.load(group: key.group).filter {
            OriginTopic(topic: $0.key.topic, known: CollectionOfOne(key.origin)) != nil
        }
    }

    /// The partitions of the handover under way that owners reported, and more that have a checkpoint in the same topics.
    /// Checkpoints of topics that nobody reads any more hold nothing up.
    private static func expected(_ assignment: Assignment, _ stored: [TopicPartition: StoredCheckpoint]) -> Set<TopicPartition> {
        guard let scope = assignment.phase.scope else { return [] }
        return assignment.reported.union(stored.keys.filter { assignment.partitions[$0.topic] != nil }).filter(scope.contains)
    }
}
