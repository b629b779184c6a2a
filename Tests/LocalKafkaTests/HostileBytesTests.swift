import LocalKafka
import TestSupport
import Testing

/// Whatever a client sends, the broker lives on and serves the next one.
struct HostileBytesTests {
    /// The broker still answers a new client rightly.
    private func expectAlive(_ cluster: LocalKafkaCluster, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let found = try await cluster.rawClient().listOffset(topic: "t", timestamp: -1)
        #expect(found.error == 0, sourceLocation: sourceLocation)
    }

    private func expectClosed(_ client: RawClient, _ what: String, sourceLocation: SourceLocation = #_sourceLocation) async {
        await #expect(throws: RawClient.Closed.self, "\(what)", sourceLocation: sourceLocation) {
            _ = try await client.receiveFrame()
        }
    }

    @Test func wrongSizesCloseTheConnection() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let sizes: [[UInt8]] = [
                [0x7f, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 7],
                Array("GET ".utf8),
            ]
            for size in sizes {
                let client = try cluster.rawClient()
                try await client.send(size + [0, 0, 0, 0])
                await expectClosed(client, "size \(size)")
            }
            try await expectAlive(cluster)
        }
    }

    @Test func wrongCountsAndLengthsCloseTheConnection() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let bodies: [(String, APIKey, Int16, Bool, (inout WireWriter) -> Void)] = [
                ("huge array", .metadata, 1, false, { $0.int32(.max) }),
                ("negative array", .metadata, 1, false, { $0.int32(-2) }),
                ("huge compact array", .metadata, 12, true, { $0.unsignedVarint(.max) }),
                ("varint too long", .metadata, 12, true, { $0.buffer.writeBytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) }),
                ("long string", .metadata, 1, false, { $0.int32(1); $0.int16(.max) }),
                ("negative string", .metadata, 1, false, { $0.int32(1); $0.int16(-5) }),
                ("null name", .metadata, 1, false, { $0.int32(1); $0.int16(-1) }),
                ("not UTF-8", .metadata, 1, false, { $0.int32(1); $0.int16(2); $0.buffer.writeBytes([0xc3, 0x28]) }),
                ("no body", .fetch, 11, false, { _ in }),
                ("huge records", .produce, 7, false, { writer in
                    writer.int16(-1); writer.int16(-1); writer.int32(0); writer.int32(1); writer.string("t"); writer.int32(1)
                    writer.int32(0); writer.int32(.max)
                }),
                ("many tagged fields", .listOffsets, 7, true, { writer in
                    writer.int32(-1); writer.int8(0); writer.arrayCount(1); writer.string("t"); writer.arrayCount(1)
                    writer.int32(0); writer.int32(0); writer.int64(0); writer.unsignedVarint(.max)
                }),
                ("huge tagged field", .initProducerID, 2, true, { writer in
                    writer.nullableString(nil); writer.int32(0); writer.unsignedVarint(1); writer.unsignedVarint(0)
                    writer.unsignedVarint(.max)
                }),
            ]
            for (what, key, version, flexible, body) in bodies {
                let client = try cluster.rawClient()
                try await client.send(RawClient.frame(key.rawValue, version: version, flexible: flexible, body: body))
                await expectClosed(client, what)
            }
            for (key, version) in [(999, 0), (1, 99), (1, 0), (-1, -1)] as [(Int16, Int16)] {
                let client = try cluster.rawClient()
                try await client.send(RawClient.frame(key, version: version) { _ in })
                await expectClosed(client, "request \(key) version \(version)")
            }
            try await expectAlive(cluster)
        }
    }

    @Test func extremeNumbersAreAnswered() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1]), to: "t", 0)
            let client = try cluster.rawClient()
            for offset in [Int64.min, -1, 2, .max] {
                #expect(try await client.fetch(topic: "t", offset: offset).error == ErrorCode.offsetOutOfRange.rawValue)
            }
            for size in [Int32.min, -1, 0, .max] {
                #expect(try await client.fetch(topic: "t", offset: 0, minBytes: size, maxBytes: size, partitionMaxBytes: size).error == 0)
            }
            for partition in [Int32.min, -1, 1, .max] {
                let unknown = ErrorCode.unknownTopicOrPartition.rawValue
                #expect(try await client.fetch(topic: "t", partition: partition, offset: 0).error == unknown)
                #expect(try await client.listOffset(topic: "t", partition: partition, timestamp: 0).error == unknown)
                #expect(try await client.produce(batch([1]), topic: "t", partition: partition).error == unknown)
            }
            #expect(try await client.listOffset(topic: "t", timestamp: .min).error != 0)
            #expect(try await client.listOffset(topic: "t", timestamp: .max).offset == -1)
        }
    }

    /// Damaged batches are refused with the right error and never stored.
    @Test func damagedBatchesAreRefused() async throws {
        var random = SeededGenerator.forTest("damaged batches")
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            let good = batch([10, 20, 30], value: Array("some value".utf8))
            for _ in 0..<300 {
                var bad = good
                if Bool.random(using: &random) {
                    bad = Array(bad.prefix(Int.random(in: 0..<good.count, using: &random)))
                } else {
                    // Base offset and leader epoch are the broker's to set and not covered by the checksum.
                    let places = Array(8..<12) + Array(16..<good.count)
                    bad[places.randomElement(using: &random) ?? 8] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &random)
                }
                #expect(try await client.produce(bad, topic: "t").error != 0)
            }
            #expect(try cluster.status("t", 0).nextOffset == 0)
            #expect(try await client.produce(good, topic: "t") == .init(error: 0, offset: 0))
        }
    }

    /// With a right checksum over wrong contents.
    @Test func inconsistentBatchesAreRefused() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            var control = RecordBatchBuilder(records: [RawRecord(timestamp: 1, key: [0, 0, 0, 1])])
            control.isControl = true
            var stamped = RecordBatchBuilder(records: [RawRecord(timestamp: 1)])
            stamped.isLogAppendTime = true
            let holes = RecordBatchBuilder(records: [RawRecord(timestamp: 1), RawRecord(timestamp: 1, skippedBefore: 2)])
            let two = batch([1]) + batch([2])
            let cases: [(String, [UInt8], ErrorCode)] = [
                ("control batch", control.bytes(), .invalidRecord), ("timestamp type", stamped.bytes(), .invalidTimestamp),
                ("holes", holes.bytes(), .invalidRecord), ("two batches", two, .invalidRecord),
                ("no records", RecordBatchBuilder(records: []).bytes(), .invalidRecord),
                ("too large", batch([1], value: [UInt8](repeating: 0, count: 1_100_000)), .messageTooLarge),
            ]
            for (what, bytes, error) in cases {
                #expect(try await client.produce(bytes, topic: "t").error == error.rawValue, "\(what)")
            }
            #expect(try await client.produce(batch([1]), topic: "t", version: 2).error == ErrorCode.unsupportedForMessageFormat.rawValue)
        }
    }

    @Test func randomBytesDoNoHarm() async throws {
        var random = SeededGenerator.forTest("random bytes")
        try await withCluster({ $0.autoCreateTopics = false }) { cluster in
            try cluster.createTopic("t")
            let keys = APIKey.allCases
            for round in 0..<150 {
                let client = try cluster.rawClient()
                let key = keys.randomElement(using: &random) ?? .fetch
                let count = Int.random(in: 0...200, using: &random)
                // Small numbers make more of the fields believable than evenly random bytes would.
                let noise = (0..<count).map { _ in
                    Bool.random(using: &random) ? UInt8.random(in: 0...3, using: &random) : UInt8.random(in: 0...255, using: &random)
                }
                var bytes = RawClient.frame(key.rawValue, version: Int16.random(in: 0...12, using: &random)) {
                    $0.buffer.writeBytes(noise)
                }
                if Bool.random(using: &random) { bytes = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random))) }
                try? await client.send(bytes)
                if round % 25 == 0 { try await expectAlive(cluster) }
            }
            try await expectAlive(cluster)
        }
    }

    /// Requests that are right but for a few bytes get further in than noise does.
    @Test func requestsWithAFewWrongBytesDoNoHarm() async throws {
        var random = SeededGenerator.forTest("mutated requests")
        try await withCluster({ $0.autoCreateTopics = false }) { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1, 2, 3]), to: "t", 0)
            let good: [[UInt8]] = [
                RawClient.frame(APIKey.produce.rawValue, version: 7) {
                    RawClient.writeProduce(batch([5, 6]), topic: "t", partition: 0, version: 7, acks: 1, to: &$0)
                },
                RawClient.frame(APIKey.fetch.rawValue, version: 11) {
                    RawClient.writeFetch(topic: "t", partition: 0, offset: 1, maxWait: 1, minBytes: 1, to: &$0)
                },
                RawClient.frame(APIKey.listOffsets.rawValue, version: 2) {
                    $0.int32(-1); $0.int8(0); $0.int32(1); $0.string("t"); $0.int32(1); $0.int32(0); $0.int64(2)
                },
                RawClient.frame(APIKey.createTopics.rawValue, version: 5, flexible: true) {
                    $0.arrayCount(1); $0.string("new"); $0.int32(1); $0.int16(1); $0.arrayCount(0); $0.arrayCount(0)
                    $0.noTaggedFields(); $0.int32(10); $0.bool(true); $0.noTaggedFields()
                },
                RawClient.frame(APIKey.metadata.rawValue, version: 12, flexible: true) {
                    $0.arrayCount(1); $0.uuid(.zero); $0.string("t"); $0.noTaggedFields(); $0.bool(true); $0.bool(false)
                    $0.noTaggedFields()
                },
            ]
            for round in 0..<300 {
                let client = try cluster.rawClient()
                var bytes = good.randomElement(using: &random) ?? []
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    let place = Int.random(in: 4..<bytes.count, using: &random)
                    bytes[place] = [0, 1, 0x7f, 0x80, 0xff, bytes[place] ^ 1].randomElement(using: &random) ?? 0
                }
                try? await client.send(bytes)
                if round % 50 == 0 { try await expectAlive(cluster) }
            }
            try await expectAlive(cluster)
        }
    }

    @Test func requestsInOneWriteAreAnsweredInOrder() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            var bytes: [UInt8] = []
            for number in 0..<200 as Range<Int32> {
                bytes += RawClient.frame(APIKey.metadata.rawValue, version: 1, correlationID: number) { $0.int32(0) }
            }
            let cut = bytes.count / 3
            try await client.send(Array(bytes[..<cut]))
            try await client.send(Array(bytes[cut...]))
            for number in 0..<200 as Range<Int32> {
                var reader = WireReader(bytes: try await client.receiveFrame())
                #expect(try reader.int32() == number)
            }
        }
    }

    @Test func aVersionFromTheFutureIsToldWhatIsServed() async throws {
        try await withCluster { cluster in
            let client = try cluster.rawClient()
            try await client.send(RawClient.frame(APIKey.apiVersions.rawValue, version: 99) { $0.unsignedVarint(.max) })
            var reader = WireReader(bytes: try await client.receiveFrame())
            #expect(try reader.int32() == 7)
            #expect(try reader.int16() == ErrorCode.unsupportedVersion.rawValue)
            let served = try reader.array { (key: try $0.int16(), first: try $0.int16(), last: try $0.int16()) }
            #expect(served.contains { $0.key == APIKey.apiVersions.rawValue && $0.first == 0 && $0.last == 3 })
            #expect(served.contains { $0.key == APIKey.produce.rawValue && $0.first == 0 })
            #expect(reader.remaining == 0)
        }
    }
}
