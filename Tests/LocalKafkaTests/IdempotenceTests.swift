import LocalKafka
import TestSupport
import Testing

/// Repeated and missing batches of idempotent producers.
struct IdempotenceTests {
    private func batch(_ sequence: Int32, count: Int = 1, producer: Int64 = 5, epoch: Int16 = 0) -> [UInt8] {
        var builder = RecordBatchBuilder(records: (0..<count).map { RawRecord(timestamp: Int64($0)) })
        builder.producerID = producer
        builder.producerEpoch = epoch
        builder.baseSequence = sequence
        return builder.bytes()
    }

    @Test func theLastFiveBatchesAreRecognised() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            for number in 0..<6 as Range<Int32> {
                #expect(try await client.produce(batch(number * 2, count: 2), topic: "t").offset == Int64(number) * 2)
            }
            for number in 1..<6 as Range<Int32> {
                #expect(try await client.produce(batch(number * 2, count: 2), topic: "t") == .init(error: 0, offset: Int64(number) * 2))
            }
            let outOfOrder = ErrorCode.outOfOrderSequenceNumber.rawValue
            #expect(try await client.produce(batch(0, count: 2), topic: "t").error == outOfOrder, "six batches ago")
            #expect(try await client.produce(batch(13), topic: "t").error == outOfOrder, "one is missing")
            #expect(try await client.produce(batch(10), topic: "t").error == outOfOrder, "same start, other length")
            #expect(try await client.produce(batch(12), topic: "t").error == 0)
            #expect(try cluster.status("t", 0).nextOffset == 13)
        }
    }

    @Test func epochsAndWrapAround() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            #expect(try await client.produce(batch(.max - 1, count: 2), topic: "t").error == 0, "an unknown producer may begin anywhere")
            #expect(try await client.produce(batch(0), topic: "t").error == 0, "after 2^31 - 1 comes 0")
            #expect(try await client.produce(batch(3, epoch: 1), topic: "t").error == ErrorCode.outOfOrderSequenceNumber.rawValue)
            #expect(try await client.produce(batch(0, epoch: 1), topic: "t").error == 0)
            #expect(try await client.produce(batch(1, epoch: 0), topic: "t").error == ErrorCode.invalidProducerEpoch.rawValue)
            #expect(try await client.produce(batch(9, producer: 6), topic: "t").error == 0, "another producer")
        }
    }

    /// The reply is lost, the client sends again: one copy in the log.
    @Test func aRetryAfterALostReplyIsOneRecord() async throws {
        // kcat gives up when every broker that it knows is gone: the second one is never troubled.
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("t")
            cluster.faults.add(FaultRule(.closeConnection, apiKey: .produce, topic: "t"))
            // Cut, not dropped: a client that only has to wait for long decides by its clock that a broker is gone, also of one that a busy machine made late.
            let lost = cluster.faults.add(FaultRule(.cutReply(afterBytes: 3), apiKey: .produce, count: 2))
            let produced = try await ChildProcess.run(
                ClientTests.kcat,
                [
                    "-b", cluster.bootstrapServers, "-P", "-t", "t", "-p", "0", "-X", "enable.idempotence=true",
                ], input: "a\nb\nc\n")
            #expect(produced.status == 0, "\(produced.errors)")
            #expect(cluster.faults.strikes(lost) == 2)
            #expect(try cluster.status("t", 0).nextOffset == 3)
        }
    }

    @Test func producerIDsAreNeverGivenTwice() async throws {
        let directory = try TemporaryDirectory()
        var seen: Set<Int64> = []
        for _ in 0..<2 {
            let cluster = try await LocalKafkaCluster.start(testConfiguration(directory))
            let client = try cluster.rawClient()
            for _ in 0..<3 {
                var reader = try await client.request(.initProducerID, version: 1) { $0.nullableString(nil); $0.int32(0) }
                _ = try reader.int32()
                #expect(try reader.int16() == 0)
                let id = try reader.int64()
                #expect(seen.insert(id).inserted)
            }
            await cluster.stop()
        }
    }
}
