import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct LookupTests {
    func tp(_ partition: Int32) -> TopicPartition { TopicPartition(topic: "t", partition: partition) }
    func time(_ value: Int64) -> MillisecondTimestamp { MillisecondTimestamp(clamped: value) }

    /// The first record at or after the time, however unsorted the times; none: the high watermark, a concrete offset.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func lookupsAgreeWithALinearScan(seed: UInt64) async throws {
        try await withLocalKafka(partitions: 3) { cluster in
            var random = SplitMix(state: seed)
            let times = (0..<3).map { _ in (0..<200).map { Int64($0 * 2) + 1 + Int64(random.next() % 40) } }
            let records = times.enumerated().flatMap { partition, times in
                times.map {
                    ProducerRecord(topic: "t", partition: Int32(partition), value: [0], timestamp: MillisecondTimestamp($0))
                }
            }
            try await produce(records, to: cluster.bootstrapServers, ["linger.ms": "0", "batch.num.messages": "7"])
            let consumer = try makeConsumer(cluster.bootstrapServers)
            for _ in 0..<30 {
                let wanted = Dictionary(uniqueKeysWithValues: (0..<3).map { (tp($0), time(Int64(random.next() % 480))) })
                let answers = try await consumer.lookUp(times: wanted)
                for (partition, time) in wanted {
                    let own = times[Int(partition.partition)]
                    let first = own.firstIndex { $0 >= time.milliseconds }
                    let answer = try #require(try answers[partition]?.get())
                    #expect(answer.start.offset == Int64(first ?? 200), "seed \(seed), \(time)")
                    #expect(answer.found == (first != nil) && answer.low.offset == 0 && answer.high.offset == 200)
                }
            }
            try await consumer.close()
        }
    }

    @Test func emptyTrimmedAndMissingPartitionsAreToldApart() async throws {
        try await withLocalKafka(partitions: 2) { cluster in
            try cluster.createTopic("t")
            try await produce(numbered("t", partitions: 1, each: 10), to: cluster.bootstrapServers)
            _ = try cluster.deleteRecords("t", 0, before: 4)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            let id = try await consumer.clusterID()
            let answers = try await consumer.lookUp(
                times: [tp(0): time(0), tp(1): time(0), tp(7): time(0)], timeout: .seconds(3))
            #expect(
                try answers[tp(0)]?.get()
                    == OffsetLookup(start: Position(4, in: id), found: true, low: Position(4, in: id), high: Position(10, in: id)))
            #expect(
                try answers[tp(1)]?.get()
                    == OffsetLookup(start: Position(0, in: id), found: false, low: Position(0, in: id), high: Position(0, in: id)))
            guard case .failure(let error)? = answers[tp(7)] else { Issue.record("no such partition"); return }
            #expect(error.code != nil, "\(error)")
            #expect(try await consumer.watermarks([tp(0)])[tp(0)]?.get() == Watermarks(low: Position(4, in: id), high: Position(10, in: id)))
            try await consumer.close()
        }
    }

    /// librdkafka 2.0.2 doesn't refresh a moved leader for ListOffsets: the retry here does.
    @Test func aMovedLeaderIsFoundAgain() async throws {
        try await withLocalKafka(partitions: 4, brokers: 3) { cluster in
            try cluster.createTopic("t")
            try await produce(numbered("t", partitions: 4, each: 10), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers, ["topic.metadata.refresh.interval.ms": "60000"])
            let wanted = Dictionary(uniqueKeysWithValues: (0..<4).map { (tp($0), time(1_700_000_000_005)) })
            for (_, answer) in try await consumer.lookUp(times: wanted) { #expect(try answer.get().start.offset == 5) }
            for partition in Int32(0)..<4 {
                let leader = try cluster.status("t", partition).leader
                try cluster.moveLeader("t", partition, to: leader % 3 + 1)
            }
            for (_, answer) in try await consumer.lookUp(times: wanted) { #expect(try answer.get().start.offset == 5) }
            try await consumer.close()
        }
    }

    /// A broker that does not answer in time: librdkafka reports success and leaves the time in the offset's place.
    @Test func aBrokerThatDoesNotAnswerIsNeverTakenForAnOffset() async throws {
        try await withLocalKafka(partitions: 2, brokers: 2) { cluster in
            try cluster.createTopic("t")
            try await produce(numbered("t", partitions: 2, each: 10, time: { Int64($0) + 1 }), to: cluster.bootstrapServers)
            let silent = try cluster.status("t", 0).leader
            #expect(try cluster.status("t", 1).leader != silent)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            // Connected to both: on a busy machine that alone may take a while.
            for (_, answer) in try await consumer.lookUp(times: [tp(0): time(6), tp(1): time(6)]) { #expect(try answer.get().start.offset == 5) }
            cluster.faults.add(FaultRule(.dropReply, apiKey: .listOffsets, brokerID: silent, count: nil))
            let answers = try await consumer.lookUp(times: [tp(0): time(6), tp(1): time(6)], timeout: .seconds(4))
            guard case .failure(let error)? = answers[tp(0)] else { Issue.record("\(answers)"); return }
            #expect(error.isRetriable)
            #expect(try answers[tp(1)]?.get().start.offset == 5)
            cluster.faults.removeAll()
            try await consumer.close(within: .seconds(2))
        }
    }

    @Test func oneFailedAnswerIsAskedForAgain() async throws {
        try await withLocalKafka(partitions: 2) { cluster in
            try cluster.createTopic("t")
            try await produce(numbered("t", partitions: 2, each: 10), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            for code in [ErrorCode.notLeaderOrFollower, .leaderNotAvailable, .unknownTopicOrPartition] {
                let rule = cluster.faults.add(FaultRule(.error(code), apiKey: .listOffsets, topic: "t", partition: 1, count: 2))
                let answers = try await consumer.lookUp(times: [tp(0): time(1_700_000_000_003), tp(1): time(1_700_000_000_003)])
                for (_, answer) in answers { #expect(try answer.get().start.offset == 3) }
                #expect(cluster.faults.strikes(rule) == 2)
            }
            try await consumer.close()
        }
    }
}
