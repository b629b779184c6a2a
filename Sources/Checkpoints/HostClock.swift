import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The clocks of this host, so that tests and simulations can bring their own.
public struct HostClock: Sendable {
    /// Nanoseconds that never go back and count while the machine sleeps: for leases and waits.
    public var monotonic: @Sendable () -> UInt64
    /// The time of day: for people, never for decisions.
    public var wall: @Sendable () -> MillisecondTimestamp
    /// Waits that long; throws `CancellationError` when the task is cancelled.
    public var sleep: @Sendable (Duration) async throws -> Void

    public init(
        monotonic: @escaping @Sendable () -> UInt64, wall: @escaping @Sendable () -> MillisecondTimestamp,
        sleep: @escaping @Sendable (Duration) async throws -> Void
    ) {
        self.monotonic = monotonic
        self.wall = wall
        self.sleep = sleep
    }

    private static let start = ContinuousClock.now

    public static let system = HostClock(
        monotonic: {
            let (seconds, attoseconds) = start.duration(to: .now).components
            // An hour ahead of zero, so that a deadline can lie before the process began.
            return UInt64(max(0, seconds)) &* 1_000_000_000 &+ UInt64(max(0, attoseconds)) / 1_000_000_000 &+ 3_600_000_000_000
        },
        wall: { MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)) },
        sleep: { try await Task.sleep(for: $0) })
}
