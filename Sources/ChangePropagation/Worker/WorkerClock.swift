import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The clocks of a worker, so that tests can bring their own.
public struct WorkerClock: Sendable {
    /// Nanoseconds that never go back and count while the machine sleeps: for leases and waits.
    public var monotonic: @Sendable () -> UInt64
    /// The time of day: for people, never for decisions.
    public var wall: @Sendable () -> MillisecondTimestamp

    public init(monotonic: @escaping @Sendable () -> UInt64, wall: @escaping @Sendable () -> MillisecondTimestamp) {
        self.monotonic = monotonic
        self.wall = wall
    }

    private static let start = ContinuousClock.now

    public static let system = WorkerClock(
        monotonic: {
            let (seconds, attoseconds) = start.duration(to: .now).components
            // An hour ahead of zero, so that a deadline can lie before the process began.
            return UInt64(max(0, seconds)) &* 1_000_000_000 &+ UInt64(max(0, attoseconds)) / 1_000_000_000 &+ 3_600_000_000_000
        },
        wall: { MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)) })
}
