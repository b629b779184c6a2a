import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct PositionTests {
    static let partition = TopicPartition(topic: "t", partition: 0)

    func records(_ batch: RecordBatch) throws -> [Record] { try (0..<batch.count).map { try batch.detached(at: $0) } }

    /// A record from before a seek, pause or resume must never be handed out after it: librdkafka has it in its queue.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func noStaleRecordAfterSeekPauseOrResume(seed: UInt64) async throws {
        try await withLocalKafka(partitions: 2) { cluster in
            let total: Int64 = 3000
            try await produce(numbered("t", partitions: 2, each: Int(total)), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers, ["fetch.message.max.bytes": "4096"])
            let id = try await consumer.clusterID()
            try await consumer.assign(starts("t", 2, in: id))
            let partitions = (0..<2).map { TopicPartition(topic: "t", partition: $0) }
            var random = SplitMix(state: seed)
            var expected: [TopicPartition: Int64] = [partitions[0]: 0, partitions[1]: 0]
            var paused: Set<TopicPartition> = []
            var steps = 0
            while steps < 150 {
                let chosen = partitions[Int(random.next() % 2)]
                switch random.next() % 6 {
                case 0:
                    let target = Int64(random.next() % UInt64(total - 100))
                    try await consumer.seek([chosen: Position(target, in: id)])
                    expected[chosen] = target
                case 1:
                    try await consumer.pause([chosen])
                    paused.insert(chosen)
                case 2:
                    try await consumer.resume([chosen])
                    paused.remove(chosen)
                default: break
                }
                let batch = try await consumer.nextBatch(max: Int(random.next() % 200) + 1, deadline: within(0.02))
                for record in try batch.map(records) ?? [] {
                    #expect(!paused.contains(record.partition), "seed \(seed), step \(steps): a paused partition flowed")
                    #expect(
                        record.position.offset == expected[record.partition], "seed \(seed), step \(steps), \(record.partition)")
                    expected[record.partition] = record.position.offset + 1
                }
                for partition in partitions where expected[partition] == total {
                    try await consumer.seek([partition: Position(0, in: id)])
                    expected[partition] = 0
                }
                steps += 1
            }
            // Everything flows again and reaches the end.
            try await consumer.resume(partitions)
            let rest = partitions.reduce(0) { $0 + Int(total - expected[$1]!) }
            let last = try await read(consumer, count: rest)
            #expect(last.count == rest, "seed \(seed)")
            try await consumer.close()
        }
    }

    @Test func aPositionOfAnotherClusterIsRefusedEverywhere() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            let consumer = try makeConsumer(cluster.bootstrapServers, group: "g")
            let id = try await consumer.clusterID()
            let foreign = Position(0, in: ClusterID("codfw"))
            let expected = KafkaLogError.wrongCluster(Self.partition, expected: id, actual: foreign.cluster)
            await #expect(throws: expected) { try await consumer.assign([Self.partition: foreign]) }
            try await consumer.assign([Self.partition: Position(0, in: id)])
            await #expect(throws: expected) { try await consumer.seek([Self.partition: foreign]) }
            await #expect(throws: expected) { try await consumer.commit([Self.partition: CommittedOffset(foreign)]) }
            let admin = try KafkaAdmin(client(cluster.bootstrapServers))
            await #expect(throws: expected) { try await admin.deleteRecords(before: [Self.partition: foreign]) }
            await #expect(throws: expected) {
                try await admin.alterGroupOffsets("g", [Self.partition: CommittedOffset(foreign)])
            }
            await #expect(throws: KafkaLogError.notAssigned([TopicPartition(topic: "t", partition: 9)])) {
                try await consumer.pause([TopicPartition(topic: "t", partition: 9)])
            }
            await admin.close()
            try await consumer.close()
        }
    }

    /// Faults F08, F09: retention or truncation passed us. The partition stands still and says so; others flow; nobody jumps.
    @Test(arguments: [(0 as Int64, true), (5000, false)])
    func aPositionOutsideTheLogIsAnErrorOfThatPartitionOnly(offset: Int64, isTrimmed: Bool) async throws {
        try await withLocalKafka(partitions: 2) { cluster in
            try await produce(numbered("t", partitions: 2, each: 100), to: cluster.bootstrapServers)
            if isTrimmed { _ = try cluster.deleteRecords("t", 0, before: 50) }
            let consumer = try makeConsumer(cluster.bootstrapServers)
            let id = try await consumer.clusterID()
            let other = TopicPartition(topic: "t", partition: 1)
            try await consumer.assign([Self.partition: Position(offset, in: id), other: Position(0, in: id)])
            var flowed = 0
            var failure: KafkaLogError?
            while flowed < 100 || failure == nil, let event = try await consumer.nextEvent(deadline: within(10)) {
                switch event {
                case .batch(let batch):
                    #expect(batch.runs.allSatisfy { $0.partition == other })
                    flowed += batch.count
                case .partitionFailed(let partition, let error):
                    #expect(partition == Self.partition)
                    failure = error
                default: Issue.record("\(event)")
                }
            }
            #expect(flowed == 100)
            #expect(failure?.label == "offset_out_of_range")
            try await consumer.seek([Self.partition: Position(90, in: id)])
            #expect(try await read(consumer, count: 10).map(\.position.offset) == (90..<100).map { Int64($0) })
            try await consumer.close()
        }
    }

    /// Every passage of a queue from empty to not empty must wake the reader: none may be left to the idle poll.
    @Test func aWaitingReaderIsWokenByEachRecord() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            let consumer = try makeConsumer(cluster.bootstrapServers)
            try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
            let producer = try KafkaProducer(client(cluster.bootstrapServers, ["linger.ms": "0"]))
            var slowest: Duration = .zero
            for index in 0..<300 {
                async let batch = consumer.nextBatch(deadline: within(10))
                let start = ContinuousClock.now
                _ = try await producer.send(ProducerRecord(topic: "t", partition: 0, value: [UInt8(index & 255)]))
                #expect(try await batch?.count == 1)
                slowest = max(slowest, ContinuousClock.now - start)
            }
            #expect(slowest < .seconds(2))
            try await producer.close()
            try await consumer.close()
        }
    }
}

/// A small random number generator whose seed makes a run repeat.
struct SplitMix {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
