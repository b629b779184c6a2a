import Checkpoints
import DequeModule

/// The last W identities of a partition: an open table, since fingerprints are spread evenly as they are and hashing them again would cost
/// more than all else that is done for an event that no rule wants.
struct RecentIdentities: Sendable {
    private let limit: Int
    private var order: Deque<UInt64> = []
    /// Twice the limit or more, a power of two; 0: free. A fingerprint of 0 is kept as 1.
    private var slots: [UInt64] = []

    init(limit: Int) { self.limit = limit }

    /// False when it is among the last ones already.
    mutating func insert(_ identity: Fingerprint) -> Bool {
        guard limit > 0 else { return true }
        if slots.isEmpty { slots = Array(repeating: 0, count: Self.capacity(for: limit)) }
        let bits = max(1, identity.bits)
        var slot = home(bits)
        while slots[slot] != 0 {
            if slots[slot] == bits { return false }
            slot = (slot + 1) & (slots.count - 1)
        }
        slots[slot] = bits
        order.append(bits)
        if order.count > limit { remove(order.removeFirst()) }
        return true
    }

    mutating func removeAll() {
        order = []
        slots = []
    }

    private static func capacity(for limit: Int) -> Int {
        var capacity = 16
        while capacity < 2 * limit + 2 { capacity *= 2 }
        return capacity
    }

    private func home(_ bits: UInt64) -> Int { Int(truncatingIfNeeded: bits) & (slots.count - 1) }

    /// Those that stand further on than their home because of it are moved up, so that no search ends too early.
    private mutating func remove(_ bits: UInt64) {
        let mask = slots.count - 1
        var hole = home(bits)
        while slots[hole] != bits {
            guard slots[hole] != 0 else { return }
            hole = (hole + 1) & mask
        }
        var next = (hole + 1) & mask
        while slots[next] != 0 {
            if (next &- home(slots[next])) & mask >= (next &- hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = 0
    }
}
