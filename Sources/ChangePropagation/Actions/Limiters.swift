import DequeModule
import Synchronization

/// What a limiter counts the failures of.
public struct LimiterKey: Sendable, Hashable {
    /// As `limiters` in worker.yaml names it.
    public let type: String
    public let key: String

    public init(type: String, key: String) {
        self.type = type
        self.key = key
    }
}

/// Counts failures in sliding windows: what has failed too often of late is left alone for a while. In this process only; a restart forgets.
public final class Limiters: Sendable {
    /// At most `limit` failures within `interval`.
    public struct Window: Sendable, Hashable {
        public let interval: Duration
        public let limit: Int

        public init(interval: Duration, limit: Int) {
            self.interval = interval
            self.limit = limit
        }
    }

    private let windows: [String: [Window]]
    private let now: @Sendable () -> ContinuousClock.Instant
    /// Times of failures, oldest first, as many as the largest limit needs.
    private let failures = Mutex<[LimiterKey: Deque<ContinuousClock.Instant>]>([:])

    /// Keys that are remembered, at most; past it, half of them, those that failed the longest ago, are forgotten.
    static let keyLimit = 65_536

    /// - Parameter windows: by type; a key is over when it is over in any of its type's.
    public init(_ windows: [String: [Window]] = [:], now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }) {
        self.windows = windows
        self.now = now
    }

    /// The first of `keys` that has failed as often as a window of its type allows; nil: none. A type without windows limits nothing.
    public func exceeded(_ keys: [LimiterKey]) -> LimiterKey? {
        if keys.isEmpty { return nil }
        let time = now()
        return failures.withLock { failures in
            keys.first { key in
                guard let times = failures[key] else { return false }
                return windows[key.type, default: []].contains { window in
                    // The failure that many back is the one that decides.
                    times.count >= window.limit && times[times.count - window.limit].duration(to: time) < window.interval
                }
            }
        }
    }

    /// Notes a failure of each of `keys`.
    public func failed(_ keys: [LimiterKey]) {
        if keys.isEmpty { return }
        let time = now()
        failures.withLock { failures in
            for key in keys {
                guard let largest = windows[key.type]?.map(\.limit).max() else { continue }
                failures[key, default: []].append(time)
                if let count = failures[key]?.count, count > largest { failures[key]?.removeFirst(count - largest) }
            }
            if failures.count > Self.keyLimit {
                let oldest = failures.sorted { ($0.value.last ?? time) < ($1.value.last ?? time) }.prefix(failures.count / 2)
                for entry in oldest { failures[entry.key] = nil }
            }
        }
    }
}
