/// The configuration of a topic, by Kafka's names.
struct TopicConfiguration: Sendable, Equatable, Codable {
    /// What was set for this topic.
    private(set) var values: [String: String] = [:]

    enum Kind: Int8, Sendable {
        case string = 2
        case int = 3
        case long = 5
        case list = 7
        case double = 6
        case boolean = 1
    }

    /// Kafka's topic settings with the values that hold here when nothing is set. `message.timestamp.type` and
    /// `max.message.bytes` have an effect; the others are kept and told, so that tools that set them work. Nothing is ever
    /// deleted by age or size or compacted here, and the defaults say so.
    static let known: [String: (kind: Kind, value: String)] = [
        "cleanup.policy": (.list, "delete"),
        "compression.type": (.string, "producer"),
        "delete.retention.ms": (.long, "86400000"),
        "file.delete.delay.ms": (.long, "60000"),
        "flush.messages": (.long, "9223372036854775807"),
        "flush.ms": (.long, "9223372036854775807"),
        "index.interval.bytes": (.int, "4096"),
        "max.compaction.lag.ms": (.long, "9223372036854775807"),
        "max.message.bytes": (.int, "1048588"),
        "message.timestamp.after.max.ms": (.long, "9223372036854775807"),
        "message.timestamp.before.max.ms": (.long, "9223372036854775807"),
        "message.timestamp.difference.max.ms": (.long, "9223372036854775807"),
        "message.timestamp.type": (.string, "CreateTime"),
        "min.cleanable.dirty.ratio": (.double, "0.5"),
        "min.compaction.lag.ms": (.long, "0"),
        "min.insync.replicas": (.int, "1"),
        "preallocate": (.boolean, "false"),
        "retention.bytes": (.long, "-1"),
        "retention.ms": (.long, "-1"),
        "segment.bytes": (.int, "1073741824"),
        "segment.index.bytes": (.int, "10485760"),
        "segment.jitter.ms": (.long, "0"),
        "segment.ms": (.long, "604800000"),
        "unclean.leader.election.enable": (.boolean, "false"),
    ]

    /// nil when all of `values` are known and well formed, else why not.
    static func problem(in values: [String: String]) -> String? {
        for (name, value) in values {
            guard let kind = known[name]?.kind else { return "unknown topic configuration \(name)" }
            let isWellFormed =
                switch kind {
                case .int: Int32(value) != nil
                case .long: Int64(value) != nil
                case .double: Double(value) != nil
                case .boolean: value == "true" || value == "false"
                case .list, .string: true
                }
            guard isWellFormed else { return "invalid value \(value) for \(name)" }
            if name == "message.timestamp.type", value != "CreateTime", value != "LogAppendTime" {
                return "invalid value \(value) for \(name): CreateTime or LogAppendTime"
            }
            if name == "max.message.bytes", let bytes = Int32(value), bytes < 0 {
                return "invalid value \(value) for \(name): 0 or more"
            }
        }
        return nil
    }

    init(_ values: [String: String] = [:]) { self.values = values }

    mutating func set(_ name: String, to value: String?) { values[name] = value }

    /// Where a value comes from, in DescribeConfigs: set for this topic, or the default.
    static let topicSource: Int8 = 1
    static let defaultSource: Int8 = 5
    func source(of name: String) -> Int8 { values[name] == nil ? Self.defaultSource : Self.topicSource }

    func value(_ name: String) -> String { values[name] ?? Self.known[name]?.value ?? "" }
    var usesLogAppendTime: Bool { value("message.timestamp.type") == "LogAppendTime" }
    var maxMessageBytes: Int { Int(value("max.message.bytes")) ?? 1_048_588 }
}
