import CRdKafka
import Logging

/// How a client reaches its cluster, and any librdkafka setting.
public struct KafkaClientConfiguration: Sendable {
    /// `host:port` of one or more brokers to start from.
    public var bootstrapServers: [String]
    /// Kafka's `client.id`: seen in brokers' logs and quotas.
    public var clientID: String
    /// Any setting of librdkafka by its own name (TLS, SASL, sizes, timeouts). They win over this library's defaults. An unknown
    /// name, a wrong value and a reserved setting (`reserved`) are errors when the client is made.
    public var settings: [String: String]
    public var logger: Logger
    /// How often librdkafka's statistics become gauges (swift-metrics); nil: never.
    public var statisticsInterval: Duration?
    /// The limit of a request to the cluster where a call takes no timeout of its own.
    public var requestTimeout: Duration

    public init(
        bootstrapServers: [String], clientID: String = "switchback", settings: [String: String] = [:],
        logger: Logger = Logger(label: "switchback.kafka"), statisticsInterval: Duration? = nil,
        requestTimeout: Duration = .seconds(10)
    ) {
        self.bootstrapServers = bootstrapServers
        self.clientID = clientID
        self.settings = settings
        self.logger = logger
        self.statisticsInterval = statisticsInterval
        self.requestTimeout = requestTimeout
    }

    /// What librdkafka has against one setting by itself: an unknown name, a wrong value. nil: nothing.
    public static func problem(setting name: String, value: String) -> String? {
        do throws(KafkaLogError) { try ClientSettings().set(name, value) } catch {
            guard case .invalidSetting(_, _, let reason) = error else { return "\(error)" }
            return reason
        }
        return nil
    }

    /// Settings that are the same in every consumer, because positions would be wrong with another value:
    /// this library never lets librdkafka choose, store or commit a position by itself, and never asks for END markers
    /// (librdkafka 2.0.2 mixes them up with batches).
    public static let reserved: [String: String] = [
        "auto.offset.reset": "error",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "false",
    ]
}

/// A consumer's own part of the configuration.
public struct KafkaConsumerConfiguration: Sendable {
    public var client: KafkaClientConfiguration
    /// The consumer group; nil: a consumer that only `assign`s and never commits.
    public var groupID: String?
    /// Kafka's `group.instance.id` (static membership); nil: a dynamic member.
    public var groupInstanceID: String?
    /// Kafka's `partition.assignment.strategy`.
    public var assignmentStrategy: String
    /// Consumers of this process that read beside each other, this one among them; at least 1. With many of them less is held ready for each
    /// (`queued.max.messages.kbytes`, `queued.min.messages`), unless `client` sets it. It is what holds when the consumer is made, and stays.
    public var sharers: Int

    public init(
        client: KafkaClientConfiguration, groupID: String? = nil, groupInstanceID: String? = nil,
        assignmentStrategy: String = "cooperative-sticky", sharers: Int = 1
    ) {
        self.client = client
        self.groupID = groupID
        self.groupInstanceID = groupInstanceID
        self.assignmentStrategy = assignmentStrategy
        self.sharers = sharers
    }

    /// librdkafka makes its consumer queue only for a client with a group id; one that never joins needs a name too.
    static let unusedGroupID = "switchback-no-group"
}

/// A librdkafka configuration that is still ours to free.
struct ClientSettings: ~Copyable {
    private var conf: OpaquePointer?

    init() { conf = rd_kafka_conf_new() }

    deinit { if let conf { rd_kafka_conf_destroy(conf) } }

    var pointer: OpaquePointer? { conf }

    /// `rd_kafka_new` took the configuration: on success only.
    mutating func wasTaken() { conf = nil }

    func set(_ name: String, _ value: String) throws(KafkaLogError) {
        var text = [CChar](repeating: 0, count: 512)
        guard rd_kafka_conf_set(conf, name, value, &text, text.count) != RD_KAFKA_CONF_OK else { return }
        throw .invalidSetting(name: name, value: Self.shown(value, of: name), reason: string(fromNullTerminated: text))
    }

    /// false when this librdkafka does not know the setting.
    func setIfKnown(_ name: String, _ value: String) -> Bool {
        rd_kafka_conf_set(conf, name, value, nil, 0) == RD_KAFKA_CONF_OK
    }

    /// The value of a number that librdkafka knows, given or its own; nil: it doesn't know it.
    func number(_ name: String) -> Int64? {
        var text = [CChar](repeating: 0, count: 64)
        var size = text.count
        guard rd_kafka_conf_get(conf, name, &text, &size) == RD_KAFKA_CONF_OK else { return nil }
        return Int64(string(fromNullTerminated: text))
    }

    func apply(_ client: KafkaClientConfiguration, defaults: [String: String]) throws(KafkaLogError) {
        guard client.bootstrapServers.contains(where: { !$0.isEmpty }) else {
            throw .invalidSetting(name: "bootstrap.servers", value: "", reason: "no broker given: set at least one host:port")
        }
        for (name, value) in defaults { try set(name, value) }
        try set("bootstrap.servers", client.bootstrapServers.joined(separator: ","))
        try set("client.id", client.clientID)
        if let interval = client.statisticsInterval {
            try set("statistics.interval.ms", "\(max(1, interval.timeoutMilliseconds))")
        }
        for (name, value) in client.settings.sorted(by: { $0.key < $1.key }) {
            if let required = KafkaClientConfiguration.reserved[name], required != value {
                throw .reservedSetting(name: name, value: value, required: required)
            }
            try set(name, value)
        }
    }

    /// Bounds a whole fetch where nobody has said how: as librdkafka does it, by what the queue may hold, and so that the largest record fits; and by what an
    /// answer may be. librdkafka refuses settings of which one is too small for the other.
    func fitFetchLimit() throws(KafkaLogError) {
        guard let limit = number("fetch.max.bytes"), let queue = number("queued.max.messages.kbytes"), let largest = number("message.max.bytes"),
            let answer = number("receive.message.max.bytes")
        else { return }
        try set("fetch.max.bytes", String(max(largest, min(limit, queue * 1024, answer - Self.answerHead))))
    }

    /// Bytes that an answer may have beside the records of a fetch (librdkafka's rule for `receive.message.max.bytes`).
    private static let answerHead: Int64 = 512

    /// Secrets don't belong into error texts.
    private static func shown(_ value: String, of name: String) -> String {
        let isSecret = ["password", "secret", "key.pem", "oauthbearer.config", "jaas"].contains { name.contains($0) }
        return isSecret ? "(hidden)" : value
    }
}

func string(fromNullTerminated text: [CChar]) -> String {
    String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
}
