import Checkpoints
import DequeModule
import Synchronization

/// Numbers that no other partition's work in this process has: a partition may be lost and come back while an action of its
/// earlier work still runs. They are only compared, so a simulation does not depend on their values.
enum Generations {
    private static let last = Atomic<Int>(0)
    static func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}

/// The last W identities of a partition.
struct RecentIdentities: Sendable {
    private let limit: Int
    private var order: Deque<Fingerprint> = []
    private var known: Set<Fingerprint> = []

    init(limit: Int) { self.limit = limit }

    /// False when it is among the last ones already.
    mutating func insert(_ identity: Fingerprint) -> Bool {
        guard limit > 0 else { return true }
        guard known.insert(identity).inserted else { return false }
        order.append(identity)
        if order.count > limit { known.remove(order.removeFirst()) }
        return true
    }

    mutating func removeAll() {
        order = []
        known = []
    }
}
