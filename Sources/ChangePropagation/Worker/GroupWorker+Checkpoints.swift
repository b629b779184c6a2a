import Synchronization
import Checkpoints
import Handover
import KafkaLog
import Logging

/// Writes checkpoints to the shared store and commits to the local Kafka, and seals what is drained.
extension GroupWorker {
    func checkpointLoop() async {
        while !Task.isCancelled {
            do { try await clock.sleep(setup.checkpoints.interval) } catch { return }
            await noteCaughtUp()
            // First what is done, so that nothing is passed whose claim does not say so.
            await flushClaims()
            await writeCheckpoints(of: Set(partitions.keys))
            await publishResumeReports()
            await sweepClaims()
        }
    }

    /// "Caught up" is said only of what the broker itself says ends there, as of before it was asked.
    private func noteCaughtUp() async {
        let idle = partitions.filter { $0.value.isActing && $0.value.isAllDone && !$0.value.isPaused }.map(\.key)
        guard !idle.isEmpty, let asked = Optional(clock.wall()),
            let ends = try? await lookups.watermarks(idle, timeout: .seconds(1))
        else { return }
        for (partition, result) in ends {
            guard let high = try? result.get().high, let work = partitions[partition], work.isActing, work.isAllDone else { continue }
            if work.nextOffset >= high.offset { partitions[partition]?.caughtUpAt = asked }
        }
    }

    func commitLoop() async {
        while !Task.isCancelled {
            do { try await clock.sleep(setup.checkpoints.commitInterval) } catch { return }
            await commit(Set(partitions.keys), wait: false)
        }
    }

    private struct Draft {
        let partition: TopicPartition
        let generation: Int
        let done: DonePrefix
        let seals: Bool
        let write: CheckpointWrite
    }

    /// Writes what moved. Only one call runs at a time: a write in flight decides the revision that the next one expects.
    func writeCheckpoints(of wanted: Set<TopicPartition>) async {
        await checkpointGate.enter()
        defer { checkpointGate.leave() }
        for origin in origins {
            guard let stored = assignments[origin], stored.assignment.ownsAny(setup.datacenter) else {
                unwritten[origin] = nil
                continue
            }
            let fence = stored.fence(AssignmentKey(group: setup.group, origin: origin))
            var drafts: [Draft] = []
            for partition in wanted
            where partitions[partition]?.origin == origin && stored.assignment.owner(of: partition) == setup.datacenter {
                if let draft = await draft(partition, stored.assignment) { drafts.append(draft) }
            }
            guard !drafts.isEmpty else {
                // Everything that is done here is stored.
                if wanted.count == partitions.count { unwritten[origin] = nil }
                continue
            }
            if drafts.contains(where: \.seals) { CrashPoints.hit(.beforeSeal) }
            let results = await checkpointStore.save(group: setup.group, drafts.map(\.write), fence: fence)
            crashAfterWrite(drafts.filter { results[$0.partition]?.isSaved == true }.map(\.write), of: stored.assignment)
            for draft in drafts { if let result = results[draft.partition] { settle(draft, result) } }
            noteWrites(results, origin: origin)
            if drafts.contains(where: { $0.seals && partitions[$0.partition]?.stage == .sealed }) { sealed(origin) }
        }
    }

    /// Seals partitions in which nothing runs any more. Those that come while a write is under way go together in the next one: a write for
    /// each, one after the other, would make the last of many wait for all.
    func seal(_ drained: some Sequence<TopicPartition>) {
        toSeal.formUnion(drained)
        guard !isSealing, !toSeal.isEmpty else { return }
        isSealing = true
        Task {
            while !toSeal.isEmpty {
                let taken = toSeal
                toSeal = []
                await writeCheckpoints(of: taken)
            }
            isSealing = false
        }
    }

    /// Some of the origin's partitions were sealed. When they were the last ones here, what follows must not wait for the next look at the
    /// assignment.
    private func sealed(_ origin: Datacenter) {
        guard !partitions.values.contains(where: { $0.origin == origin && $0.stage == .draining }) else { return CrashPoints.hit(.betweenSeals) }
        Task { await carryDrainThrough(origin) }
    }

