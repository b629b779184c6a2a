import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A Kafka cluster in this process: one or several brokers that real clients can't tell from Kafka in what they serve.
///
/// Each partition is stored once; brokers share the store and differ in which partitions they lead. For development,
/// tests and demonstrations: there is no replication, no authorization and no encryption.
public final class LocalKafkaCluster: Sendable {
    public let configuration: Configuration
    /// Faults that requests run into; for tests.
    public let faults = FaultControl()

    /// Every kind of request that is served.
    let apiTable = APITable.all
    let logger: Logger
    let topics: TopicCatalog
    let data: DataDirectory
    let groups: GroupService
    private let group: MultiThreadedEventLoopGroup

    private struct BrokerState {
        var address: Configuration.BrokerAddress
        var server: BrokerServer?
    }
    private let brokers: Mutex<[BrokerState]>

    /// Opens the data directory, recovers what is in it, and starts every broker.
    /// Throws `LocalKafkaError`.
    public static func start(_ configuration: Configuration) async throws -> LocalKafkaCluster {
        let cluster = try LocalKafkaCluster(configuration)
        do {
            for index in configuration.brokers.indices { try await cluster.startBroker(Int32(index + 1)) }
        } catch {
            await cluster.stop()
            throw error
        }
        return cluster
    }

    private init(_ configuration: Configuration) throws {
        guard !configuration.brokers.isEmpty else {
            throw LocalKafkaError.invalidConfiguration("a local cluster needs at least one broker")
        }
        guard (1...Int32(Limits.maxPartitionsPerTopic)).contains(configuration.defaultPartitions) else {
            throw LocalKafkaError.invalidConfiguration(
                "defaultPartitions is \(configuration.defaultPartitions): 1 to \(Limits.maxPartitionsPerTopic) would be right")
        }
        if let problem = TopicConfiguration.problem(in: configuration.topicDefaults) {
            throw LocalKafkaError.invalidConfiguration("topicDefaults: \(problem)")
        }
        self.configuration = configuration
        self.logger = configuration.logger
        self.data = try DataDirectory(path: configuration.dataDirectory.path)
        self.topics = try TopicCatalog(
            data: data, brokerCount: Int32(configuration.brokers.count),
            options: PartitionLog.Options(
                segmentBytes: max(1, configuration.segmentBytes), syncsEveryAppend: configuration.syncsEveryAppend,
                logger: configuration.logger))
        var groupLimits = GroupLimits()
        groupLimits.initialRebalanceDelay = configuration.groupInitialRebalanceDelay
        self.groups = try GroupService(
            directory: configuration.dataDirectory, limits: groupLimits, logger: configuration.logger)
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: max(1, configuration.eventLoopThreads))
        self.brokers = Mutex(configuration.brokers.map { BrokerState(address: $0) })
        groups.start(on: group.next())
    }

    /// The id that clients see in Metadata. It stays the same for the life of the data directory.
    public var clusterID: String { data.clusterID }

    /// The broker that administrative requests should go to: the first that runs; -1 when none does. Every broker serves
    /// them all the same.
    var controllerID: Int32 { runningBrokers.first?.id ?? -1 }

    var eventLoop: any EventLoop { group.next() }

    /// The time that a broker stamps on records of LogAppendTime topics.
    func appendTime(broker: Int32) -> Int64 {
        let skew = clockSkews.withLock { $0[broker] ?? 0 }
        return max(0, configuration.clock() &+ skew)
    }
    let clockSkews = Mutex<[Int32: Int64]>([:])
    /// How many requests of each kind have been served, by all brokers.
    let requestCounts = Mutex<[Int16: Int]>([:])

    /// Where each broker listens, in order of broker id (which counts from 1). The port is the real one even when 0 was
    /// asked for.
    public var brokerAddresses: [(host: String, port: Int)] {
        brokers.withLock { $0.map { ($0.address.host, $0.address.port) } }
    }

    /// What clients take as `bootstrap.servers`.
    public var bootstrapServers: String {
        brokers.withLock { $0.map { "\($0.address.host):\($0.address.advertisedPort ?? $0.address.port)" } }.joined(separator: ",")
    }

    /// The brokers that are running, with where clients connect to.
    public var runningBrokers: [(id: Int32, host: String, port: Int)] {
        brokers.withLock { brokers in
            brokers.enumerated().compactMap { index, broker in
                broker.server == nil ? nil : (Int32(index + 1), broker.address.host, broker.address.advertisedPort ?? broker.address.port)
            }
        }
    }

    /// Starts a broker that was stopped, on the port that it had. Does nothing when it runs.
    public func startBroker(_ id: Int32) async throws {
        let index = Int(id) - 1
        let state = brokers.withLock { $0.indices.contains(index) ? $0[index] : nil }
        guard let state else { throw LocalKafkaError.unknownBroker(id) }
        guard state.server == nil else { return }
        let dispatcher = RequestDispatcher(cluster: self, brokerID: id, table: apiTable, logger: logger)
        let server = try await BrokerServer.start(
            host: state.address.host, port: state.address.port, dispatcher: dispatcher, group: group)
        brokers.withLock {
            $0[index].server = server
            $0[index].address.port = server.port
        }
    }

    /// Stops a broker: its port closes and its connections end; its data and its port number stay. Partitions that it
    /// leads have no leader until it is back, unless `successor` is to take them over.
    public func stopBroker(_ id: Int32, movingLeadersTo successor: Int32? = nil) async throws {
        let index = Int(id) - 1
        let server: BrokerServer? = try brokers.withLock { brokers in
            guard brokers.indices.contains(index) else { throw LocalKafkaError.unknownBroker(id) }
            defer { brokers[index].server = nil }
            return brokers[index].server
        }
        await server?.stop()
        guard let successor else { return }
        for topic in topics.all {
            for (number, log) in topic.partitions.enumerated() where log.state.withLock({ $0.leader == id }) {
                try moveLeader(topic.name, Int32(number), to: successor)
            }
        }
    }

    /// Stops every broker and closes the data directory. The cluster can't be used after that.
    public func stop() async {
        for index in configuration.brokers.indices { try? await stopBroker(Int32(index + 1)) }
        groups.stop()
        topics.closeAll()
        data.release()
        try? await group.shutdownGracefully()
    }
}
