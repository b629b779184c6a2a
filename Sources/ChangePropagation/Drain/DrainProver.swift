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

    /// One result for each partition, in order: those that owners have reported, and those that the origin's cluster has of the topics that
    /// the rules read. Nobody can report what the mirror has not made in the owner's cluster yet.
    ///
    /// - Throws: `HandoverRefusal.unknown` without an assignment, `StoreError`. A cluster that can't be asked is part of the result, not an
    ///   error.
    public func prove(_ key: AssignmentKey) async throws -> [DrainProof] {
        guard let assignment = try await AssignmentStore(store).load(key)?.assignment else { throw HandoverRefusal.unknown(key) }
        let checkpoints = try await CheckpointStore(store).load(group: key.group)
        let origin = try LogReader(configuration, key.origin, logger: logger)
        var inOrigin: Set<TopicPartition>?
        do { inOrigin = try await origin.partitions() } catch {
            logger.warning("The origin can't be asked", metadata: ["origin": "\(key.origin)", "error": "\(error)"])
        }
        let rules = configuration.rules.filter { $0.group == key.group }
        let topics = GroupTopics(rules: rules, service: configuration.service, datacenters: [key.origin])
        let partitions = assignment.reported.union((inOrigin ?? []).filter { topics.role(of: $0.topic) != nil || assignment.partitions[$0.topic] != nil }).sorted()
        var proofs: [DrainProof] = []
        do {
            for (owner, owned) in Dictionary(grouping: partitions, by: { assignment.owner(of: $0) }).sorted(by: { $0.key < $1.key }) {
                do { proofs += try await prove(owned, of: key.origin, origin, inOrigin, owner: owner, checkpoints) } catch let error as KafkaLogError {
                    // The others' partitions can be proven all the same.
                    logger.warning("An owner's cluster can't be asked", metadata: ["owner": "\(owner)", "error": "\(error)"])
                    proofs += owned.map {
                        DrainProof(
                            topic: $0.topic, partition: $0.partition, datacenter: owner.name, done: .unknown("no answer from \(owner)"),
                            unmirrored: owner == key.origin ? .none : .unknownSince(nil), isSealed: false)
                    }
                }
            }
        } catch {
            await origin.close()
            throw error
        }
        await origin.close()
        return proofs.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) }
    }

    private func prove(
        _ partitions: [TopicPartition], of origin: Datacenter, _ there: LogReader, _ inOrigin: Set<TopicPartition>?, owner: Datacenter,
        _ checkpoints: [TopicPartition: StoredCheckpoint]
    ) async throws -> [DrainProof] {
        let here = owner == origin ? there : try LogReader(configuration, owner, logger: logger)
        do {
            let present = try await here.partitions()
            let ends = try await here.ends(partitions.filter(present.contains))
            var proofs: [DrainProof] = []
            for partition in partitions {
                let checkpoint = try checkpoints[partition].map { try $0.checkpoint.get() }
                var done = DrainProof.Done.all
                if let end = ends[partition] {
                    done = DrainProof.done(checkpoint, start: end.low.offset, end: end.high)
                } else if present.contains(partition) {
                    done = .unknown("the log's ends can't be read")
                } else if checkpoint != nil {
                    done = .unknown("\(owner) does not have this partition")
                }
                proofs.append(
                    DrainProof(
                        topic: partition.topic, partition: partition.partition, datacenter: owner.name, done: done, unmirrored: .none,
                        isSealed: checkpoint?.sealed ?? false))
            }
            if owner != origin {
                try await askOrigin(origin, there, inOrigin, here, ends, &proofs)
                await here.close()
            }
            return proofs
        } catch {
            if owner != origin { await here.close() }
            throw error
        }
    }

    private func askOrigin(
        _ origin: Datacenter, _ there: LogReader, _ inOrigin: Set<TopicPartition>?, _ here: LogReader, _ ends: [TopicPartition: Watermarks],
        _ proofs: inout [DrainProof]
    ) async throws {
        let last = try await here.lastRecords(ends)
        var answer: (ends: [TopicPartition: Watermarks], found: [TopicPartition: Int64])?
        if let inOrigin {
            do {
                // The ends come after the last records here: what is produced meanwhile is counted as not mirrored, never forgotten.
                let originEnds = try await there.ends(proofs.map(\.topicPartition).filter(inOrigin.contains))
                answer = (originEnds, try await there.find(last.filter { originEnds[$0.key] != nil }, limit: Self.scanLimit))
            } catch {
                logger.warning("The origin can't be asked", metadata: ["origin": "\(origin)", "error": "\(error)"])
            }
        }
        let heartbeat = answer == nil ? try await here.lastHeartbeat(of: origin) : nil
        for index in proofs.indices {
            let partition = proofs[index].topicPartition
            guard let answer else {
                proofs[index].unmirrored = .unknownSince((heartbeat ?? last[partition]?.timestamp)?.milliseconds)
                continue
            }
            guard let end = answer.ends[partition] else {
                proofs[index].unmirrored = .differs("the origin does not have this partition")
                continue
            }
            proofs[index].unmirrored = DrainProof.unmirrored(
                last: last[partition], found: answer.found[partition], origin: (end.low.offset, end.high.offset))
        }
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

    /// Every partition that the cluster has.
    func partitions() async throws -> Set<TopicPartition> {
        let topics = try await admin.metadata(.all, timeout: DrainProver.timeout).topics
        return Set(topics.filter { $0.failure == nil }.flatMap { topic in topic.partitions.map { TopicPartition(topic: topic.name, partition: $0.id) } })
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
        var alike: [TopicPartition: [Fingerprint: Int]] = [:]
        let starts = wanted.mapValues { Position(max($0.low.offset, $0.high.offset - DrainProver.holeLimit), in: $0.high.cluster) }
        try await read(starts, until: wanted.mapValues(\.high.offset)) { partition, record in
            last[partition] = record
            alike[partition, default: [:]][record.fingerprint, default: 0] += 1
            return true
        }
        for (partition, record) in last { last[partition]?.occurrence = alike[partition]?[record.fingerprint] ?? 1 }
        return last
    }

    /// Where this log has each record. Of several that can't be told apart as many are passed as stand at the other log's end, and no more: one
    /// more may not have been mirrored yet.
    func find(_ wanted: [TopicPartition: LastRecord], limit: Int) async throws -> [TopicPartition: Int64] {
        let ends = try await ends(Array(wanted.keys))
        // LogAppendTime is a later one in the mirror, and would be looked up past the place.
        let times = wanted.filter(\.value.isCreateTime).compactMapValues(\.timestamp)
        let places = times.isEmpty ? [:] : try await admin.lookUp(times: times, timeout: DrainProver.timeout)
        var starts: [TopicPartition: Position] = [:]
        for (partition, end) in ends where end.low.offset < end.high.offset {
            starts[partition] = Position(max(end.low.offset, end.high.offset - Int64(limit)), in: end.low.cluster)
            if case .success(let place)? = places[partition] { starts[partition] = place.start }
        }
        var found: [TopicPartition: Int64] = [:]
        var read: [TopicPartition: Int] = [:]
        var met: [TopicPartition: Int] = [:]
        try await self.read(starts, until: ends.mapValues(\.high.offset)) { partition, record in
            read[partition, default: 0] += 1
            if let last = wanted[partition], record.fingerprint == last.fingerprint {
                found[partition] = record.offset
                met[partition, default: 0] += 1
                if met[partition, default: 0] >= last.occurrence { return false }
            }
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
                let wantsMore = take(
                    partition,
                    LastRecord(
                        offset: record.offset, fingerprint: Fingerprint.ofRecord(record), timestamp: record.timestamp,
                        isCreateTime: record.timestampType == .createTime))
                if !wantsMore || record.offset + 1 >= ends[partition] ?? 0 { open.remove(partition) }
            }
        }
        try await consumer.assign([:])
    }
}
