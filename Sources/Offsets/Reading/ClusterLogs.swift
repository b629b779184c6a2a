import ChangePropagation
import Checkpoints
import KafkaLog
import Logging

/// A record, as far as it takes to tell its time and to know it again.
public struct RecordMark: Sendable, Hashable {
    public var offset: Int64
    /// nil: it carries none.
    public var timestamp: MillisecondTimestamp?
    public var timestampType: TimestampType
    public var fingerprint: Fingerprint

    public init(offset: Int64, timestamp: MillisecondTimestamp?, timestampType: TimestampType, fingerprint: Fingerprint) {
        self.offset = offset
        self.timestamp = timestamp
        self.timestampType = timestampType
        self.fingerprint = fingerprint
    }
}

/// Looks into one datacenter's cluster without a group: ends, times, single records of many partitions at once. Writes nothing.
public struct ClusterLogs: Sendable {
    public let datacenter: Datacenter
    public let admin: KafkaAdmin
    private let client: KafkaClientConfiguration
    private let identity: EventIdentity

    /// One record of each partition is wanted, so little is fetched of each. Not less than most batches have: of what is larger than its
    /// share a broker sends only the first. A queue that counts as full would put librdkafka's thread to sleep for a second, so it never does.
    private static let peekSettings = [
        "fetch.message.max.bytes": "16384", "fetch.max.bytes": "8388608", "fetch.wait.max.ms": "10", "topic.metadata.refresh.interval.ms": "60000",
        "fetch.error.backoff.ms": "20",
    ]
    private static let scanSettings = ["fetch.wait.max.ms": "50", "topic.metadata.refresh.interval.ms": "60000", "queued.max.messages.kbytes": "65536"]
    /// What holds no record any more (compaction, transaction markers) brings nothing, however long one waits.
    private static let silence = Duration.milliseconds(1_500)

    /// - Parameter settings: librdkafka's, as worker.yaml has them for this datacenter.
    public init(
        _ datacenter: Datacenter, _ cluster: WorkerConfiguration.ClusterSettings, identity: EventIdentity, timeout: Duration, logger: Logger
    ) throws {
        self.datacenter = datacenter
        self.identity = identity
        var client = KafkaClientConfiguration(
            bootstrapServers: cluster.bootstrap.split(separator: ",").map { String($0.filter { !$0.isWhitespace }) },
            clientID: "switchback-offsets", settings: cluster.kafka, logger: logger)
        client.requestTimeout = timeout
        self.client = client
        admin = try KafkaAdmin(client)
    }

    /// For consumers that read long runs.
    var scanClient: KafkaClientConfiguration {
        var scanning = client
        scanning.settings.merge(Self.scanSettings) { _, own in own }
        return scanning
    }

    public func close() async { await admin.close() }

    /// A cluster that can't be asked, by its datacenter's name.
    public struct Unreachable: Error, Sendable, CustomStringConvertible {
        public let datacenter: Datacenter
        public let reason: String
        public var description: String { "\(datacenter) can't be asked: \(reason)" }
    }

    /// The cluster's id. Asked first by what needs the whole cluster, since its failure says what to look at.
    @discardableResult public func reach(timeout: Duration) async throws -> ClusterID {
        do { return try await admin.clusterID(timeout: timeout) } catch {
            throw Unreachable(datacenter: datacenter, reason: "\(error)")
        }
    }

    /// Every partition that the cluster has of each topic that is there.
    public func topics(timeout: Duration) async throws -> [String: Int32] {
        let metadata = try await admin.metadata(.all, timeout: timeout)
        return Dictionary(metadata.topics.filter { $0.failure == nil }.map { ($0.name, Int32(clamping: $0.partitions.count)) }) { first, _ in first }
    }

    /// The ends of logs; what can't be told is left out.
    public func ends(_ partitions: [TopicPartition], timeout: Duration) async throws -> [TopicPartition: Watermarks] {
        try await admin.watermarks(partitions, timeout: timeout).compactMapValues { try? $0.get() }
    }

