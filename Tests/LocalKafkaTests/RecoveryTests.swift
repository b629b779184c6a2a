import Foundation
import LocalKafka
import TestSupport
import Testing

/// What a cluster finds in its data directory after a crash or damage.
struct RecoveryTests {
    /// Appends `count` batches of two records and stops; returns the directory and the log file.
    private func written(_ count: Int) async throws -> (TemporaryDirectory, URL) {
        let directory = try TemporaryDirectory()
        let cluster = try await LocalKafkaCluster.start(testConfiguration(directory))
        try cluster.createTopic("t")
        for number in 0..<count as Range<Int> {
            try cluster.append(rawBatch: batch([Int64(number) * 10, Int64(number) * 10 + 5]), to: "t", 0)
        }
        await cluster.stop()
        return (directory, directory.file("data/topics/t/0/00000000000000000000.log"))
    }

    private func restarted<T>(
        _ directory: TemporaryDirectory, log: LogRecorder = LogRecorder(), _ body: (LocalKafkaCluster) async throws -> T
    ) async throws -> T {
        var configuration = testConfiguration(directory)
        configuration.logger = log.logger
        let cluster = try await LocalKafkaCluster.start(configuration)
        do {
            let result = try await body(cluster)
            await cluster.stop()
            return result
        } catch {
            await cluster.stop()
            throw error
        }
    }

    @Test func everyTornEndIsCutToWholeBatches() async throws {
        let (directory, file) = try await written(3)
        let whole = try Data(contentsOf: file)
        let size = whole.count / 3
        for cut in [1, size / 2, size - 62, size - 1] {
            try whole.prefix(2 * size + cut).write(to: file)
            let log = LogRecorder()
            try await restarted(directory, log: log) { cluster in
                // The topic's file remembers the end before the damage: offsets are never given twice.
                #expect(try cluster.status("t", 0).batches == 2)
                #expect(try cluster.status("t", 0).bytes == Int64(2 * size))
                let fetched = try await cluster.rawClient().fetch(topic: "t", offset: 0)
                #expect(fetched.records == Array(whole.prefix(2 * size)))
            }
            #expect(log.messages.contains { $0.contains("cut off a torn end") })
        }
    }