    /// What the outcome of a write says about the store, and about who may act.
    private func noteWrites(_ results: [TopicPartition: CheckpointWriteResult], origin: Datacenter) {
        var failure: StoreError?
        for case .failed(let error) in results.values { failure = error }
        unwritten[origin] = failure == nil ? nil : unwritten[origin] ?? clock.monotonic()
        if results.values.contains(where: { if case .fenced = $0 { true } else { false } }) {
            logger.notice("The store refused checkpoints: the origin's assignment has changed", metadata: ["origin": "\(origin)"])
        }
    }

    private func draft(_ partition: TopicPartition, _ assignment: Assignment) async -> Draft? {
        guard let work = partitions[partition], work.sealedEpoch < assignment.epoch else { return nil }
        // An action of dropped work may still be at a request: nobody may be told that all has ended.
        // A worker that stood still may have been put out of its group: who holds the partition now may be acting.
        let now = clock.monotonic()
        let maySeal = liveness.allowsAction(at: now) && now >= work.sealNotBefore
        let seals = work.stage == .draining && work.isIdle && !work.hasOrphans && assignment.phase != .stable && maySeal
        var content: DonePrefix?
        var base: Checkpoint?
        var revision = work.storedRevision
        // A stored checkpoint of this epoch that is further on is what gets sealed.
        if work.tracker != nil, !seals || work.storedAhead == nil {
            content = work.epoch == assignment.epoch || work.stage == .reading ? work.toWrite(force: seals) : nil
        } else if seals {
            // Nothing was done here in this epoch: what is stored is sealed as it stands.
            guard let idle = await idleContent(partition) else { return nil }
            (content, base, revision) = idle
        }
        guard let content, partitions[partition]?.generation == work.generation else {
            if work.tracker != nil, content == nil { partitions[partition]?.storedAt = clock.monotonic() }
            return nil
        }
        // An earlier checkpoint of another cluster that is written on: what was finished here says nothing of what that one holds.
        let speaksOfHere = content.position.cluster == work.planner?.log.cluster
        let checkpoint = Checkpoint(
            done: content, topicID: base?.topicID,
            // What was written by another configuration is sealed as it is: its guards must still hold at the target.
            partitionCount: base?.partitionCount ?? max(1, topicPartitionCounts[partition.topic] ?? partition.partition + 1),
            identity: base?.identity ?? setup.identity.text, epoch: assignment.epoch, sealed: seals, worker: setup.workerName,
            caughtUpAt: base?.caughtUpAt ?? (speaksOfHere ? work.caughtUpAt : nil), writtenAt: clock.wall())
        return Draft(
            partition: partition, generation: work.generation, done: content, seals: seals,
            write: CheckpointWrite(partition: partition, checkpoint: checkpoint, expectedRevision: revision))
    }

    /// What to seal for a partition in which nothing was done: the stored checkpoint, or an empty prefix.
    private func idleContent(_ partition: TopicPartition) async -> (DonePrefix?, Checkpoint?, Int64)? {
        do {
            if let stored = try await checkpointStore.load(group: setup.group, partition: partition) {
                guard let checkpoint = try? stored.checkpoint.get() else { return nil }
                return (checkpoint.done, checkpoint, stored.revision)
            }
            guard let start = try await lookups.watermarks([partition], timeout: Self.lookupTimeout)[partition]?.get().low else { return nil }
            let empty = DonePrefix(
                witness: nil, disorder: 0, tail: [], beyond: [], beyondSpan: 0, position: start, timestampType: .none)
            return (empty, nil, 0)
        } catch {
            logger.warning("Sealing waits: the partition's state can't be read", metadata: ["partition": "\(partition)", "error": "\(error)"])
            return nil
        }
    }

