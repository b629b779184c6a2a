import Checkpoints
import KafkaLog

/// Where one partition of a group stands, as `offsets describe` shows it. Field names are those of its JSON (Docs/Offsets.md).
/// Times are milliseconds since 1970; nil is "not known", never 0.
public struct PartitionState: Encodable, Sendable, Hashable {
    public enum State: String, Encodable, Sendable, Hashable, CaseIterable {
        /// Everything that is in the owner's cluster is done.
        case idle
        /// Something is to be done, and checkpoints move.
        case moving
        /// Something is to be done, and nobody has written a checkpoint for a while.
        case stuck
        /// The same in a retry topic, whose records wait until they are due.
        case waiting
        /// Records are gone that were due, or a gap event was raised in this epoch.
        case gap
        /// It can't be told: the owner's cluster does not answer, or has no place for this checkpoint yet.
        case unknown
    }

    public struct CheckpointState: Encodable, Sendable, Hashable {
        public var writtenAt: Int64
        public var ageMilliseconds: Int64
        public var epoch: Int64
        public var sealed: Bool
        public var worker: String
        /// Whose cluster it was measured in. nil: none of the configured ones.
        public var datacenter: String?
        public var cluster: String
        public var offset: Int64
        /// The oldest time of the last 16 finished records.
        public var witness: Int64?
    }

    /// The partition in one datacenter's cluster.
    public struct Log: Encodable, Sendable, Hashable {
        public var datacenter: String
        /// nil: the cluster does not answer, or has not got the partition (`problem` says which).
        public var logStart: Int64?
        public var logEnd: Int64?
        /// What the group has committed there.
        public var committed: Int64?
        /// The epoch that the commit names; nil: it is not Switchback's.
        public var committedEpoch: Int64?
        /// How far this mirror is behind the origin's cluster: at most so many records. nil: it is the origin's, or it can't be told.
        public var mirrorLagRecords: Int64?
        /// Between the newest record here and the newest one of the origin.
        public var mirrorLagMilliseconds: Int64?
        public var problem: String?

        public init(datacenter: String) { self.datacenter = datacenter }
    }

    public struct Gap: Encodable, Sendable, Hashable {
        public var reason: String
        /// nil: nobody can know.
        public var records: Int64?
        /// When it was raised. nil: it is seen now.
        public var at: Int64?
    }

    public var origin: String
    public var stream: String
    public var topic: String
    public var partition: Int32
    public var owner: String?
    public var state: State
    /// Where the owner goes on, in its own cluster: the higher of checkpoint and commit. nil: it has to be looked for.
    public var position: Int64?
    /// Offsets from there to the log's end (holes count).
    public var lagRecords: Int64?
    /// How old the record at the position is. 0: there is none. nil: not known.
    public var lagMilliseconds: Int64?
    public var checkpoint: CheckpointState?
    public var clusters: [Log]
    public var gap: Gap?
    public var problem: String?

    public var topicPartition: TopicPartition { TopicPartition(topic: topic, partition: partition) }
    /// The largest of its mirrors' lags.
    public var mirrorLagMilliseconds: Int64? { clusters.compactMap(\.mirrorLagMilliseconds).max() }
    public var mirrorLagRecords: Int64? { clusters.compactMap(\.mirrorLagRecords).max() }
}

/// What is known of one partition before it is judged: everything that was read, and nothing else.
public struct PartitionFacts: Sendable {
    public struct Log: Sendable {
        public var cluster: ClusterID?
        public var start: Int64?
        public var end: Int64?
        public var committed: CommittedOffset?
        public var commit: ResumePlanner.Committed?
        public var last: RecordMark?
        /// Records of the origin's log from the time of this log's last record on, that one included.
        public var originPast: Int64?
        public var problem: String?
        public init() {}
    }

    public var origin: OriginTopic
    public var partition: Int32
    public var owner: Datacenter?
    public var epoch: Int64?
    public var checkpoint: Result<Checkpoint, CheckpointFormatError>?
    public var logs: [Datacenter: Log] = [:]
    /// The record at the owner's position. nil: none is there, or it could not be read.
    public var next: RecordMark?
    /// The newest gap event of the owner's epoch.
    public var gap: PartitionState.Gap?
    /// Whether it is a retry topic's.
    public var isRetry = false

    public init(origin: OriginTopic, partition: Int32, owner: Datacenter?, epoch: Int64?) {
        self.origin = origin
        self.partition = partition
        self.owner = owner
        self.epoch = epoch
    }

