/// What one group's worker is doing, as `/status` shows it and `/metrics` counts it.
public struct GroupStatus: Sendable, Hashable, Codable {
    /// One rule's events of one topic, since the worker began.
    public struct Activity: Sendable, Hashable, Codable {
        public var rule: String
        public var topic: String
        public var matched = 0
        /// By how they ended: `done`, `ignored`, `retry`, `dead_letter`, `skipped`, `halted`, `interrupted`.
        public var results: [String: Int] = [:]
        /// By `ActionFailure.label`.
        public var failures: [String: Int] = [:]
        /// Of all requests of an event with their pauses.
        public var duration = LatencyHistogram()
    }

    /// Events that a rule matches and left out, since the worker began.
    public struct LeftOutCount: Sendable, Hashable, Codable {
        public var rule: String
        /// `sample`, `blacklist`, `hops`, `limiter`, `dedupe`.
        public var reason: String
        public var count: Int
    }

    public struct Origin: Sendable, Hashable, Codable {
        public var origin: String
        public var owner: String
        public var epoch: Int64
        public var phase: String
        /// Whether this worker may act now.
        public var hasLease: Bool
    }

    public struct Partition: Sendable, Hashable, Codable {
        public var topic: String
        public var partition: Int32
        public var stage: String
        /// One past the last record of the done prefix; nil: acting has not begun.
        public var done: Int64?
        /// Records that are not done, holes included; nil: not known.
        public var lagRecords: Int64?
        /// How old the oldest record is that was read and is not done, by its own time; 0: all is done; nil: not known.
        public var lagSeconds: Double?
        /// For how long that record has been here; 0: there is none.
        public var prefixLagSeconds: Double?
        public var running: Int
        public var waiting: Int
        /// Not due yet.
        public var delayed: Int
        /// Since when what is done is not all stored; nil: acting has not begun.
        public var checkpointAgeSeconds: Double?
        /// nil: it is not followed.
        public var standby: Standby?
    }

    /// "If we failed over now."
    public struct Standby: Sendable, Hashable, Codable {
        public var repeatsAtMost: Int64?
        /// Seconds; nil: the checkpoint's tail is here, or it is not known.
        public var behindSeconds: Double?
        public var isTailHere: Bool
        public var gap: String?
        public var refusal: String?
    }

    /// Kafka's name of it.
    public var group: String
    /// Whether it reads the retry topics.
    public var readsRetries: Bool
    /// Whether the group has given this worker its share (which may be nothing).
    public var isAssigned: Bool
    public var isStoreReachable: Bool
    /// For how long the reading loop has not come by, in seconds.
    public var silentSeconds: Double
    /// Records read by topic, those of followed partitions not counted.
    public var events: [String: Int]
    public var unparsable: Int
    public var retried: Int
    public var deadLettered: Int
    public var gaps: Int
    public var activities: [Activity]
    public var origins: [Origin]
    public var partitions: [Partition]
    public var leftOut: [LeftOutCount] = []
}

/// Whether a worker should be sent traffic, or an operator be called.
struct Readiness: Sendable {
    /// One line each; empty: ready.
    let reasons: [String]
    /// Partitions that are named, at most.
    private static let namedLimit = 5

    /// - Parameter lagLimit: seconds.
    init(_ groups: [GroupStatus], lagLimit: Double) {
        var reasons: [String] = []
        if groups.isEmpty { reasons.append("the worker has not begun yet") }
        for group in groups {
            if !group.isAssigned { reasons.append("group \(group.group) has not been given partitions yet") }
            if !group.isStoreReachable { reasons.append("group \(group.group) can't use the checkpoint store") }
            // Retries wait for as long as they were told to.
            let late = group.readsRetries ? [] : group.partitions.filter { ($0.lagSeconds ?? 0) > lagLimit }
            for partition in late.prefix(Self.namedLimit) {
                reasons.append("\(partition.topic)/\(partition.partition) is \(Int(partition.lagSeconds ?? 0)) s behind (group \(group.group))")
            }
            if late.count > Self.namedLimit { reasons.append("\(late.count - Self.namedLimit) more partitions of group \(group.group) are behind") }
        }
        self.reasons = reasons
    }
}
