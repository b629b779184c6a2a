import LocalKafka
import TestSupport
import Testing

/// Each control does what it says, and only to whom it says.
struct FaultTests {
    @Test func anErrorForOnePartitionACountedNumberOfTimes() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t", partitions: 2)
            let rule = cluster.faults.add(
                FaultRule(.error(.notLeaderOrFollower), apiKey: .listOffsets, topic: "t", partition: 1, count: 2))
            let client = try cluster.rawClient()
            for _ in 0..<2 {
                let found = try await client.listOffsets(topic: "t", timestamps: [(0, -1), (1, -1)])
                #expect(found.map(\.error) == [0, ErrorCode.notLeaderOrFollower.rawValue])
            }
            #expect(try await client.listOffset(topic: "t", partition: 1, timestamp: -1).error == 0)
            #expect(cluster.faults.strikes(rule) == 2)
        }
    }

    @Test func produceErrorsChangeNothing() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let rule = cluster.faults.add(FaultRule(.error(.notEnoughReplicas), apiKey: .produce, count: nil))
            let client = try cluster.rawClient()
            #expect(try await client.produce(batch([1]), topic: "t").error == ErrorCode.notEnoughReplicas.rawValue)
            #expect(try await client.fetch(topic: "t", offset: 0).error == 0)
            #expect(try cluster.status("t", 0).nextOffset == 0)
            cluster.faults.remove(rule)
            #expect(try await client.produce(batch([1]), topic: "t").error == 0)
        }
    }

    @Test func aDroppedReplyWasCarriedOut() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            cluster.faults.add(FaultRule(.dropReply, apiKey: .produce))
            let client = try cluster.rawClient()
            try await client.send(RawClient.frame(APIKey.produce.rawValue, version: 7, correlationID: 1) {
                RawClient.writeProduce(batch([1]), topic: "t", partition: 0, version: 7, acks: -1, to: &$0)
            })
            // The next answer on the connection is the next request's.
            #expect(try await client.fetch(topic: "t", offset: 0).highWatermark == 1)
        }
    }

    @Test func aClosedConnectionWasNotCarriedOut() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            for topic in [nil, "t"] {
                cluster.faults.add(FaultRule(.closeConnection, apiKey: .produce, topic: topic))
                let client = try cluster.rawClient()
                await #expect(throws: RawClient.Closed.self) { try await client.produce(batch([1]), topic: "t") }
            }
            #expect(try cluster.status("t", 0).nextOffset == 0)
        }
    }

    @Test func aDelayedReplyComesLate() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            cluster.faults.add(FaultRule(.delayReply(.milliseconds(150)), apiKey: .listOffsets))
            let client = try cluster.rawClient()
            let start = ContinuousClock.now
            _ = try await client.listOffset(topic: "t", timestamp: -1)
            #expect(ContinuousClock.now - start >= .milliseconds(150))
        }
    }

    @Test(arguments: [0, 3, 20, 5000]) func aCutReplyEndsInTheMiddle(bytes: Int) async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1], value: [UInt8](repeating: 7, count: 100_000)), to: "t", 0)
            cluster.faults.add(FaultRule(.cutReply(afterBytes: bytes), apiKey: .fetch, topic: "t"))
            let client = try cluster.rawClient()
            await #expect(throws: RawClient.Closed.self) { try await client.fetch(topic: "t", offset: 0) }
            #expect(try await cluster.rawClient().fetch(topic: "t", offset: 0).records.count > 100_000)
        }
    }

    @Test func aDropForeverIsABrokerThatHangs() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let silence = cluster.faults.add(FaultRule(.dropReply, brokerID: 1, count: nil))
            let client = try cluster.rawClient(timeout: 1)
            await #expect(throws: TestTimeout.self) { try await client.listOffset(topic: "t", timestamp: -1) }
            cluster.faults.remove(silence)
            #expect(try await cluster.rawClient().listOffset(topic: "t", timestamp: -1).error == 0)
        }
    }

    @Test func aSuccessorTakesOverTheLeaders() async throws {
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("t", partitions: 2)
            try await cluster.stopBroker(2, movingLeadersTo: 1)
            #expect(try cluster.status("t", 1).leader == 1)
            #expect(try cluster.status("t", 1).leaderEpoch == 1)
            #expect(try await cluster.rawClient().produce(batch([1]), topic: "t", partition: 1).error == 0)
        }
    }

    @Test func aStoppedBrokerKeepsItsPortAndData() async throws {
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("t", partitions: 2)
            try cluster.append(rawBatch: batch([1]), to: "t", 1)
            let port = cluster.brokerAddresses[1].port
            let connected = try cluster.rawClient(broker: 1)
            _ = try await connected.fetch(topic: "t", partition: 1, offset: 0)
            try await cluster.stopBroker(2)
            await #expect(throws: RawClient.Closed.self) { try await connected.receiveFrame() }
            #expect(throws: (any Error).self) { try cluster.rawClient(broker: 1) }
            #expect(try await cluster.rawClient().listOffset(topic: "t", partition: 0, timestamp: -1).error == 0)
            try await cluster.startBroker(2)
            #expect(cluster.brokerAddresses[1].port == port)
            #expect(try await cluster.rawClient(broker: 1).fetch(topic: "t", partition: 1, offset: 0).highWatermark == 1)
        }
    }

    @Test func stoppingABrokerEndsItsLongPolls() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            try await client.send(RawClient.frame(APIKey.fetch.rawValue, version: 11) {
                RawClient.writeFetch(topic: "t", partition: 0, offset: 0, maxWait: 100_000, minBytes: 1, to: &$0)
            })
            try await eventually("the fetch waits") { try cluster.waitingFetches("t", 0) == 1 }
            let start = ContinuousClock.now
            try await cluster.stopBroker(1)
            #expect(ContinuousClock.now - start < .seconds(5))
        }
    }

    @Test func truncationCutsAtABatchAndReadersLearnOfIt() async throws {
        try await withCluster({ $0.segmentBytes = 250 }) { cluster in
            try cluster.createTopic("t")
            for number in 0..<10 as Range<Int64> { try cluster.append(rawBatch: batch([number, number]), to: "t", 0) }
            let client = try cluster.rawClient()
            #expect(try cluster.truncate("t", 0, to: 7) == 6, "offsets 6 and 7 are one batch")
            #expect(try await client.fetch(topic: "t", offset: 10).error == ErrorCode.offsetOutOfRange.rawValue)
            #expect(try cluster.append(rawBatch: batch([100]), to: "t", 0) == 6)
            #expect(try await client.listOffset(topic: "t", timestamp: 3).offset == 6)
            #expect(try cluster.truncate("t", 0, to: 0) == 0)
            #expect(try cluster.status("t", 0).bytes == 0)
            #expect(try cluster.append(rawBatch: batch([5]), to: "t", 0) == 0)
            #expect(try await client.listOffset(topic: "t", timestamp: 3).offset == 0)
        }
    }

    /// The way back for a client that believes in records of an old epoch (KIP-320).
    @Test func theEndOfALostEpochIsTold() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            for number in 0..<4 as Range<Int64> { try cluster.append(rawBatch: batch([number]), to: "t", 0) }
            try cluster.truncate("t", 0, to: 2)
            try cluster.moveLeader("t", 0, to: 1)
            try cluster.append(rawBatch: batch([9]), to: "t", 0)
            var reader = try await cluster.rawClient().request(.offsetForLeaderEpoch, version: 2) { writer in
                writer.int32(1); writer.string("t"); writer.int32(1); writer.int32(0); writer.int32(1); writer.int32(0)
            }
            _ = try reader.int32(); _ = try reader.int32(); _ = try reader.string(); _ = try reader.int32()
            #expect(try reader.int16() == 0)
            _ = try reader.int32()
            #expect(try reader.int32() == 0)
            #expect(try reader.int64() == 2)
        }
    }

    @Test func recordsAreDeletedFromTheStart() async throws {
        try await withCluster({ $0.segmentBytes = 250 }) { cluster in
            try cluster.createTopic("t")
            for number in 0..<10 as Range<Int64> { try cluster.append(rawBatch: batch([number, number]), to: "t", 0) }
            let before = try cluster.status("t", 0).bytes
            #expect(try cluster.deleteRecords("t", 0, before: 9) == 9)
            #expect(try cluster.status("t", 0).bytes < before)
            let client = try cluster.rawClient()
            #expect(try await client.fetch(topic: "t", offset: 8).error == ErrorCode.offsetOutOfRange.rawValue)
            #expect(try await client.fetch(topic: "t", offset: 9).logStart == 9)
            #expect(try await client.listOffset(topic: "t", timestamp: -2).offset == 9)
            #expect(try cluster.deleteRecords("t", 0, before: -1) == 20)
            #expect(try cluster.append(rawBatch: batch([1]), to: "t", 0) == 20)
            #expect(throws: LocalKafkaError.self) { try cluster.deleteRecords("t", 0, before: 50) }
        }
    }

    @Test func aMovedLeaderIsFollowedByKcat() async throws {
        try await withCluster(brokers: 2) { cluster in
            try cluster.createTopic("t")
            try cluster.append(rawBatch: batch([1], value: Array("one".utf8)), to: "t", 0)
            try cluster.moveLeader("t", 0, to: 2)
            let consumed = try await ChildProcess.run(
                ClientTests.kcat, ["-b", "127.0.0.1:\(cluster.brokerAddresses[0].port)", "-C", "-t", "t", "-o", "beginning", "-e", "-q"])
            #expect(consumed.output == "one\n", "\(consumed.errors)")
            #expect(try cluster.status("t", 0).leaderEpoch == 1)
        }
    }

    @Test func holesAreReadOver() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            try cluster.append([RawRecord(timestamp: 1, value: [97]), RawRecord(timestamp: 2, value: [98], skippedBefore: 3)], to: "t", 0)
            try cluster.skipOffsets("t", 0, count: 5)
            try cluster.append([RawRecord(timestamp: 3, value: [99])], to: "t", 0)
            var far = RecordBatchBuilder(records: [RawRecord(timestamp: 4, value: [100])])
            far.baseOffset = 100
            try cluster.append(rawBatch: far.bytes(), to: "t", 0, keepsOffset: true)
            let consumed = try await ChildProcess.run(
                ClientTests.kcat, ["-b", cluster.bootstrapServers, "-C", "-t", "t", "-o", "beginning", "-e", "-q", "-f", "%o=%s "])
            #expect(consumed.output == "0=a 4=b 10=c 100=d ", "\(consumed.errors)")
        }
    }
}
