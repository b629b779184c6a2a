import Checkpoints
import Handover
import KafkaLog
import Synchronization

/// An action that runs, and the work that it belongs to.
struct RunningAction {
    let partition: TopicPartition
    let generation: Int
    let task: Task<Void, Never>
}

/// What a group's worker has done since it began.
public struct WorkerCounts: Sendable, Hashable {
    public var read = 0
    /// Not wanted by any rule.
    public var skipped = 0
    public var acted = 0
    public var failed = 0
    /// Could not be parsed.
    public var unparsable = 0
    public var gaps = 0
    /// Put into a retry topic because an action failed, or because it is not due yet.
    public var retried = 0
    public var deadLettered = 0
    /// Events that a rule matches and left out.
    public var leftOut: [Reason: Int] = [:]

    /// Which rule left an event out, and why: `LeftOut.label`.
    public struct Reason: Sendable, Hashable {
        public let rule: String
        public let label: String
    }

    public init() {}
}

/// The leases of a group's origins, readable from running actions without waiting for the worker.
final class LeaseBoard: Sendable {
    private let leases = Mutex<[Datacenter: Lease]>([:])

    subscript(origin: Datacenter) -> Lease? {
        get { leases.withLock { $0[origin] } }
        set { leases.withLock { $0[origin] = newValue } }
    }
}
