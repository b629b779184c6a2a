import Checkpoints
import Handover
import KafkaLog
import Logging

/// Partitions that the group gave this worker and another datacenter owns: they are read along with the other side's checkpoints, so that a
/// take-over begins at a place that is known. Nothing here acts, and nothing here writes a checkpoint.
extension GroupWorker {
    /// What is kept of a followed partition.
    struct Standby {
        var follower: StandbyFollower
        /// What this datacenter had published when following began: another worker's, or this one's of before.
        var stored: ResumePlanner.Anchor?
        var published: StandbyReport?
    }

    /// One round in each checkpoint interval: one read of the group's checkpoints, one of the logs' ends, and at most one write.
    func standbyLoop() async {
        while !Task.isCancelled {
            do { try await clock.sleep(setup.checkpoints.interval) } catch { return }
            do { try await followOthers() } catch is CancellationError { return } catch {
                if error is StoreError { storeFailed(error) } else {
                    logger.debug("The standby could not go on; trying again", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    private func isFollowing(_ partition: TopicPartition) -> Bool { partitions[partition]?.stage == .following && standbys[partition] != nil }

    private func followOthers() async throws {
        guard !isStopping else { return }
        try await beginFollowing()
        let followed = standbys.keys.filter(isFollowing).sorted()
        guard !followed.isEmpty else { return }
        let stored = try await checkpointStore.load(group: setup.group)
        let ends = try await lookups.watermarks(followed, timeout: Self.lookupTimeout).compactMapValues { try? $0.get() }
        if followed.contains(where: { topicPartitionCounts[$0.topic] == nil }) { await refreshTopics() }
        for partition in followed where isFollowing(partition) {
            // A checkpoint that can't be read is refused at the take-over, with the reason.
            guard let ends = ends[partition], let count = topicPartitionCounts[partition.topic],
                let checkpoint = try? stored[partition]?.checkpoint.get()
            else { continue }
            let log = ResumePlanner.Log(
                cluster: ends.high.cluster, partitionCount: count, start: ends.low.offset, highWatermark: ends.high.offset)
            let anchor = standbys[partition]?.stored
            standbys[partition]?.follower.show(checkpoint, log: log, stored: anchor)
            noteEnd(partition, ends)
        }
        try await moveReaders(followed)
        await publishStandby(followed, ends)
    }

    /// Takes on what another datacenter owns now. A partition that may still have records on their way waits until it is paused.
    private func beginFollowing() async throws {
        let fresh = partitions.filter { partition, work in
            guard work.stage == .standby, work.isPaused, let assignment = assignments[work.origin]?.assignment else { return false }
            return assignment.owner(of: partition) != setup.datacenter
        }.map(\.key)
        guard !fresh.isEmpty else { return }
        let stored = try await StandbyReport.anchors(from: checkpointStore.store, group: setup.group, datacenter: setup.datacenter)
        var settings = StandbyFollower.Settings()
        settings.planner = plannerSettings
        for partition in fresh.sorted() where partitions[partition]?.stage == .standby && !mayTake(partition) {
            partitions[partition]?.stage = .following
            standbys[partition] = Standby(
                follower: StandbyFollower(identity: setup.identity.text, settings: settings),
                stored: partitions[partition]?.anchor ?? stored[partition])
        }
    }

    /// The partition is this worker's to act on from now on: what was found out about it is kept.
    func endFollowing(_ partition: TopicPartition) {
        if let anchor = standbys[partition]?.follower.anchor { partitions[partition]?.anchor = anchor }
        if let lag = standbys[partition]?.follower.appendTimeLag { partitions[partition]?.appendTimeLag = lag }
        standbys[partition] = nil
    }

    // MARK: Reading

    /// Shows a followed partition's records to its follower. Nothing is parsed but what the fingerprint is over.
    func follow(_ batch: RecordBatch, _ run: RecordBatch.Run, _ now: UInt64) {
        for index in run.range {
            batch.withRecord(at: index) { record in
                var event: JSONValue?
                if case .json = setup.identity { event = record.withValue { bytes in bytes.flatMap { try? parseEvent($0) } } }
                let (fingerprint, _) = fingerprint(of: record, event: event)
                standbys[run.partition]?.follower.see(
                    offset: record.offset, fingerprint: fingerprint, timestamp: record.timestamp, now: now)
            }
        }
    }

    private func noteEnd(_ partition: TopicPartition, _ ends: Watermarks) {
        guard let follower = standbys[partition]?.follower, follower.isPlanning, partitions[partition]?.isPaused == false else { return }
        let now = clock.monotonic()
        let silence = now &- follower.lastReadAt
        let isAtEnd = follower.isConfirming
            ? silence >= Self.goneAfter : follower.next >= ends.high.offset || silence >= Self.endOfLogAfter
        if isAtEnd { standbys[partition]?.follower.reachedEnd(now: now) }
    }

    /// Makes the lookups that followers ask for, and moves the reader to where they want it.
    private func moveReaders(_ followed: [TopicPartition]) async throws {
        var times: [TopicPartition: MillisecondTimestamp] = [:]
        for partition in followed where isFollowing(partition) {
            if case .lookUp(let time)? = standbys[partition]?.follower.step { times[partition] = time }
        }
        if !times.isEmpty {
            let found = try await lookups.lookUp(times: times, timeout: Self.lookupTimeout)
            let timed = try await lookups.lookUp(
                times: times.mapValues { _ in MillisecondTimestamp(clamped: 0) }, timeout: Self.lookupTimeout)
            for partition in times.keys {
                guard isFollowing(partition), case .success(let place)? = found[partition], case .success(let first)? = timed[partition] else { continue }
                standbys[partition]?.follower.lookedUp(
                    place.found ? place.start.offset : nil, firstTimed: first.found ? first.start.offset : nil)
            }
        }
        let cluster = try await consumer.clusterID(timeout: Self.lookupTimeout)
        var reads: [TopicPartition: Position] = [:]
        for partition in followed where isFollowing(partition) && partitions[partition]?.isPaused == true {
            // Paused, so no record of before the move can come after it.
            if case .read(let from)? = standbys[partition]?.follower.step { reads[partition] = Position(from, in: cluster) }
        }
        guard !reads.isEmpty else { return }
        // A take-over must not move the reader at the same time: it waits for this to end.
        readersMoving = Set(reads.keys)
        defer {
            readersMoving = []
            activate(reads.keys.sorted().filter { mayTake($0) })
        }
        try await consumer.seek(reads, timeout: Self.lookupTimeout)
        for partition in reads.keys where isFollowing(partition) { standbys[partition]?.follower.begun(now: clock.monotonic()) }
    }

    // MARK: What is published

    private func publishStandby(_ followed: [TopicPartition], _ ends: [TopicPartition: Watermarks]) async {
        var writes: [(partition: TopicPartition, report: StandbyReport)] = []
        for partition in followed where isFollowing(partition) {
            guard let standby = standbys[partition], let ends = ends[partition],
                let report = StandbyReport(standby.follower, ends, in: setup.datacenter, at: clock.wall()),
                !report.says(standby.published)
            else { continue }
            writes.append((partition, report))
        }
        let store = checkpointStore.store
        while !writes.isEmpty {
            let part = writes.prefix(max(1, store.maximumTransactionSize))
            writes.removeFirst(part.count)
            var transaction = StoreTransaction()
            for (partition, report) in part {
                guard let bytes = try? report.encoded() else { continue }
                transaction.writes[StandbyReport.key(group: setup.group, partition, in: setup.datacenter)] = .put(bytes)
            }
            do throws(StoreError) { _ = try await store.commit(transaction) } catch { return storeFailed(error) }
            for (partition, report) in part { standbys[partition]?.published = report }
        }
    }
}
