import Checkpoints
import Handover
import KafkaLog

/// What the worker says of itself. Nothing here changes what it does.
extension GroupWorker {
    /// The ends of logs are asked for no more often, however many ask.
    private static let endsAge: UInt64 = 2_000_000_000

    /// Which rule, and which topic.
    struct ActivityKey: Hashable { let rule: String, topic: String }

    public func status() async -> GroupStatus {
        await refreshEnds()
        let now = clock.monotonic()
        return GroupStatus(
            group: setup.kafkaGroup, readsRetries: setup.role == .retries, isAssigned: hasJoined, isStoreReachable: storeFailingSince == nil && claimWork.failingSince == nil && !assignments.isEmpty,
            silentSeconds: Self.seconds(from: liveness.lastBeat, to: now), events: readCounts, unparsable: counts.unparsable, retried: counts.retried,
            deadLettered: counts.deadLettered, gaps: counts.gaps,
            activities: activities.values.sorted { ($0.rule, $0.topic) < ($1.rule, $1.topic) },
            origins: assignments.sorted { $0.key < $1.key }.map { origin, stored in
                GroupStatus.Origin(
                    origin: origin.name, owner: stored.assignment.owner.name, epoch: stored.assignment.epoch, phase: "\(stored.assignment.phase)",
                    hasLease: leases[origin].map { now < $0.deadline && $0.hasWaited(at: now) } ?? false)
            },
            partitions: order.compactMap { partition in partitions[partition].map { status(of: $0, now) } },
            leftOut: counts.leftOut.map { GroupStatus.LeftOutCount(rule: $0.key.rule, reason: $0.key.label, count: $0.value) }
                .sorted { ($0.rule, $0.reason) < ($1.rule, $1.reason) })
    }

    private static func seconds(from: UInt64, to: UInt64) -> Double { Double(to &- min(to, from)) / 1e9 }

    private func refreshEnds() async {
        let now = clock.monotonic()
        let wanted = order.filter { partitions[$0]?.isActing == true }
        guard now &- min(now, endsAskedAt) >= Self.endsAge || endsAskedAt == 0, !wanted.isEmpty else { return }
        endsAskedAt = now
        guard let found = try? await lookups.watermarks(wanted, timeout: .seconds(1)) else { return }
        for (partition, result) in found { logEnds[partition] = try? result.get().high }
    }

    private func status(of work: PartitionWork, _ now: UInt64) -> GroupStatus.Partition {
        var status = GroupStatus.Partition(
            topic: work.partition.topic, partition: work.partition.partition, stage: work.stage.label, running: work.running.count,
            waiting: work.waiting.count, delayed: work.delayed.count)
        if let tracker = work.tracker {
            status.done = tracker.position.offset
            let lag = logEnds[work.partition].flatMap { tracker.position.distance(to: $0) }.map { max(0, $0) }
            status.lagRecords = lag
            if let oldest = tracker.oldestRunning {
                status.lagSeconds = oldest.timestamp.map { max(0, Double(clock.wall().milliseconds - $0.milliseconds) / 1000) }
                status.prefixLagSeconds = work.readAt(oldest.offset).map { Self.seconds(from: $0, to: now) } ?? 0
            } else {
                // Where nothing is open, what was not read yet is no older than the last record that was.
                status.prefixLagSeconds = 0
                status.lagSeconds = lag == 0 ? 0 : nil
            }
            status.checkpointAgeSeconds = work.storedAt.map { Self.seconds(from: $0, to: now) }
        }
        status.standby = standbys[work.partition]?.published.map { report in
            GroupStatus.Standby(
                repeatsAtMost: report.repeatsAtMost, behindSeconds: report.behindMilliseconds.map { Double($0) / 1000 }, isTailHere: report.isTailHere,
                gap: report.gap, refusal: report.refusal)
        }
        return status
    }

    // MARK: Counting

    func noteMatch(_ rule: Rule, _ topic: String) {
        activities[ActivityKey(rule: rule.name, topic: topic), default: .init(rule: rule.name, topic: topic)].matched += 1
    }

    func note(_ act: JobOutcome.Act, _ topic: String) {
        let key = ActivityKey(rule: act.rule, topic: topic)
        activities[key, default: .init(rule: act.rule, topic: topic)].note(act)
    }
}

extension GroupStatus.Activity {
    fileprivate mutating func note(_ act: JobOutcome.Act) {
        results[act.result, default: 0] += 1
        if let failure = act.failure, act.isReported { failures[failure, default: 0] += 1 }
        duration.observe(act.seconds)
    }
}

extension PartitionWork.Stage {
    /// A short stable name for metrics.
    var label: String {
        switch self {
        case .standby: "standby"
        case .following: "following"
        case .planning: "planning"
        case .reading: "reading"
        case .draining: "draining"
        case .sealed: "sealed"
        case .halting: "halting"
        case .halted: "halted"
        case .revoking: "revoking"
        }
    }
}
