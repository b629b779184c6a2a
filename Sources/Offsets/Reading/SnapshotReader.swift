import ChangePropagation
import Checkpoints
import Handover
import KafkaLog
import Logging

/// Reads where a group stands: its assignments, checkpoints and gap events from the store, and its logs and commits from every cluster at once.
/// Writes nothing.
public struct SnapshotReader: Sendable {
    /// What keeps a group from being read at all.
    public enum Refusal: Error, Sendable, Hashable, CustomStringConvertible {
        case unknownGroup(String, known: [String])
        case nothingMatches(String)
        public var description: String {
            switch self {
            case .unknownGroup(let group, let known) where known.isEmpty:
                "the store knows no group \(group), nor any other: start a worker first, or check which store it is"
            case .unknownGroup(let group, let known): "the store knows no group \(group); \(known.joined(separator: ", ")) would be right ('offsets list' shows them)"
            case .nothingMatches(let group): "no partition of \(group) matches --origin, --topic and --partitions: 'offsets list' shows what there is"
            }
        }
    }

    public let configuration: WorkerConfiguration
    public let store: any SharedStore
    public let timeout: Duration
    /// How long a cluster may take to answer at all.
    let contactTimeout: Duration
    let logger: Logger

    /// - Parameter contactTimeout: nil: half of `timeout`, five seconds at most.
    public init(_ configuration: WorkerConfiguration, store: any SharedStore, timeout: Duration, contactTimeout: Duration? = nil, logger: Logger) {
        // A cluster that is gone must leave time for the others: it is the usual case when somebody looks.
        self.contactTimeout = contactTimeout ?? min(timeout / 2, .seconds(5))
        self.configuration = configuration
        self.store = store
        self.timeout = timeout
        self.logger = logger
    }

    /// What the store says of a group.
    struct Stored: Sendable {
        var assignments: [Datacenter: StoredAssignment]
        var checkpoints: [TopicPartition: StoredCheckpoint]
        var gaps: [TopicPartition: [GapReport]]
    }

    func stored(_ group: String) async throws -> Stored {
        async let assignments = AssignmentStore(store).load(group: group)
        async let checkpoints = CheckpointStore(store).load(group: group)
        async let gaps = GapReport.load(from: store, group: group)
        let found = try await Stored(assignments: assignments, checkpoints: checkpoints, gaps: gaps)
        guard !found.assignments.isEmpty else { throw Refusal.unknownGroup(group, known: try await AssignmentStore(store).groups()) }
        return found
    }

    /// What one cluster says.
    private struct Seen: Sendable {
        var cluster: ClusterID?
        var topics: [String: Int32] = [:]
        var ends: [TopicPartition: Watermarks] = [:]
        var committed: [TopicPartition: CommittedOffset] = [:]
        var problem: String?
    }

    /// - Parameter readsRecords: whether the records at positions and at logs' ends are read (lags in time, and of mirrors).
    public func facts(
        _ group: String, filter: PartitionFilter, readsRecords: Bool = true
    ) async throws -> (facts: [PartitionFacts], clusters: [Datacenter: Result<ClusterID, ProblemText>]) {
        let deadline = ContinuousClock.now + timeout
        let stored = try await stored(group)
        let logs = try clusterLogs()
        do {
            let result = try await facts(group, filter, readsRecords, stored, logs, deadline)
            for log in logs.values { Task.detached { await log.close() } }
            return result
        } catch {
            for log in logs.values { Task.detached { await log.close() } }
            throw error
        }
    }

    /// Words for a cluster that can't be read.
    public struct ProblemText: Error, Sendable, Hashable { public let text: String }

    public func clusterLogs() throws -> [Datacenter: ClusterLogs] {
        var logs: [Datacenter: ClusterLogs] = [:]
        for (datacenter, cluster) in configuration.datacenters {
            logs[datacenter] = try ClusterLogs(datacenter, cluster, identity: configuration.identity, timeout: timeout, logger: logger)
        }
        return logs
    }

