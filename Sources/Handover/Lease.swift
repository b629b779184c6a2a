import KafkaLog

/// A worker's right to act on an origin, by its own monotonic clock (Docs/Design.md section 4, "Leases").
///
/// There is no lease object in the store: a linearizable read (or a successful write under the fence) that still shows the
/// worker's epoch confirms it for the assignment's lease time, counted from *before* the request was sent. Whoever raises
/// the epoch and then waits that long knows that no confirmation of the older epoch is still good: each such request
/// was sent before the epoch went up.
public struct Lease: Sendable, Hashable {
    public private(set) var epoch: Int64
    /// Monotonic nanoseconds. Before it, actions may begin.
    public private(set) var deadline: UInt64
    /// Monotonic nanoseconds: a new owner's first action waits for it.
    public private(set) var notBefore: UInt64
    /// The partitions that changed hands by this epoch, which alone have to wait; nil: none.
    private let waiting: HandoverScope?

    /// The first sight of `assignment`, by a read that was sent at `sent` and answered at `answered`.
    public init(_ assignment: Assignment, sent: UInt64, answered: UInt64) {
        epoch = assignment.epoch
        deadline = sent &+ Self.nanoseconds(assignment.leaseMilliseconds)
        notBefore = answered
        if case .resuming(_, let scope) = assignment.phase {
            notBefore = answered &+ Self.nanoseconds(assignment.fenceMilliseconds)
            waiting = scope
        } else {
            waiting = nil
        }
    }

    /// The epoch was seen again (`assignment` of the same epoch), by a request that was sent at `sent`.
    public mutating func confirm(_ assignment: Assignment, sent: UInt64) {
        guard assignment.epoch == epoch else { return }
        deadline = max(deadline, sent &+ Self.nanoseconds(assignment.leaseMilliseconds))
    }

    /// Whether an action on `partition` may begin at `now`, as far as the lease goes: the partition must be this datacenter's.
    public func allowsAction(on partition: TopicPartition, at now: UInt64) -> Bool {
        now < deadline && (now >= notBefore || waiting?.contains(partition) != true)
    }

    /// Whether leases of the epoch before have surely run out at `now`.
    public func hasWaited(at now: UInt64) -> Bool { now >= notBefore }

    private static func nanoseconds(_ milliseconds: Int64) -> UInt64 { UInt64(max(0, milliseconds)) &* 1_000_000 }
}
