import ChangePropagation
import Checkpoints
import Handover
import KafkaLog

/// A position in a log, and the log's ends.
struct RewindPlace {
    var datacenter: Datacenter
    var cluster: ClusterID
    var start: Int64
    var end: Int64
    var offset: Int64
}

/// Thinks a rewind through: finds each new position, and what is before it, so that the new checkpoint is understood by every cluster.
extension SnapshotReader {
    /// - Parameters:
    ///   - measured: whose cluster is measured in; nil: each partition's owner's.
    /// - Throws: `Refusal`, `StoreError`, and what the clusters that are measured in fail with.
    public func planRewind(
        _ group: String, to target: RewindTarget, filter: PartitionFilter, in measured: Datacenter?, now: MillisecondTimestamp
    ) async throws -> RewindPlan {
        let deadline = ContinuousClock.now + timeout
        let (all, clusters) = try await facts(group, filter: filter)
        // Events that are read again make retries of their own: old ones are done again only when somebody asks for them by name.
        var takesRetries = !filter.topics.isEmpty
        if case .positions = target { takesRetries = true }
        let facts = all.filter { takesRetries || !$0.isRetry }
        guard !facts.isEmpty else { throw Refusal.nothingMatches(group) }
        let revisions = try await CheckpointStore(store).load(group: group)
        var others: [TopicPartition: StoredCheckpoint] = [:]
        if case .group(let other) = target { others = try await stored(other).checkpoints }
        let logs = try clusterLogs()
        defer { for log in logs.values { Task.detached { await log.close() } } }
        var plan = RewindPlan(group: group, to: target.text, at: now.milliseconds, lines: [])
        plan.retriesLeftAlone = all.count - facts.count
        var places: [TopicPartition: RewindPlace] = [:]
        var marks: [TopicPartition: RecordMark] = [:]
        let found = try await lookUp(target, facts, measured, logs, deadline)
        for fact in facts {
            if case .positions(let wanted) = target, wanted[fact.topicPartition] == nil { continue }
            var line = Self.line(fact, measured)
            if let problem = Self.place(fact, target, measured, clusters, found, &places) { (line.outcome, line.problem) = (.refused, problem) }
            if case .group = target { copy(others[fact.topicPartition], fact, &line, &plan, revisions[fact.topicPartition], clusters) }
            plan.lines.append(line)
        }
        if case .positions(let wanted) = target, let missing = wanted.keys.sorted().first(where: { partition in !facts.contains { $0.topicPartition == partition } }) {
            throw PlanFile.Wrong(description: "\(missing) is no partition of \(group), or is filtered out; 'offsets describe \(group)' lists them")
        }
        for (datacenter, log) in logs {
            let here = places.filter { $0.value.datacenter == datacenter }
            marks.merge(try await log.records(at: here.filter { $0.value.offset < $0.value.end }.mapValues(\.offset), deadline: deadline)) { $1 }
            let done = try await prefixes(here, log, deadline)
            for partition in here.keys where done[partition] == nil {
                guard let index = plan.lines.firstIndex(where: { $0.topicPartition == partition }) else { continue }
                plan.lines[index].outcome = .refused
                plan.lines[index].problem = "what is before offset \(here[partition]?.offset ?? 0) could not be read in time: raise --timeout"
            }
            for (partition, prefix) in done {
                let fact = facts.first { $0.topicPartition == partition }
                plan.drafts[partition] = RewindPlan.Draft(
                    done: prefix, partitionCount: Self.count(fact, facts), topicID: nil, revision: revisions[partition]?.revision ?? 0,
                    prior: try? revisions[partition]?.checkpoint.get())
            }
        }
        for index in plan.lines.indices where plan.lines[index].outcome == .planned {
            Self.complete(&plan.lines[index], places, marks, facts)
        }
        let assignments = try await AssignmentStore(store).load(group: group)
        for index in plan.lines.indices where plan.lines[index].outcome == .unchanged {
            // A rewind that died after its checkpoints were written: what comes after them (claims, the epoch) is still to be done.
            guard let assignment = Datacenter(plan.lines[index].origin).flatMap({ assignments[$0]?.assignment }), assignment.kind == .rewind,
                assignment.isDraining(plan.lines[index].topicPartition)
            else { continue }
            plan.lines[index].outcome = .planned
        }
        return plan
    }

    /// The topic's partitions, as far as is known: the checkpoint says how many there were.
    private static func count(_ fact: PartitionFacts?, _ facts: [PartitionFacts]) -> Int32 {
        let stored = (try? fact?.checkpoint?.get())?.partitionCount ?? 0
        return max(1, stored, (facts.filter { $0.origin == fact?.origin }.map(\.partition).max() ?? 0) + 1)
    }

