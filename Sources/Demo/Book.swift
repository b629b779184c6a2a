import Synchronization

/// The ledger as several tasks share it, and the run's clock.
final class Book: Sendable {
    private let ledger = Mutex(Ledger())
    private let began = ContinuousClock.now

    /// Seconds since the run began.
    var now: Double { began.duration(to: .now) / .seconds(1) }

    /// Reads or changes the ledger; the second parameter is the present time.
    func note<Result: Sendable>(_ body: (inout Ledger, Double) -> Result) -> Result {
        let at = now
        return ledger.withLock { ledger in body(&ledger, at) }
    }
}
