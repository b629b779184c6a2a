import Logging

/// A store that an operator's command looks through: where the store itself does not answer for a moment (etcd elects a leader, another process
/// holds SQLite's lock), it asks again, for a few seconds. A worker does not need it: it comes back to what failed by itself.
///
/// Only what is safe is asked again: reads, and commits that never took effect (`StoreError.Kind.unavailable`).
public struct PatientStore: SharedStore {
    private let base: any SharedStore
    private let patience: Duration
    private let pause: Duration
    private let clock: HostClock
    private let logger: Logger

    /// - Parameters:
    ///   - patience: for so long after the first failure of a call it is asked again.
    ///   - pause: between two tries.
    ///   - logger: hears once a call (warning) that it is waited for.
    public init(
        _ base: any SharedStore, patience: Duration = .seconds(5), pause: Duration = .milliseconds(250), clock: HostClock = .system, logger: Logger
    ) {
        (self.base, self.patience, self.pause, self.clock, self.logger) = (base, patience, pause, clock, logger)
    }

    public var name: String { base.name }
    public var maximumTransactionSize: Int { base.maximumTransactionSize }

    public func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        try await trying(\.isRetriable) { () async throws(StoreError) in try await base.get(key) }
    }

    public func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        try await trying(\.isRetriable) { () async throws(StoreError) in try await base.list(under: prefix) }
    }

    public func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try await trying({ $0.kind == .unavailable }) { () async throws(StoreError) in try await base.commit(transaction) }
    }

    public func changes(under prefix: StoreKey) -> AsyncStream<Void> { base.changes(under: prefix) }
    public func close() async { await base.close() }

    private func trying<Value>(
        _ isSafe: (StoreError) -> Bool, _ call: () async throws(StoreError) -> Value
    ) async throws(StoreError) -> Value {
        var deadline: UInt64?
        while true {
            do throws(StoreError) { return try await call() } catch {
                let now = clock.monotonic()
                guard isSafe(error), now < deadline ?? .max else { throw error }
                if deadline == nil {
                    deadline = now &+ patience.nanoseconds
                    logger.warning("The store does not answer; trying on", metadata: ["error": "\(error)", "for": "\(patience)"])
                }
                // Cancelled: the first failure is what there is to say.
                guard (try? await clock.sleep(pause)) != nil else { throw error }
            }
        }
    }
}
