import LocalKafka
import TestSupport
import Testing

/// Starting, stopping, and what an operator gets wrong.
struct LifecycleTests {
    @Test func aPortInUseIsOneClearError() async throws {
        try await withCluster { cluster in
            let port = cluster.brokerAddresses[0].port
            let directory = try TemporaryDirectory()
            var configuration = testConfiguration(directory)
            configuration.brokers = [.init(port: 0), .init(port: port)]
            await #expect(throws: LocalKafkaError.addressInUse(host: "127.0.0.1", port: port)) {
                _ = try await LocalKafkaCluster.start(configuration)
            }
            #expect("\(LocalKafkaError.addressInUse(host: "127.0.0.1", port: port))".contains("127.0.0.1:\(port)"))
            // The failed start left nothing behind: the directory is free.
            configuration.brokers = [.init()]
            await (try LocalKafkaCluster.start(configuration)).stop()
        }
    }

    @Test func aDataDirectoryHasOneClusterAtATime() async throws {
        let directory = try TemporaryDirectory()
        let configuration = testConfiguration(directory)
        let first = try await LocalKafkaCluster.start(configuration)
        await #expect(throws: LocalKafkaError.dataDirectoryLocked(path: configuration.dataDirectory.path)) {
            _ = try await LocalKafkaCluster.start(configuration)
        }
        let id = first.clusterID
        await first.stop()
        let second = try await LocalKafkaCluster.start(configuration)
        #expect(second.clusterID == id, "the cluster's id belongs to the directory")
        await second.stop()
    }

    @Test func aTopicMadeAgainHasAnotherID() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t", partitions: 2)
            try cluster.append(rawBatch: batch([1]), to: "t", 0)
            let id = try #require(cluster.topicID("t"))
            #expect(id.count == 22)
            try cluster.deleteTopic("t")
            #expect(try await cluster.rawClient().fetch(topic: "t", offset: 0).error == ErrorCode.unknownTopicOrPartition.rawValue)
            try cluster.createTopic("t")
            #expect(cluster.topicID("t") != id)
            #expect(try cluster.status("t", 0).nextOffset == 0)
        }
    }

    @Test func partitionsGrow() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.addPartitions("t", total: 3)
            #expect(try await cluster.rawClient().produce(batch([1]), topic: "t", partition: 2).error == 0)
            #expect(throws: LocalKafkaError.self) { try cluster.addPartitions("t", total: 2) }
        }
    }

    @Test func badTopicsAreRefused() async throws {
        try await withCluster { cluster in
            for name in ["", ".", "..", "a/b", "a b", "\u{e9}", String(repeating: "x", count: 250)] {
                #expect(throws: LocalKafkaError.self, "\(name)") { try cluster.createTopic(name) }
            }
            #expect(throws: LocalKafkaError.self) { try cluster.createTopic("t", partitions: 0) }
            #expect(throws: LocalKafkaError.self) { try cluster.createTopic("t", configuration: ["message.timestamp.type": "x"]) }
            #expect(throws: LocalKafkaError.self) { try cluster.createTopic("t", configuration: ["no.such": "x"]) }
            try cluster.createTopic("t")
            #expect(throws: LocalKafkaError.self, "it is there already") { try cluster.createTopic("t") }
        }
    }
}
