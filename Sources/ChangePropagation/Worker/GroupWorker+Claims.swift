import Checkpoints
import KafkaLog
import Logging

/// What a worker needs for its claims beside the table.
struct ClaimWork {
    var table = ClaimTable()
    /// Jobs that have a slot and wait for their claims.
    var jobs: [Job] = []
    var isAsking = false
    /// Monotonic nanoseconds before which the store is not asked again; after a failure.
    var pausedUntil: UInt64 = 0
    var pause = ClaimWork.firstPause
    /// Since when (monotonic nanoseconds) a store of the claims' own can't be used; nil: it can.
    var failingSince: UInt64?
    var isFlushPlanned = false
    let gate = Gate()
    var sweep = ClaimSweep()

    /// After a failure of the store: at first, and at most.
    static let firstPause: UInt64 = 250_000_000
    static let lastPause: UInt64 = 5_000_000_000
    /// Between two looks at an event that another job of this worker is at.
    static let localLook: UInt64 = 50_000_000
    /// Between two looks at a claim that somebody else has, where the event can't wait in a retry topic.
    static let foreignLook: UInt64 = 1_000_000_000
    /// What is done is written to the store within this time, or the checkpoints' interval where that is shorter.
    static let flushInterval = Duration.seconds(1)
}

/// Claims events before they are acted on, many in one transaction, and writes down what is done. A rule without `dedupe` has no claims.
extension GroupWorker {
    /// Keys of one transaction; each counts twice: expected, and written.
    private var claimKeysAtOnce: Int { max(1, claimStore.maximumTransactionSize / 2) }
    /// The same in claims: where root events count, each has two keys.
    private var claimsAtOnce: Int { max(1, rules.contains { $0.dedupe?.byRoot == true } ? claimKeysAtOnce / 2 : claimKeysAtOnce) }
    private var wallMilliseconds: @Sendable () -> Int64 { { [clock] in clock.wall().milliseconds } }

    // MARK: Before an action

    /// Takes a slot for `job`, which begins when the store has given it its claims.
    func claim(_ job: Job) {
        runningActions += 1
        let now = clock.monotonic()
        if now < claimWork.pausedUntil { return putBack(job, until: claimWork.pausedUntil) }
        if claimWork.table.isFull { return putBack(job, until: now &+ ClaimWork.localLook) }
        guard claimWork.table.hold(job.claims, now: wallMilliseconds()) else { return putBack(job, until: now &+ ClaimWork.localLook) }
        claimWork.jobs.append(job)
    }

    /// Asks the store for all that waits, in as few transactions as it takes. What comes meanwhile goes together in the next.
    func askForClaims() {
        guard !claimWork.isAsking, !claimWork.jobs.isEmpty else { return }
        claimWork.isAsking = true
        Task {
            while !claimWork.jobs.isEmpty {
                let jobs = claimWork.jobs
                claimWork.jobs = []
                let verdicts = await verdicts(on: jobs)
                for job in jobs { goOn(job, verdicts) }
                pump()
            }
            claimWork.isAsking = false
        }
    }

    /// By token; none where the store could not be asked.
    private func verdicts(on jobs: [Job]) async -> [String: ClaimVerdict] {
        let now = wallMilliseconds()
        var verdicts: [String: ClaimVerdict] = [:]
        var asked: [Claim] = []
        for claim in jobs.flatMap(\.claims) {
            if let grant = claim.grant, grant.until > now { verdicts[claim.token] = .granted(grant) } else {
                if let known = claimWork.table.takeKnown(claim, now: now) { verdicts[claim.token] = known } else { asked.append(claim) }
            }
        }
        guard !asked.isEmpty else { return verdicts }
        let own = asked.count
        // What a transaction has room for besides is claimed ahead: with few slots each event would have one of its own otherwise.
        let room = (claimsAtOnce - own % claimsAtOnce) % claimsAtOnce
        asked += claimWork.table.wantedAhead(claimsWaiting(), limit: room, now: now)
        for (index, verdict) in await ask(asked).enumerated() {
            guard let verdict else { continue }
            if index < own { verdicts[asked[index].token] = verdict } else { claimWork.table.keepAhead(asked[index], verdict, now: now) }
        }
        return verdicts
    }

