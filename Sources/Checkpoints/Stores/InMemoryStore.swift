import Synchronization

/// The shared store for tests and simulations: the reference of what `SharedStore` means, with faults on command
/// (`InMemoryStoreFaults.swift`). Nothing is kept past the process.
///
/// `handle(named:)` makes another client of the same contents with faults of its own, so that a test can cut one
/// datacenter off and leave the other alone.
public final class InMemoryStore: SharedStore {
    public enum Operation: Hashable, Sendable, CaseIterable { case get, list, commit }

    /// What all handles share.
    final class Contents: Sendable {
        struct State {
            var entries: [StoreKey: StoredValue] = [:]
            var revision: Int64 = 0
        }
        let state = Mutex(State())
        let hints = ChangeHints()
    }

    public let name: String
    public let maximumTransactionSize: Int
    let requestTimeout: Duration
    let clock: any Clock<Duration>
    let contents: Contents
    let faults = Mutex(Faults())
    /// This handle's own streams, which end with it.
    private let hints = ChangeHints()

    /// - Parameters:
    ///   - requestTimeout: how long a frozen or delayed call waits before it fails.
    ///   - clock: what delays and timeouts are measured by.
    public convenience init(
        name: String = "in memory", maximumTransactionSize: Int = 128, requestTimeout: Duration = .seconds(2),
        clock: any Clock<Duration> = ContinuousClock()
    ) {
        self.init(
            name: name, maximumTransactionSize: maximumTransactionSize, requestTimeout: requestTimeout, clock: clock,
            contents: Contents())
    }

    private init(
        name: String, maximumTransactionSize: Int, requestTimeout: Duration, clock: any Clock<Duration>, contents: Contents
    ) {
        self.name = name
        self.maximumTransactionSize = maximumTransactionSize
        self.requestTimeout = requestTimeout
        self.clock = clock
        self.contents = contents
    }

    /// Another client of the same contents, with its own faults and its own `close`.
    public func handle(named name: String) -> InMemoryStore {
        InMemoryStore(
            name: name, maximumTransactionSize: maximumTransactionSize, requestTimeout: requestTimeout, clock: clock,
            contents: contents)
    }

    /// Everything that is stored now, past all faults.
    public var snapshot: [StoreKey: StoredValue] { contents.state.withLock { $0.entries } }

    /// The store's revision now, past all faults.
    public var revision: Int64 { contents.state.withLock { $0.revision } }

    public func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        try key.check(store: name)
        try await admit(.get)
        return contents.state.withLock { $0.entries[key] }
    }

    public func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        try await admit(.list)
        return contents.state.withLock { state in
            StoreListing(entries: state.entries.filter { $0.key.isUnder(prefix) }, revision: state.revision)
        }
    }

    public func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try transaction.check(limit: maximumTransactionSize, store: name)
        try await admit(.commit, transaction)
        let outcome = apply(transaction)
        if let late = faults.withLock({ $0.lateAnswers }), transaction.writes.keys.contains(where: { $0.isUnder(late.under) }) {
            try? await clock.sleep(for: late.by)
        }
        if faults.withLock({ $0.takeAmbiguousAnswer() }) {
            throw StoreError(
                .ambiguous, store: name, message: "the answer was lost after the transaction was applied (injected)")
        }
        return outcome
    }

    public func changes(under prefix: StoreKey) -> AsyncStream<Void> {
        let all = contents.hints.subscribe(
            to: prefix, repetition: { [weak self] in self?.faults.withLock { $0.hintRepetition } ?? 0 })
        return hints.subscribe(to: prefix, repetition: { 1 }) { hint in
            for await _ in all { hint() }
        }
    }

    public func close() async {
        faults.withLock { $0.closed = true }
        hints.finish()
        thaw()
    }

    @discardableResult
    func apply(_ transaction: StoreTransaction) -> StoreOutcome {
        let outcome: StoreOutcome = contents.state.withLock { state in
            for (key, revision) in transaction.expected where (state.entries[key]?.revision ?? 0) != revision {
                return .conflict(Dictionary(uniqueKeysWithValues: transaction.expected.keys.map { ($0, state.entries[$0]) }))
            }
            let changes = transaction.writes.contains { key, write in
                if case .put = write { true } else { state.entries[key] != nil }
            }
            guard changes else { return .committed(revision: state.revision) }
            state.revision += 1
            for (key, write) in transaction.writes {
                switch write {
                case .put(let bytes): state.entries[key] = StoredValue(bytes: bytes, revision: state.revision)
                case .delete: state.entries[key] = nil
                }
            }
            return .committed(revision: state.revision)
        }
        if case .committed = outcome { contents.hints.changed(transaction.writes.keys) }
        return outcome
    }
}
