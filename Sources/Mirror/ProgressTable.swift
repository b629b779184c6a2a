import KafkaLog
import Synchronization

/// What a running mirror knows of one partition.
struct PartitionProgress: Sendable {
    /// The next source record that is not acknowledged by the target; every one below is.
    var next: Int64
    /// Where the target's log ends after the last acknowledged record.
    var targetEnd: Int64
    var committed: CommittedProgress?
    /// The source log's end when it was last seen.
    var sourceEnd: Int64
    var arrivals = ArrivalTimes()
    /// Records acknowledged since this process started to copy this partition.
    var copied: Int64 = 0
    /// Source offsets that retention took before they were copied.
    var lost: Int64 = 0
    /// Records in the target that this mirror did not write there.
    var foreign: Int64 = 0
}

/// The progress of all partitions, shared by the tasks of a mirror and by whoever looks at its lag.
final class ProgressTable: Sendable {
    private struct State {
        var partitions: [TopicPartition: PartitionProgress] = [:]
        var held: [TopicPartition: Held] = [:]
        /// Counts of partitions that are not copied at the moment.
        var copied: [TopicPartition: Int64] = [:]
        var lost: [TopicPartition: Int64] = [:]
    }
    /// A partition that could not be copied, until it is tried again.
    struct Held: Sendable {
        var until: ContinuousClock.Instant
        var wait: Duration
        var reason: String
    }
    private let state = Mutex(State())

    /// A session begins: nothing is copied yet.
    func reset() {
        state.withLock { state in
            for (partition, progress) in state.partitions {
                state.copied[partition, default: 0] &+= progress.copied
                state.lost[partition, default: 0] &+= progress.lost
            }
            state.partitions.removeAll()
        }
    }

    var active: Set<TopicPartition> { state.withLock { Set($0.partitions.keys) } }

    func start(_ partition: TopicPartition, _ progress: PartitionProgress) {
        state.withLock { $0.partitions[partition] = progress }
    }

    func update<Result: Sendable>(_ partition: TopicPartition, _ change: (inout PartitionProgress) -> Result) -> Result? {
        state.withLock { state in
            guard var progress = state.partitions[partition] else { return nil }
            defer { state.partitions[partition] = progress }
            return change(&progress)
        }
    }

    func arrival(of offset: Int64, in partition: TopicPartition) -> ContinuousClock.Instant? {
        state.withLock { $0.partitions[partition]?.arrivals.arrival(of: offset) }
    }

    /// Partitions whose progress is further than what is committed; `all`: every one.
    func uncommitted(source: ClusterID, all: Bool) -> [TopicPartition: CommittedProgress] {
        state.withLock { state in
            state.partitions.compactMapValues { progress in
                let now = CommittedProgress(source: Position(progress.next, in: source), targetEnd: progress.targetEnd)
                return all || now != progress.committed ? now : nil
            }
        }
    }

    // MARK: Partitions that wait

    /// Holds a partition back, twice as long as the time before.
    func hold(_ partition: TopicPartition, reason: String) {
        state.withLock { state in
            let wait = min((state.held[partition]?.wait ?? .zero) * 2, MirrorLimits.lastHold)
            let next = max(wait, MirrorLimits.firstHold)
            state.held[partition] = Held(until: .now + next, wait: next, reason: reason)
        }
    }

    func isHeld(_ partition: TopicPartition) -> Bool {
        state.withLock { $0.held[partition].map { $0.until > .now } ?? false }
    }

    func release(_ partition: TopicPartition) { _ = state.withLock { $0.held.removeValue(forKey: partition) } }

    // MARK: Looking

    func status(now: ContinuousClock.Instant = .now) -> [MirrorStatus.Partition] {
        state.withLock { state in
            var list = state.partitions.map { partition, progress in
                MirrorStatus.Partition(
                    partition: partition, nextSourceOffset: progress.next, targetEnd: progress.targetEnd,
                    recordsBehind: max(0, progress.sourceEnd &- progress.next),
                    behind: progress.arrivals.arrival(of: progress.next).map { $0.duration(to: now) } ?? .zero,
                    copied: progress.copied &+ (state.copied[partition] ?? 0), lost: progress.lost &+ (state.lost[partition] ?? 0),
                    held: nil)
            }
            for (partition, held) in state.held where state.partitions[partition] == nil {
                list.append(
                    MirrorStatus.Partition(
                        partition: partition, nextSourceOffset: nil, targetEnd: nil, recordsBehind: nil, behind: nil,
                        copied: state.copied[partition] ?? 0, lost: state.lost[partition] ?? 0, held: held.reason))
            }
            return list.sorted { $0.partition < $1.partition }
        }
    }
}
