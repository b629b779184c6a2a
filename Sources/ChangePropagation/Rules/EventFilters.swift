import Checkpoints

/// Why a rule leaves an event out that it matches. The event is finished: it is counted, and no failure.
public enum LeftOut: Sendable, Hashable, CustomStringConvertible {
    /// Not among the share that `sample` names.
    case sample
    /// `blacklist` names its URI.
    case blacklist
    /// More than `max_hops` events led to it: rules that feed each other.
    case hops
    /// The limiter of this type has seen too many failures.
    case limiter(String)
    /// It has been acted on, or a newer root event has, or whoever claimed it sees to it.
    case duplicate

    /// A short stable name for metrics.
    public var label: String {
        switch self {
        case .sample: "sample"
        case .blacklist: "blacklist"
        case .hops: "hops"
        case .limiter: "limiter"
        case .duplicate: "dedupe"
        }
    }

    public var description: String {
        switch self {
        case .sample: "it is not in the sample"
        case .blacklist: "its URI is in the blacklist"
        case .hops: "more events led to it than max_hops allows"
        case .duplicate: "it has been acted on before"
        case .limiter(let type): "the limiter \"\(type)\" has seen too many failures"
        }
    }
}

/// The share of events that is acted on. The same events in every process and datacenter, and those of 10% are among those of 30%.
struct Sample: Sendable {
    /// 0 to 1.
    let rate: Double
    /// What is hashed; nil: `meta.id`, or the whole event where it has none.
    let template: TextTemplate?

    func holds(_ event: EventContext) throws(EventError) -> Bool {
        let text = try template?.fill(from: event) ?? event.message["meta"]?["id"]?.plainText ?? event.message.jsonText
        // 2^64, so that no hash reaches 1.
        return Double(Fingerprint.ofIdentity(text).bits) / 18_446_744_073_709_551_616 < rate
    }
}

/// URIs that are not acted on, by the event's `meta.domain`.
struct Blacklist: Sendable {
    enum Entry: Sendable {
        /// The end of the decoded URI, from a slash on.
        case end(String)
        /// Found anywhere in it.
        case expression(RegularExpression)
    }

    var entries: [String: [Entry]] = [:]

    func holds(_ event: JSONValue) throws(EventError) -> Bool {
        guard !entries.isEmpty, let domain = event["meta"]?["domain"]?.string, let entries = entries[domain], let uri = event["meta"]?["uri"]?.string
        else { return false }
        let decoded = decodeURIComponent(uri) ?? uri
        for entry in entries {
            switch entry {
            case .end(let text): if decoded.utf8.reversed().starts(with: text.utf8.reversed()) { return true }
            case .expression(let expression):
                do { if try expression.matches(decoded) { return true } } catch { throw EventError(.tooCostly(expression: expression.text)) }
            }
        }
        return false
    }
}

/// What is asked of an event that matches before a rule acts on it.
struct EventFilters: Sendable {
    var maxHops = EventFilters.defaultMaxHops
    var sample: Sample?
    var blacklist = Blacklist()
    /// Types of limiters, and what tells apart that of which each counts the failures.
    var limiters: [(type: String, key: TextTemplate)] = []

    /// Chains of rules are a few long. A loop is cut after this many, and the chain fits into an HTTP header still.
    static let defaultMaxHops = 20

    /// Every path that a template of it names.
    var paths: [FieldPath] { limiters.flatMap(\.key.paths) + (sample?.template?.paths ?? []) }

    /// nil: nothing speaks against acting.
    func leavesOut(_ event: EventContext, sample: Sample?) throws(EventError) -> LeftOut? {
        if TriggerChain.hops(of: event.message) > maxHops { return .hops }
        if try blacklist.holds(event.message) { return .blacklist }
        if let sample = sample ?? self.sample, try !sample.holds(event) { return .sample }
        return nil
    }

    func limiterKeys(_ event: EventContext) throws(EventError) -> [LimiterKey] {
        var keys: [LimiterKey] = []
        for limiter in limiters { keys.append(LimiterKey(type: limiter.type, key: try limiter.key.fill(from: event))) }
        return keys
    }
}
