import Checkpoints
import Handover
import KafkaLog
import Logging

/// Finds, for partitions that became this worker's to act on, where to go on: reads the checkpoint, asks the planner, makes
/// its lookups, and begins to read.
extension GroupWorker {
    /// How long until a planning that failed is tried again.
    static let planningPause = Duration.milliseconds(500)
    /// Partitions of one seek.
    static let seekLimit = 500
    /// Of one lookup or seek.
    static let lookupTimeout = Duration.seconds(5)

    /// Begins planning; partitions that are at work are left alone. One that is not paused yet, or whose reader is being moved, begins when it
    /// is: a record that was on its way would be taken for the first one at the new place.
    func activate(_ wanted: [TopicPartition]) {
        var generations: [TopicPartition: Int] = [:]
        for partition in wanted {
            guard let work = partitions[partition], work.isStandby, !work.hasOrphans, !isStopping, !readersMoving.contains(partition) else { continue }
            endFollowing(partition)
            // The next round of `adjustPauses` pauses it, and comes back here.
            partitions[partition]?.stage = .standby
            guard work.isPaused else { continue }
            partitions[partition]?.stage = .planning
            generations[partition] = work.generation
        }
        guard !generations.isEmpty else { return }
        Task { await plan(generations) }
    }

    private func isCurrent(_ partition: TopicPartition, _ generation: Int) -> Bool {
        partitions[partition]?.generation == generation && partitions[partition]?.stage == .planning
    }

    private func plan(_ generations: [TopicPartition: Int]) async {
        var watch = PlanningWatch(clock)
        do {
            let steps = try await firstSteps(generations, &watch)
            let places = try await places(steps, generations, &watch)
            logger.info("Planned where to go on", metadata: watch.metadata(partitions: steps.count))
            try await read(places, generations)
            watch.mark("seek")
            logger.debug("Reading from where was planned", metadata: watch.metadata(partitions: steps.count))
        } catch {
            if error is StoreErrorMark { storeFailed(error) } else {
                logger.warning(
                    "Finding the place to go on failed; trying again",
                    metadata: watch.metadata(partitions: generations.count).merging(
                        ["error": "\(error)", "after": "\(Self.planningPause)"]) { $1 })
            }
        }
        // What is still in planning did not get anywhere: try it again after a pause, unless it was taken away meanwhile.
        if generations.contains(where: { isCurrent($0.key, $0.value) }) {
            // A clock that does not wait any more ends this: without the pause it would go round for ever.
            do { try await clock.sleep(Self.planningPause) } catch { return }
        }
        let again = generations.filter { isCurrent($0.key, $0.value) }.keys
        for partition in again { partitions[partition]?.stage = .standby }
        activate(again.filter { mayTake($0) })
    }

    private func firstSteps(
        _ generations: [TopicPartition: Int], _ watch: inout PlanningWatch
    ) async throws -> [TopicPartition: ResumePlanner.Step] {
        let wanted = Array(generations.keys)
        // The assignment was read before the checkpoint: no write of an older epoch can land after this read.
        let stored: [TopicPartition: StoredCheckpoint]
        do { stored = try await checkpointStore.load(group: setup.group) } catch { throw StoreErrorMark(error: error) }
        watch.mark("checkpoints")
        let logs = try await logs(of: wanted)
        watch.mark("log_ends")
        let committed = try await consumer.committed(wanted, timeout: Self.lookupTimeout)
        watch.mark("commits")
        let anchors = await anchors(for: wanted, stored, logs)
        watch.mark("anchors")
        var steps: [TopicPartition: ResumePlanner.Step] = [:]
        for (partition, generation) in generations where isCurrent(partition, generation) {
            guard let log = logs[partition] else { continue }
            let commit: ResumePlanner.Committed?
            switch committed[partition] {
            case .success(let found)?: commit = CommitMetadata.parse(found)
            case .failure(let error)?:
                logger.warning("The group's commit could not be read; trying again", metadata: ["partition": "\(partition)", "error": "\(error)"])
                continue
            case nil: commit = nil
            }
            do throws(ResumeRefusal) {
                var found: Checkpoint?
                if let entry = stored[partition] {
                    do throws(CheckpointFormatError) { found = try entry.checkpoint.get() } catch { throw .format(error) }
                }
                steps[partition] = try enter(
                    partition, stored: stored[partition], checkpoint: found, log: log, commit: commit, anchor: anchors[partition])
            } catch { halt(partition, "\(error)") }
        }
        return steps
    }

