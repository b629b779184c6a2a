import Foundation
import LocalKafka
import Logging
import TestSupport
import Testing

@_spi(Testing) @testable import KafkaLog

let quiet: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = ProcessInfo.processInfo.environment["KAFKALOG_TEST_LOG"] == nil ? .critical : .debug
    return logger
}()

/// A cluster of LocalKafka in a directory of its own, which goes with it.
func withLocalKafka<Result>(
    partitions: Int32 = 3, brokers: Int = 1, topicDefaults: [String: String] = [:],
    _ body: (LocalKafkaCluster) async throws -> Result
) async throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appending(path: "kafkalog-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    var configuration = LocalKafkaCluster.Configuration(
        dataDirectory: directory, brokers: try ownAddresses(brokers))
    configuration.defaultPartitions = partitions
    configuration.topicDefaults = topicDefaults
    configuration.logger = quiet
    let cluster = try await LocalKafkaCluster.start(configuration)
    do {
        let result = try await body(cluster)
        await cluster.stop()
        return result
    } catch {
        await cluster.stop()
        throw error
    }
}

func client(_ servers: String, _ settings: [String: String] = [:]) -> KafkaClientConfiguration {
    KafkaClientConfiguration(bootstrapServers: [servers], clientID: "test", settings: settings, logger: quiet)
}

func makeConsumer(
    _ servers: String, group: String? = nil, strategy: String = "cooperative-sticky", _ settings: [String: String] = [:]
) throws -> KafkaConsumer {
    try KafkaConsumer(
        KafkaConsumerConfiguration(client: client(servers, settings), groupID: group, assignmentStrategy: strategy))
}

/// Sends records with their own partition, checks every one, and closes.
@discardableResult
func produce(_ records: [ProducerRecord], to servers: String, _ settings: [String: String] = [:]) async throws -> [Delivery] {
    let producer = try KafkaProducer(client(servers, settings))
    let results = await producer.send(contentsOf: records)
    try await producer.close()
    return try results.map { try $0.get() }
}

func numbered(_ topic: String, partitions: Int32, each: Int, time: (Int) -> Int64 = { 1_700_000_000_000 + Int64($0) })
    -> [ProducerRecord]
{
    (0..<partitions).flatMap { partition in
        (0..<each).map { index in
            ProducerRecord(
                topic: topic, partition: partition, key: Array("k\(index)".utf8), value: Array("v\(partition)-\(index)".utf8),
                timestamp: MillisecondTimestamp(time(index)))
        }
    }
}

func within(_ seconds: Double) -> ContinuousClock.Instant { .now + .seconds(seconds) }

/// Reads `count` records, copied.
func read(_ consumer: KafkaConsumer, count: Int, max: Int = 4096, seconds: Double = 10) async throws -> [Record] {
    var records: [Record] = []
    let deadline = within(seconds)
    while records.count < count, let batch = try await consumer.nextBatch(max: max, deadline: deadline) {
        for index in 0..<batch.count { records.append(try batch.detached(at: index)) }
    }
    return records
}

func starts(_ topic: String, _ partitions: Int32, at offset: Int64 = 0, in cluster: ClusterID) -> [TopicPartition: Position] {
    Dictionary(
        uniqueKeysWithValues: (0..<partitions).map { (TopicPartition(topic: topic, partition: $0), Position(offset, in: cluster)) })
}