    private static func line(_ fact: PartitionFacts, _ measured: Datacenter?) -> RewindPlan.Line {
        let datacenter = measured ?? fact.owner ?? fact.origin.origin
        var line = RewindPlan.Line(
            origin: fact.origin.origin.name, topic: fact.origin.topic, partition: fact.partition, owner: fact.owner?.name, datacenter: datacenter.name,
            outcome: .planned)
        if datacenter == fact.owner {
            line.priorOffset = fact.position
            line.priorTime = fact.next?.timestamp?.milliseconds
        }
        return line
    }

    /// Lookups by time, where the target is one.
    private func lookUp(
        _ target: RewindTarget, _ facts: [PartitionFacts], _ measured: Datacenter?, _ logs: [Datacenter: ClusterLogs], _ deadline: ContinuousClock.Instant
    ) async throws -> [TopicPartition: OffsetLookup] {
        guard case .time(let time) = target else { return [:] }
        var found: [TopicPartition: OffsetLookup] = [:]
        for (datacenter, log) in logs {
            let wanted = facts.filter { (measured ?? $0.owner) == datacenter && $0.logs[datacenter]?.end != nil }.map(\.topicPartition)
            let times = Dictionary(uniqueKeysWithValues: wanted.map { ($0, time) })
            for (partition, result) in try await log.admin.lookUp(times: times, timeout: Self.left(deadline)) { found[partition] = try? result.get() }
        }
        return found
    }

    /// Finds the new place; returns why there is none.
    private static func place(
        _ fact: PartitionFacts, _ target: RewindTarget, _ measured: Datacenter?, _ clusters: [Datacenter: Result<ClusterID, ProblemText>],
        _ found: [TopicPartition: OffsetLookup], _ places: inout [TopicPartition: RewindPlace]
    ) -> String? {
        if case .group = target { return nil }
        var datacenter = measured ?? fact.owner ?? fact.origin.origin
        var entry: PlanFile.Entry?
        if case .positions(let wanted) = target {
            entry = wanted[fact.topicPartition]
            guard let named = entry.flatMap({ Datacenter($0.datacenter) }), clusters[named] != nil else {
                return "the file names datacenter '\(entry?.datacenter ?? "")', which this worker.yaml does not have"
            }
            datacenter = named
        }
        guard case .success(let cluster)? = clusters[datacenter], let log = fact.logs[datacenter], let start = log.start, let end = log.end else {
            return "\(datacenter)'s log can't be read (\(fact.logs[datacenter]?.problem ?? "no answer")); --in names another datacenter to measure in"
        }
        if let named = entry?.cluster, named != cluster.id {
            return "the file's offset is of cluster \(named), and \(datacenter)'s is \(cluster) now: set a time instead"
        }
        var offset: Int64
        switch target {
        case .earliest: offset = start
        case .latest: offset = end
        case .offset(let wanted): offset = wanted
        case .time:
            guard let lookup = found[fact.topicPartition] else { return "the time could not be looked up in \(datacenter): try again" }
            // A log that is written to has grown since its end was looked at.
            offset = min(lookup.start.offset, end)
        case .positions: offset = entry?.offset ?? -1
        case .group: return nil
        }
        guard (start...end).contains(offset) else { return "offset \(offset) is not in \(datacenter)'s log: \(start) to \(end) would be right" }
        places[fact.topicPartition] = RewindPlace(datacenter: datacenter, cluster: cluster, start: start, end: end, offset: offset)
        return nil
    }

    /// Another group's checkpoint says what is finished in a way that holds for this one too.
    private func copy(
        _ other: StoredCheckpoint?, _ fact: PartitionFacts, _ line: inout RewindPlan.Line, _ plan: inout RewindPlan, _ stored: StoredCheckpoint?,
        _ clusters: [Datacenter: Result<ClusterID, ProblemText>]
    ) {
        guard let checkpoint = try? other?.checkpoint.get() else {
            (line.outcome, line.problem) = (.refused, "that group has no checkpoint of this partition that can be read")
            return
        }
        guard checkpoint.identity == configuration.identity.text else {
            line.outcome = .refused
            line.problem = "that group's fingerprints are over '\(checkpoint.identity)', this one's over '\(configuration.identity.text)'; set a time instead"
            return
        }
        let measured = clusters.first { (try? $0.value.get()) == checkpoint.position.cluster }?.key
        if let measured { line.datacenter = measured.name }
        if measured != fact.owner { (line.priorOffset, line.priorTime) = (nil, nil) }
        line.newOffset = checkpoint.position.offset
        line.newTime = checkpoint.witness?.milliseconds
        line.records = line.priorOffset.map { $0 - checkpoint.position.offset }
        plan.drafts[fact.topicPartition] = RewindPlan.Draft(
            done: checkpoint.done, partitionCount: checkpoint.partitionCount, topicID: checkpoint.topicID, revision: stored?.revision ?? 0,
            prior: try? stored?.checkpoint.get())
    }