    private func enter(
        _ partition: TopicPartition, stored: StoredCheckpoint?, checkpoint: Checkpoint?, log: ResumePlanner.Log,
        commit: ResumePlanner.Committed?, anchor: ResumePlanner.Anchor?
    ) throws(ResumeRefusal) -> ResumePlanner.Step? {
        guard var work = partitions[partition], let assignment = assignments[work.origin]?.assignment else { return nil }
        if let checkpoint, checkpoint.sealed, checkpoint.epoch == assignment.epoch {
            // Sealed by another worker of this very epoch: the assignment that this one knows is old.
            partitions[partition]?.stage = .standby
            assignmentHint?.yield()
            return nil
        }
        work.epoch = assignment.epoch
        work.storedRevision = stored?.revision ?? 0
        var settings = plannerSettings
        // A sealed tail will come: the mirror only has to bring it.
        settings.waitsForTail = checkpoint?.sealed == true
        // Mirrors don't lag evenly: twice what was seen last.
        settings.appendTimeLag = work.appendTimeLag.map { 2 * $0 }
        var planner = ResumePlanner(checkpoint: checkpoint, log: log, settings: settings)
        let step = try planner.begin(committed: commit, identity: setup.identity.text, anchor: anchor)
        work.planner = planner
        partitions[partition] = work
        return step
    }

    var plannerSettings: ResumePlanner.Settings {
        var settings = ResumePlanner.Settings()
        settings.slack = Int64(setup.checkpoints.slack.nanoseconds / 1_000_000)
        settings.hold = setup.checkpoints.hold.nanoseconds
        return settings
    }

    /// What standbys of this datacenter found: this worker's own, else what was published, which is read only where another cluster's
    /// checkpoint has to be found. Without it a lookup by time is made.
    private func anchors(
        for wanted: [TopicPartition], _ stored: [TopicPartition: StoredCheckpoint], _ logs: [TopicPartition: ResumePlanner.Log]
    ) async -> [TopicPartition: ResumePlanner.Anchor] {
        guard setup.standby else { return [:] }
        var anchors: [TopicPartition: ResumePlanner.Anchor] = [:]
        for partition in wanted { anchors[partition] = partitions[partition]?.anchor }
        let isMissing = wanted.contains { partition in
            guard anchors[partition] == nil, let log = logs[partition], let checkpoint = try? stored[partition]?.checkpoint.get() else { return false }
            return checkpoint.position.cluster != log.cluster
        }
        guard isMissing,
            let published = try? await StandbyReport.anchors(from: checkpointStore.store, group: setup.group, datacenter: setup.datacenter)
        else { return anchors }
        return published.merging(anchors) { $1 }
    }

    private func logs(of wanted: [TopicPartition]) async throws -> [TopicPartition: ResumePlanner.Log] {
        await refreshTopics()
        var logs: [TopicPartition: ResumePlanner.Log] = [:]
        for (partition, result) in try await lookups.watermarks(wanted, timeout: Self.lookupTimeout) {
            switch result {
            case .success(let ends):
                guard let count = topicPartitionCounts[partition.topic] else {
                    logger.warning("The topic's partitions are not known; trying again", metadata: ["partition": "\(partition)"])
                    continue
                }
                logs[partition] = ResumePlanner.Log(
                    cluster: ends.high.cluster, partitionCount: count,
                    start: ends.low.offset, highWatermark: ends.high.offset)
            case .failure(let error):
                logger.warning("The log's ends could not be read; trying again", metadata: ["partition": "\(partition)", "error": "\(error)"])
            }
        }
        return logs
    }

    /// Carries out what planners ask for: lookups by time, then reading.
    private func follow(
        _ steps: [TopicPartition: ResumePlanner.Step], _ generations: [TopicPartition: Int], _ watch: inout PlanningWatch
    ) async throws {
        try await read(try await places(steps, generations, &watch), generations)
    }

    /// From which offset each partition is to be read: makes the lookups that planners ask for.
    private func places(
        _ steps: [TopicPartition: ResumePlanner.Step], _ generations: [TopicPartition: Int], _ watch: inout PlanningWatch
    ) async throws -> [TopicPartition: Int64] {
        var reads: [TopicPartition: Int64] = [:]
        var times: [TopicPartition: MillisecondTimestamp] = [:]
        for (partition, step) in steps {
            switch step {
            case .read(let from): reads[partition] = from
            case .lookUp(let time): times[partition] = time
            }
        }
        if !times.isEmpty {
            let found = try await lookups.lookUp(times: times, timeout: Self.lookupTimeout)
            let timed = try await lookups.lookUp(
                times: times.mapValues { _ in MillisecondTimestamp(clamped: 0) }, timeout: Self.lookupTimeout)
            for partition in times.keys {
                guard let generation = generations[partition], isCurrent(partition, generation) else { continue }
                guard case .success(let place)? = found[partition], case .success(let first)? = timed[partition] else {
                    logger.warning("A lookup by time failed; trying again", metadata: ["partition": "\(partition)"])
                    continue
                }
                let step = partitions[partition]?.planner?.lookedUp(
                    place.found ? place.start.offset : nil, firstTimed: first.found ? first.start.offset : nil)
                if case .read(let from)? = step { reads[partition] = from }
            }
        }
        watch.mark("lookups")
        return reads
    }