    /// Where the owner would go on in its cluster, as the resume rule's first step says: the higher epoch, then the higher offset.
    /// Without checkpoint and commit the log's start. nil: it has to be looked up by time.
    public var position: Int64? {
        guard let owner, let log = logs[owner], let start = log.start else { return nil }
        switch checkpoint {
        case nil: return log.commit?.offset ?? start
        case .failure?: return nil
        case .success(let checkpoint)?:
            let stored = checkpoint.position.cluster == log.cluster ? checkpoint.position.offset : nil
            guard let commit = log.commit, commit.epoch >= checkpoint.epoch else { return stored }
            if let stored, commit.epoch == checkpoint.epoch { return max(stored, commit.offset) }
            return commit.offset
        }
    }

    /// - Parameter stuckAfter: for how many milliseconds without a new checkpoint, with work to do, it counts as stuck.
    public func state(now: MillisecondTimestamp, stuckAfter: Int64, datacenters: [ClusterID: Datacenter]) -> PartitionState {
        var state = PartitionState(
            origin: origin.origin.name, stream: origin.stream, topic: origin.topic, partition: partition, owner: owner?.name, state: .unknown,
            position: position, clusters: [])
        switch checkpoint {
        case .success(let checkpoint)?:
            state.checkpoint = PartitionState.CheckpointState(
                writtenAt: checkpoint.writtenAt.milliseconds, ageMilliseconds: max(0, now.milliseconds - checkpoint.writtenAt.milliseconds),
                epoch: checkpoint.epoch, sealed: checkpoint.sealed, worker: checkpoint.worker,
                datacenter: datacenters[checkpoint.position.cluster]?.name, cluster: checkpoint.position.cluster.id,
                offset: checkpoint.position.offset, witness: checkpoint.witness?.milliseconds)
        case .failure(let error)?: state.problem = error.description
        case nil: break
        }
        state.clusters = logs.sorted { $0.key < $1.key }.map { shown($0.key, $0.value) }
        state.gap = gap
        guard let owner, let log = logs[owner], let start = log.start, let end = log.end, let position else { return judged(state, nil, now, stuckAfter) }
        if position < start {
            state.gap = PartitionState.Gap(reason: GapEvent.Reason.retention.rawValue, records: start - position, at: nil)
        }
        let from = max(position, start)
        if position > end {
            state.problem = "the position \(position) is above the log's end \(end): the topic was made again or its log was cut; 'offsets reset' rewinds it"
        }
        state.lagRecords = max(0, end - from)
        if from >= end { state.lagMilliseconds = 0 } else if let next, let time = next.timestamp {
            state.lagMilliseconds = max(0, now.milliseconds - time.milliseconds)
        }
        return judged(state, log, now, stuckAfter)
    }

    private func judged(_ state: PartitionState, _ log: Log?, _ now: MillisecondTimestamp, _ stuckAfter: Int64) -> PartitionState {
        var state = state
        if state.gap != nil { state.state = .gap } else if state.problem != nil { state.state = .stuck } else if let lag = state.lagRecords {
            // Only a checkpoint that is being written shows that somebody is at work.
            let silence = state.checkpoint?.ageMilliseconds ?? .max
            let waiting = state.lagMilliseconds ?? .max
            state.state = lag == 0 ? .idle : min(silence, waiting) <= stuckAfter ? .moving : isRetry ? .waiting : .stuck
        }
        return state
    }

    private func shown(_ datacenter: Datacenter, _ log: Log) -> PartitionState.Log {
        var shown = PartitionState.Log(datacenter: datacenter.name)
        shown.logStart = log.start
        shown.logEnd = log.end
        shown.committed = log.committed?.position.offset
        shown.committedEpoch = log.commit?.epoch
        shown.problem = log.problem
        guard datacenter != origin.origin, let there = logs[origin.origin], let end = there.end, log.end != nil, let start = there.start else { return shown }
        guard let last = log.last else {
            // An empty mirror is behind by all that the origin has.
            if log.start == log.end { shown.mirrorLagRecords = end - start }
            if start == end { shown.mirrorLagMilliseconds = 0 }
            return shown
        }
        if let newest = there.last, newest.fingerprint == last.fingerprint, newest.timestamp == last.timestamp {
            (shown.mirrorLagRecords, shown.mirrorLagMilliseconds) = (0, 0)
        } else {
            shown.mirrorLagRecords = log.originPast.map { max(0, $0 - 1) }
            if let newest = there.last?.timestamp, let here = last.timestamp, last.timestampType == .createTime {
                shown.mirrorLagMilliseconds = max(0, newest.milliseconds - here.milliseconds)
            }
        }
        return shown
    }
}
