import Checkpoints
import Handover
import KafkaLog
import Logging

/// Asks the clusters what `DrainProof` says: reads ends and last records, and changes nothing.
public struct DrainProver: Sendable {
    /// Most records that are read in the origin to find the mirror's last one, for each partition.
    static let scanLimit = 20_000
    /// How far back from a log's end its last record is looked for: offsets may be holes.
    static let holeLimit: Int64 = 64
    static let timeout = Duration.seconds(10)

    private let configuration: WorkerConfiguration
    private let store: any SharedStore
    private let logger: Logger

    public init(_ configuration: WorkerConfiguration, store: any SharedStore, logger: Logger) {
        self.configuration = configuration
        self.store = store
        self.logger = logger
    }

    /// One result per partition that the origin's owner has reported, in order.
    ///
    /// - Throws: `HandoverRefusal.unknown` without an assignment, `StoreError`, `KafkaLogError` when an owner's cluster can't be asked. An
    ///   origin that can't be asked is part of the result, not an error.
    public func prove(_ key: AssignmentKey) async throws -> [DrainProof] {
        guard let assignment = try await AssignmentStore(store).load(key)?.assignment else { throw HandoverRefusal.unknown(key) }
        let checkpoints = try await CheckpointStore(store).load(group: key.group)
        let partitions = assignment.reported.sorted()
        var proofs: [DrainProof] = []
        for (owner, owned) in Dictionary(grouping: partitions, by: { assignment.owner(of: $0) }).sorted(by: { $0.key < $1.key }) {
            proofs += try await prove(owned, origin: key.origin, owner: owner, checkpoints)
        }
        return proofs.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) }
    }

    private func prove(
        _ partitions: [TopicPartition], origin: Datacenter, owner: Datacenter, _ checkpoints: [TopicPartition: StoredCheckpoint]
    ) async throws -> [DrainProof] {
        let here = try LogReader(configuration, owner, logger: logger)
        let ends = try await here.ends(partitions)
        var proofs: [DrainProof] = []
        for partition in partitions {
            guard let end = ends[partition] else { continue }
            let checkpoint = try checkpoints[partition].map { try $0.checkpoint.get() }
            proofs.append(
                DrainProof(
                    topic: partition.topic, partition: partition.partition, datacenter: owner.name,
                    done: DrainProof.done(checkpoint, start: end.low.offset, end: end.high), unmirrored: .none,
                    isSealed: checkpoint?.sealed ?? false))
        }
        if owner != origin { try await askOrigin(origin, here, ends, &proofs) }
        await here.close()
        return proofs
    }

    private func askOrigin(
        _ origin: Datacenter, _ here: LogReader, _ ends: [TopicPartition: Watermarks], _ proofs: inout [DrainProof]
    ) async throws {
        let last = try await here.lastRecords(ends)
        let there: LogReader
        let originEnds: [TopicPartition: Watermarks]
        do {
            there = try LogReader(configuration, origin, logger: logger)
            originEnds = try await there.ends(Array(ends.keys))
        } catch {
            logger.warning("The origin can't be asked", metadata: ["origin": "\(origin)", "error": "\(error)"])
            let heartbeat = try await here.lastHeartbeat(of: origin)
            for index in proofs.indices {
                let newest = last[TopicPartition(topic: proofs[index].topic, partition: proofs[index].partition)]?.timestamp
                proofs[index].unmirrored = .unknownSince((heartbeat ?? newest)?.milliseconds)
            }
            return
        }
        let found = try await there.find(last, limit: Self.scanLimit)
        for index in proofs.indices {
            let partition = TopicPartition(topic: proofs[index].topic, partition: proofs[index].partition)
            guard let end = originEnds[partition] else { continue }
            proofs[index].unmirrored = DrainProof.unmirrored(
                last: last[partition], found: found[partition], origin: (end.low.offset, end.high.offset))
        }
        await there.close()
    }
}

/// Reads single records of one cluster, without a group.
private struct LogReader: Sendable {
    let admin: KafkaAdmin
    let consumer: KafkaConsumer