    private func facts(
        _ group: String, _ filter: PartitionFilter, _ readsRecords: Bool, _ stored: Stored, _ logs: [Datacenter: ClusterLogs],
        _ deadline: ContinuousClock.Instant
    ) async throws -> (facts: [PartitionFacts], clusters: [Datacenter: Result<ClusterID, ProblemText>]) {
        let topics = Set(stored.assignments.values.flatMap { $0.assignment.partitions.keys }).union(stored.checkpoints.keys.map(\.topic))
        let known = Set(configuration.datacenters.keys).union(stored.assignments.keys)
        func isWanted(_ partition: TopicPartition) -> Bool {
            OriginTopic(topic: partition.topic, known: known).map { filter.contains($0, partition.partition) } == true
        }
        let seen = await withTaskGroup(of: (Datacenter, Seen).self) { tasks in
            for (datacenter, log) in logs {
                tasks.addTask { (datacenter, await self.look(group, log, topics: topics, deadline, isWanted: isWanted)) }
            }
            return await tasks.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        var all = Set(stored.checkpoints.keys).union(stored.assignments.values.flatMap(\.assignment.reported))
        for one in seen.values { for (topic, count) in one.topics { all.formUnion((0..<count).map { TopicPartition(topic: topic, partition: $0) }) } }
        var facts: [PartitionFacts] = all.filter(isWanted).sorted().compactMap { partition in
            guard let topic = OriginTopic(topic: partition.topic, known: known) else { return nil }
            return self.facts(partition, topic, stored, seen)
        }
        guard !facts.isEmpty else { throw Refusal.nothingMatches(group) }
        if readsRecords { try await readRecords(&facts, logs, seen, deadline) }
        return (facts, seen.mapValues { one in one.cluster.map { .success($0) } ?? .failure(ProblemText(text: one.problem ?? "no answer")) })
    }

    private func look(
        _ group: String, _ log: ClusterLogs, topics: Set<String>, _ deadline: ContinuousClock.Instant, isWanted: (TopicPartition) -> Bool
    ) async -> Seen {
        var seen = Seen()
        do {
            seen.cluster = try await log.admin.clusterID(timeout: contactTimeout)
            seen.topics = try await log.topics(timeout: Self.left(deadline)).filter { topics.contains($0.key) }
            let wanted = seen.topics.flatMap { topic, count in (0..<count).map { TopicPartition(topic: topic, partition: $0) } }.filter(isWanted)
            async let ends = log.ends(wanted, timeout: Self.left(deadline))
            async let own = log.admin.groupOffsets(group, timeout: Self.left(deadline))
            async let retries = log.admin.groupOffsets(RetryTopics.kafkaGroup(of: group), timeout: Self.left(deadline))
            seen.ends = try await ends
            for (partition, result) in try await own.merging(try await retries, uniquingKeysWith: { mine, _ in mine }) {
                seen.committed[partition] = (try? result.get()) ?? nil
            }
        } catch { seen.problem = "\(error)" }
        return seen
    }

    static func left(_ deadline: ContinuousClock.Instant) -> Duration { max(.milliseconds(1), ContinuousClock.now.duration(to: deadline)) }

    private func facts(
        _ partition: TopicPartition, _ topic: OriginTopic, _ stored: Stored, _ seen: [Datacenter: Seen]
    ) -> PartitionFacts {
        let assignment = stored.assignments[topic.origin]?.assignment
        var facts = PartitionFacts(origin: topic, partition: partition.partition, owner: assignment?.owner(of: partition), epoch: assignment?.epoch)
        facts.checkpoint = stored.checkpoints[partition]?.checkpoint
        facts.isRetry = topic.stream.hasPrefix(RetryTopics(service: configuration.service).retryStream(of: ""))
        for (datacenter, one) in seen {
            var log = PartitionFacts.Log()
            log.cluster = one.cluster
            log.start = one.ends[partition]?.low.offset
            log.end = one.ends[partition]?.high.offset
            log.committed = one.committed[partition]
            log.commit = CommitMetadata.parse(one.committed[partition])
            log.problem = one.problem ?? (log.end != nil ? nil : (one.topics[partition.topic] ?? 0) > partition.partition ? "its ends can't be read" : "not there")
            facts.logs[datacenter] = log
        }
        if let gap = stored.gaps[partition]?.last(where: { $0.epoch == assignment?.epoch }) {
            facts.gap = PartitionState.Gap(reason: gap.reason, records: gap.records, at: gap.at)
        }
        return facts
    }

    // MARK: Records

    private func readRecords(
        _ facts: inout [PartitionFacts], _ logs: [Datacenter: ClusterLogs], _ seen: [Datacenter: Seen], _ deadline: ContinuousClock.Instant
    ) async throws {
        var positions: [Datacenter: [TopicPartition: Int64]] = [:]
        for fact in facts {
            guard let owner = fact.owner, let position = fact.position, let log = fact.logs[owner], let start = log.start, let end = log.end else { continue }
            let from = max(start, position)
            if from < end { positions[owner, default: [:]][TopicPartition(topic: fact.origin.topic, partition: fact.partition)] = from }
        }
        let wanted = positions
        let found = await withTaskGroup(of: (Datacenter, [TopicPartition: RecordMark], [TopicPartition: RecordMark]).self) { tasks in
            for (datacenter, log) in logs {
                guard let one = seen[datacenter], one.problem == nil else { continue }
                tasks.addTask {
                    // What can't be read is not known: the table says so.
                    async let next = log.records(at: wanted[datacenter] ?? [:], deadline: deadline)
                    async let last = log.lastRecords(one.ends, deadline: deadline)
                    return (datacenter, (try? await next) ?? [:], (try? await last) ?? [:])
                }
            }
            return await tasks.reduce(into: [Datacenter: (next: [TopicPartition: RecordMark], last: [TopicPartition: RecordMark])]()) { $0[$1.0] = ($1.1, $1.2) }
        }
        for index in facts.indices {
            let partition = TopicPartition(topic: facts[index].origin.topic, partition: facts[index].partition)
            facts[index].next = facts[index].owner.flatMap { found[$0]?.next[partition] }
            for datacenter in facts[index].logs.keys { facts[index].logs[datacenter]?.last = found[datacenter]?.last[partition] }
        }
        try await readOriginPast(&facts, logs, deadline)
    }

    /// What origins hold from the time of each mirror's last record on: the most that the mirror can be behind.
    private func readOriginPast(_ facts: inout [PartitionFacts], _ logs: [Datacenter: ClusterLogs], _ deadline: ContinuousClock.Instant) async throws {
        for (mirror, _) in logs {
            var times: [Datacenter: [TopicPartition: MillisecondTimestamp]] = [:]
            for fact in facts where fact.origin.origin != mirror {
                guard let last = fact.logs[mirror]?.last, let there = fact.logs[fact.origin.origin], there.end != nil,
                    last.fingerprint != there.last?.fingerprint, last.timestampType == .createTime, let time = last.timestamp
                else { continue }
                times[fact.origin.origin, default: [:]][TopicPartition(topic: fact.origin.topic, partition: fact.partition)] = time
            }
            for (origin, times) in times {
                guard let log = logs[origin], let places = try? await log.admin.lookUp(times: times, timeout: Self.left(deadline)) else { continue }
                for index in facts.indices where facts[index].origin.origin == origin {
                    let partition = TopicPartition(topic: facts[index].origin.topic, partition: facts[index].partition)
                    guard case .success(let place)? = places[partition] else { continue }
                    facts[index].logs[mirror]?.originPast = place.high.offset - place.start.offset
                }
            }
        }
    }

    /// Where the group stands now.
    public func snapshot(_ group: String, filter: PartitionFilter, stuckAfter: Duration, now: MillisecondTimestamp) async throws -> GroupSnapshot {
        let (facts, clusters) = try await facts(group, filter: filter)
        var names: [ClusterID: Datacenter] = [:]
        for (datacenter, result) in clusters { if case .success(let cluster) = result { names[cluster] = datacenter } }
        let states = facts.map { $0.state(now: now, stuckAfter: Int64(stuckAfter / .milliseconds(1)), datacenters: names) }
        let shown = clusters.sorted { $0.key < $1.key }.map { datacenter, result in
            switch result {
            case .success(let cluster): GroupSnapshot.Cluster(datacenter: datacenter.name, cluster: cluster.id, problem: nil)
            case .failure(let problem): GroupSnapshot.Cluster(datacenter: datacenter.name, cluster: nil, problem: problem.text)
            }
        }
        return GroupSnapshot(group: group, at: now, clusters: shown, partitions: states)
    }
}
