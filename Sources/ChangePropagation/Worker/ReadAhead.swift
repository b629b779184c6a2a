/// How far a worker reads ahead of its slots. The consumer's own queue holds what is not read, at no cost; pausing a partition instead makes
/// librdkafka throw its part of that queue away and fetch it again, so that is for slots that stay busy.
struct ReadAhead: Sendable {
    /// At least so many jobs wait for a slot before reading waits, too.
    private static let least = 512
    /// For so long reading waits for slots before it goes on, which serves the group's events and everything else that the loop looks at.
    static let patience = Duration.milliseconds(20)
    /// After so many such waits in a row partitions are paused.
    private static let holdsBeforePausing = 10

    /// Whoever waits for slots.
    var waiter: CheckedContinuation<Void, Never>?
    /// Counts the waits, so that a timer that comes late wakes no other.
    private(set) var round: UInt64 = 0
    /// So many jobs have to begin until there is room.
    private(set) var toBegin = 0
    private var heldRounds = 0

    static func target(slots: Int) -> Int { max(least, 2 * slots) }

    /// Whether slots have been busy for so long that partitions with jobs enough are paused.
    var isCongested: Bool { heldRounds >= Self.holdsBeforePausing }

    /// Takes note of how many jobs wait. True: reading is to wait.
    mutating func mustWait(waiting: Int, slots: Int) -> Bool {
        let target = Self.target(slots: slots)
        guard waiting >= target else {
            heldRounds = 0
            return false
        }
        heldRounds += 1
        toBegin = waiting - target / 2
        round += 1
        return true
    }

    /// A job has left the waiting ones. Gives whoever is to be woken.
    mutating func began() -> CheckedContinuation<Void, Never>? {
        guard waiter != nil else { return nil }
        toBegin -= 1
        return toBegin <= 0 ? takeWaiter() : nil
    }

    mutating func takeWaiter() -> CheckedContinuation<Void, Never>? {
        let taken = waiter
        waiter = nil
        return taken
    }
}
