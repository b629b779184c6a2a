import Synchronization

/// Faults that a test may ask of one handle of an `InMemoryStore`. They last until changed; the counted ones until used up.
extension InMemoryStore {
    struct Faults {
        struct Failure {
            let operations: Set<Operation>
            let error: StoreError
            var left: Int
        }
        var closed = false
        var failures: [Failure] = []
        var ambiguousAnswers = 0
        var delay: Duration = .zero
        var lateAnswers: (under: StoreKey, by: Duration)?
        var frozen = false
        /// Calls that wait for a thaw; finishing wakes them.
        var waiting: [Int: AsyncStream<Void>.Continuation] = [:]
        var nextWaiter = 0
        /// Commits that timed out while frozen: sent, not applied yet.
        var late: [StoreTransaction] = []
        var hintRepetition = 1
        var calls: [Operation: Int] = [:]

        mutating func takeAmbiguousAnswer() -> Bool {
            guard ambiguousAnswers > 0 else { return false }
            ambiguousAnswers -= 1
            return true
        }

        mutating func takeFailure(_ operation: Operation) -> StoreError? {
            guard let index = failures.firstIndex(where: { $0.operations.contains(operation) && $0.left > 0 }) else {
                return nil
            }
            failures[index].left -= 1
            return failures[index].error
        }
    }

    /// The next `count` calls of `operations` fail with an error of this kind; nothing is read or applied.
    public func failNext(
        _ count: Int = 1, _ kind: StoreError.Kind, _ operations: Set<Operation> = Set(Operation.allCases),
        message: String = "injected failure"
    ) {
        let error = StoreError(kind, store: name, message: message)
        faults.withLock { $0.failures.append(Faults.Failure(operations: operations, error: error, left: count)) }
    }

    /// All calls fail with an error of this kind until `heal`.
    public func failAll(_ kind: StoreError.Kind, _ operations: Set<Operation> = Set(Operation.allCases)) {
        failNext(.max, kind, operations)
    }

    /// The next `count` commits are applied (or find their conflict) and answer `ambiguous`.
    public func answerAmbiguouslyNext(_ count: Int = 1) {
        faults.withLock { $0.ambiguousAnswers += count }
    }

    /// Every call waits this long before it is looked at. From `requestTimeout` on, it fails instead: reads with
    /// `unavailable`, commits with `ambiguous`.
    public func delayCalls(_ delay: Duration) {
        faults.withLock { $0.delay = delay }
    }

    /// Every commit that writes something under `prefix` answers this much after it was applied.
    public func delayAnswers(under prefix: StoreKey, by delay: Duration) {
        faults.withLock { $0.lateAnswers = (prefix, delay) }
    }

    /// From now on calls wait; after `requestTimeout` reads fail with `unavailable` and commits with `ambiguous`.
    public func freeze() {
        faults.withLock { $0.frozen = true }
    }

    /// Lets the waiting calls go on.
    /// - Parameter applyingLateCommits: whether the commits that answered `ambiguous` while frozen take effect now, in
    ///   their order, as a stopped server's do when it goes on; false drops them.
    public func thaw(applyingLateCommits: Bool = false) {
        let (waiting, late) = faults.withLock { faults in
            faults.frozen = false
            defer { (faults.waiting, faults.late) = ([:], []) }
            return (faults.waiting.values, faults.late)
        }
        if applyingLateCommits { for transaction in late { apply(transaction) } }
        for waiter in waiting { waiter.finish() }
    }

    /// How many hints this handle's streams get for one change: 0 loses them, 2 or more repeats them.
    public func setHints(perChange count: Int) {
        faults.withLock { $0.hintRepetition = count }
    }

    /// Ends all faults but a freeze (`thaw`) and a close.
    public func heal() {
        faults.withLock { faults in
            faults.failures = []
            faults.ambiguousAnswers = 0
            faults.delay = .zero
            faults.lateAnswers = nil
            faults.hintRepetition = 1
        }
    }

    /// How many calls of this kind came in through this handle so far, whatever became of them.
    public func calls(_ operation: Operation) -> Int {
        faults.withLock { $0.calls[operation, default: 0] }
    }

    /// Commits that came in while frozen, timed out, and wait for `thaw` to decide.
    public var lateCommits: Int { faults.withLock { $0.late.count } }

    /// Counts a call and makes it suffer what was asked for it.
    func admit(_ operation: Operation, _ transaction: StoreTransaction? = nil) async throws(StoreError) {
        let delay = faults.withLock { faults in
            faults.calls[operation, default: 0] += 1
            return faults.delay
        }
        if delay > .zero {
            try? await clock.sleep(for: min(delay, requestTimeout))
            if delay >= requestTimeout { throw timeout(transaction) }
        }
        try await waitWhileFrozen(transaction)
        let failure = faults.withLock { faults in
            faults.closed ? StoreError(.unavailable, store: name, message: "is closed") : faults.takeFailure(operation)
        }
        if let failure { throw failure }
    }

    private func waitWhileFrozen(_ transaction: StoreTransaction?) async throws(StoreError) {
        let (thawed, continuation) = AsyncStream<Void>.makeStream()
        let id: Int? = faults.withLock { faults in
            guard faults.frozen else { return nil }
            faults.nextWaiter += 1
            faults.waiting[faults.nextWaiter] = continuation
            return faults.nextWaiter
        }
        guard let id else { return }
        let (clock, requestTimeout) = (self.clock, self.requestTimeout)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { for await _ in thawed {} }
            group.addTask { try? await clock.sleep(for: requestTimeout) }
            await group.next()
            group.cancelAll()
        }
        let timedOut = faults.withLock { faults in
            guard faults.waiting.removeValue(forKey: id) != nil else { return false }
            if let transaction { faults.late.append(transaction) }
            return true
        }
        if timedOut { throw timeout(transaction) }
    }

    private func timeout(_ transaction: StoreTransaction?) -> StoreError {
        StoreError(
            transaction == nil ? .unavailable : .ambiguous, store: name,
            message: "no answer within \(requestTimeout) (injected)")
    }
}
