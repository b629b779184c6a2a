import KafkaLog
import Logging

/// One direction of mirroring: the topics `<from>.*` of the cluster at `from`, into the cluster at `to`.
public struct MirrorConfiguration: Sendable {
    /// The datacenter whose topics are copied; its cluster is read.
    public var from: Datacenter
    /// `host:port` of brokers of `from`'s cluster.
    public var sourceBootstrapServers: [String]
    /// The datacenter whose cluster gets the copies. Run the mirror there.
    public var to: Datacenter
    /// `host:port` of brokers of `to`'s cluster.
    public var targetBootstrapServers: [String]

    /// How long after its arrival in the source each record is written to the target at the earliest: for demonstrations
    /// and tests of a mirror that is behind. Arrival is when the mirror saw the record, or an end of the log past it.
    public var lag: Duration = .zero
    /// librdkafka settings of the clients of the source and of the target (TLS, SASL, sizes). They win over the mirror's own.
    public var sourceSettings: [String: String] = [:]
    public var targetSettings: [String: String] = [:]
    /// How often librdkafka's statistics become gauges; nil: never.
    public var statisticsInterval: Duration?
    /// Replicas of topics that the mirror makes; -1: the target's default.
    public var replication: Int32 = -1
    public var logger = Logger(label: "switchback.mirror")

    /// How often progress is committed. What was written after the last commit is compared, record by record, after a crash.
    public var commitInterval: Duration = .seconds(1)
    /// How often the clusters are asked for new topics, more partitions and log ends.
    public var discoveryInterval: Duration = .seconds(1)
    /// How long a stop waits for the acknowledgements of what was sent.
    public var drainLimit: Duration = .seconds(10)
    /// Limit of a single request to a cluster. A cluster that does not answer is asked again, for ever.
    public var requestTimeout: Duration = .seconds(5)

    public init(
        from: Datacenter, sourceBootstrapServers: [String], to: Datacenter, targetBootstrapServers: [String],
        lag: Duration = .zero
    ) {
        self.from = from
        self.sourceBootstrapServers = sourceBootstrapServers
        self.to = to
        self.targetBootstrapServers = targetBootstrapServers
        self.lag = lag
    }

    /// The consumer group, in the target cluster, that keeps the progress.
    public var groupID: String { "switchback-mirror.\(from.name)" }

    /// Throws what can be known to be wrong before a cluster is touched.
    func validate() throws(MirrorError) {
        guard from != to else { throw .sameDatacenter(from) }
        guard lag >= .zero else { throw .invalidConfiguration("the lag is \(lag): it can't be negative") }
        guard commitInterval > .zero, discoveryInterval > .zero, requestTimeout > .zero else {
            throw .invalidConfiguration("the commit interval, the discovery interval and the request timeout must be above 0")
        }
    }

    func client(_ side: MirrorError.Side) -> KafkaClientConfiguration {
        // A broker that is back is to be noticed within a second or so, not after librdkafka's ten.
        var settings = ["reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "1000"]
        settings.merge(side == .source ? sourceSettings : targetSettings) { $1 }
        var logger = logger
        logger[metadataKey: "cluster"] = "\(side == .source ? from : to)"
        return KafkaClientConfiguration(
            bootstrapServers: side == .source ? sourceBootstrapServers : targetBootstrapServers,
            clientID: "switchback-mirror-\(from)-\(to)", settings: settings, logger: logger,
            statisticsInterval: statisticsInterval, requestTimeout: requestTimeout)
    }
}


/// The limits that bound a mirror's memory and its patience.
enum MirrorLimits {
    /// Writers side by side. A partition always has the same one, so its order is kept.
    static let lanes = 4
    /// Bytes of the batches that are on their way; a record counts with `recordOverhead`.
    static let bytesUnderWay = 32 * 1024 * 1024
    /// What librdkafka keeps of a record besides its key and value, as one that was read and as one that is sent, in bytes.
    static let recordOverhead = 512
    /// Records that one send of a lane holds (a run may be longer), and sends that a lane has in flight.
    static let recordsPerSend = 4096
    static let sendsPerLane = 2
    /// Records of one read.
    static let recordsPerBatch = 2048
    /// librdkafka's settings for what it reads ahead of the lanes.
    static let readAhead = ["queued.min.messages": "50000", "queued.max.messages.kbytes": "24576"]
    /// Records per partition, and partitions, that a comparison at start holds at once.
    static let comparisonChunk = 65_536
    static let comparedPartitions = 16
    /// After this long without a record a comparison asks whether the broker lives, then takes the log for ended.
    static let scanStall: Duration = .seconds(2)
    /// Waits between attempts, doubled each time.
    static let firstBackoff: Duration = .milliseconds(200)
    static let lastBackoff: Duration = .seconds(5)
    /// Waits before a partition that could not be copied is tried again, doubled each time.
    static let firstHold: Duration = .seconds(2)
    static let lastHold: Duration = .seconds(300)
    /// Progress that does not change is committed again this often, so that Kafka does not forget it
    /// (`offsets.retention.minutes`, 7 days unless set).
    static let commitRefresh: Duration = .seconds(3600)
    /// Moments kept per partition to tell a record's time of arrival.
    static let arrivalSamples = 256
    /// Partitions with gauges of their own; further ones are in the sums only.
    static let partitionGauges = 1000
}