    private func claimsWaiting() -> [Claim] {
        order.filter { partition in partitions[partition].map { mayBegin(on: partition, of: $0.origin) } ?? false }
            .flatMap { partitions[$0]?.waiting.prefix(PartitionWork.laneSearchLimit).flatMap(\.claims) ?? [] }
    }

    /// In the order of `claims`; nil: not known.
    private func ask(_ claims: [Claim]) async -> [ClaimVerdict?] {
        var verdicts: [ClaimVerdict?] = []
        let most = claimsAtOnce
        for first in stride(from: 0, to: claims.count, by: most) {
            var batch = ClaimBatch(Array(claims[first..<min(first + most, claims.count)]))
            if let error = await claimStore.run(&batch, now: wallMilliseconds) {
                claimsFailed(error)
                claimWork.pausedUntil = clock.monotonic() &+ claimWork.pause
                claimWork.pause = min(2 * claimWork.pause, ClaimWork.lastPause)
                // A store that does not answer is not asked for each part.
                return verdicts + batch.verdicts + Array(repeating: nil, count: claims.count - verdicts.count - batch.verdicts.count)
            }
            verdicts += batch.verdicts
        }
        claimWork.pause = ClaimWork.firstPause
        claimsAnswered()
        return verdicts
    }

    /// Begins a job, or leaves out what the verdicts leave out of it.
    private func goOn(_ job: Job, _ verdicts: [String: ClaimVerdict]) {
        var job = job
        let now = clock.monotonic()
        var waitsUntil: UInt64?
        for claim in job.claims {
            let rule = job.actingRule(claim.rule)
            switch verdicts[claim.token] {
            case .granted(let grant)?: job.grant(grant, to: claim.token)
            case .duplicate?:
                guard let rule else { continue }
                claimWork.table.release([claim])
                job.leaveOut(claim)
                leftOut(rule, .duplicate, job.partition, job.offset)
            case .busy(let until)?:
                guard let rule else { continue }
                claimWork.table.release([claim])
                if let event = parked(job, rule, until: until) { job.park(event, for: claim) } else {
                    let left = UInt64(clamping: until - wallMilliseconds()) &* 1_000_000
                    waitsUntil = max(waitsUntil ?? 0, now &+ min(left, ClaimWork.foreignLook))
                }
            case nil: waitsUntil = max(waitsUntil ?? 0, max(claimWork.pausedUntil, now &+ ClaimWork.localLook))
            }
        }
        if let waitsUntil { return putBack(job, until: waitsUntil) }
        // What was dropped, drained or given back meanwhile begins no more.
        guard !isStopping, let work = partitions[job.partition], work.generation == job.generation, work.mayStart else {
            return putBack(job, until: 0)
        }
        if job.steps.isEmpty {
            counts.skipped += 1
            return endUnstarted(job, .skipped)
        }
        runningActions -= 1
        start(job, origin: work.origin)
    }

    /// As it goes to the retry topic until somebody else's claim is over; nil: it can't.
    private func parked(_ job: Job, _ rule: Rule, until: Int64) -> ParkedEvent? {
        guard parking != nil, rule.usesRetryTopics, job.lane == nil, let origin = job.origin else { return nil }
        let due = MillisecondTimestamp(clamped: until)
        return parked(origin, rule: rule.name, reason: nil, schedule: .init(due: due, attempts: origin.attempts ?? rule.freshAttempts))
    }

    /// The slot is given back, and the job waits in its partition.
    private func putBack(_ job: Job, until: UInt64) {
        var job = job
        giveBack(&job)
        endUnstarted(job, .later(until))
    }

    private func endUnstarted(_ job: Job, _ ending: PartitionWork.Ending) {
        runningActions -= 1
        claimWork.table.release(job.claims)
        partitions[job.partition]?.ended(job, ending)
        sealIfIdle(job.partition)
        planFlush()
    }

    // MARK: After an action