    private func read(_ places: [TopicPartition: Int64], _ generations: [TopicPartition: Int]) async throws {
        let offsets = places.filter { isCurrent($0.key, generations[$0.key] ?? -1) }
        guard !offsets.isEmpty else { return }
        let cluster = try await consumer.clusterID(timeout: Self.lookupTimeout)
        // In parts: with thousands of partitions librdkafka may need longer than a seek may take, and what has been sought is not sought again.
        let sorted = offsets.keys.sorted()
        for first in stride(from: 0, to: sorted.count, by: Self.seekLimit) {
            let part = Set(sorted[first..<min(first + Self.seekLimit, sorted.count)])
            try await read(offsets.filter { part.contains($0.key) }, generations, in: cluster)
        }
        if offsets.keys.contains(where: isResuming) { CrashPoints.hit(.planned) }
        // Reading begins now: the consumer's own loop comes by only when it has waited for records for a while.
        await adjustPauses()
    }

    private func read(_ offsets: [TopicPartition: Int64], _ generations: [TopicPartition: Int], in cluster: ClusterID) async throws {
        try await consumer.seek(offsets.mapValues { Position($0, in: cluster) }, timeout: Self.lookupTimeout)
        // Dropped and planned anew meanwhile, it is not this planning's any more.
        for (partition, offset) in offsets where isCurrent(partition, generations[partition] ?? -1) {
            partitions[partition]?.stage = .reading
            partitions[partition]?.nextOffset = offset
            partitions[partition]?.lastReadAt = clock.monotonic()
            if let gap = partitions[partition]?.planner?.takeGap() { report(gap, partition) }
            noticeActing(partition)
        }
    }

    /// Whether the partition was given to this datacenter and the assignment is not stable yet.
    func isResuming(_ partition: TopicPartition) -> Bool {
        guard let origin = partitions[partition]?.origin, let assignment = assignments[origin]?.assignment else { return false }
        return assignment.owner(of: partition) == setup.datacenter && assignment.isResuming(partition)
    }

    /// Dies, where a test wants it, between a write of checkpoints and the use of its answer.
    func crashAfterWrite(_ saved: [CheckpointWrite], of assignment: Assignment) {
        if saved.contains(where: \.checkpoint.sealed) { CrashPoints.hit(.sealWritten) }
        if saved.contains(where: { assignment.isResuming($0.partition) }) { CrashPoints.hit(.firstCheckpoint) }
    }

    /// A planner gave up its place while records were read: reads again from elsewhere.
    func restart(_ partition: TopicPartition, _ step: ResumePlanner.Step, gap: GapEvent?) {
        guard let generation = partitions[partition]?.generation else { return }
        if let gap { report(gap, partition) }
        partitions[partition]?.stage = .planning
        Task {
            var watch = PlanningWatch(clock)
            do { try await follow([partition: step], [partition: generation], &watch) } catch {
                logger.warning("Reading again from another place failed; planning anew", metadata: ["partition": "\(partition)", "error": "\(error)"])
            }
            guard isCurrent(partition, generation) else { return }
            drop(partition, to: .standby)
            activate(mayTake(partition) ? [partition] : [])
        }
    }

    /// Tells planners that nothing more came: the end of the log, a hold that has run out.
    func serveScans() {
        let now = clock.monotonic()
        for (partition, work) in partitions where work.isScanning {
            guard let planner = work.planner, !work.isPaused else { continue }
            let silence = now &- work.lastReadAt
            let isAtEnd = planner.isConfirming
                ? silence >= Self.goneAfter : work.nextOffset >= planner.log.highWatermark || silence >= Self.endOfLogAfter
            guard isAtEnd else { continue }
            if let (step, gap) = partitions[partition]?.reachedEnd(now: now) { restart(partition, step, gap: gap) } else if
                work.nextOffset >= planner.log.highWatermark || silence >= Self.goneAfter
            {
                // Before that it may be a fetch that is slow.
                noteHolding(partition, now)
            }
        }
    }

