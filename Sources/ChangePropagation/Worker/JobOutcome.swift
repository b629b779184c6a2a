/// What came of a job so far.
struct JobOutcome: Sendable {
    /// One rule's action.
    struct Act: Sendable {
        let rule: String
        /// As `GroupStatus.Activity.results` names it.
        let result: String
        /// `ActionFailure.label`; nil: it did not fail.
        let failure: String?
        let seconds: Double
        /// Whether failures of the rule are logged and counted.
        let isReported: Bool

        init(_ rule: Rule, _ result: ActionResult, _ after: GroupWorker.AfterAction, seconds: Double) {
            self.rule = rule.name
            self.seconds = seconds
            isReported = rule.isReported
            if case .failed(let failure, _) = result { self.failure = failure.label } else { failure = nil }
            switch (result, after) {
            case (.failed, .park(let event)): self.result = event.schedule == nil ? "dead_letter" : "retry"
            case (.failed, .stop): self.result = "halted"
            case (.failed, .goOn): self.result = "skipped"
            default: self.result = result.label
            }
        }
    }

    /// A claim whose action has ended.
    struct EndedClaim: Sendable {
        let claim: Claim
        /// nil: it stays as it is.
        let kind: Settlement.Kind?
        /// Whether older root events need not be acted on any more.
        var marksRoot = false
    }

    var ending = PartitionWork.Ending.finished
    var claims: [EndedClaim] = []
    var acts: [Act] = []
    var retried = 0
    var deadLettered = 0
    var failures: Int { acts.count { $0.failure != nil } }
    /// All that its rules wanted was done.
    var isActed: Bool { failures == 0 && retried == 0 && deadLettered == 0 }

    /// It is in a topic, and `claim` is what its rule has claimed.
    mutating func parked(_ event: ParkedEvent, _ claim: Claim?) {
        if event.schedule == nil { deadLettered += 1 } else { retried += 1 }
        guard let claim else { return }
        // Its retry is the same owner, and must find the claim still there.
        let kind = event.schedule.map { Settlement.Kind.extended(until: $0.due.milliseconds + Claim.startAllowance + claim.span) }
        claims.append(EndedClaim(claim: claim, kind: kind ?? .done))
    }

    /// Its rule goes on to the next event.
    mutating func acted(_ result: ActionResult, _ claim: Claim?) {
        guard let claim else { return }
        switch result {
        case .done, .ignored: claims.append(EndedClaim(claim: claim, kind: .done, marksRoot: true))
        case .limited: claims.append(EndedClaim(claim: claim, kind: .released))
        // It may have been made all the same.
        case .failed, .interrupted: claims.append(EndedClaim(claim: claim, kind: claim.delivery == .atLeastOnce ? .released : nil))
        }
    }
}

extension PartitionWork {
    /// How a job that had a slot has ended.
    enum Ending: Sendable {
        case finished
        /// Nothing was to be done.
        case skipped
        case again
        /// The same, not before then (monotonic nanoseconds).
        case later(UInt64)
        case halt(String)
    }

    /// Whether a job that has a slot may begin.
    var mayStart: Bool {
        switch stage {
        case .reading, .halting: true
        default: false
        }
    }
}
