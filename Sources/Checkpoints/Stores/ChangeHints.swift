import Synchronization

/// Subscribers to change hints, by prefix, and the ways to wake them. The stores share it.
final class ChangeHints: Sendable {
    /// Hints that wait unread per subscriber. More than one only so that repeated hints can be seen by tests.
    static let unreadLimit = 8

    private struct Subscriber {
        let prefix: StoreKey
        let repetition: @Sendable () -> Int
        let continuation: AsyncStream<Void>.Continuation
    }

    private struct State {
        var next = 0
        var subscribers: [Int: Subscriber] = [:]
        var finished = false
    }

    private let state = Mutex(State())

    /// A stream that gets a hint for every change under `prefix`.
    /// - Parameters:
    ///   - repetition: how many hints one change is worth, asked at each change (1 but in tests).
    ///   - feed: work that runs as long as the stream has a reader, such as polling; it gets a function that yields a hint.
    func subscribe(
        to prefix: StoreKey, repetition: @escaping @Sendable () -> Int,
        feed: (@Sendable (_ hint: @escaping @Sendable () -> Void) async -> Void)? = nil
    ) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(Self.unreadLimit))
        let id: Int? = state.withLock { state in
            guard !state.finished else { return nil }
            state.next += 1
            state.subscribers[state.next] = Subscriber(prefix: prefix, repetition: repetition, continuation: continuation)
            return state.next
        }
        guard let id else {
            continuation.finish()
            return stream
        }
        let task = feed.map { feed in Task { await feed { continuation.yield() } } }
        continuation.onTermination = { [weak self] _ in
            task?.cancel()
            self?.state.withLock { _ = $0.subscribers.removeValue(forKey: id) }
        }
        return stream
    }

    func changed(_ keys: some Collection<StoreKey>) {
        let subscribers = state.withLock { Array($0.subscribers.values) }
        for subscriber in subscribers where keys.contains(where: { $0.isUnder(subscriber.prefix) }) {
            for _ in 0..<max(0, subscriber.repetition()) { subscriber.continuation.yield() }
        }
    }

    /// Ends every stream, and those to come.
    func finish() {
        let subscribers = state.withLock { state in
            state.finished = true
            defer { state.subscribers = [:] }
            return Array(state.subscribers.values)
        }
        for subscriber in subscribers { subscriber.continuation.finish() }
    }
}
