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

        init(_ rule: Rule, _ result: ActionResult, _ after: GroupWorker.AfterAction, seconds: Double) {
            self.rule = rule.name
            self.seconds = seconds
            if case .failed(let failure, _) = result { self.failure = failure.label } else { failure = nil }
            switch (result, after) {
            case (.failed, .park(let event)): self.result = event.schedule == nil ? "dead_letter" : "retry"
            case (.failed, .stop): self.result = "halted"
            case (.failed, .goOn): self.result = "skipped"
            default: self.result = result.label
            }
        }
    }

    var ending = PartitionWork.Ending.finished
    var acts: [Act] = []
    var retried = 0
    var deadLettered = 0
    var failures: Int { acts.count { $0.failure != nil } }
    /// All that its rules wanted was done.
    var isActed: Bool { failures == 0 && retried == 0 && deadLettered == 0 }

    mutating func parked(_ event: ParkedEvent) {
        if event.schedule == nil { deadLettered += 1 } else { retried += 1 }
    }
}