    /// A job that has ended, and what is to be written of its claims.
    func settleClaims(_ job: inout Job, _ outcome: JobOutcome) {
        guard !job.claims.isEmpty || !outcome.claims.isEmpty else { return }
        claimWork.table.release(job.claims + outcome.claims.map(\.claim))
        for ended in outcome.claims {
            guard let kind = ended.kind else { continue }
            claimWork.table.settle(Settlement.of(ended.claim, kind, marksRoot: ended.marksRoot))
        }
        if case .again = outcome.ending { giveBack(&job) }
        planFlush()
    }

    /// Claims that say "done" of what was not begun: should somebody else read the event, he must not take it for done.
    private func giveBack(_ job: inout Job) {
        for claim in job.claims where claim.delivery == .atMostOnce && claim.grant != nil {
            claimWork.table.settle(Settlement.of(claim, .released))
            job.grant(nil, to: claim.token)
        }
    }

    /// Writes down soon what is done.
    private func planFlush() {
        guard claimWork.table.hasUnsettled, !claimWork.isFlushPlanned, !isStopping else { return }
        claimWork.isFlushPlanned = true
        Task {
            // A clock that does not wait any more ends this.
            do { try await clock.sleep(min(ClaimWork.flushInterval, setup.checkpoints.interval)) } catch { return }
            claimWork.isFlushPlanned = false
            await flushClaims()
            planFlush()
        }
    }

    /// Writes down what is done. What can't be written is kept for the next time.
    func flushClaims() async {
        guard claimWork.table.hasUnsettled else { return }
        await claimWork.gate.enter()
        defer { claimWork.gate.leave() }
        while claimWork.table.hasUnsettled {
            let taken = claimWork.table.takeUnsettled(limit: claimKeysAtOnce)
            var batch = ClaimBatch(taken, known: taken.reduce(into: [:]) { $0.merge($1.known) { $1 } })
            let error = await claimStore.run(&batch, now: wallMilliseconds)
            let failed = zip(taken, batch.verdicts).filter { $0.1 == nil }.map(\.0)
            claimWork.table.settled(taken, failed: failed)
            if let error { claimsFailed(error) } else { claimsAnswered() }
            if taken.isEmpty || !failed.isEmpty { return }
        }
    }
}

/// A store of their own that fails holds up the rules with `dedupe` alone.
extension GroupWorker {
    private var hasOwnClaimStore: Bool { !(claimStore is any SharedStore) }

    private func claimsFailed(_ error: StoreError) {
        guard hasOwnClaimStore else { return storeFailed(error) }
        guard claimWork.failingSince == nil else { return }
        claimWork.failingSince = clock.monotonic()
        logger.error(
            "Claims can't be made; nothing of a rule with dedupe is begun until they can, other rules go on", metadata: ["error": "\(error)"])
    }

    private func claimsAnswered() {
        guard hasOwnClaimStore else { return storeAnswered() }
        guard let since = claimWork.failingSince else { return }
        claimWork.failingSince = nil
        logger.notice("Claims can be made again", metadata: ["after": "\(Duration.nanoseconds(Int64(clamping: clock.monotonic() &- since)).readable)"])
    }
}

extension Job {
    /// The rule of that name, if its action is still to be made.
    func actingRule(_ name: String) -> Rule? {
        steps.lazy.compactMap { if case .act(let rule, _) = $0, rule.name == name { rule } else { nil } }.first
    }

    mutating func grant(_ grant: Claim.Grant?, to token: String) {
        for index in claims.indices where claims[index].token == token { claims[index].grant = grant }
    }

    /// The claim of a rule whose action has ended.
    mutating func takeClaim(of rule: String) -> Claim? {
        claims.firstIndex { $0.rule == rule }.map { claims.remove(at: $0) }
    }

    mutating func leaveOut(_ claim: Claim) {
        steps.removeAll { if case .act(let rule, _) = $0 { rule.name == claim.rule } else { false } }
        claims.removeAll { $0.token == claim.token }
    }

    mutating func park(_ event: ParkedEvent, for claim: Claim) {
        for index in steps.indices {
            if case .act(let rule, _) = steps[index], rule.name == claim.rule { steps[index] = .park(event) }
        }
        claims.removeAll { $0.token == claim.token }
    }
}
