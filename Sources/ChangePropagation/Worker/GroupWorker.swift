import Checkpoints
import Handover
import KafkaLog
import Logging
import Synchronization

/// Runs the rules of one consumer group in one process: reads what its group gives it, acts on what its datacenter owns, and
/// keeps checkpoints. The decisions are `PartitionWork`, `ResumePlanner`, `PrefixTracker`, `Lease` and `Assignment`; this
/// actor owns the sockets and the clock around them.
public actor GroupWorker {
    /// What a group's worker is made of.
    public struct Setup: Sendable {
        /// What is read.
        public enum Role: Sendable {
            /// The rules' streams.
            case events
            /// The retry topics of these streams: events that could not be finished where they were read. Assignments and checkpoints are the
            /// group's own, so that pending retries move with their origin; only Kafka knows a group of another name.
            case retries
        }

        /// Whose assignments and checkpoints these are.
        public var group: String
        public var role: Role
        public var service: String
        public var datacenter: Datacenter
        public var datacenters: Set<Datacenter>
        /// Rules of this group; never empty.
        public var rules: [Rule]
        public var lease: Duration
        public var checkpoints: WorkerConfiguration.CheckpointSettings
        public var identity: EventIdentity
        public var dedupeWindow: Int
        public var drainTimeout: Duration
        public var sessionTimeout: Duration
        /// Whether partitions that another datacenter owns are followed.
        public var standby: Bool
        /// How long an action's request may take from its start to its leaving (making a connection): an action begins only
        /// when the lease lasts for that long.
        public var startMargin: Duration
        /// Unique per process: written into checkpoints.
        public var workerName: String

        /// What `configuration` says of one group. `startMargin` is 0: whoever makes the requests knows it.
        public init(_ configuration: WorkerConfiguration, group: String, rules: [Rule], role: Role = .events, workerName: String) {
            self.group = group
            self.role = role
            service = configuration.service
            self.rules = rules
            self.workerName = workerName
            datacenter = configuration.datacenter
            datacenters = Set(configuration.datacenters.keys)
            lease = configuration.lease
            checkpoints = configuration.checkpoints
            // Each retry record has an id of its own, which no copy of an event's identity could be.
            identity = role == .events ? configuration.identity : IdentityPath("meta.id").map { .json($0) } ?? .record
            dedupeWindow = configuration.dedupeWindow
            drainTimeout = configuration.drainTimeout
            sessionTimeout = configuration.sessionTimeout
            standby = configuration.standby
            startMargin = .zero
        }

        /// The consumer group's id in Kafka.
        public var kafkaGroup: String { role == .events ? group : RetryTopics.kafkaGroup(of: group) }
    }

    let setup: Setup
    /// The setup's, until others are taken up.
    private(set) var rules: [Rule]
    /// All that belongs to the group's assignments, whoever of this process reads it.
    var topics: GroupTopics { GroupTopics(rules: rules, service: setup.service, datacenters: setup.datacenters) }
    let consumer: any GroupConsumer
    /// Asks for offsets on a connection of its own: a broker answers a connection in order, so behind a consumer's long poll
    /// each answer would come half a second late, and reading would stand still meanwhile.
    let lookups: any ClusterLookups
    let checkpointStore: CheckpointStore
    let assignmentStore: AssignmentStore
    /// Where claims stand: the store, or one of their own.
    let claimStore: any TransactionStore
    let action: RuleAction
    /// nil: nothing can be parked, and rules that would park an event stop their partition instead.
    let parking: Parking?
    let clock: HostClock
    let logger: Logger

    var partitions = PartitionTable()
    /// Of partitions in stage `following`.
    var standbys: [TopicPartition: Standby] = [:]
    /// Followed partitions whose reader is being moved.
    var readersMoving: Set<TopicPartition> = []
    var assignments: [Datacenter: StoredAssignment] = [:]
    let leases = LeaseBoard()
    let liveness: Liveness
    let checkpointGate = Gate()
    /// Partitions that the group takes back once what runs in them has ended.
    var pendingRevocation: Set<TopicPartition>?
    var revocationDeadline: UInt64 = 0
    /// They are not this worker's any more: Kafka takes no commit for them.
    var isRevocationLost = false
    var runningActions = 0
    var actionTasks: [UInt64: RunningAction] = [:]
    var nextTask: UInt64 = 0
    /// Where the search for the next job begins, so that every partition gets its turn.
    var turn = 0
    /// The partitions in a fixed order, for that search.
    var order: [TopicPartition] = []
    var isStopping = false
    var counts = WorkerCounts()
    var assignmentHint: AsyncStream<Void>.Continuation?
    var storeFailingSince: UInt64?
    /// Since when (monotonic nanoseconds) an origin's checkpoints can't be stored; set and cleared by `writeCheckpoints` alone.
    var unwritten: [Datacenter: UInt64] = [:]
    /// When topics of assignments that no rule here reads were first seen, by monotonic time.
    var unclaimed: [String: UInt64] = [:]
    var topicPartitionCounts: [String: Int32] = [:]
    /// Whether the group has given this worker its share once.
    var hasJoined = false
    /// Records read to be acted on, by topic.
    var readCounts: [String: Int] = [:]
    var activities: [ActivityKey: GroupStatus.Activity] = [:]
    /// Ends of the logs that are acted on, for `status`, and when they were asked for (monotonic nanoseconds; 0: never).
    var logEnds: [TopicPartition: Position] = [:]
    var endsAskedAt: UInt64 = 0
    /// Topics that the consumer was told to read.
    var subscribed: Set<String> = []
    /// In how many looks one after the other a subscribed topic was not in the cluster.
    var topicAbsences: [String: Int] = [:]
    /// Drained partitions that no write has taken up yet, and whether somebody is at it; both touched by `seal` alone.
    var toSeal: Set<TopicPartition> = []
    /// By topic, as they were asked for.
    var topicRules: [String: TopicRules] = [:]
    var isSealing = false
    /// How partitions were gone on with: written to the store beside the checkpoints, many at once, by `checkpointLoop`.
    var resumeReports: [TopicPartition: ResumeReport] = [:]
    var claimWork = ClaimWork()
    var readAhead = ReadAhead()
    let limits: PrefixTracker.Limits

    /// Records taken from the consumer at once.
    static let batchLimit = 512
    /// How long the reading loop waits for records before it looks at holds and ends.
    static let pollInterval = Duration.milliseconds(100)
    /// A scan that has read nothing for this long has reached the end of what there is.
    static let endOfLogAfter: UInt64 = 300_000_000
    /// The same for the one record that confirms a position: taking it for gone costs the position, so a slow fetch gets time.
    static let goneAfter: UInt64 = 5_000_000_000
    /// A topic in an assignment that nobody claims is taken out after this long.
    static let unclaimedLimit: UInt64 = 60_000_000_000
    /// How long actions of lost partitions get to end.
    static let lostLimit = Duration.seconds(1)
    /// Until a halted partition is tried again: at first, and at most.
    static let firstHaltPause: UInt64 = 2_000_000_000
    static let lastHaltPause: UInt64 = 300_000_000_000
    /// Between two lines of log about a hold that goes on.
    static let holdLogInterval: UInt64 = 30_000_000_000

    public init(
        _ setup: Setup, consumer: any GroupConsumer, lookups: any ClusterLookups, store: any SharedStore, action: RuleAction,
        parking: Parking? = nil, claims: (any TransactionStore)? = nil, clock: HostClock = .system, logger: Logger
    ) {
        self.setup = setup
        rules = setup.rules
        self.consumer = consumer
        self.lookups = lookups
        checkpointStore = CheckpointStore(store)
        claimStore = claims ?? store
        assignmentStore = AssignmentStore(store)
        self.action = action
        self.parking = parking
        self.clock = clock
        liveness = Liveness(sessionTimeout: setup.sessionTimeout.nanoseconds, now: clock.monotonic())
        var logger = logger
        logger[metadataKey: "group"] = "\(setup.kafkaGroup)"
        self.logger = logger
        var limits = PrefixTracker.Limits()
        limits.tail = setup.checkpoints.tail
        limits.beyond = setup.checkpoints.maxBeyond
        self.limits = limits
    }

    // MARK: Running

    /// Works until `stop` is called or the task is cancelled, then drains: what runs is finished within the drain timeout,
    /// a last checkpoint is written, and the group is left.
    public func run() async throws {
        try await subscribeAtStart()
        let (hints, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        assignmentHint = continuation
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.readingLoop() }
            group.addTask { await self.assignmentLoop(hints) }
            group.addTask { await self.watchLoop() }
            group.addTask { await self.checkpointLoop() }
            group.addTask { await self.commitLoop() }
            if setup.standby { group.addTask { await self.standbyLoop() } }
            if isOpen { group.addTask { await self.topicLoop() } }
            defer { group.cancelAll() }
            // The reading loop ends when it is told to stop, or when the client is broken for good.
            try await group.next()
        }
    }

    /// Asks `run` to drain and to return.
    public func stop() { isStopping = true }

    /// Judges what is read from now on by `rules`, which are of this group; what was judged already is done as it was. Topics that are new are read
    /// from their beginning, those that are gone are given back.
    func replace(_ rules: [Rule]) async {
        let wasOpen = isOpen
        self.rules = rules
        topicRules = [:]
        assignmentHint?.yield()
        if isOpen { await refreshTopics() }
        await subscribeToWhatMatches()
        if isOpen, !wasOpen { Task { await topicLoop() } }
    }

    private func readingLoop() async throws {
        _ = liveness.beat(clock.monotonic())
        while !isStopping, !Task.isCancelled {
            if let silence = liveness.beat(clock.monotonic()) {
                logger.warning(
                    "This worker stood still; before it acts again its group has time to say whether the partitions are still its own",
                    metadata: ["for": "\(Duration.nanoseconds(Int64(clamping: silence)).readable)"])
            }
            await waitForSlots()
            let event: ConsumerEvent?
            do {
                event = try await consumer.nextEvent(max: Self.batchLimit, within: Self.pollInterval)
            } catch is CancellationError { break }
            if let event { try await handle(event) }
            serveScans()
            await retryHalted()
            await serveRevocation()
            await adjustPauses()
            parkAnew()
            pump()
        }
        // On its own task: a cancelled one could not wait for anything any more.
        await Task { await self.shutDown() }.value
    }

    private func handle(_ event: ConsumerEvent) async throws {
        switch event {
        case .batch(let batch): take(batch)
        case .assigned(let given): try await accept(given)
        case .revoking(let taken): beginRevocation(taken, limit: setup.drainTimeout)
        case .lost(let lost):
            logger.warning("Partitions were lost: the group has taken them back without asking", metadata: ["partitions": "\(Self.list(lost))"])
            // Others may have them already. What runs can't be undone: it gets a moment to end, and what is done is still written to the
            // shared store, where the fence and the revision let it land only if nobody has gone on from there.
            beginRevocation(lost, limit: min(setup.drainTimeout, Self.lostLimit))
            isRevocationLost = true
        case .partitionFailed(let partition, let error): partitionFailed(partition, error)
        case .failed(let error):
            guard !error.isFatal else { throw error }
            logger.log(level: error.severity, "The Kafka client reports an error; it goes on trying", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Partitions coming and going

    private func accept(_ given: [TopicPartition]) async throws {
        hasJoined = true
        for partition in given {
            guard let origin = OriginTopic(topic: partition.topic, known: setup.datacenters)?.origin else { continue }
            var orphans: [Int: Int] = [:]
            for action in actionTasks.values where action.partition == partition { orphans[action.generation, default: 0] += 1 }
            partitions[partition] = PartitionWork(
                partition: partition, origin: origin, dedupeWindow: setup.dedupeWindow, orphans: orphans)
        }
        order = partitions.keys.sorted()
        // Everything begins paused; a partition reads from where planning finds its place.
        try await consumer.acceptAssignment([:], paused: Set(given))
        if !given.isEmpty { logger.info("Partitions were assigned", metadata: ["partitions": "\(Self.list(given))"]) }
        await refreshTopics()
        assignmentHint?.yield()
        activate(given.filter { mayTake($0) })
    }

    /// How many partitions a line of log names.
    private static let namedLimit = 20

    /// Their number and their names, for a log that is still read with thousands of them.
    private static func list(_ partitions: [TopicPartition]) -> String {
        let names = partitions.sorted().prefix(namedLimit).map(\.description).joined(separator: ", ")
        return "\(partitions.count): \(names)" + (partitions.count > namedLimit ? ", …" : "")
    }

    private func beginRevocation(_ taken: [TopicPartition], limit: Duration) {
        pendingRevocation = Set(taken)
        isRevocationLost = false
        revocationDeadline = clock.monotonic() &+ limit.nanoseconds
        for partition in taken {
            switch partitions[partition]?.stage {
            case .reading, .draining, .halting: partitions[partition]?.stopBeginning(.revoking)
            default: break
            }
        }
    }

    private func serveRevocation() async {
        guard let taken = pendingRevocation else { return }
        let isIdle = taken.allSatisfy { partitions[$0]?.isIdle ?? true }
        guard isIdle || clock.monotonic() >= revocationDeadline else { return }
        pendingRevocation = nil
        await flushClaims()
        await writeCheckpoints(of: taken)
        if !isRevocationLost { await commit(taken, wait: true) }
        for partition in taken { forget(partition) }
        do { try await completeRevocation() } catch {
            logger.error("Giving partitions back failed", metadata: ["error": "\(error)"])
        }
    }

    private func completeRevocation() async throws {
        do { try await consumer.completeRevocation() } catch KafkaLogError.noRebalancePending {
            // The group was left or joined anew meanwhile.
        }
    }

    private func forget(_ partition: TopicPartition) {
        cancelActions(of: partition)
        partitions[partition] = nil
        standbys[partition] = nil
        logEnds[partition] = nil
        order.removeAll { $0 == partition }
    }

    /// Forgets the work in progress of a partition, and has its actions begin no further request.
    func drop(_ partition: TopicPartition, to stage: PartitionWork.Stage) {
        cancelActions(of: partition)
        partitions[partition]?.drop(to: stage)
    }

    func cancelActions(of partition: TopicPartition) {
        for action in actionTasks.values where action.partition == partition { action.task.cancel() }
    }

    private func partitionFailed(_ partition: TopicPartition, _ error: KafkaLogError) {
        guard let work = partitions[partition] else { return }
        if case .offsetOutOfRange = error {
            if work.stage == .following { return standbys[partition]?.follower.forgetPlace() ?? () }
            guard work.stage == .reading || work.stage == .planning else { return }
            // The log was trimmed or cut under the reader: plan anew, which reports a gap or refuses.
            logger.error("The position is outside the log; planning anew", metadata: ["partition": "\(partition)"])
            drop(partition, to: .standby)
            activate(mayTake(partition) ? [partition] : [])
            return
        }
        logger.error("The partition stands still", metadata: ["partition": "\(partition)", "error": "\(error)"])
    }

    /// Whether this worker should be acting on the partition as far as its origin's assignment goes.
    func mayTake(_ partition: TopicPartition) -> Bool {
        guard let work = partitions[partition], let stored = assignments[work.origin] else { return false }
        return stored.assignment.mayAct(on: partition, in: setup.datacenter)
    }
}
