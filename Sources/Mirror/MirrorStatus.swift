import KafkaLog
import Metrics

/// How far a mirror is, at one moment.
public struct MirrorStatus: Sendable, Hashable {
    public struct Partition: Sendable, Hashable {
        public let partition: TopicPartition
        /// The next source record that the target has not acknowledged; nil: not copied at the moment.
        public let nextSourceOffset: Int64?
        /// Where the target's log ended after the last acknowledged record; nil: not copied at the moment.
        public let targetEnd: Int64?
        /// Source offsets from `nextSourceOffset` to the log's end as it was last seen, at most a discovery interval ago. Holes
        /// (compaction, transaction markers) count, so a log that ends with one never comes to 0. nil: not known.
        public let recordsBehind: Int64?
        /// For how long the first record that is not in the target has been in the source; zero: none waits. nil: not known.
        public let behind: Duration?
        /// Records acknowledged by the target since this mirror was made.
        public let copied: Int64
        /// Source offsets that retention took before they were copied, since this mirror was made.
        public let lost: Int64
        /// Why this partition is not copied at the moment; it is tried again by itself. nil: it is copied.
        public let held: String?
    }

    public let from: Datacenter
    public let to: Datacenter
    /// Whether the cluster answered when it was last asked.
    public let isSourceReachable: Bool
    public let isTargetReachable: Bool
    /// Every partition that is copied or held, sorted. Empty until both clusters have answered.
    public let partitions: [Partition]

    /// The sum over the partitions that are known.
    public var recordsBehind: Int64 { partitions.reduce(0) { $0 &+ ($1.recordsBehind ?? 0) } }
    /// The longest of the partitions.
    public var behind: Duration { partitions.compactMap(\.behind).max() ?? .zero }
    public var copied: Int64 { partitions.reduce(0) { $0 &+ $1.copied } }
    public var lost: Int64 { partitions.reduce(0) { $0 &+ $1.lost } }
}

/// A mirror's gauges. Used by one task.
final class MirrorGauges {
    private let dimensions: [(String, String)]
    private var gauges: [String: Gauge] = [:]
    private var partitions: Set<TopicPartition> = []

    init(from: Datacenter, to: Datacenter) { dimensions = [("from", from.name), ("to", to.name)] }

    func record(_ status: MirrorStatus) {
        set("switchback_mirror_lag_records", status.recordsBehind, nil)
        set("switchback_mirror_lag_ms", status.behind.wholeMilliseconds, nil)
        set("switchback_mirror_copied_records", status.copied, nil)
        set("switchback_mirror_lost_offsets", status.lost, nil)
        set("switchback_mirror_held_partitions", Int64(status.partitions.count { $0.held != nil }), nil)
        set("switchback_mirror_source_up", status.isSourceReachable ? 1 : 0, nil)
        set("switchback_mirror_target_up", status.isTargetReachable ? 1 : 0, nil)
        for entry in status.partitions {
            guard let records = entry.recordsBehind, let behind = entry.behind else { continue }
            guard partitions.contains(entry.partition) || partitions.count < MirrorLimits.partitionGauges else { continue }
            partitions.insert(entry.partition)
            set("switchback_mirror_partition_lag_records", records, entry.partition)
            set("switchback_mirror_partition_lag_ms", behind.wholeMilliseconds, entry.partition)
        }
    }

    private func set(_ label: String, _ value: Int64, _ partition: TopicPartition?) {
        let key = partition.map { "\(label) \($0)" } ?? label
        let more = partition.map { [("topic", $0.topic), ("partition", "\($0.partition)")] } ?? []
        let gauge = gauges[key] ?? Gauge(label: label, dimensions: dimensions + more)
        gauges[key] = gauge
        gauge.record(value)
    }
}

extension Duration {
    /// Rounded down.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        return overflow ? .max : product &+ attoseconds / 1_000_000_000_000_000
    }
}
