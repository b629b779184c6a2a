import Checkpoints
import KafkaLog

/// What an operator asks to have moved: all of an origin, or a part of it. Each setting narrows it further.
public struct Slice: Hashable, Sendable {
    /// Streams or whole topic names; empty: every topic of the origin.
    public var topics: [String]
    /// Of each topic's partitions; nil: all of them.
    public var share: Share?
    /// Only what this datacenter owns; nil: whoever does.
    public var from: Datacenter?

    public static let all = Slice()

    public init(topics: [String] = [], share: Share? = nil, from: Datacenter? = nil) {
        self.topics = topics
        self.share = share
        self.from = from
    }

    /// A share of partitions in whole percent.
    public struct Share: Hashable, Sendable, CustomStringConvertible {
        /// 1 to 100.
        public let percent: Int

        /// nil: not 1 to 100.
        public init?(percent: Int) {
            guard (1...100).contains(percent) else { return nil }
            self.percent = percent
        }

        /// Reads `10%`. nil: not a whole number from 1 to 100 and a percent sign.
        public init?(_ text: String) {
            guard text.hasSuffix("%"), text.dropLast().utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let percent = Int(text.dropLast())
            else { return nil }
            self.init(percent: percent)
        }

        public var description: String { "\(percent)%" }

        /// How many of `count` partitions: the nearest whole number, at least one.
        func of(_ count: Int) -> Int { min(count, max(1, (count * percent + 50) / 100)) }
    }

    /// The partitions of `counts` (by topic) that `topics` and `share` name. A share takes them in an order that is the same for
    /// ever and everywhere: what 10% names, 30% names too.
    func partitions(of counts: [String: Int32], origin: Datacenter) throws(HandoverRefusal) -> PartitionSet {
        var wanted = Set(topics.isEmpty ? Array(counts.keys) : [])
        for name in topics {
            let topic = counts[name] == nil ? OriginTopic(origin: origin, stream: name).topic : name
            guard counts[topic] != nil else {
                throw .unknownTopic(name, known: counts.keys.map { OriginTopic(topic: $0, known: [origin])?.stream ?? $0 }.sorted())
            }
            wanted.insert(topic)
        }
        var result = PartitionSet()
        for topic in wanted {
            let all = (0..<max(0, counts[topic] ?? 0)).map { TopicPartition(topic: topic, partition: $0) }
            for partition in share.map({ Self.inOrder(all).prefix($0.of(all.count)) }) ?? all[...] { result.insert(partition) }
        }
        return result
    }

    /// By a hash, so that neighbours (which a hot producer may fill together) do not move together. It is part of what `--share`
    /// means: with another one, load that was moved with an older version would not be found where a newer one looks for it.
    private static func inOrder(_ partitions: [TopicPartition]) -> [TopicPartition] {
        partitions.map { (Fingerprint.ofIdentity("\($0.topic)/\($0.partition)").bits, $0) }.sorted { $0 < $1 }.map(\.1)
    }
}
