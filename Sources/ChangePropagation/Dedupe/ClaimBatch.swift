import Checkpoints

/// What somebody wants of a few keys of the store, decided from what stands there.
protocol ClaimIntent: Sendable {
    associatedtype Verdict: Sendable
    func step(_ view: ClaimView) -> ClaimStep<Verdict>
    /// What it comes to when the change that `step` asked for was made.
    func committed(at revision: Int64, now: Int64) -> Verdict
}

enum ClaimStep<Verdict: Sendable>: Sendable {
    case settled(Verdict)
    /// Make `writes`, if these keys and those of `looks` are as they were seen.
    case change(looks: [StoreKey], writes: [StoreKey: StoreTransaction.Write])
}

/// What is known of the store.
struct ClaimView: Sendable {
    enum Found: Sendable, Equatable {
        /// Not asked for yet: it is taken for absent until the store says otherwise.
        case unknown
        case absent
        case record(ClaimRecord)
        /// Not a claim, or one of a later version.
        case unreadable
    }

    var known: [StoreKey: StoredValue?] = [:]
    /// Milliseconds since 1970.
    var now: Int64 = 0

    func found(_ key: StoreKey) -> Found {
        guard let entry = known[key] else { return .unknown }
        guard let entry else { return .absent }
        return ClaimRecord(entry.bytes).map { .record($0) } ?? .unreadable
    }

    func revision(_ key: StoreKey) -> Int64 { (known[key] ?? nil)?.revision ?? 0 }
}

/// Several intents in one transaction: all is tried at once, and what the store's answer speaks against is taken out or done otherwise. A state
/// machine: transactions come out, answers go in. No two of its intents may write one key.
struct ClaimBatch<Intent: ClaimIntent>: Sendable {
    let intents: [Intent]
    /// In the order of `intents`; nil: not known to be done, and it may be all the same.
    private(set) var verdicts: [Intent.Verdict?]
    private var view: ClaimView
    private var open: [Int]
    private var rounds = 0
    private var ambiguities = 0

    /// Transactions for one batch: others that write the same keys all the time must not keep it for ever.
    static var roundLimit: Int { 6 }
    /// Answers that may be lost; each costs a store's timeout.
    static var ambiguityLimit: Int { 1 }

    /// - Parameter known: what is believed to stand in the store; a wrong belief costs a transaction.
    init(_ intents: [Intent], known: [StoreKey: StoredValue?] = [:]) {
        self.intents = intents
        verdicts = Array(repeating: nil, count: intents.count)
        view = ClaimView(known: known)
        open = Array(intents.indices)
    }

    /// The next transaction; nil: there is nothing more to be asked.
    mutating func next(now: Int64) -> StoreTransaction? {
        view.now = now
        var transaction = StoreTransaction()
        open = open.filter { index in
            switch intents[index].step(view) {
            case .settled(let verdict):
                verdicts[index] = verdict
                return false
            case .change(let looks, let writes):
                for key in looks + writes.keys { transaction.expected[key] = view.revision(key) }
                transaction.writes.merge(writes) { $1 }
                return true
            }
        }
        guard !open.isEmpty, rounds < Self.roundLimit else { return nil }
        rounds += 1
        return transaction
    }

    mutating func answered(_ outcome: StoreOutcome, now: Int64) {
        switch outcome {
        case .committed(let revision):
            for index in open { verdicts[index] = intents[index].committed(at: revision, now: now) }
            open = []
        case .conflict(let current): view.known.merge(current) { $1 }
        }
    }

    /// Whether it goes on: an answer that was lost is asked for once more, since the transaction may have been made. The same one can't be made
    /// twice, and the conflict shows what stands there.
    mutating func failed(_ error: StoreError) -> Bool {
        guard error.kind == .ambiguous, ambiguities < Self.ambiguityLimit else { return false }
        ambiguities += 1
        return true
    }
}

extension TransactionStore {
    /// Carries a batch through. nil: all of it has a verdict, or others wrote the same keys all the time.
    func run<Intent: ClaimIntent>(_ batch: inout ClaimBatch<Intent>, now: @Sendable () -> Int64) async -> StoreError? {
        while let transaction = batch.next(now: now()) {
            do throws(StoreError) { batch.answered(try await commit(transaction), now: now()) } catch {
                guard batch.failed(error) else { return error }
            }
        }
        return nil
    }
}
