import ChangePropagation
import Checkpoints
import Handover
import KafkaLog

/// Thinks a failover through: reads the store, the target's cluster, and what else answers. Writes nothing.
extension SnapshotReader {
    /// Rounds of lookups and reading; the rule needs four at most.
    static let planRounds = 8

    /// - Throws: `Refusal`, `StoreError`, and what the target's cluster fails with.
    public func plan(_ group: String, to target: Datacenter, filter: PartitionFilter, now: MillisecondTimestamp) async throws -> FailoverPlan {
        let deadline = ContinuousClock.now + timeout
        let (facts, clusters) = try await facts(group, filter: filter)
        guard let cluster = try clusters[target]?.get() else { throw Refusal.nothingMatches(group) }
        let anchors = try await StandbyReport.anchors(from: store, group: group, datacenter: target)
        guard let settings = configuration.datacenters[target] else { throw Refusal.nothingMatches(group) }
        let log = try ClusterLogs(target, settings, identity: configuration.identity, timeout: timeout, logger: logger)
        defer { Task.detached { await log.close() } }
        let counts = try await log.topics(timeout: Self.left(deadline))
        var resumes: [TopicPartition: PlannedResume] = [:]
        for fact in facts where fact.owner != target {
            resumes[fact.topicPartition] = resume(fact, target, cluster, count: counts[fact.origin.topic] ?? 0, anchor: anchors[fact.topicPartition])
        }
        for _ in 0..<Self.planRounds {
            guard try await round(&resumes, log, deadline) else { break }
        }
        var starts: [TopicPartition: Int64] = [:]
        for (partition, resume) in resumes { if case .acting(let from, _) = resume.planner.phase, from < resume.planner.log.highWatermark { starts[partition] = from } }
        let first = try await log.records(at: starts, deadline: deadline)
        let lines = facts.map { line($0, target, resumes[$0.topicPartition], first[$0.topicPartition]) }
        return FailoverPlan(group: group, target: target.name, at: now, partitions: lines)
    }

    private func resume(
        _ fact: PartitionFacts, _ target: Datacenter, _ cluster: ClusterID, count: Int32, anchor: ResumePlanner.Anchor?
    ) -> PlannedResume? {
        guard let there = fact.logs[target], let start = there.start, let end = there.end, case let checkpoint = try? fact.checkpoint?.get() else { return nil }
        if case .failure? = fact.checkpoint { return nil }
        return PlannedResume(
            checkpoint: checkpoint, log: ResumePlanner.Log(cluster: cluster, partitionCount: count, start: start, highWatermark: end),
            committed: there.commit, anchor: anchor, identity: configuration.identity.text, settings: plannerSettings)
    }

    /// As a worker with this configuration has them.
    var plannerSettings: ResumePlanner.Settings {
        var settings = ResumePlanner.Settings()
        settings.slack = Int64(configuration.checkpoints.slack / .milliseconds(1))
        settings.hold = UInt64(max(0, configuration.checkpoints.hold / .nanoseconds(1)))
        return settings
    }

    /// One round of lookups, then one of reading; false: nobody needs anything.
    func round(_ resumes: inout [TopicPartition: PlannedResume], _ log: ClusterLogs, _ deadline: ContinuousClock.Instant) async throws -> Bool {
        var times: [TopicPartition: MillisecondTimestamp] = [:]
        for (partition, resume) in resumes { if case .lookUp(let time) = resume.need { times[partition] = time } }
        if !times.isEmpty {
            let found = try await log.admin.lookUp(times: times, timeout: Self.left(deadline))
            let timed = try await log.admin.lookUp(times: times.mapValues { _ in MillisecondTimestamp(clamped: 0) }, timeout: Self.left(deadline))
            for partition in times.keys {
                guard let place = try found[partition]?.get(), let first = try timed[partition]?.get() else { continue }
                resumes[partition]?.lookedUp(place.found ? place.start.offset : nil, firstTimed: first.found ? first.start.offset : nil)
            }
        }
        var reads: [TopicPartition: Int64] = [:]
        for (partition, resume) in resumes { if case .read(let from) = resume.need { reads[partition] = from } }
        guard !reads.isEmpty || !times.isEmpty else { return false }
        var open = Set(reads.keys)
        var seen: [TopicPartition: PlannedResume] = resumes
        try await log.scan(reads.filter { $0.value < resumes[$0.key]?.planner.log.highWatermark ?? 0 }, deadline: deadline) { partition, record in
            let before = seen[partition]?.need
            guard record.offset < seen[partition]?.planner.log.highWatermark ?? 0 else { return false }
            let wantsMore = seen[partition]?.see(log.mark(record)) ?? false
            if seen[partition]?.need != before { open.remove(partition) }
            return wantsMore
        }
        // What was not read must not pass for a log's end.
        guard open.isEmpty || ContinuousClock.now < deadline else {
            throw KafkaLogError.deadlineExceeded(what: "reading \(open.count) partitions of \(log.datacenter) (raise --timeout)")
        }
        for partition in open { seen[partition]?.reachedEnd() }
        resumes = seen
        return true
    }

