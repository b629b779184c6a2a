import Synchronization

/// Notices that this process stood still (stopped, swapped out, a paused machine) for so long that its group may have given its
/// partitions to others: the lease is the datacenter's and says nothing about that. No action begins then until the
/// consumer has had time to hear from its group.
final class Liveness: Sendable {
    private let limit: UInt64
    /// How long hearing from the group may take: its client's next heartbeat is due at once.
    static let pause: UInt64 = 3_000_000_000

    private struct State {
        var seen: UInt64
        var heldUntil: UInt64 = 0
    }
    private let state: Mutex<State>

    /// - Parameters: monotonic nanoseconds; `sessionTimeout` is Kafka's `session.timeout.ms`.
    init(sessionTimeout: UInt64, now: UInt64) {
        limit = sessionTimeout / 3 * 2
        state = Mutex(State(seen: now))
    }

    /// When the worker's own loop came by last, in monotonic nanoseconds.
    var lastBeat: UInt64 { state.withLock { $0.seen } }

    /// The worker's own loop came by. nil: all is well; else for how long it had not, and actions are held from now on.
    func beat(_ now: UInt64) -> UInt64? {
        state.withLock { state in
            let silence = now &- min(now, state.seen)
            state.seen = now
            guard silence >= limit else { return nil }
            state.heldUntil = now &+ Self.pause
            return silence
        }
    }

    /// Whether an action may begin.
    func allowsAction(at now: UInt64) -> Bool {
        state.withLock { now >= $0.heldUntil && now &- min(now, $0.seen) < limit }
    }
}
