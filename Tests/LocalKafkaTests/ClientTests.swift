import Foundation
import LocalKafka
import TestSupport
import Testing

/// Real clients: kcat (librdkafka) and kafka-python, which share no code.
@Suite(.serialized) struct ClientTests {
    static let kcat = "/usr/bin/kcat"
    static let python = "/usr/bin/python3"

    @Test func kcatProducesConsumesAndLooksUp() async throws {
        try await withCluster { cluster in
            let broker = cluster.bootstrapServers
            let produced = try await ChildProcess.run(
                Self.kcat, ["-b", broker, "-P", "-t", "eqiad.edit", "-p", "0", "-K", ":"], input: "k1:one\nk2:two\nk3:\n")
            #expect(produced.status == 0, "\(produced.errors)")
            let consumed = try await ChildProcess.run(
                Self.kcat, ["-b", broker, "-C", "-t", "eqiad.edit", "-p", "0", "-o", "beginning", "-e", "-q", "-f", "%o %k %s\\n"])
            #expect(consumed.output == "0 k1 one\n1 k2 two\n2 k3 \n", "\(consumed.errors)")

            try cluster.createTopic("times")
            try cluster.append(rawBatch: batch([100, 300, 200, 300]), to: "times", 0)
            try cluster.append(rawBatch: batch([50, 400]), to: "times", 0)
            for (timestamp, offset) in [(0, 0), (100, 0), (101, 1), (300, 1), (301, 5), (401, -1)] {
                let found = try await ChildProcess.run(Self.kcat, ["-b", broker, "-Q", "-t", "times:0:\(timestamp)"])
                #expect(found.output == "times [0] offset \(offset)\n", "at \(timestamp): \(found.errors)")
            }
        }
    }

    @Test(arguments: [("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)])
    func compressedBatchesStayCompressed(codec: String, number: Int) async throws {
        try await withCluster { cluster in
            try cluster.createTopic("compressed")
            let text = (0..<500).map { "the same words again and again \($0 % 7)\n" }.joined()
            let produced = try await ChildProcess.run(
                Self.kcat,
                // All in one batch: a batch of one short record is sent as it is, since packing makes it no smaller.
                ["-b", cluster.bootstrapServers, "-P", "-t", "compressed", "-p", "0", "-z", codec, "-X", "linger.ms=500"],
                input: text)
            #expect(produced.status == 0, "\(produced.errors)")
            let status = try cluster.status("compressed", 0)
            #expect(status.nextOffset == 500)
            let fetched = try await cluster.rawClient().fetch(topic: "compressed", offset: 0)
            #expect(Int(fetched.records[22] & 7) == number, "the codec in the stored batch's attributes")
            #expect(status.bytes < text.utf8.count / 2)
            let consumed = try await ChildProcess.run(
                Self.kcat, ["-b", cluster.bootstrapServers, "-C", "-t", "compressed", "-o", "beginning", "-e", "-q", "-X", "check.crcs=true"])
            #expect(consumed.output == text, "\(consumed.errors)")
        }
    }

    @Test func kafkaPythonProducesConsumesAndLooksUp() async throws {
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("codfw.edit", partitions: 2)
            let script = """
                import sys
                from kafka import KafkaProducer, KafkaConsumer, TopicPartition
                brokers = sys.argv[1].split(',')
                producer = KafkaProducer(bootstrap_servers=brokers, acks='all', api_version_auto_timeout_ms=20000)
                times = [1000, 3000, 2000, 3000, 1500]
                for partition in (0, 1):
                    sent = [producer.send('codfw.edit', key=b'k', value=None if t == 2000 else b'v%d' % t, partition=partition,
                                          timestamp_ms=t, headers=[('h', b'x')]) for t in times]
                    print([f.get(10).offset for f in sent])
                consumer = KafkaConsumer(bootstrap_servers=brokers, consumer_timeout_ms=20000, api_version_auto_timeout_ms=20000)
                parts = [TopicPartition('codfw.edit', p) for p in (0, 1)]
                consumer.assign(parts)
                for t in (0, 1001, 3001):
                    found = consumer.offsets_for_times({p: t for p in parts})
                    print(t, [tuple(found[p]) if found[p] else None for p in parts])
                print([consumer.beginning_offsets(parts)[p] for p in parts], [consumer.end_offsets(parts)[p] for p in parts])
                for p in parts: consumer.seek(p, 1)
                seen = sorted((m.partition, m.offset, m.timestamp, m.key, m.value, m.headers) for m in [next(consumer) for _ in range(8)])
                print(seen[0], seen[1][4])
                """
            let result = try await ChildProcess.run(Self.python, ["-c", script, cluster.bootstrapServers], deadline: .seconds(40))
            #expect(
                result.output == """
                    [0, 1, 2, 3, 4]
                    [0, 1, 2, 3, 4]
                    0 [(0, 1000), (0, 1000)]
                    1001 [(1, 3000), (1, 3000)]
                    3001 [None, None]
                    [0, 0] [5, 5]
                    (0, 1, 3000, b'k', b'v3000', [('h', b'x')]) None

                    """, "\(result.errors.suffix(3000))")
        }
    }

    @Test func metadataNamesTheClusterAndAllBrokers() async throws {
        try await withCluster(brokers: 3) { cluster in
            try cluster.createTopic("spread", partitions: 3)
            let listing = try await ChildProcess.run(Self.kcat, ["-b", "127.0.0.1:\(cluster.brokerAddresses[2].port)", "-L", "-J"])
            let json = try #require(
                try JSONSerialization.jsonObject(with: Data(listing.output.utf8)) as? [String: Any], "\(listing.output)")
            #expect((json["brokers"] as? [Any])?.count == 3)
            let topics = try #require(json["topics"] as? [[String: Any]])
            let partitions = try #require(topics[0]["partitions"] as? [[String: Any]])
            #expect(partitions.compactMap { $0["leader"] as? Int } == [1, 2, 3])
        }
    }

    @Test func unknownTopicsAreMadeOnlyWhereThatIsAllowed() async throws {
        try await withCluster({ $0.autoCreateTopics = false }) { cluster in
            let produced = try await ChildProcess.run(
                Self.kcat, ["-b", cluster.bootstrapServers, "-P", "-t", "nowhere", "-p", "0", "-X", "message.timeout.ms=2000"],
                input: "x\n")
            #expect(produced.status != 0)
            #expect(cluster.topicNames.isEmpty)
        }
    }
}
