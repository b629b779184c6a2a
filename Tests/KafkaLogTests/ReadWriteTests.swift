import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct ReadWriteTests {
    @Test func everyRecordArrivesOnceInOrderWithItsPosition() async throws {
        try await withLocalKafka { cluster in
            let deliveries = try await produce(numbered("t", partitions: 3, each: 500), to: cluster.bootstrapServers)
            #expect(deliveries.map { $0.position?.offset } == (0..<3).flatMap { _ in (0..<500).map { Int64($0) } })
            let consumer = try makeConsumer(cluster.bootstrapServers)
            let id = try await consumer.clusterID()
            #expect(id.id == cluster.clusterID)
            try await consumer.assign(starts("t", 3, in: id))
            let records = try await read(consumer, count: 1500, max: 100)
            #expect(records.count == 1500)
            for partition in Int32(0)..<3 {
                let own = records.filter { $0.partition.partition == partition }
                #expect(own.map(\.position.offset) == (0..<500).map { Int64($0) })
                #expect(own.map { String(decoding: $0.value ?? [], as: UTF8.self) } == (0..<500).map { "v\(partition)-\($0)" })
                #expect(own.allSatisfy { $0.timestampType == .createTime && $0.position.cluster == id })
            }
            #expect(try await consumer.positions() == starts("t", 3, at: 500, in: id))
            #expect(try await consumer.nextEvent(deadline: within(0.05)) == nil)
            try await consumer.close()
        }
    }

    /// librdkafka by itself asks for the leaders of a topic that it doesn't know yet within a second.
    @Test func anAssignmentThatComesLaterThanTheConnectionFlowsAtOnce() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: 10), to: cluster.bootstrapServers)
            var times: [Duration] = []
            for _ in 0..<3 {
                let consumer = try makeConsumer(cluster.bootstrapServers)
                let id = try await consumer.clusterID()
                try await Task.sleep(for: .milliseconds(300))
                let began = ContinuousClock.now
                try await consumer.assign(starts("t", 1, in: id))
                #expect(try await read(consumer, count: 10).count == 10)
                times.append(began.duration(to: .now))
                try await consumer.close()
            }
            // The scan may come by chance at the right moment, and a busy machine may be late, but not three times.
            #expect(times.sorted()[1] < .milliseconds(400), "\(times)")
        }
    }

    /// Traps: a null value (tombstone), a null key and an empty value are three inputs.
    @Test func nullAndEmptyAreDifferentThingsBothWays() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            let choices: [[UInt8]?] = [nil, [], [1, 0, 2]]
            var sent: [ProducerRecord] = []
            for key in choices {
                for value in choices {
                    sent.append(
                        ProducerRecord(
                            topic: "t", partition: 0, key: key, value: value,
                            headers: [
                                RecordHeader(name: "a", value: value), RecordHeader(name: "a", value: nil),
                                RecordHeader(name: "", value: []),
                            ], timestamp: MillisecondTimestamp(1_000)))
                }
            }
            try await produce(sent, to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
            let records = try await read(consumer, count: 9)
            #expect(records.map(\.key) == sent.map(\.key))
            #expect(records.map(\.value) == sent.map(\.value))
            #expect(records.map(\.headers) == sent.map(\.headers))
            #expect(records.allSatisfy { $0.timestamp?.milliseconds == 1_000 })
            try await consumer.close()
        }
    }

    @Test func timestampsMayBeAbsent() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            var record = ProducerRecord(topic: "t", partition: 0, value: [1])
            record.isTimestampAbsent = true
            try await produce([record], to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
            let records = try await read(consumer, count: 1)
            #expect(records.first?.timestamp == nil)
            #expect(records.first?.timestampType == TimestampType.none)
            try await consumer.close()
        }
    }

    @Test func aFullLocalQueueSuspendsTheSenderAndLosesNothing() async throws {
        try await withLocalKafka(partitions: 2) { cluster in
            let producer = try KafkaProducer(
                client(cluster.bootstrapServers, ["queue.buffering.max.messages": "50", "linger.ms": "1"]))
            async let first = producer.send(contentsOf: numbered("t", partitions: 1, each: 2000))
            async let second = producer.send(contentsOf: numbered("t", partitions: 2, each: 1000))
            let results = await first + second
            #expect(results.count == 4000)
            for result in results { _ = try result.get() }
            try await producer.flush()
            try await producer.close()
            await #expect(throws: KafkaLogError.closed) { try await producer.send(ProducerRecord(topic: "t", value: nil)) }
        }
    }

    @Test func oneBadRecordDoesNotTouchItsNeighbours() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            let producer = try KafkaProducer(client(cluster.bootstrapServers))
            let good = ProducerRecord(topic: "t", partition: 0, value: [1])
            let results = await producer.send(contentsOf: [
                good, ProducerRecord(topic: "", value: [2]), ProducerRecord(topic: "t", partition: 77, value: [3]),
                ProducerRecord(topic: "t", partition: 0, value: Array(repeating: 0, count: 2_000_000)), good,
            ])
            #expect(try results[0].get().position?.offset == 0)
            #expect(try results[4].get().position?.offset == 1)
            for index in 1...3 {
                guard case .failure(let error) = results[index] else { Issue.record("\(index) succeeded"); continue }
                #expect(!error.isRetriable, "\(error)")
            }
            try await producer.close()
        }
    }

    @Test func readingCanBeCancelledAndLosesNothingByIt() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: 1), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            try await consumer.assign(starts("t", 1, at: 1, in: consumer.clusterID()))
            let reader = Task { try await consumer.nextEvent() }
            while await !consumer.isWaiting { await Task.yield() }
            await #expect(throws: KafkaLogError.concurrentRead) { try await consumer.nextEvent() }
            reader.cancel()
            await #expect(throws: CancellationError.self) { try await reader.value }
            try await produce(numbered("t", partitions: 1, each: 2), to: cluster.bootstrapServers)
            #expect(try await read(consumer, count: 2).map(\.position.offset) == [1, 2])
            try await consumer.close()
            await #expect(throws: KafkaLogError.closed) { try await consumer.nextEvent() }
        }
    }

    @Test func aBatchOutlivesItsConsumer() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: 100), to: cluster.bootstrapServers)
            var consumer: KafkaConsumer? = try makeConsumer(cluster.bootstrapServers)
            try await consumer?.assign(starts("t", 1, in: consumer!.clusterID()))
            let batch = try #require(try await consumer?.nextBatch(deadline: within(10)))
            try await consumer?.close()
            consumer = nil
            #expect(try batch.detached(at: 0).value == Array("v0-0".utf8))
            var sum = 0
            batch.forEach { record in sum += record.valueSize ?? 0 }
            #expect(sum > 0)
        }
    }
}
