import KafkaLog

/// One rule of worker.yaml, compiled: which events of which streams it wants, and what is to be done for each. It never changes, and is a class since
/// everything that is under way for an event holds it.
public final class Rule: Sendable {
    /// What the rule wants done with one event.
    public enum Decision: Sendable, Equatable {
        /// Not for this rule: the event is finished.
        case noMatch
        /// Make these requests, one after the other. Empty for a rule whose action is `none`.
        case act([ActionRequest])
        /// It matches, and is left out all the same: the event is finished.
        case leaveOut(LeftOut)
    }

    /// The order in which actions of one partition start.
    public enum Order: String, Sendable, CaseIterable {
        /// As slots come free.
        case none
        /// In log order among records with the same key; records without a key are free.
        case key
        /// In log order, one after the other.
        case partition
    }

    /// What happens to an event that can't be finished: its tries are used up, the answer says that trying again is of no
    /// use, or the event itself is broken (`EventError`).
    public enum FailurePolicy: String, Sendable, CaseIterable {
        /// Into the service's error topic, acknowledged by all replicas, and on with the next.
        case deadLetter = "dead_letter"
        /// Stop that partition and say so; nothing is lost.
        case halt
        /// Log and count the event, then go on without it.
        case skip
    }

    public let name: String
    /// The consumer group: `<service>-<rule>` unless the file names one.
    public let group: String
    public let selection: StreamSelection
    /// Streams that are read whatever the cluster has, without a datacenter's prefix; no repeats. Empty for a rule that has only expressions.
    public var streams: [String] { selection.names }
    /// The datacenters whose topics are read; never empty, sorted.
    public let origins: [Datacenter]
    /// Actions that run at once, at most; only matching events count.
    public let concurrency: Int
    /// Through the retry topic.
    public let retry: RetryPolicy
    /// In place, while the action's slot is held.
    public let immediateRetry: RetryPolicy
    public let statuses: StatusRules
    /// For one request with its whole answer.
    public let timeout: Duration
    public let order: Order
    public let onFailure: FailurePolicy
    let filters: EventFilters
    /// When an event is to be acted on; nil: as it comes.
    let delayUntil: DueTime?
    /// nil: nothing is done about events that come twice.
    public let dedupe: Dedupe?
    /// Whether failures of its actions are logged and counted.
    public let isReported: Bool

    /// One way in which an event can be for this rule, and what is to be done then.
    struct Case: Sendable {
        let match: Matcher?
        /// The event is not for this case when any of them matches.
        let matchNot: [Matcher]
        let requests: [RequestTemplate]
        /// nil: the rule's.
        let sample: Sample?
        /// Whether a template names a capture: only then is an event searched for them.
        let usesCaptures: Bool

        init(match: Matcher?, matchNot: [Matcher], requests: [RequestTemplate], sample: Sample? = nil) {
            self.match = match
            self.matchNot = matchNot
            self.requests = requests
            self.sample = sample
            let paths = requests.flatMap(\.paths) + (sample?.template?.paths ?? [])
            usesCaptures = paths.contains { $0.root == .match }
        }

        /// The requests for an event that matches.
        func fill(_ event: EventContext) throws(EventError) -> [ActionRequest] {
            var filled: [ActionRequest] = []
            filled.reserveCapacity(requests.count)
            for request in requests { filled.append(try request.fill(from: event)) }
            return filled
        }

        func matches(_ event: JSONValue) throws(EventError) -> Bool {
            if let match, try !match.matches(event) { return false }
            for matcher in matchNot where try matcher.matches(event) { return false }
            return true
        }
    }

    /// The first that matches wins. Never empty.
    let cases: [Case]

    /// - Parameter cases: never empty.
    init(
        name: String, group: String, selection: StreamSelection, origins: [Datacenter], settings: RuleSettings, delayUntil: DueTime?, dedupe: Dedupe?,
        cases: [Case]
    ) {
        (self.name, self.group, self.selection, self.origins) = (name, group, selection, origins)
        (concurrency, retry, immediateRetry) = (settings.concurrency, settings.retry, settings.immediateRetry)
        (statuses, timeout, order, onFailure) = (settings.statuses, settings.timeout, settings.order, settings.onFailure)
        (filters, isReported) = (settings.filters, settings.isReported)
        (self.delayUntil, self.dedupe, self.cases) = (delayUntil, dedupe, cases)
    }

    /// How many requests each case makes.
    public var requestCounts: [Int] { cases.map(\.requests.count) }

    /// False for a rule whose action is `none` in every case.
    public var makesRequests: Bool { cases.contains { !$0.requests.isEmpty } }

    /// Whether some request of it writes events.
    var producesEvents: Bool {
        cases.contains { $0.requests.contains { request in
            switch request.destination {
            case .own(.events), .own(.partition), .own(.produce): true
            default: false
            }
        } }
    }

    /// The topics to read that are known before the cluster is asked: each named stream of each origin.
    public var topics: [OriginTopic] {
        origins.flatMap { origin in streams.map { OriginTopic(origin: origin, stream: $0) } }
    }

    /// Whether the rule reads `topic`, by name or by expression.
    public func reads(_ topic: OriginTopic) -> Bool { origins.contains(topic.origin) && selection.contains(topic.stream) }

    /// Whether `evaluate` would act. Throws `tooCostly` when a regular expression would need too many steps on this event.
    public func matches(_ event: JSONValue) throws(EventError) -> Bool { try firstMatch(event) != nil }

    /// Index of the first case that matches.
    func firstMatch(_ event: JSONValue) throws(EventError) -> Int? {
        for (index, candidate) in cases.enumerated() where try candidate.matches(event) { return index }
        return nil
    }

    /// Decides about one event. Pure: the same event gives the same decision.
    ///
    /// - Throws: `EventError` when the event matches and a template can't be filled from it, or a regular expression costs too much.
    public func evaluate(_ event: JSONValue) throws(EventError) -> Decision {
        guard let index = try firstMatch(event) else { return .noMatch }
        return try decide(event, cases[index])
    }

    /// The same for an event that `candidate` matches.
    func decide(_ event: JSONValue, _ candidate: Case) throws(EventError) -> Decision {
        let usesCaptures = candidate.usesCaptures || filterUsesCaptures
        let context = EventContext(event, match: usesCaptures ? try candidate.match?.captures(event) : nil)
        if let reason = try filters.leavesOut(context, sample: candidate.sample) { return .leaveOut(reason) }
        let requests = try candidate.fill(context)
        if filters.limiters.isEmpty { return .act(requests) }
        let keys = try filters.limiterKeys(context)
        return .act(requests.map { $0.limited(by: keys) })
    }

    private var filterUsesCaptures: Bool {
        (filters.sample != nil || !filters.limiters.isEmpty) && filters.paths.contains { $0.root == .match }
    }
}