    /// Says that a partition waits for its mirror, at once and again while it goes on.
    private func noteHolding(_ partition: TopicPartition, _ now: UInt64) {
        guard let work = partitions[partition], case .scanning(holding: true)? = work.planner?.phase else { return }
        if let last = work.holdLoggedAt, now &- last < Self.holdLogInterval { return }
        partitions[partition]?.holdLoggedAt = now
        logger.warning(
            "Holding: the events that the checkpoint ends with are not in this cluster yet; waiting for the mirror", metadata: [
                "partition": "\(partition)", "read_to": "\(work.nextOffset)",
                "checkpoint": "\(work.planner?.checkpoint?.position.description ?? "none")",
            ])
    }

    /// Says once how a partition's place was found, when acting begins.
    func noticeActing(_ partition: TopicPartition) {
        // Asked with every event: nothing of the work is copied for that.
        guard partitions[partition]?.isAnnounced == false, let work = partitions[partition], case .acting(let from, let method)? = work.planner?.phase else { return }
        if work.tracker == nil { partitions[partition]?.beginTracking(limits) }
        partitions[partition]?.isAnnounced = true
        partitions[partition]?.holdLoggedAt = nil
        let checkpoint = work.planner?.checkpoint
        logger.info(
            "Going on", metadata: [
                "partition": "\(partition)", "offset": "\(from)", "found": "\(method.rawValue)",
                "checkpoint": "\(checkpoint.map { $0.position.description } ?? "none")", "epoch": "\(work.epoch)",
            ])
        let resume = ResumeReport(
            datacenter: setup.datacenter.name, epoch: work.epoch, method: method.rawValue, offset: from,
            cluster: work.planner?.log.cluster.id ?? "", checkpointOffset: checkpoint?.position.offset,
            checkpointCluster: checkpoint?.position.cluster.id, at: clock.wall().milliseconds)
        resumeReports[partition] = resume
    }

    func report(_ gap: GapEvent, _ partition: TopicPartition) {
        counts.gaps += 1
        let records = gap.records.map(String.init) ?? "unknown"
        logger.error(
            "A gap: events may be missing or repeated here", metadata: [
                "partition": "\(partition)", "reason": "\(gap.reason.rawValue)", "from": "\(gap.from?.description ?? "unknown")",
                "to": "\(gap.to)", "records": "\(records)", "since": "\(gap.since?.description ?? "unknown")",
            ])
        let stored = GapReport(gap, epoch: partitions[partition]?.epoch ?? 0, at: clock.wall())
        Task { await publish(stored, partition) }
    }

    /// - Parameter offset: of the record that can't be finished; nil: the partition can't be taken over as it is.
    func halt(_ partition: TopicPartition, _ why: String, at offset: Int64? = nil) {
        partitions[partition]?.halt(why, at: offset)
        logger.error(
            "The partition is stopped and tried again after a while; the others go on", metadata: ["partition": "\(partition)", "reason": "\(why)"])
    }

    /// Halted partitions are tried again by themselves: a service that was down, a rule that was mended elsewhere, a mirror
    /// that caught up need nobody's hand.
    func retryHalted() async {
        let now = clock.monotonic()
        for (partition, work) in partitions {
            guard case .halted = work.stage else { continue }
            guard work.retryAt != nil else {
                partitions[partition]?.planRetry(now: now, first: Self.firstHaltPause, last: Self.lastHaltPause)
                continue
            }
            guard partitions[partition]?.takeRetry(now: now) == true else { continue }
            // What was done since the last write must not be forgotten with the work.
            await writeCheckpoints(of: [partition])
            guard case .halted? = partitions[partition]?.stage, mayTake(partition) else { continue }
            logger.info("Trying a stopped partition again", metadata: ["partition": "\(partition)"])
            drop(partition, to: .standby)
            activate([partition])
        }
    }
}

/// How long each part of a planning took: with thousands of partitions the operator wants to know what the time goes into.
struct PlanningWatch {
    private let clock: HostClock
    private let began: UInt64
    private var last: UInt64
    private var parts: [(name: String, nanoseconds: UInt64)] = []

    init(_ clock: HostClock) {
        self.clock = clock
        began = clock.monotonic()
        last = began
    }

    /// Ends a part.
    mutating func mark(_ name: String) {
        let now = clock.monotonic()
        parts.append((name, now &- last))
        last = now
    }

    func metadata(partitions: Int) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["partitions": "\(partitions)", "ms": "\((last &- began) / 1_000_000)"]
        for part in parts { metadata["\(part.name)_ms"] = "\(part.nanoseconds / 1_000_000)" }
        return metadata
    }
}

/// Tells a store's failure from a broker's.
struct StoreErrorMark: Error, CustomStringConvertible {
    let error: StoreError
    var description: String { error.description }
}
