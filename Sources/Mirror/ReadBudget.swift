import Synchronization

/// Bounds what a mirror holds in memory, by whole batches: librdkafka keeps a batch's fetch responses until its last record has
/// gone, so a lane that is behind the others pins their records too, and counting each lane's own would bound nothing. One task takes.
final class ReadBudget: Sendable {
    /// A batch's share, given back when the last reference to it goes.
    final class Share: Sendable {
        private let budget: ReadBudget
        private let bytes: Int

        fileprivate init(_ budget: ReadBudget, _ bytes: Int) {
            self.budget = budget
            self.bytes = bytes
        }

        deinit { budget.giveBack(bytes) }
    }

    private struct State {
        var used = 0
        var isClosed = false
        var taker: CheckedContinuation<Void, Never>?
        /// What the taker wants.
        var wanted = 0
    }
    private let limit: Int
    private let state = Mutex(State())

    init(limit: Int) { self.limit = limit }

    /// Returns when there is room, or nothing else is held: one batch may be larger than the limit. nil: closed.
    func take(_ bytes: Int) async -> Share? {
        await withCheckedContinuation { continuation in
            let waits = state.withLock { state in
                if state.isClosed || hasRoom(bytes, beside: state.used) { return false }
                (state.taker, state.wanted) = (continuation, bytes)
                return true
            }
            if !waits { continuation.resume() }
        }
        let isTaken = state.withLock { state in
            if !state.isClosed { state.used += bytes }
            return !state.isClosed
        }
        return isTaken ? Share(self, bytes) : nil
    }

    func close() {
        let taker = state.withLock { state in
            state.isClosed = true
            defer { state.taker = nil }
            return state.taker
        }
        taker?.resume()
    }

    private func hasRoom(_ bytes: Int, beside used: Int) -> Bool { used == 0 || used + bytes <= limit }

    private func giveBack(_ bytes: Int) {
        let taker = state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.used -= bytes
            guard hasRoom(state.wanted, beside: state.used) else { return nil }
            defer { state.taker = nil }
            return state.taker
        }
        taker?.resume()
    }
}
