import LocalKafka
import TestSupport
import Testing

struct FetchTests {
    @Test func aLongPollWakesAtOnceOnProduce() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let reader = try cluster.rawClient(timeout: 25)
            let start = ContinuousClock.now
            async let fetched = reader.fetch(topic: "t", offset: 0, maxWait: 20_000)
            try await eventually("the fetch waits") { try cluster.waitingFetches("t", 0) == 1 }
            #expect(try await cluster.rawClient().produce(batch([1]), topic: "t").error == 0)
            #expect(try await fetched.highWatermark == 1)
            #expect(ContinuousClock.now - start < .seconds(10), "far less than the 20 s that it would have waited")
            #expect(try cluster.waitingFetches("t", 0) == 0)
        }
    }

    @Test func aLongPollEndsAfterItsTime() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1]), to: "t", 0)
            let start = ContinuousClock.now
            let fetched = try await cluster.rawClient().fetch(topic: "t", offset: 0, maxWait: 200, minBytes: 1_000_000)
            #expect(ContinuousClock.now - start >= .milliseconds(190))
            #expect(!fetched.records.isEmpty, "what is there comes, though it is less than asked for")
        }
    }

    @Test func aLongPollEndsWithItsConnection() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            var client: RawClient? = try cluster.rawClient()
            try await client?.send(RawClient.frame(APIKey.fetch.rawValue, version: 11) {
                RawClient.writeFetch(topic: "t", partition: 0, offset: 0, maxWait: 200_000, minBytes: 1, to: &$0)
            })
            try await eventually("the fetch waits") { try cluster.waitingFetches("t", 0) == 1 }
            client = nil
            try await eventually("the fetch is given up") { try cluster.waitingFetches("t", 0) == 0 }
        }
    }

    @Test func wholeBatchesWithinTheSizesButAtLeastOne() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            for number in 0..<10 as Range<Int64> { try cluster.append(rawBatch: batch([number]), to: "t", 0) }
            let client = try cluster.rawClient()
            let size = batch([0]).count
            for (limit, batches) in [(1, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (100 * size, 10)] {
                #expect(try await client.fetch(topic: "t", offset: 0, partitionMaxBytes: Int32(limit)).records.count == batches * size)
                #expect(try await client.fetch(topic: "t", offset: 0, maxBytes: Int32(limit)).records.count == batches * size)
            }
            #expect(try await client.fetch(topic: "t", offset: 10).records.isEmpty)
            #expect(try await client.fetch(topic: "t", offset: 11).error == ErrorCode.offsetOutOfRange.rawValue)
        }
    }

    /// Large ranges go from the file to the socket; what arrives is what was stored.
    @Test func largeFetchesAreByteForByteWhatWasStored() async throws {
        var random = SeededGenerator.forTest("large fetch")
        try await withCluster { cluster in
            try cluster.createTopic("t")
            for _ in 0..<40 {
                let value = (0..<Int.random(in: 1000...60_000, using: &random)).map { UInt8(truncatingIfNeeded: $0 &* 7) }
                try cluster.append(rawBatch: batch([1, 2], value: value), to: "t", 0)
            }
            let client = try cluster.rawClient()
            let all = try await client.fetch(topic: "t", offset: 0).records
            let stored = try cluster.status("t", 0).bytes
            #expect(Int64(all.count) == stored)
            var offset: Int64 = 0
            var pieces: [UInt8] = []
            while offset < 80 {
                let part = try await client.fetch(topic: "t", offset: offset, partitionMaxBytes: 20_000).records
                pieces += part
                let count = Int(part[8..<12].reduce(0) { $0 << 8 | Int($1) }) + 12
                #expect(part.count == count || part.count <= 20_000)
                offset += Int64(part.count == count ? 2 : 2 * Self.batches(part))
            }
            #expect(pieces == all)
        }
    }

    private static func batches(_ bytes: [UInt8]) -> Int {
        var position = 0
        var count = 0
        while position + 12 <= bytes.count {
            position += 12 + Int(bytes[(position + 8)..<(position + 12)].reduce(0) { $0 << 8 | Int($1) })
            count += 1
        }
        return count
    }

    @Test func leaderEpochsAreChecked() async throws {
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1]), to: "t", 0)
            try cluster.moveLeader("t", 0, to: 1)
            let client = try cluster.rawClient()
            #expect(try await client.fetch(topic: "t", offset: 0, leaderEpoch: 0).error == ErrorCode.fencedLeaderEpoch.rawValue)
            #expect(try await client.fetch(topic: "t", offset: 0, leaderEpoch: 1).error == 0)
            #expect(try await client.fetch(topic: "t", offset: 0, leaderEpoch: 2).error == ErrorCode.unknownLeaderEpoch.rawValue)
            #expect(try await cluster.rawClient(broker: 1).fetch(topic: "t", offset: 0).error == ErrorCode.notLeaderOrFollower.rawValue)
        }
    }
}