    private static func complete(
        _ line: inout RewindPlan.Line, _ places: [TopicPartition: RewindPlace], _ marks: [TopicPartition: RecordMark], _ facts: [PartitionFacts]
    ) {
        let partition = TopicPartition(topic: line.topic, partition: line.partition)
        if let place = places[partition] {
            if line.datacenter != place.datacenter.name { (line.priorOffset, line.priorTime) = (nil, nil) }
            line.datacenter = place.datacenter.name
            line.newOffset = place.offset
            line.newTime = marks[partition]?.timestamp?.milliseconds
            line.records = line.priorOffset.map { $0 - place.offset }
        }
        if line.records == 0 { line.milliseconds = 0 } else if let prior = line.priorTime, let new = line.newTime { line.milliseconds = prior - new }
        else if line.records != nil, let new = line.newTime, line.priorTime == nil,
            let fact = facts.first(where: { $0.topicPartition == partition }), let owner = fact.owner, let last = fact.logs[owner]?.last?.timestamp,
            line.priorOffset == fact.logs[owner]?.end
        {
            // At the log's end there is no record to take a time from: to the last one it is.
            line.milliseconds = last.milliseconds - new
        }
        if line.records == 0 { line.outcome = .unchanged }
    }

    /// Offsets before a log's end that may all be holes.
    private static let holes: Int64 = 64

    /// What is before each place, as a worker that had finished it would have written it. Places up to which the log could not be read are
    /// left out.
    func prefixes(_ places: [TopicPartition: RewindPlace], _ log: ClusterLogs, _ deadline: ContinuousClock.Instant) async throws -> [TopicPartition: DonePrefix] {
        var limits = PrefixTracker.Limits()
        limits.tail = configuration.checkpoints.tail
        let reach = Int64(max(limits.tail, Checkpoint.witnesses)) * 4
        var trackers: [TopicPartition: PrefixTracker] = [:]
        var starts: [TopicPartition: Int64] = [:]
        for (partition, place) in places {
            let from = max(place.start, place.offset - reach)
            trackers[partition] = PrefixTracker(resuming: nil, at: Position(from < place.offset ? from : place.offset, in: place.cluster), limits: limits)
            if from < place.offset { starts[partition] = from }
        }
        var readTo = starts
        try await log.scan(starts, deadline: deadline) { partition, record in
            readTo[partition] = record.offset + 1
            guard let place = places[partition], record.offset < place.offset else { return false }
            let mark = log.mark(record)
            if let ticket = trackers[partition]?.began(offset: mark.offset, fingerprint: mark.fingerprint, timestamp: mark.timestamp, type: mark.timestampType) {
                trackers[partition]?.finished(ticket, .skipped)
            }
            return record.offset + 1 < place.offset
        }
        var done = trackers.mapValues { $0.done() }
        for (partition, reached) in readTo {
            guard let place = places[partition], reached < place.offset else { continue }
            // Only at the log's end can there be nothing but holes up to the place.
            if place.offset < place.end || place.offset - reached > Self.holes { done[partition] = nil }
        }
        // Nothing but holes before the place: the place itself is what is known.
        for (partition, place) in places where done[partition]?.tail.isEmpty == true { done[partition]?.position = Position(place.offset, in: place.cluster) }
        return done
    }
}

extension SnapshotReader {
    /// The group's positions as a plan, and the partitions whose position is not known.
    public func export(_ group: String, filter: PartitionFilter) async throws -> (plan: PlanFile, missing: [TopicPartition]) {
        let (facts, clusters) = try await facts(group, filter: filter)
        var missing: [TopicPartition] = []
        let entries: [PlanFile.Entry] = facts.compactMap { fact in
            guard let owner = fact.owner, let position = fact.position, case .success(let cluster)? = clusters[owner] else {
                missing.append(fact.topicPartition)
                return nil
            }
            return PlanFile.Entry(
                topic: fact.origin.topic, partition: fact.partition, datacenter: owner.name, cluster: cluster.id, offset: position,
                time: fact.next?.timestamp?.milliseconds)
        }
        return (PlanFile(group: group, entries: entries), missing)
    }
}
