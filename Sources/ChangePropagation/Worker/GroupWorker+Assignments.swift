import Checkpoints
import Handover
import KafkaLog
import Logging

/// Follows the assignments of the group's origins: takes them, drains and seals, or stands by.
extension GroupWorker {
    /// Whose topics this worker reads. A failing event is parked in the datacenter that acts on it, wherever it came from.
    var origins: Set<Datacenter> { setup.role == .events ? Set(rules.flatMap(\.origins)) : setup.datacenters }

    private func key(_ origin: Datacenter) -> AssignmentKey { AssignmentKey(group: setup.group, origin: origin) }

    /// Reads the assignments when a hint comes and at least three times a lease.
    func assignmentLoop(_ hints: AsyncStream<Void>) async {
        let (ticks, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled {
                    continuation.yield()
                    do { try await self.clock.sleep(await self.lookInterval) } catch { break }
                }
                continuation.finish()
            }
            group.addTask { for await _ in hints { continuation.yield() } }
            for await _ in ticks { await refreshAssignments() }
            group.cancelAll()
        }
    }

    /// Three looks in the shortest lease that counts: what the store says is what a confirmation is good for.
    private var lookInterval: Duration {
        let stored = assignments.values.map { Duration.milliseconds(max(300, $0.assignment.leaseMilliseconds)) }
        return min(setup.lease, stored.min() ?? setup.lease) / 3
    }

    /// Turns the store's hints of change into looks at the assignments.
    func watchLoop() async {
        for await _ in assignmentStore.store.changes(under: StoreKey("assignments", setup.group)) { assignmentHint?.yield() }
    }

    private func refreshAssignments() async {
        let sent = clock.monotonic()
        do {
            let found = try await assignmentStore.load(group: setup.group)
            let answered = clock.monotonic()
            storeAnswered()
            for origin in origins.sorted() {
                if let stored = found[origin] {
                    await see(stored, origin: origin, sent: sent, answered: answered)
                } else if assignments[origin] == nil {
                    try await createHome(origin)
                } else {
                    vanished(origin)
                }
            }
        } catch {
            storeFailed(error)
        }
        pump()
    }

    /// An assignment that was there is gone: somebody deleted it, or the store is another one. To make it anew would begin a second
    /// life at epoch 1 beside whoever still knows the first.
    private func vanished(_ origin: Datacenter) {
        guard leases[origin] != nil else { return }
        leases[origin] = nil
        logger.critical(
            "The origin's assignment is gone from the store; not acting on it any more, also when it is there again. Restore it and restart this worker, or restart every worker of this group to begin anew",
            metadata: ["origin": "\(origin)"])
    }

    /// The first worker of a group that looks writes down that every origin is at home.
    private func createHome(_ origin: Datacenter) async throws {
        let assignment = Assignment(
            owner: origin, leaseMilliseconds: Int64(setup.lease.nanoseconds / 1_000_000), by: setup.workerName,
            reason: "the first worker of the group", since: clock.wall())
        _ = try await assignmentStore.change(key(origin), to: assignment, expecting: 0)
        assignmentHint?.yield()
    }

    func storeAnswered() {
        guard storeFailingSince != nil else { return }
        storeFailingSince = nil
        logger.info("The checkpoint store answers again")
    }

    func storeFailed(_ error: any Error) {
        guard storeFailingSince == nil else { return }
        storeFailingSince = clock.monotonic()
        logger.error(
            "The checkpoint store can't be used; trying on, and acting goes on only until the lease runs out",
            metadata: ["error": "\(error)", "lease": "\(setup.lease)"])
    }

    // MARK: What an assignment means here

    private func see(_ stored: StoredAssignment, origin: Datacenter, sent: UInt64, answered: UInt64) async {
        let assignment = stored.assignment
        let before = assignments[origin]
        if let before, assignment.epoch < before.assignment.epoch {
            // A store restored from a backup (F54): what it says now is older than what it said before.
            if leases[origin] != nil {
                logger.critical(
                    "The store went back to an older epoch (restored from a backup?); not acting on this origin until its epoch has risen again: use 'handover failover'",
                    metadata: ["origin": "\(origin)", "epoch": "\(assignment.epoch)", "seen": "\(before.assignment.epoch)"])
            }
            leases[origin] = nil
            return
        }
        let since = await epochs(from: before?.assignment, to: assignment, origin: origin)
        assignments[origin] = stored
        if before?.assignment.epoch != assignment.epoch {
            // First what may not go on, then the new lease: an action that is asking right now sees the old lease, or that it was cancelled.
            enterEpoch(assignment, origin: origin, since: since)
            // Nobody else's assignment allows anything here.
            leases[origin] = assignment.ownsAny(setup.datacenter) ? Lease(assignment, sent: sent, answered: answered) : nil
            pumpWhenAllowed(origin)
        } else {
            // What is done and can't be stored would be repeated after a crash: as long as that is so no read confirms the lease, and work
            // stops when it runs out.
            if var lease = leases[origin], unwritten[origin] == nil {
                lease.confirm(assignment, sent: sent)
                leases[origin] = lease
            }
        }
        guard assignment.ownsAny(setup.datacenter) else { return }
        activate(partitions.keys.filter { partitions[$0]?.origin == origin && partitions[$0]?.isStandby == true && mayTake($0) })
        switch assignment.phase {
        case .draining:
            drain(assignment, origin: origin)
            await carryDrainThrough(origin)
        case .resuming: await settleIfResumed(stored, origin: origin)
        // New partitions are the base owner's: it alone says that there are some.
        case .stable: if assignment.owner == setup.datacenter { await reportPartitions(stored, origin: origin) }
        }
    }

    /// The origin's assignments from `before` to `now`, one or more of each epoch: those that were not seen stand in the history. Empty:
    /// not known, or not all of them.
    private func epochs(from before: Assignment?, to now: Assignment, origin: Datacenter) async -> [Assignment] {
        guard let before else { return [] }
        guard now.epoch > before.epoch + 1 else { return [before, now] }
        guard let history = try? await assignmentStore.history(key(origin)) else { return [] }
        let missed = history.filter { $0.epoch > before.epoch && $0.epoch < now.epoch }
        return Int64(Set(missed.map(\.epoch)).count) == now.epoch - before.epoch - 1 ? [before] + missed + [now] : []
    }

    /// - Parameter since: what `epochs` says.
    private func enterEpoch(_ assignment: Assignment, origin: Datacenter, since: [Assignment]) {
        logger.info(
            "An origin's assignment", metadata: [
                "origin": "\(origin)", "owner": "\(assignment.owner)", "epoch": "\(assignment.epoch)", "phase": "\(assignment.phase)",
            ])
        let here = setup.datacenter
        if assignment.isTakenOver(by: here) { CrashPoints.hit(.epochSeen) }
        for (partition, work) in partitions where work.origin == origin && !work.isStandby {
            // Nobody else had it in between, so the work in progress is still true.
            let stays = !since.isEmpty && since.allSatisfy { $0.owner(of: partition) == here } && !Self.isRewound(partition, since)
            let isMoving = work.stage == .draining || work.stage == .sealed || assignment.isResuming(partition)
            if stays, !isMoving || work.stage == .revoking {
                // Another slice changed hands: this partition does not notice.
                partitions[partition]?.goOn(in: assignment.epoch)
            } else if work.stage == .revoking {
                // Its group is taking it back already; what runs begins no further request.
                cancelActions(of: partition)
            } else if stays, partitions[partition]?.undrain(in: assignment.epoch) == true {
                // A cancelled drain.
                restart(partition, .read(from: work.nextOffset), gap: nil)
            } else {
                drop(partition, to: .standby)
            }
        }
    }

    /// Whether an operator has rewound the partition in one of these epochs, the first of which was known: then what is in memory counts for
    /// nothing, and the checkpoint that he wrote for everything.
    private static func isRewound(_ partition: TopicPartition, _ since: [Assignment]) -> Bool {
        since.contains { state in
            guard state.kind == .rewind, state.phase.scope?.contains(partition) == true else { return false }
            if case .draining = state.phase { return true }
            return state.epoch > (since.first?.epoch ?? 0)
        }
    }

    private func drain(_ assignment: Assignment, origin: Datacenter) {
        for (partition, work) in partitions
        where work.origin == origin && assignment.isDraining(partition) && assignment.owner(of: partition) == setup.datacenter {
            switch work.stage {
            case .reading where work.isActing: partitions[partition]?.drain()
            case .halting: partitions[partition]?.drain()
            case .halted where work.tracker != nil:
                // What is done before the record that stopped it is sealed; the other side meets that record next.
                partitions[partition]?.drain()
            case .standby, .following, .planning, .reading, .halted:
                // Never began to act in this epoch: what is stored is still true, and is sealed as it stands.
                drop(partition, to: .draining)
            case .draining, .sealed, .revoking: break
            }
        }
        // Those in which nothing runs are sealed now, not at the next interval; the others when their last action ends.
        let idle = partitions.filter { $0.value.origin == origin && $0.value.stage == .draining && $0.value.isIdle }.map(\.key)
        seal(idle)
    }

    /// A new owner's first actions wait for the old one's lease: they begin when it has run out, not when something else happens.
    private func pumpWhenAllowed(_ origin: Datacenter) {
        guard let lease = leases[origin] else { return }
        let now = clock.monotonic()
        guard lease.notBefore > now else { return }
        Task {
            do { try await clock.sleep(.nanoseconds(Int64(clamping: lease.notBefore - now))) } catch { return }
            pump()
        }
    }

    /// All sealed: raises the epoch, should the controller that began this have died.
    func carryDrainThrough(_ origin: Datacenter) async {
        let isBusy = partitions.values.contains { $0.origin == origin && $0.stage == .draining }
        guard !isBusy else { return }
        let controller = HandoverController(store: assignmentStore.store, clock: clock, logger: logger) { [setup, clock] in
            Assignment.Author(name: setup.workerName, now: clock.wall())
        }
        do { if try await controller.finishDrain(key(origin)) { assignmentHint?.yield() } } catch { storeFailed(error) }
    }

    // MARK: Reporting

    /// Partition counts of the origin's topics as this cluster has them.
    private func counts(of origin: Datacenter) -> [String: Int32] {
        topicPartitionCounts.filter {
            topics.role(of: $0.key) != nil && OriginTopic(topic: $0.key, known: CollectionOfOne(origin)) != nil && $0.value > 0
        }
    }

    /// Writes into the assignment which partitions its origin has, so that a controller knows what must be sealed.
    private func reportPartitions(_ stored: StoredAssignment, origin: Datacenter) async {
        let counts = counts(of: origin)
        var next = stored.assignment
        for (topic, count) in counts { next.partitions[topic] = max(count, next.partitions[topic] ?? 0) }
        // Topics that no rule here reads may be another worker's, whose rules are older or newer: it names them again at once.
        // Those that nobody names again are gone, and must not hold up a drain for ever.
        let now = clock.monotonic()
        let ownTopics = topics
        for topic in next.partitions.keys where ownTopics.role(of: topic) == nil {
            let since = unclaimed[topic] ?? now
            unclaimed[topic] = since
            guard !counts.isEmpty, now &- since >= Self.unclaimedLimit else { continue }
            next.partitions[topic] = nil
            unclaimed[topic] = nil
            logger.notice("A topic that no worker reads any more is taken out of the assignment", metadata: ["topic": "\(topic)"])
        }
        // Only ever longer within an epoch: an older, longer confirmation may still be good.
        next.leaseMilliseconds = max(next.leaseMilliseconds, Int64(setup.lease.nanoseconds / 1_000_000))
        guard next != stored.assignment else { return }
        await change(stored, to: next, origin: origin)
    }

    /// When every partition that changed hands has a checkpoint of this epoch, all are resumed. Not before the old owner's lease
    /// has surely run out: from `stable` on, a worker that starts anew begins without waiting for that.
    private func settleIfResumed(_ stored: StoredAssignment, origin: Datacenter) async {
        guard leases[origin]?.hasWaited(at: clock.monotonic()) == true else { return }
        var next = stored.assignment
        // Only the base owner's cluster says what there is: a mirror with more partitions would have it drain some that it has not.
        if next.owner == setup.datacenter {
            for (topic, count) in counts(of: origin) { next.partitions[topic] = max(count, next.partitions[topic] ?? 0) }
        }
        guard !next.reported.isEmpty else { return }
        let expected = next.reported.filter(next.isResuming)
        do {
            let checkpoints = try await checkpointStore.load(group: setup.group)
            let isResumed = expected.allSatisfy { (try? checkpoints[$0]?.checkpoint.get())?.epoch == next.epoch }
            guard isResumed else { return }
        } catch { return storeFailed(error) }
        let author = Assignment.Author(name: setup.workerName, now: clock.wall())
        await change(stored, to: next.settled(author), origin: origin)
    }

    private func change(_ stored: StoredAssignment, to next: Assignment, origin: Datacenter) async {
        do {
            let result = try await assignmentStore.change(key(origin), to: next, expecting: stored.revision)
            if stored.assignment.isTakenOver(by: setup.datacenter), next.phase == .stable { CrashPoints.hit(.settled) }
            if case .done(let done) = result, assignments[origin]?.revision == stored.revision {
                assignments[origin] = done
                if done.assignment.phase == .stable, stored.assignment.phase != .stable {
                    logger.info("The origin is taken over", metadata: ["origin": "\(origin)", "epoch": "\(done.assignment.epoch)"])
                }
            }
            assignmentHint?.yield()
        } catch {
            storeFailed(error)
        }
    }
}
