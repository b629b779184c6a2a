import KafkaLog

/// Names of the topics into which events go that could not be finished where they were read.
public struct RetryTopics: Sendable, Hashable {
    public let service: String

    public init(service: String) { self.service = service }

    /// What follows the datacenter's prefix: events of `stream` that are tried again when they are due.
    public func retryStream(of stream: String) -> String { "\(service).retry.\(stream)" }

    /// What follows the datacenter's prefix: events that nobody tries again by himself.
    public var errorStream: String { "\(service).error" }

    /// Each datacenter's worker writes its own; all of them are read, so that pending retries are found wherever they were written.
    public func retryTopics(of rules: [Rule], datacenters: Set<Datacenter>) -> [OriginTopic] {
        let streams = Set(rules.filter(\.usesRetryTopics).flatMap(\.streams))
        return datacenters.sorted().flatMap { origin in
            streams.sorted().map { OriginTopic(origin: origin, stream: retryStream(of: $0)) }
        }
    }

    /// What `group`'s retries are read as: one group id with two subscriptions would give each member partitions of topics that it does
    /// not read.
    public static func kafkaGroup(of group: String) -> String { group + "-retry" }
}
