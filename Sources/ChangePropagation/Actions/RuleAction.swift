/// Makes the requests of one event, one after the other, each with its retries in place.
public struct RuleAction: Sendable {
    /// One try of one request. `HTTPAction.send` in production.
    public typealias Send = nonisolated(nonsending) @Sendable (ActionRequest, Rule) async -> RequestResult

    private let send: Send
    private let sleep: @Sendable (Duration) async throws -> Void
    private let limiters: Limiters

    /// - Parameter sleep: waits that long, and throws when the task is cancelled.
    public init(
        send: @escaping Send, limiters: Limiters = Limiters(),
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.send = send
        self.limiters = limiters
        self.sleep = sleep
    }

    /// Sends through `http`, which the caller closes when the last run has ended.
    public init(http: HTTPAction) { self.init(send: { await http.send($0, for: $1) }) }

    /// Runs `requests` until one can't be finished. A request that is done is not made again when a later one is retried.
    ///
    /// - Parameters:
    ///   - mayStart: asked right before every single try (the worker's lease deadline). When it says no, nothing more is
    ///     sent and the result is `interrupted`.
    ///
    /// Runs where its caller does: an event costs no change of threads but the one back from its answer.
    public nonisolated(nonsending) func run(_ requests: [ActionRequest], of rule: Rule, mayStart: @Sendable () -> Bool = { true }) async -> ActionResult {
        var last: RequestResult?
        var tries = 0
        let limits = requests.first?.limits ?? []
        if let key = limiters.exceeded(limits) { return .limited(key) }
        for request in requests {
            var attempts = RequestAttempts(policy: rule.immediateRetry)
            request: while true {
                guard !Task.isCancelled, mayStart() else { return .interrupted(tries: tries) }
                let result = await send(request, rule)
                tries += 1
                switch attempts.next(result) {
                case .finished(let result):
                    last = result
                    break request
                case .tryAgain(let pause):
                    // A try that was cut short by cancellation says nothing about the target.
                    if Task.isCancelled { return .interrupted(tries: tries) }
                    do { try await sleep(pause) } catch { return .interrupted(tries: tries) }
                case .interrupted: return .interrupted(tries: tries)
                case .exhausted(let failure, _):
                    if Task.isCancelled { return .interrupted(tries: tries) }
                    guard case .status(let status) = failure, rule.statuses.ignores(status) else {
                        if case .status(500...) = failure { limiters.failed(limits) }
                        return .failed(failure, tries: tries)
                    }
                    last = .ignored(status: status)
                    break request
                }
            }
        }
        switch last {
        case .ignored(let status)?: return .ignored(status: status, tries: tries)
        case .done(let status)?: return .done(status: status, tries: tries)
        default: return .done(status: nil, tries: tries)
        }
    }
}

/// What came of all requests of one event. `tries` counts the single requests that were sent.
public enum ActionResult: Sendable, Equatable {
    /// The last request's status; nil when there was none to make.
    case done(status: Int?, tries: Int)
    /// The last request was answered with a status that the rule ignores.
    case ignored(status: Int, tries: Int)
    /// A request failed for good or its tries are used up. The event is not finished: the rule's `on_failure` decides.
    case failed(ActionFailure, tries: Int)
    /// Nothing was sent: what this key stands for has failed too often of late. The event is finished.
    case limited(LimiterKey)
    /// The task was cancelled or the worker may not act any more. The event is not finished; it may have been acted on.
    case interrupted(tries: Int)

    /// Whether the event is finished and its position may move.
    public var isFinished: Bool {
        switch self {
        case .done, .ignored, .limited: true
        case .failed, .interrupted: false
        }
    }

    /// A short stable name for metrics.
    public var label: String {
        switch self {
        case .done: "done"
        case .ignored: "ignored"
        case .limited: "limited"
        case .failed: "failed"
        case .interrupted: "interrupted"
        }
    }
}
