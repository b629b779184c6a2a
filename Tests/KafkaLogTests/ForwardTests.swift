import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct ForwardTests {
    /// Two clusters; the first holds `sent` in one partition. `body` gets its records as batches, and the second's servers.
    private func forwarding(
        _ sent: [ProducerRecord], max: Int = 4096, _ body: ([RecordBatch], LocalKafkaCluster) async throws -> Void
    ) async throws {
        try await withLocalKafka(partitions: 1) { source in
            try await withLocalKafka(partitions: 1) { target in
                try await produce(sent, to: source.bootstrapServers)
                let consumer = try makeConsumer(source.bootstrapServers)
                try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
                var batches: [RecordBatch] = []
                while batches.reduce(0, { $0 + $1.count }) < sent.count, let batch = try await consumer.nextBatch(max: max, deadline: within(10)) {
                    batches.append(batch)
                }
                try await body(batches, target)
                try await consumer.close()
            }
        }
    }

    private func readBack(_ cluster: LocalKafkaCluster, count: Int) async throws -> [Record] {
        let consumer = try makeConsumer(cluster.bootstrapServers)
        try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
        let records = try await read(consumer, count: count)
        try await consumer.close()
        return records
    }

    private func runs(_ batches: [RecordBatch]) -> [ForwardedRun] {
        batches.flatMap { batch in batch.runs.map { ForwardedRun($0, of: batch) } }
    }

    /// librdkafka reads what it was lent until it reports on it, and somebody waits for that: a producer that nobody else holds lives for so long.
    @Test func aProducerThatIsLetGoTellsWhatBecameOfItsRecords() async throws {
        try await forwarding(numbered("t", partitions: 1, each: 500)) { batches, target in
            func begin() async throws -> Forwarding {
                let producer = try KafkaProducer(client(target.bootstrapServers, ["linger.ms": "300"]))
                return await producer.forward(runs(batches))
            }
            let outcomes = await (try begin()).outcomes
            #expect(outcomes.reduce(0) { $0 + $1.acknowledged } == 500)
            #expect(try await readBack(target, count: 500).count == 500)
        }
    }

    @Test func aRecordArrivesAsItWasRead() async throws {
        let choices: [[UInt8]?] = [nil, [], [1, 0, 2]]
        var sent: [ProducerRecord] = []
        for key in choices {
            for value in choices {
                for headers in [[], [RecordHeader(name: "a", value: value), RecordHeader(name: "a", value: nil), RecordHeader(name: "", value: [])]] {
                    var record = ProducerRecord(
                        topic: "t", partition: 0, key: key, value: value, headers: headers, timestamp: MillisecondTimestamp(1_000 + Int64(sent.count)))
                    record.isTimestampAbsent = sent.count % 5 == 0
                    sent.append(record)
                }
            }
        }
        try await forwarding(sent) { batches, target in
            let producer = try KafkaProducer(client(target.bootstrapServers))
            let outcomes = await producer.forward(runs(batches)).outcomes
            #expect(outcomes.reduce(0) { $0 + $1.acknowledged } == sent.count)
            #expect(outcomes.allSatisfy { $0.failure == nil && $0.unreadableHeaders == 0 })
            #expect(outcomes.first?.first?.offset == 0 && outcomes.last?.end?.offset == Int64(sent.count))
            try await producer.close()
            let records = try await readBack(target, count: sent.count)
            #expect(records.map(\.key) == sent.map(\.key))
            #expect(records.map(\.value) == sent.map(\.value))
            #expect(records.map(\.headers) == sent.map(\.headers))
            #expect(records.map { $0.timestamp?.milliseconds } == sent.map { $0.isTimestampAbsent ? nil : $0.timestamp?.milliseconds })
        }
    }

    /// librdkafka takes the timestamp 0 for "now".
    @Test func aTimestampOfZeroBecomesOne() async throws {
        try await withLocalKafka(partitions: 1) { target in
            let producer = try KafkaProducer(client(target.bootstrapServers))
            let records = (0..<3).map { number in
                Record(
                    partition: TopicPartition(topic: "t", partition: 0), position: Position(Int64(number), in: ClusterID("x")),
                    timestamp: MillisecondTimestamp(Int64(number)), timestampType: .createTime, key: nil, value: [UInt8(number)],
                    headers: [RecordHeader(name: "h", value: [1])])
            }
            let batch = try #require(RecordBatch(records))
            #expect(await producer.forward(runs([batch])).outcomes.first?.acknowledged == 3)
            try await producer.close()
            let copies = try await readBack(target, count: 3)
            #expect(copies.map { $0.timestamp?.milliseconds } == [1, 1, 2])
            #expect(copies.allSatisfy { $0.headers == [RecordHeader(name: "h", value: [1])] })
        }
    }

    @Test func callsKeepTheirOrderThroughAFullQueue() async throws {
        let sent = numbered("t", partitions: 1, each: 5000)
        try await forwarding(sent, max: 100) { batches, target in
            let producer = try KafkaProducer(client(target.bootstrapServers, ["queue.buffering.max.messages": "30", "linger.ms": "0"]))
            var underway: [Forwarding] = []
            for batch in batches { underway.append(await producer.forward(runs([batch]))) }
            var next: Int64 = 0
            for forwarding in underway {
                for outcome in await forwarding.outcomes {
                    #expect(outcome.first?.offset == next && outcome.failure == nil)
                    next += Int64(outcome.acknowledged)
                    #expect(outcome.end?.offset == next)
                }
            }
            #expect(next == 5000)
            try await producer.close()
            #expect(try await readBack(target, count: 5000).map(\.value) == sent.map(\.value))
        }
    }

    /// What follows a record that can't be sent would stand in the log without it.
    @Test func nothingOfAPartitionIsSentAfterARecordThatCanNotBe() async throws {
        var sent = numbered("t", partitions: 1, each: 40)
        sent[25].value = [UInt8](repeating: 7, count: 20_000)
        try await forwarding(sent, max: 10) { batches, target in
            let producer = try KafkaProducer(client(target.bootstrapServers, ["message.max.bytes": "5000"]))
            let outcomes = await producer.forward(runs(batches)).outcomes
            #expect(outcomes.reduce(0) { $0 + $1.acknowledged } == 25)
            let failed = outcomes.firstIndex { $0.failure != nil }
            #expect(outcomes[(failed ?? 0)...].allSatisfy { $0.failure != nil })
            #expect(await producer.forward(runs(Array(batches.prefix(1)))).outcomes.allSatisfy { $0.acknowledged == 0 && $0.failure != nil })
            try await producer.close()
            #expect(try await readBack(target, count: 25).map(\.value) == sent.prefix(25).map(\.value))
            #expect(try target.status("t", 0).nextOffset == 25)
        }
    }

    @Test func whatHasNoAcknowledgementWhenTheClientClosesHasFailed() async throws {
        let sent = numbered("t", partitions: 1, each: 300)
        try await forwarding(sent) { batches, target in
            let producer = try KafkaProducer(client(target.bootstrapServers))
            #expect(await producer.forward([]).outcomes.isEmpty)
            try await producer.clusterID()
            await target.stop()
            let forwarding = await producer.forward(runs(batches))
            await #expect(throws: KafkaLogError.self) { try await producer.close(within: .milliseconds(100)) }
            #expect(await forwarding.outcomes.allSatisfy { $0.acknowledged == 0 && $0.failure != nil })
            #expect(await producer.forward(runs(batches)).outcomes.allSatisfy { $0.failure == .closed })
        }
    }
}
