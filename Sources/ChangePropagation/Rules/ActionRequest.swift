import KafkaLog

/// One request that a rule wants made for one event: everything filled in.
public struct ActionRequest: Sendable, Equatable {
    /// Upper-case.
    public let method: String
    /// An absolute http or https URL, percent-encoded where it has to be; for actions of our own the internal path.
    public let url: String
    /// In order; names in lower case. `user-agent`, and `x-request-id` where the event has none, are added when it is sent.
    public let headers: [Header]
    /// nil: no body at all.
    public let body: [UInt8]?
    public let target: Target
    /// What limiters count when it fails. The same for all requests of an event.
    public private(set) var limits: [LimiterKey] = []

    public struct Header: Sendable, Equatable {
        public let name: String
        public let value: String
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// Who carries it out.
    public enum Target: Sendable, Equatable {
        /// Whoever listens at `url`.
        case http
        /// Kafka: these events, in order, each into its stream of the local datacenter.
        case produce([StreamEvent])
        /// A cache: these URLs are to be forgotten.
        case purge([String], PurgeService)
        /// A file: one line more at its end.
        case log(file: String, line: [UInt8])
    }

    public init(method: String, url: String, headers: [Header] = [], body: [UInt8]? = nil, target: Target = .http) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
        self.target = target
    }

    func limited(by keys: [LimiterKey]) -> ActionRequest {
        var limited = self
        limited.limits = keys
        return limited
    }

    /// About how many bytes it holds, for bounds of memory.
    var size: Int {
        switch target {
        case .http: url.utf8.count + (body?.count ?? 0)
        case .produce(let events): events.reduce(0) { $0 + $1.value.jsonBytes.count }
        case .purge(let urls, _): urls.reduce(0) { $0 + $1.utf8.count }
        case .log(_, let line): line.count
        }
    }
}
