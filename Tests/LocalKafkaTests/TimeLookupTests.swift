import LocalKafka
import TestSupport
import Testing

/// The lookup by time against a linear scan, through real sockets.
struct TimeLookupTests {
    /// The answer by definition: the first record in log order with a timestamp of T or later.
    private func scan(_ log: [(offset: Int64, timestamp: Int64)], from timestamp: Int64, logStart: Int64 = 0)
        -> RawClient.Found
    {
        let match = log.first { $0.offset >= logStart && $0.timestamp >= timestamp }
        return RawClient.Found(error: 0, timestamp: match?.timestamp ?? -1, offset: match?.offset ?? -1)
    }

    /// How the times of one random log run.
    enum Mix: CaseIterable {
        case sorted, jumbled, tied, someAbsent, allAbsent, oneFarAhead

        func times(_ count: Int, using random: inout SeededGenerator) -> [Int64] {
            var now: Int64 = 1_000_000
            let ahead = Int.random(in: 0..<count, using: &random)
            return (0..<count).map { index in
                now += Int64.random(in: 0...20, using: &random)
                switch self {
                case .sorted: return now
                case .jumbled: return now + Int64.random(in: -300...300, using: &random)
                case .tied: return 1_000_000 + Int64.random(in: 0...3, using: &random)
                case .someAbsent: return Bool.random(using: &random) ? -1 : now + Int64.random(in: -50...50, using: &random)
                case .allAbsent: return -1
                case .oneFarAhead: return index == ahead ? now + 3_600_000 : now
                }
            }
        }
    }

    @Test(arguments: Mix.allCases)
    func equalsALinearScan(mix: Mix) async throws {
        var random = SeededGenerator.forTest("time lookup, \(mix)")
        try await withCluster({ $0.segmentBytes = 4096 }) { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            let times = mix.times(Int.random(in: 50...600, using: &random), using: &random)
            var log: [(offset: Int64, timestamp: Int64)] = []
            var rest = times[...]
            while !rest.isEmpty {
                let size = Bool.random(using: &random) ? 1 : Int.random(in: 1...80, using: &random)
                let part = Array(rest.prefix(size))
                rest = rest.dropFirst(size)
                if Int.random(in: 0..<10, using: &random) == 0 { try cluster.skipOffsets("t", 0, count: 3) }
                let base: Int64
                if Bool.random(using: &random) {
                    base = try await client.produce(batch(part), topic: "t").offset
                } else {
                    base = try cluster.append(rawBatch: batch(part), to: "t", 0)
                }
                log += part.enumerated().map { (base + Int64($0.offset), $0.element) }
            }
            let largest = times.max() ?? 0
            var asked: [Int64] = [0, 1, max(0, largest), max(0, largest) + 1, .max] + times.filter { $0 >= 0 }.prefix(100)
            for _ in 0..<100 { asked.append(Int64.random(in: 999_000...max(1_010_000, largest), using: &random)) }
            let answers = try await client.listOffsets(topic: "t", timestamps: asked.map { (0, $0) })
            for (timestamp, answer) in zip(asked, answers) {
                #expect(answer == scan(log, from: timestamp), "T = \(timestamp)")
            }
            let highest = log.max { ($0.timestamp, -$0.offset) < ($1.timestamp, -$1.offset) }
            let top = try await client.listOffset(topic: "t", timestamp: -3)
            #expect(top.offset == (largest < 0 ? -1 : highest?.offset), "the record with the largest timestamp")

            // Part of the log goes, in the middle of a batch too; the answers are those of what is left.
            let start = Int64.random(in: 0..<(log.last?.offset ?? 1), using: &random)
            try cluster.deleteRecords("t", 0, before: start)
            for (timestamp, answer) in zip(asked, try await client.listOffsets(topic: "t", timestamps: asked.map { (0, $0) })) {
                #expect(answer == scan(log, from: timestamp, logStart: start), "T = \(timestamp), from \(start)")
            }
        }
    }

    /// Test doubles that answer with the last record at or before T get these wrong.
    @Test func firstAtOrAfterNotLastAtOrBefore() async throws {
        try await withCluster { cluster in
            let cases: [([Int64], Int64, Int64)] = [([10, 10, 10], 10, 0), ([10, 20, 30], 15, 1), ([10, 30, 20], 20, 1)]
            for (number, (times, timestamp, offset)) in cases.enumerated() {
                try cluster.createTopic("t\(number)")
                try cluster.append(rawBatch: batch(times), to: "t\(number)", 0)
                #expect(try await cluster.rawClient().listOffset(topic: "t\(number)", timestamp: timestamp).offset == offset)
            }
        }
    }

    @Test func logAppendTimeIsTheBrokersClock() async throws {
        let clock = TestClock(5000)
        try await withCluster({ $0.clock = { clock.now } }) { cluster in
            try cluster.createTopic("t", configuration: ["message.timestamp.type": "LogAppendTime"])
            let client = try cluster.rawClient()
            #expect(try await client.produce(batch([1, 2, 3]), topic: "t") == .init(error: 0, offset: 0, appendTime: 5000))
            clock.now = 4000  // the clock steps back
            #expect(try await client.produce(batch([9000]), topic: "t").appendTime == 4000)
            cluster.skewClock(ofBroker: 1, by: 3000)
            #expect(try await client.produce(batch([1, 1]), topic: "t").appendTime == 7000)
            for (timestamp, offset) in [(0, 0), (5000, 0), (5001, 4), (7000, 4), (7001, -1)] as [(Int64, Int64)] {
                #expect(try await client.listOffset(topic: "t", timestamp: timestamp).offset == offset, "T = \(timestamp)")
            }
            let fetched = try await client.fetch(topic: "t", offset: 0)
            #expect(fetched.records[22] & 8 == 8, "the batch says that the broker set the time")
        }
    }

    @Test func compressedBatchesAreNeverAnsweredLate() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([10, 20]), to: "t", 0)
            let produced = try await ChildProcess.run(
                ClientTests.kcat, ["-b", cluster.bootstrapServers, "-P", "-t", "t", "-p", "0", "-z", "gzip"],
                input: (0..<100).map { _ in "the same line\n" }.joined())
            #expect(produced.status == 0, "\(produced.errors)")
            let client = try cluster.rawClient()
            #expect(try await client.listOffset(topic: "t", timestamp: 21).offset == 2)
            #expect(try await client.listOffset(topic: "t", timestamp: .max).offset == -1)
        }
    }

    /// A producer whose header understates the largest timestamp must not make the lookup skip its batch.
    @Test func theLargestTimestampIsTakenFromTheRecords() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            var lying = RecordBatchBuilder(records: [RawRecord(timestamp: 10), RawRecord(timestamp: 500)])
            lying.maxTimestamp = 10
            let client = try cluster.rawClient()
            #expect(try await client.produce(lying.bytes(), topic: "t").error == 0)
            #expect(try await client.listOffset(topic: "t", timestamp: 400).offset == 1)
            // What is stored carries a sound checksum: it can be appended again.
            let stored = try await client.fetch(topic: "t", offset: 0).records
            #expect(try cluster.append(rawBatch: stored, to: "t", 0) == 2)
        }
    }
}
