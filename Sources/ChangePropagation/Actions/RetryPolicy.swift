/// How often something is tried again, and after what pause.
public struct RetryPolicy: Sendable, Equatable {
    /// Tries after the first one; 0 means none.
    public let limit: Int
    /// The pause before the first extra try.
    public let delay: Duration
    /// Each further pause is this many times the one before.
    public let factor: Double

    /// No pause is longer, whatever `delay` and `factor` say.
    public static let longestPause = Duration.seconds(86_400)

    /// The defaults are change-propagation's.
    public init(limit: Int = 2, delay: Duration = .seconds(60), factor: Double = 6) {
        self.limit = limit
        self.delay = delay
        self.factor = factor
    }

    /// Tries of one request right after the first one. They hold the action's slot, so there are few, and their pauses are short.
    public static func immediate(limit: Int) -> RetryPolicy {
        RetryPolicy(limit: min(limit, mostImmediate), delay: .milliseconds(200), factor: 2)
    }
    public static let mostImmediate = 5

    /// The pause before extra try `number`, counted from 1.
    public func pause(before number: Int) -> Duration {
        var seconds = delay.inSeconds
        let longest = Self.longestPause.inSeconds
        for _ in 1..<max(1, number) where seconds < longest { seconds *= factor }
        return seconds < longest ? .seconds(seconds) : Self.longestPause
    }
}

/// What came of one try of one request.
public enum RequestResult: Sendable, Equatable {
    /// The target took it (any status below 400: redirects are not followed).
    case done(status: Int)
    /// A status that the rule's `ignore` names: nothing to be done, and no failure.
    case ignored(status: Int)
    /// Worth another try.
    case retriable(ActionFailure)
    /// Another try would give the same.
    case failed(ActionFailure)
    /// Cut short from our side (cancelled, or the client was closed): it says nothing about the target.
    case interrupted
}

/// Why a request failed.
public enum ActionFailure: Error, Sendable, Equatable, CustomStringConvertible {
    case status(Int)
    /// A failing answer with `x-readonly: true`: the target is in maintenance and takes nothing from anybody.
    case readOnly(Int)
    /// No whole answer within the rule's `timeout`, or no connection within the connect timeout.
    case timeout
    /// Refused, reset, closed before the end of the answer, name not found, TLS.
    case connection(String)
    /// The request can't be sent as it is.
    case badRequest(String)
    /// An event could not be written to Kafka, or a line to a file.
    case notWritten(String)

    /// A short stable name for metrics.
    public var label: String {
        switch self {
        case .status(let status): "status_\(status)"
        case .readOnly: "read_only"
        case .timeout: "timeout"
        case .connection: "connection"
        case .badRequest: "bad_request"
        case .notWritten: "not_written"
        }
    }

    public var description: String {
        switch self {
        case .status(let status): "the target answered \(status)"
        case .readOnly(let status): "the target answered \(status) and says that it is read-only for now"
        case .timeout: "the target did not answer in time"
        case .connection(let why): "the connection failed: \(why)"
        case .badRequest(let why): "the request can't be sent: \(why)"
        case .notWritten(let why): "it could not be written: \(why)"
        }
    }
}

/// The tries in place of one request, as a state machine: a result goes in, the next step comes out. Time is the caller's.
struct RequestAttempts: Sendable {
    enum Step: Sendable, Equatable {
        /// Try again after this pause.
        case tryAgain(after: Duration)
        /// On to the next request.
        case finished(RequestResult)
        /// Given up, after this many tries.
        case exhausted(ActionFailure, tries: Int)
        /// Stop, without a result.
        case interrupted
    }

    let policy: RetryPolicy
    /// Tries whose result is known.
    private(set) var tries = 0

    init(policy: RetryPolicy) { self.policy = policy }

    mutating func next(_ result: RequestResult) -> Step {
        tries += 1
        switch result {
        case .done, .ignored: return .finished(result)
        case .failed(let failure): return .exhausted(failure, tries: tries)
        case .interrupted: return .interrupted
        case .retriable(.readOnly(let status)):
            // Maintenance does not end within the pauses that are made in place.
            return .exhausted(.readOnly(status), tries: tries)
        case .retriable(let failure):
            guard tries <= policy.limit else { return .exhausted(failure, tries: tries) }
            return .tryAgain(after: policy.pause(before: tries))
        }
    }
}