    /// What is on disk while a cluster runs is what a killed process leaves behind.
    @Test func acknowledgedRecordsSurviveAKill() async throws {
        try await withCluster { cluster in
            try cluster.createTopic("t")
            let client = try cluster.rawClient()
            for number in 0..<20 as Range<Int64> { #expect(try await client.produce(batch([number]), topic: "t").offset == number) }
            let copy = try TemporaryDirectory()
            try FileManager.default.copyItem(at: cluster.configuration.dataDirectory, to: copy.file("data"))
            try await restarted(copy) { (second: LocalKafkaCluster) async throws -> Void in
                #expect(try second.status("t", 0).nextOffset == 20)
                #expect(second.clusterID == cluster.clusterID)
                #expect(second.topicID("t") == cluster.topicID("t"))
                #expect(try await second.rawClient().listOffset(topic: "t", timestamp: 7).offset == 7)
            }
        }
    }

    @Test func aFlippedByteInTheMiddleIsNeverServedAndCostsNothingElse() async throws {
        var random = SeededGenerator.forTest("flipped byte")
        let (directory, file) = try await written(5)
        let whole = try Data(contentsOf: file)
        let size = whole.count / 5
        for _ in 0..<20 {
            var damaged = whole
            // Not the broker's own fields, which the checksum does not cover, but for the length.
            let place = 2 * size + ([8, 9, 10, 11] + Array(16..<size)).randomElement(using: &random)!
            damaged[damaged.startIndex + place] ^= UInt8(1) << UInt8.random(in: 0..<8, using: &random)
            try damaged.write(to: file)
            let log = LogRecorder()
            try await restarted(directory, log: log) { cluster in
                let client = try cluster.rawClient()
                #expect(try await client.fetch(topic: "t", offset: 0).records == Array(whole.prefix(2 * size)), "up to the damage, byte \(place)")
                for offset in [4, 5] as [Int64] {
                    #expect(try await client.fetch(topic: "t", offset: offset).error == ErrorCode.corruptMessage.rawValue, "byte \(place)")
                }
                #expect(try await client.fetch(topic: "t", offset: 6).records == Array(whole.suffix(2 * size)), "byte \(place)")
                #expect(try await client.listOffset(topic: "t", timestamp: 30).offset == 6)
            }
            #expect(log.messages.contains { $0.contains("damaged") && $0.contains("first-offset") })
        }
    }

    @Test func aHoleAtTheEndAndTheLogsStartOutliveARestart() async throws {
        let (directory, _) = try await written(5)
        try await restarted(directory) { cluster in
            try cluster.skipOffsets("t", 0, count: 7)
            try cluster.deleteRecords("t", 0, before: 3)
            try cluster.moveLeader("t", 0, to: 1)
        }
        try await restarted(directory) { cluster in
            let status = try cluster.status("t", 0)
            #expect(status.nextOffset == 17)
            #expect(status.logStart == 3)
            #expect(status.leaderEpoch == 1)
            #expect(try cluster.append(rawBatch: batch([1]), to: "t", 0) == 17)
            let client = try cluster.rawClient()
            #expect(try await client.fetch(topic: "t", offset: 2).error == ErrorCode.offsetOutOfRange.rawValue)
            // From within the hole the reader is led on to the next record.
            #expect(try await client.fetch(topic: "t", offset: 12).records.prefix(8) == [0, 0, 0, 0, 0, 0, 0, 17])
        }
    }

    @Test func manyFilesAreOneLog() async throws {
        let directory = try TemporaryDirectory()
        var configuration = testConfiguration(directory)
        configuration.segmentBytes = 200
        for round in 0..<3 as Range<Int64> {
            let cluster = try await LocalKafkaCluster.start(configuration)
            if round == 0 { try cluster.createTopic("t") }
            for number in 0..<10 as Range<Int64> { try cluster.append(rawBatch: batch([round * 10 + number]), to: "t", 0) }
            let client = try cluster.rawClient()
            var offset: Int64 = 0
            while offset < (round + 1) * 10 {
                let fetched = try await client.fetch(topic: "t", offset: offset)
                #expect(fetched.records.prefix(8).reduce(0) { $0 << 8 | Int64($1) } == offset)
                offset += Int64(fetched.records.count / batch([0]).count)
            }
            #expect(try await client.listOffset(topic: "t", timestamp: round * 10 + 5).offset == round * 10 + 5)
            await cluster.stop()
        }
        let files = try FileManager.default.contentsOfDirectory(atPath: directory.file("data/topics/t/0").path)
        #expect(files.count >= 10)
    }

    @Test func producersAreRememberedAcrossARestart() async throws {
        let directory = try TemporaryDirectory()
        var sent = RecordBatchBuilder(records: [RawRecord(timestamp: 1)])
        sent.producerID = 77
        sent.producerEpoch = 0
        sent.baseSequence = 0
        for _ in 0..<2 {
            let cluster = try await LocalKafkaCluster.start(testConfiguration(directory))
            if cluster.topicNames.isEmpty { try cluster.createTopic("t") }
            #expect(try await cluster.rawClient().produce(sent.bytes(), topic: "t") == .init(error: 0, offset: 0))
            #expect(try cluster.status("t", 0).nextOffset == 1)
            await cluster.stop()
        }
    }

    @Test func unreadableFilesAreAClearError() async throws {
        let (directory, _) = try await written(1)
        let file = directory.file("data/topics/t/topic.json")
        try Data("{".utf8).write(to: file)
        await #expect {
            _ = try await LocalKafkaCluster.start(testConfiguration(directory))
        } throws: { error in
            "\(error)".contains(file.path) && (error as? LocalKafkaError)?.label == "storage"
        }
    }
}