    private func settle(_ draft: Draft, _ result: CheckpointWriteResult) {
        let partition = draft.partition
        guard var work = partitions[partition], work.generation == draft.generation else { return }
        // An answer may come after the drain was cancelled and begun again: that one is sealed in its own epoch.
        let isPresent = draft.write.checkpoint.epoch == assignments[work.origin]?.assignment.epoch
        switch result {
        case .saved(let revision):
            storeAnswered()
            work.storedRevision = revision
            work.lastWritten = draft.done
            work.storedAt = clock.monotonic()
            // A write of the epoch before says nothing for the present one, which others wait for.
            if isPresent { work.mustWrite = false }
            work.storedAhead = nil
            work.epoch = max(work.epoch, draft.write.checkpoint.epoch)
            guard draft.seals else { break }
            work.sealedEpoch = draft.write.checkpoint.epoch
            if work.stage == .draining, isPresent {
                work.stage = .sealed
                logger.info("Sealed", metadata: ["partition": "\(partition)", "position": "\(draft.done.position)"])
            }
        case .fenced:
            // Somebody changed the assignment: look at it before anything else. What is done stays to be written.
            assignmentHint?.yield()
        case .superseded(let current):
            work.storedRevision = current?.revision ?? 0
            guard let found = try? current?.checkpoint.get() else { break }
            if found.epoch > draft.write.checkpoint.epoch { assignmentHint?.yield() }
            if found.sealed, found.epoch == draft.write.checkpoint.epoch {
                // Mostly a seal of our own whose answer never came. The next owner may act from it already: it is final.
                work.sealedEpoch = found.epoch
                if work.stage == .draining, isPresent { work.stage = .sealed }
            }
            if work.stage == .draining, isPresent, !found.sealed, found.epoch == draft.write.checkpoint.epoch, found.worker != setup.workerName {
                // Either of the two was put out of the group and has not heard of it. The one that holds the partition may be acting.
                work.sealNotBefore = clock.monotonic() &+ setup.sessionTimeout.nanoseconds
            }
            let isAhead = (draft.done.position.distance(to: found.position) ?? 0) > 0
            work.storedAhead = found.epoch == draft.write.checkpoint.epoch && isAhead ? found.position : nil
            if found.identity == setup.identity.text { work.adopt(found) }
        case .failed(let error):
            storeFailed(error)
        }
        partitions[partition] = work
    }

    // MARK: The local tier

    /// Commits the done prefixes to Kafka, with the epoch and the last record's fingerprint as metadata.
    func commit(_ wanted: Set<TopicPartition>, wait: Bool) async {
        var offsets: [TopicPartition: CommittedOffset] = [:]
        for partition in wanted {
            guard let work = partitions[partition], let tracker = work.tracker, work.epoch > 0 else { continue }
            if isRevocationLost, pendingRevocation?.contains(partition) == true { continue }
            let done = tracker.done()
            // Before anything is finished at an unconfirmed start, a commit would claim more than is known.
            guard done.position.offset != work.lastCommitted, let last = done.tail.last else { continue }
            offsets[partition] = CommittedOffset(done.position, metadata: CommitMetadata.write(epoch: work.epoch, last: last))
        }
        guard !offsets.isEmpty else { return }
        do throws(KafkaLogError) {
            if wait { try await consumer.commit(offsets, timeout: .seconds(5)) } else { try await consumer.enqueueCommit(offsets) }
            for (partition, offset) in offsets { partitions[partition]?.lastCommitted = offset.position.offset }
        } catch {
            guard !error.isRebalance else { return }
            logger.warning("Committing to the local Kafka failed; the next one covers it", metadata: ["error": "\(error)"])
        }
    }
}

/// Lets one task at a time through, in the order of arrival.
final class Gate: Sendable {
    private struct State {
        var isBusy = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func enter() async {
        await withCheckedContinuation { continuation in
            let goes = state.withLock { state in
                if state.isBusy {
                    state.waiting.append(continuation)
                    return false
                }
                state.isBusy = true
                return true
            }
            if goes { continuation.resume() }
        }
    }

    func leave() {
        let next = state.withLock { state in
            if state.waiting.isEmpty {
                state.isBusy = false
                return nil as CheckedContinuation<Void, Never>?
            }
            return state.waiting.removeFirst()
        }
        next?.resume()
    }
}
