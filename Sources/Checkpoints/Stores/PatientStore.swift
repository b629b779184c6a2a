import Logging

/// A store that an operator's command looks through: where the store itself does not answer for a moment (etcd elects a leader, another process
/// holds SQLite's lock), it reads again, for a few seconds. A worker does not need it: it comes back to what failed by itself.
///
/// A commit is made once: what is written may say when it was written, so whoever writes has to make it anew (`HandoverController`).
public struct PatientStore: SharedStore {
    private let base: any SharedStore
    private let patience: StorePatience
    private let clock: HostClock
    private let logger: Logger

    /// - Parameter logger: hears once a call (warning) that it is waited for.
    public init(_ base: any SharedStore, patience: StorePatience = StorePatience(), clock: HostClock = .system, logger: Logger) {
        (self.base, self.patience, self.clock, self.logger) = (base, patience, clock, logger)
    }

    public var name: String { base.name }
    public var maximumTransactionSize: Int { base.maximumTransactionSize }

    public func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        try await trying { () async throws(StoreError) in try await base.get(key) }
    }

    public func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        try await trying { () async throws(StoreError) in try await base.list(under: prefix) }
    }

    public func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try await base.commit(transaction)
    }

    public func changes(under prefix: StoreKey) -> AsyncStream<Void> { base.changes(under: prefix) }
    public func close() async { await base.close() }

    private func trying<Value>(_ call: () async throws(StoreError) -> Value) async throws(StoreError) -> Value {
        try await patience.trying(clock: clock, logger: logger, where: \.isRetriable, call)
    }
}
