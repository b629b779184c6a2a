import ChangePropagation
import KafkaLog
import LocalKafka
import Logging
@testable import Offsets
import TestSupport
import Testing

@Suite("Looking into a cluster", .timeLimit(.minutes(1)))
struct ClusterLogsTests {
    @Test(
        "A datacenter whose clients are set up for large records can be looked into",
        arguments: [
            ["message.max.bytes": "60000000"], ["receive.message.max.bytes": "8388608", "fetch.max.bytes": "1000000"],
            ["message.max.bytes": "60000000", "receive.message.max.bytes": "70000000"], [:],
        ])
    func largeRecords(_ settings: [String: String]) async throws {
        let directory = try TemporaryDirectory()
        let cluster = try await LocalKafkaCluster.start(.init(dataDirectory: directory.file("kafka"), brokers: [.init(port: try freePort())]))
        var failure: (any Error)?
        do { try await look(cluster.bootstrapServers, settings) } catch { failure = error }
        await cluster.stop()
        if let failure { throw failure }
    }

    private func look(_ servers: String, _ settings: [String: String]) async throws {
        let client = KafkaClientConfiguration(bootstrapServers: [servers])
        let admin = try KafkaAdmin(client)
        for made in try await admin.createTopics([NewTopic("t", partitions: 1)]).values { try made.get() }
        await admin.close()
        let producer = try KafkaProducer(client)
        for sent in await producer.send(contentsOf: [ProducerRecord(topic: "t", partition: 0, value: Array("a".utf8))]) { _ = try sent.get() }
        try await producer.close()
        let logs = try ClusterLogs(try #require(Datacenter("eqiad")), .init(bootstrap: servers, kafka: settings), identity: .record, timeout: .seconds(10), logger: Logger(label: "test"))
        let found = try await logs.records(at: [TopicPartition(topic: "t", partition: 0): 0], deadline: .now + .seconds(20))
        #expect(found.count == 1)
        var scanned = 0
        try await logs.scan([TopicPartition(topic: "t", partition: 0): 0], deadline: .now + .seconds(20)) { _, _ in
            scanned += 1
            return false
        }
        #expect(scanned == 1)
        await logs.close()
    }
}
