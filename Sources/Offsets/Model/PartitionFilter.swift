import Handover
import KafkaLog

/// Which partitions are meant; each setting narrows it further, and none means all.
public struct PartitionFilter: Sendable, Hashable {
    public var origins: Set<Datacenter>
    /// Streams or whole topic names.
    public var topics: Set<String>
    public var partitions: Set<Int32>

    public init(origins: Set<Datacenter> = [], topics: Set<String> = [], partitions: Set<Int32> = []) {
        self.origins = origins
        self.topics = topics
        self.partitions = partitions
    }

    public func contains(_ topic: OriginTopic, _ partition: Int32) -> Bool {
        (origins.isEmpty || origins.contains(topic.origin)) && (topics.isEmpty || topics.contains(topic.topic) || topics.contains(topic.stream))
            && (partitions.isEmpty || partitions.contains(partition))
    }

    /// Reads `0-3,7`. nil: that is no list of partitions.
    public static func partitions(_ text: String) -> Set<Int32>? {
        var numbers: Set<Int32> = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int32($0) }
            guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1], first >= 0, last >= first, last < 1_000_000 else { return nil }
            numbers.formUnion(first...last)
        }
        return numbers
    }
}
