/// How often one event was tried again by one rule, and how often it may be.
public struct RetryAttempts: Sendable, Hashable {
    /// Retries that were made and cost an attempt.
    public let made: Int
    /// Retries that may still be made.
    public let left: Int

    public init(made: Int, left: Int) {
        self.made = made
        self.left = left
    }
}

/// What becomes of an event that a rule could not finish now.
enum FailureVerdict: Sendable, Equatable {
    /// Into the retry topic, to be tried again after the pause.
    case retry(RetryAttempts, after: Duration)
    case deadLetter
    /// Stop the partition.
    case halt
    /// Log and count it, and go on without it.
    case skip
}

extension Rule {
    /// What an event is read with that has not been tried by this rule yet.
    var freshAttempts: RetryAttempts { RetryAttempts(made: 0, left: retry.limit) }

    /// Whether events of this rule may go into a retry topic.
    public var usesRetryTopics: Bool { makesRequests && (retry.limit > 0 || delayUntil != nil) }

    /// Whether the same request may be answered otherwise later.
    func isWorthARetry(_ failure: ActionFailure) -> Bool {
        switch failure {
        case .status(let status): statuses.retries(status)
        case .timeout, .connection, .readOnly, .notWritten: true
        case .badRequest: false
        }
    }

    /// Decides about an event after `failure`, which ended a try that began with `attempts`.
    func verdict(on failure: ActionFailure, _ attempts: RetryAttempts) -> FailureVerdict {
        if isWorthARetry(failure), retry.limit > 0 {
            if case .readOnly = failure {
                // The target is in maintenance, as in a datacenter switch: that says nothing about the event, and costs no attempt.
                return .retry(attempts, after: retry.pause(before: max(1, attempts.made)))
            }
            if attempts.left > 0 {
                return .retry(RetryAttempts(made: attempts.made + 1, left: attempts.left - 1), after: retry.pause(before: attempts.made + 1))
            }
        }
        return verdictOnBrokenEvent
    }

    /// Decides about an event that another try would not help.
    var verdictOnBrokenEvent: FailureVerdict {
        switch onFailure {
        case .deadLetter: .deadLetter
        case .halt: .halt
        case .skip: .skip
        }
    }
}
