import Synchronization

/// Numbers that no other partition's work in this process has: a partition may be lost and come back while an action of its
/// earlier work still runs. They are only compared, so a simulation does not depend on their values.
enum Generations {
    private static let last = Atomic<Int>(0)
    static func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}
