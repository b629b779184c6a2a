import KafkaLog
import Logging

/// One life of a mirror's clients: finds its place, copies, commits. Any failure that librdkafka does not get over by itself
/// ends it; the next session compares the target with the source and goes on exactly.
final class MirrorSession: Sendable {
    let configuration: MirrorConfiguration
    let table: ProgressTable
    let reachability: Reachability
    let status: @Sendable () -> MirrorStatus?

    /// Reads the records that are copied. Only ever given more partitions.
    let reader: KafkaConsumer
    let sourceAdmin: KafkaAdmin
    let targetAdmin: KafkaAdmin
    /// Holds the progress, and reads the target in comparisons.
    let targetGroup: KafkaConsumer
    let producer: KafkaProducer
    let lanes: [LaneQueue]
    let budget = ReadBudget(limit: MirrorLimits.bytesUnderWay)

    init(
        _ configuration: MirrorConfiguration, table: ProgressTable, reachability: Reachability,
        status: @escaping @Sendable () -> MirrorStatus?
    ) throws(KafkaLogError) {
        self.configuration = configuration
        self.table = table
        self.reachability = reachability
        self.status = status
        let source = configuration.client(.source)
        let target = configuration.client(.target)
        reader = try KafkaConsumer(KafkaConsumerConfiguration(client: source.forReading))
        sourceAdmin = try KafkaAdmin(source.quiet)
        targetAdmin = try KafkaAdmin(target.quiet)
        targetGroup = try KafkaConsumer(KafkaConsumerConfiguration(client: target.quiet, groupID: configuration.groupID))
        producer = try KafkaProducer(target.forWriting)
        lanes = (0..<MirrorLimits.lanes).map { _ in LaneQueue() }
    }

    /// Returns never but by an error; `CancellationError` when the task was cancelled. What was sent is waited for and committed
    /// before, as far as the clusters let it.
    func run() async throws {
        table.reset()
        var failure: (any Error)?
        var clusters: Clusters?
        do {
            let found = try await connect()
            clusters = found
            try await runTasks(found)
        } catch {
            failure = error
        }
        // Not in this task: it may be cancelled, and what follows must not be.
        let clustersFound = clusters
        await Task { await self.close(clustersFound) }.value
        if Task.isCancelled { throw CancellationError() }
        if let failure { throw failure }
    }

    /// The ids of both clusters.
    struct Clusters: Sendable {
        let source: ClusterID
        let target: ClusterID
    }

    private func connect() async throws -> Clusters {
        let timeout = configuration.requestTimeout
        async let source = MirrorError.wrapping(.source) { () async throws(KafkaLogError) in
            try await self.reader.clusterID(timeout: timeout)
        }
        async let target = MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.producer.clusterID(timeout: timeout)
        }
        let clusters = try await Clusters(source: source, target: target)
        guard clusters.source != clusters.target else { throw MirrorError.sameCluster(clusters.source) }
        reachability.answered(.source)
        reachability.answered(.target)
        return clusters
    }

    private func runTasks(_ clusters: Clusters) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.read() }
            for lane in lanes { group.addTask { try await self.write(lane) } }
            group.addTask { try await self.discover(clusters) }
            group.addTask { try await self.commitRegularly(clusters) }
            var failure: (any Error)?
            do {
                while try await group.next() != nil {}
            } catch {
                failure = error
            }
            group.cancelAll()
            budget.close()
            for lane in lanes { await lane.close() }
            // A writer waits for the target's acknowledgements; this bounds that wait. What was acknowledged counts.
            let drain = Task { try? await self.producer.close(within: self.configuration.drainLimit) }
            while let result = await group.nextResult() {
                // A partition's own failure tells more than what it brought about in the other tasks.
                if case .failure(let error) = result, case MirrorError.partition = error { failure = error }
            }
            _ = await drain.value
            if let failure { throw failure }
        }
    }

    private func close(_ clusters: Clusters?) async {
        try? await producer.close(within: .zero)
        if let clusters { try? await commit(clusters, all: false, timeout: min(configuration.requestTimeout, .seconds(3))) }
        try? await reader.close(within: .seconds(1))
        try? await targetGroup.close(within: .seconds(1))
        await sourceAdmin.close()
        await targetAdmin.close()
    }

    // MARK: Committing

    private func commitRegularly(_ clusters: Clusters) async throws {
        var refreshed = ContinuousClock.now
        while true {
            try await Task.sleep(for: configuration.commitInterval)
            let isRefresh = refreshed.duration(to: .now) >= MirrorLimits.commitRefresh
            do throws(KafkaLogError) {
                try await commit(clusters, all: isRefresh, timeout: configuration.requestTimeout)
                if isRefresh { refreshed = .now }
            } catch {
                // The next turn commits everything that this one did not.
                if error.isFatal { throw MirrorError.client(.target, error) }
                reachability.failed(.target, servers: configuration.targetBootstrapServers, error)
            }
        }
    }

    func commit(_ clusters: Clusters, all: Bool, timeout: Duration) async throws(KafkaLogError) {
        let progress = table.uncommitted(source: clusters.source, all: all)
        guard !progress.isEmpty else { return }
        try await targetGroup.commit(
            progress.mapValues { CommittedOffset(Position($0.targetEnd, in: clusters.target), metadata: $0.metadata) },
            timeout: timeout)
        for (partition, committed) in progress { _ = table.update(partition) { $0.committed = committed } }
    }
}

extension MirrorError {
    /// Runs one call to a cluster; its failure says which cluster it was.
    static func wrapping<Result>(
        _ side: Side, _ body: () async throws(KafkaLogError) -> Result
    ) async throws(MirrorError) -> Result {
        do throws(KafkaLogError) { return try await body() } catch { throw .client(side, error) }
    }
}

extension KafkaClientConfiguration {
    /// Without statistics: one client a side tells enough.
    fileprivate var quiet: KafkaClientConfiguration {
        var copy = self
        copy.statisticsInterval = nil
        return copy
    }

    /// What is read ahead waits in memory.
    fileprivate var forReading: KafkaClientConfiguration {
        var copy = self
        copy.settings.merge(MirrorLimits.readAhead) { set, _ in set }
        return copy
    }

    /// The mirror's producer: idempotent, and never giving a record up while the target is down, because a record that is given
    /// up while its neighbours are not would be a hole.
    fileprivate var forWriting: KafkaClientConfiguration {
        var copy = self
        let own = [
            "message.timeout.ms": "0", "linger.ms": "2", "message.max.bytes": "1000000000",
            "topic.metadata.refresh.interval.ms": "10000",
        ]
        copy.settings.merge(own) { set, _ in set }
        copy.settings["enable.idempotence"] = "true"
        return copy
    }
}