    private func line(_ fact: PartitionFacts, _ target: Datacenter, _ resume: PlannedResume?, _ first: RecordMark?) -> FailoverPlan.Line {
        let state = fact.state(now: MillisecondTimestamp(clamped: 0), stuckAfter: .max, datacenters: [:])
        var line = FailoverPlan.Line(
            origin: fact.origin.origin.name, topic: fact.origin.topic, partition: fact.partition, owner: fact.owner?.name, stays: fact.owner == target,
            waitsForMirror: resume?.waitsForMirror ?? false, drain: .unknown)
        let checkpoint = try? fact.checkpoint?.get()
        line.openRecords = state.lagRecords
        line.drain = checkpoint?.sealed == true && checkpoint?.epoch == fact.epoch ? .sealed : state.lagRecords.map { $0 == 0 ? .done : .open } ?? .unknown
        line.notMirrored = state.clusters.first { $0.datacenter == target.name }?.mirrorLagRecords ?? (fact.origin.origin == target ? 0 : nil)
        line.notMirroredMilliseconds = state.clusters.first { $0.datacenter == target.name }?.mirrorLagMilliseconds
        guard !line.stays else { return line }
        guard let resume else {
            line.refusal = Self.refusal(fact, target)
            return line
        }
        line.refusal = resume.refusal?.description
        line.gap = resume.gap.map { PartitionState.Gap(reason: $0.reason.rawValue, records: $0.records, at: nil) }
        guard case .acting(let from, let method) = resume.planner.phase else { return line }
        line.resumeOffset = from
        line.method = method.rawValue
        var most = max(0, resume.planner.log.highWatermark - from)
        // No more can have been done twice than its owner's log holds past the checkpoint.
        if method != .time, method != .logStart, let owner = fact.owner, let there = fact.logs[owner], let end = there.end, let checkpoint,
            checkpoint.position.cluster == there.cluster, fact.commit(in: target, isNotAbove: checkpoint)
        { most = min(most, max(0, end - checkpoint.position.offset)) }
        line.repeatsAtMost = most
        if most == 0 { line.repeatMilliseconds = 0 } else if let first = first?.timestamp, let last = fact.logs[target]?.last?.timestamp {
            line.repeatMilliseconds = max(0, last.milliseconds - first.milliseconds)
        }
        return line
    }

    private static func refusal(_ fact: PartitionFacts, _ target: Datacenter) -> String {
        if case .failure(let error)? = fact.checkpoint { return error.description }
        return "\(target) does not have this partition: \(fact.logs[target]?.problem ?? "its log can't be read"); look at its mirror"
    }
}

extension PartitionFacts {
    var topicPartition: TopicPartition { TopicPartition(topic: origin.topic, partition: partition) }

    /// Whether the place was found by the checkpoint, and not by a newer commit in the target's own cluster.
    fileprivate func commit(in target: Datacenter, isNotAbove checkpoint: Checkpoint) -> Bool {
        guard let commit = logs[target]?.commit else { return true }
        return commit.epoch < checkpoint.epoch
    }
}