    init(_ configuration: WorkerConfiguration, _ datacenter: Datacenter, logger: Logger) throws {
        guard let cluster = configuration.datacenters[datacenter] else {
            throw Worker.StartFailure(description: "no cluster is configured for \(datacenter)")
        }
        var client = Worker(configuration, logger: logger).clientConfiguration(cluster)
        client.requestTimeout = DrainProver.timeout
        admin = try KafkaAdmin(client)
        consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
    }

    func close() async {
        await admin.close()
        try? await consumer.close(within: .seconds(5))
    }

    func ends(_ partitions: [TopicPartition]) async throws -> [TopicPartition: Watermarks] {
        var ends: [TopicPartition: Watermarks] = [:]
        for (partition, result) in try await admin.watermarks(partitions, timeout: DrainProver.timeout) { ends[partition] = try result.get() }
        return ends
    }

    /// The last record of each log that has one.
    func lastRecords(_ ends: [TopicPartition: Watermarks]) async throws -> [TopicPartition: LastRecord] {
        let wanted = ends.filter { $0.value.low.offset < $0.value.high.offset }
        var last: [TopicPartition: LastRecord] = [:]
        let starts = wanted.mapValues { Position(max($0.low.offset, $0.high.offset - DrainProver.holeLimit), in: $0.high.cluster) }
        try await read(starts, until: wanted.mapValues(\.high.offset)) { partition, record in
            last[partition] = record
            return true
        }
        return last
    }

    /// Where this log has each record's last occurrence.
    func find(_ wanted: [TopicPartition: LastRecord], limit: Int) async throws -> [TopicPartition: Int64] {
        let ends = try await ends(Array(wanted.keys))
        let times = wanted.compactMapValues(\.timestamp)
        let places = times.isEmpty ? [:] : try await admin.lookUp(times: times, timeout: DrainProver.timeout)
        var starts: [TopicPartition: Position] = [:]
        for (partition, end) in ends where end.low.offset < end.high.offset {
            starts[partition] = end.low
            if case .success(let place)? = places[partition] { starts[partition] = place.start }
        }
        var found: [TopicPartition: Int64] = [:]
        var read: [TopicPartition: Int] = [:]
        try await self.read(starts, until: ends.mapValues(\.high.offset)) { partition, record in
            read[partition, default: 0] += 1
            if record.fingerprint == wanted[partition]?.fingerprint { found[partition] = record.offset }
            return read[partition, default: 0] < limit
        }
        return found
    }

    /// The time of the newest heartbeat of `origin` that has come here; nil: it has none.
    func lastHeartbeat(of origin: Datacenter) async throws -> MillisecondTimestamp? {
        let partition = TopicPartition(topic: Heartbeat.topic(of: origin), partition: 0)
        guard let ends = try? await ends([partition]) else { return nil }
        return try await lastRecords(ends)[partition]?.timestamp
    }

    /// Reads from `starts` to the ends, or until `take` has enough of a partition.
    private func read(
        _ starts: [TopicPartition: Position], until ends: [TopicPartition: Int64], _ take: (TopicPartition, LastRecord) -> Bool
    ) async throws {
        var open = Set(starts.keys.filter { (starts[$0]?.offset ?? 0) < (ends[$0] ?? 0) })
        guard !open.isEmpty else { return }
        try await consumer.assign(starts.filter { open.contains($0.key) })
        let deadline = ContinuousClock.now + DrainProver.timeout
        while !open.isEmpty, let batch = try await consumer.nextBatch(deadline: min(deadline, .now + .seconds(1))) {
            batch.forEach { record in
                let partition = record.topicPartition
                guard open.contains(partition) else { return }
                let type = record.timestampType
                let fingerprint = record.withKey { key in
                    record.withValue { Fingerprint.ofRecord(key: key, value: $0, timestamp: type == .createTime ? record.timestamp : nil) }
                }
                let wantsMore = take(partition, LastRecord(offset: record.offset, fingerprint: fingerprint, timestamp: record.timestamp))
                if !wantsMore || record.offset + 1 >= ends[partition] ?? 0 { open.remove(partition) }
            }
        }
        try await consumer.assign([:])
    }
}
