import Handover
import KafkaLog

/// Where a whole group stands at one moment, as `offsets describe` shows it.
public struct GroupSnapshot: Encodable, Sendable, Hashable {
    public struct Cluster: Encodable, Sendable, Hashable {
        public var datacenter: String
        /// Kafka's id. nil: it does not answer.
        public var cluster: String?
        public var problem: String?
    }

    public struct Totals: Encodable, Sendable, Hashable {
        public var partitions = 0
        public var idle = 0
        public var moving = 0
        public var stuck = 0
        public var waiting = 0
        public var gap = 0
        public var unknown = 0
        /// Of those partitions whose lag is known.
        public var lagRecords: Int64 = 0
        /// The oldest; nil: of none is it known.
        public var lagMilliseconds: Int64?
        public var mirrorLagMilliseconds: Int64?

        public init(_ states: [PartitionState]) {
            partitions = states.count
            for state in states {
                switch state.state {
                case .idle: idle += 1
                case .moving: moving += 1
                case .stuck: stuck += 1
                case .waiting: waiting += 1
                case .gap: gap += 1
                case .unknown: unknown += 1
                }
            }
            lagRecords = states.reduce(0) { $0 + ($1.lagRecords ?? 0) }
            lagMilliseconds = states.compactMap(\.lagMilliseconds).max()
            mirrorLagMilliseconds = states.compactMap(\.mirrorLagMilliseconds).max()
        }
    }

    public var group: String
    /// When it was read, in milliseconds since 1970.
    public var at: Int64
    public var clusters: [Cluster]
    public var totals: Totals
    public var partitions: [PartitionState]

    public init(group: String, at: MillisecondTimestamp, clusters: [Cluster], partitions: [PartitionState]) {
        self.group = group
        self.at = at.milliseconds
        self.clusters = clusters
        self.partitions = partitions
        totals = Totals(partitions)
    }

    public enum Order: String, Sendable, CaseIterable { case partition, lag, time, mirror, age, state }

    /// The same with fewer partitions, in another order: largest first, but for `partition`.
    public func narrowed(leastLag: Int64?, states: Set<PartitionState.State>, order: Order, limit: Int? = nil) -> GroupSnapshot {
        var result = self
        result.partitions = partitions.filter { (leastLag == nil || ($0.lagRecords ?? .max) >= leastLag ?? 0) && (states.isEmpty || states.contains($0.state)) }
        func rank(_ state: PartitionState) -> Int64 {
            switch order {
            case .partition: 0
            // What is not known comes first: it may be the worst.
            case .lag: state.lagRecords ?? .max
            case .time: state.lagMilliseconds ?? .max
            case .mirror: state.mirrorLagMilliseconds ?? -1
            case .age: state.checkpoint?.ageMilliseconds ?? .max
            case .state: [.gap: 5, .stuck: 4, .unknown: 3, .moving: 2, .waiting: 1, .idle: 0][state.state] ?? 0
            }
        }
        result.partitions.sort { (-rank($0), $0.topic, $0.partition) < (-rank($1), $1.topic, $1.partition) }
        result.totals = Totals(result.partitions)
        if let limit { result.partitions = Array(result.partitions.prefix(limit)) }
        return result
    }
}
