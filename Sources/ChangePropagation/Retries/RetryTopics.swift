import KafkaLog

/// Names of the topics into which events go that could not be finished where they were read.
public struct RetryTopics: Sendable, Hashable {
    public let service: String

    public init(service: String) { self.service = service }

    /// What follows the datacenter's prefix: events of `stream` that are tried again when they are due.
    public func retryStream(of stream: String) -> String { "\(service).retry.\(stream)" }

    /// What follows the datacenter's prefix: events that nobody tries again by himself.
    public var errorStream: String { "\(service).error" }

    /// The stream whose retries `retryStream` holds; nil: it is no retry stream of this service.
    func stream(ofRetries retryStream: String) -> String? {
        let prefix = "\(service).retry."
        return retryStream.hasPrefix(prefix) ? String(retryStream.dropFirst(prefix.count)) : nil
    }

    /// What `group`'s retries are read as: one group id with two subscriptions would give each member partitions of topics that it does
    /// not read.
    public static func kafkaGroup(of group: String) -> String { group + "-retry" }
}

/// The topics of one group: its rules' streams, and the retry topics of those.
struct GroupTopics: Sendable {
    let rules: [Rule]
    let service: String
    let datacenters: Set<Datacenter>

    /// As what the group reads `topic`, which carries its datacenter's prefix. nil: not at all.
    func role(of topic: String) -> GroupWorker.Setup.Role? {
        guard let topic = OriginTopic(topic: topic, known: datacenters) else { return nil }
        if rules.contains(where: { $0.reads(topic) }) { return .events }
        // Each datacenter's worker writes its own; all of them are read, so that pending retries are found wherever they were written.
        guard let stream = RetryTopics(service: service).stream(ofRetries: topic.stream) else { return nil }
        let isOurs = rules.contains { rule in
            rule.usesRetryTopics && rule.origins.contains { rule.reads(OriginTopic(origin: $0, stream: stream)) }
        }
        return isOurs ? .retries : nil
    }

    /// Those that are known before the cluster is asked.
    func named(_ role: GroupWorker.Setup.Role) -> Set<String> {
        switch role {
        case .events: return Set(rules.flatMap { $0.topics.map(\.topic) })
        case .retries:
            let names = RetryTopics(service: service)
            let streams = rules.filter(\.usesRetryTopics).flatMap(\.streams).map(names.retryStream)
            return Set(datacenters.flatMap { origin in streams.map { OriginTopic(origin: origin, stream: $0).topic } })
        }
    }
}
