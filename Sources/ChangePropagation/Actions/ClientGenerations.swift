import AsyncHTTPClient
import Synchronization

/// HTTP clients that take turns, so that no connection lives much longer than `maxAge` and names are looked up again: the
/// pool itself bounds only how long a connection is idle, and a busy one would outlive a datacenter switch. A client
/// that is too old gets no new requests and is shut down when its last one ends.
final class ClientGenerations: Sendable {
    final class Generation: Sendable {
        let client: HTTPClient
        let born: ContinuousClock.Instant
        fileprivate init(client: HTTPClient, born: ContinuousClock.Instant) {
            self.client = client
            self.born = born
        }
    }

    private struct State {
        var current: Generation?
        /// Requests that run, by generation; a retired generation is here until its last one ends.
        var running: [ObjectIdentifier: (generation: Generation, count: Int)] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())
    private let maxAge: Duration
    private let make: @Sendable () -> HTTPClient
    private let now: @Sendable () -> ContinuousClock.Instant

    init(maxAge: Duration, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }, make: @escaping @Sendable () -> HTTPClient) {
        self.maxAge = maxAge
        self.now = now
        self.make = make
    }

    /// The generation to use now, or nil after `close`. Give it back with `release`.
    func acquire() -> Generation? {
        let time = now()
        let (generation, retired) = state.withLock { state -> (Generation?, Generation?) in
            guard !state.isClosed else { return (nil, nil) }
            var retired: Generation?
            if let current = state.current, current.born.duration(to: time) >= maxAge {
                if state.running[ObjectIdentifier(current)] == nil { retired = current }
                state.current = nil
            }
            let generation = state.current ?? Generation(client: make(), born: time)
            state.current = generation
            state.running[ObjectIdentifier(generation), default: (generation, 0)].count += 1
            return (generation, retired)
        }
        if let retired { Self.shutDown(retired) }
        return generation
    }

    func release(_ generation: Generation) {
        let isOver = state.withLock { state -> Bool in
            let id = ObjectIdentifier(generation)
            guard let entry = state.running[id] else { return false }
            guard entry.count <= 1 else {
                state.running[id] = (generation, entry.count - 1)
                return false
            }
            state.running[id] = nil
            return state.current !== generation && !state.isClosed
        }
        if isOver { Self.shutDown(generation) }
    }

    /// Ends every request that still runs and closes all connections. Returns when that is done.
    func close() async {
        let generations = state.withLock { state -> [Generation] in
            guard !state.isClosed else { return [] }
            state.isClosed = true
            var all = state.running.values.map(\.generation)
            if let current = state.current, !all.contains(where: { $0 === current }) { all.append(current) }
            state.current = nil
            return all
        }
        for generation in generations { try? await generation.client.shutdown() }
    }

    private static func shutDown(_ generation: Generation) {
        // Nothing runs on it, so there is no error that anyone could act on.
        Task { try? await generation.client.shutdown() }
    }
}