    /// The first record at or after each offset. A partition that has none there by `deadline`, or whose reading failed, is left out.
    public func records(at offsets: [TopicPartition: Int64], deadline: ContinuousClock.Instant) async throws -> [TopicPartition: RecordMark] {
        var found: [TopicPartition: RecordMark] = [:]
        try await read(offsets, Self.peekSettings, deadline: deadline) { partition, record in
            found[partition] = mark(record)
            return false
        }
        return found
    }

    /// The last record of each log: `ends` says where it ends. Where the offset before the end is a hole, some further back are tried.
    public func lastRecords(_ ends: [TopicPartition: Watermarks], deadline: ContinuousClock.Instant) async throws -> [TopicPartition: RecordMark] {
        let wanted = ends.filter { $0.value.low.offset < $0.value.high.offset }
        var found = try await records(at: wanted.mapValues { $0.high.offset - 1 }, deadline: deadline)
        let missing = wanted.filter { found[$0.key] == nil }
        guard !missing.isEmpty, ContinuousClock.now < deadline else { return found }
        let starts = missing.mapValues { max($0.low.offset, $0.high.offset - Self.holeLimit) }
        try await read(starts, Self.scanSettings, deadline: deadline) { partition, record in
            found[partition] = mark(record)
            return record.offset + 1 < ends[partition]?.high.offset ?? 0
        }
        return found
    }

    private static let holeLimit: Int64 = 64

    public func mark(_ record: borrowing RecordView) -> RecordMark {
        RecordMark(offset: record.offset, timestamp: record.timestamp, timestampType: record.timestampType, fingerprint: identity.fingerprint(of: record))
    }

    /// Reads from `starts` until `take` has enough of each partition, until nothing more comes, or until `deadline`.
    ///
    /// - Parameter take: whether it wants more of that partition.
    public func scan(
        _ starts: [TopicPartition: Int64], deadline: ContinuousClock.Instant, _ take: (TopicPartition, borrowing RecordView) throws -> Bool
    ) async throws { try await read(starts, Self.scanSettings, deadline: deadline, take) }

    private func read(
        _ starts: [TopicPartition: Int64], _ settings: [String: String], deadline: ContinuousClock.Instant,
        _ take: (TopicPartition, borrowing RecordView) throws -> Bool
    ) async throws {
        guard !starts.isEmpty else { return }
        var client = client
        client.settings.merge(settings) { _, own in own }
        client.settings.raiseFetchLimit()
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        do {
            let cluster = try await admin.clusterID(timeout: max(.milliseconds(1), ContinuousClock.now.duration(to: deadline)))
            try await consumer.assign(starts.mapValues { Position($0, in: cluster) })
            var open = Set(starts.keys)
            var isFirst = true
            while !open.isEmpty {
                let quiet = isFirst ? deadline : min(deadline, .now + Self.silence)
                guard let event = try await consumer.nextEvent(deadline: quiet) else { break }
                switch event {
                case .batch(let batch):
                    isFirst = false
                    for run in batch.runs where open.contains(run.partition) {
                        for index in run.range {
                            guard try batch.withRecord(at: index, { try take(run.partition, $0) }) else {
                                open.remove(run.partition)
                                break
                            }
                        }
                    }
                case .partitionFailed(let partition, _): open.remove(partition)
                case .failed(let error): if error.isFatal { throw error }
                case .assigned, .revoking, .lost: break
                }
            }
        } catch {
            try? await consumer.close(within: .seconds(1))
            throw error
        }
        // Nobody waits for a connection to be closed in order: nothing was promised to the broker.
        Task.detached { try? await consumer.close(within: .seconds(1)) }
    }
}

extension [String: String] {
    /// librdkafka refuses a `fetch.max.bytes` below `message.max.bytes`, and a `receive.message.max.bytes` that is not 512 bytes more than that.
    mutating func raiseFetchLimit() {
        guard var limit = self["fetch.max.bytes"].flatMap({ Int($0) }) else { return }
        if let largest = self["message.max.bytes"].flatMap({ Int($0) }), largest > limit { limit = largest }
        self["fetch.max.bytes"] = String(limit)
        if let room = self["receive.message.max.bytes"].flatMap({ Int($0) }), room < limit + 512 { self["receive.message.max.bytes"] = String(limit + 512) }
    }
}
