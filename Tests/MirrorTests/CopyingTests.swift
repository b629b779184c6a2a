import Foundation
import KafkaLog
import LocalKafka
import Testing
import TestSupport

@testable import Mirror

@Suite(.serialized) struct CopyingTests {
    @Test func everyRecordIsCopiedAsItIs() async throws {
        var random = SeededGenerator(seed: Seed.fresh("everyRecordIsCopiedAsItIs"))
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.a.b", partitions: 3)
            var expected: [[Copy]] = [[], [], []]
            for partition in 0..<3 {
                // Offsets of the source begin somewhere and have holes: the target's are others.
                try pair.eqiad.skipOffsets("eqiad.a.b", Int32(partition), count: Int64.random(in: 5...50, using: &random))
                for _ in 0..<40 {
                    let records = (0..<Int.random(in: 1...20, using: &random)).map { _ in randomRecord(&random) }
                    try pair.eqiad.append(records, to: "eqiad.a.b", Int32(partition))
                    expected[partition] += records.map { raw in
                        Copy(
                            timestamp: raw.timestamp, key: raw.key, value: raw.value,
                            headers: raw.headers.map { RecordHeader(name: $0.name, value: $0.value) })
                    }
                    if random.chance(0.3) { try pair.eqiad.skipOffsets("eqiad.a.b", Int32(partition), count: 3) }
                }
            }
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("all copied") {
                    (0..<3).allSatisfy { pair.codfw.end("eqiad.a.b", Int32($0)) == Int64(expected[$0].count) }
                }
            }
            for partition in 0..<3 {
                let copies = try await readAll(pair.codfw, "eqiad.a.b", Int32(partition), count: expected[partition].count)
                #expect(copies == expected[partition])
                #expect(pair.eqiad.end("eqiad.a.b", Int32(partition)) != pair.codfw.end("eqiad.a.b", Int32(partition)))
            }
        }
    }

    private func randomRecord(_ random: inout SeededGenerator) -> RawRecord {
        func bytes(_ random: inout SeededGenerator) -> [UInt8]? {
            switch Int.random(in: 0..<4, using: &random) {
            case 0: nil
            case 1: []
            default: (0..<Int.random(in: 1...60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
        }
        let time = random.chance(0.1) ? -1 : 1_700_000_000_000 + Int64.random(in: -5_000_000...5_000_000, using: &random)
        let headers = (0..<Int.random(in: 0...3, using: &random)).map { _ in
            (name: random.chance(0.5) ? "same" : "", value: bytes(&random))
        }
        return RawRecord(timestamp: time, key: bytes(&random), value: bytes(&random), headers: headers)
    }

    @Test func onlyTopicsOfTheSourceAreCopiedAndTwoMirrorsDoNotLoop() async throws {
        try await withPair { pair in
            for topic in ["eqiad.x", "eqiad2.x", "eqiad", "codfw.stray", "other.x"] {
                try pair.eqiad.createTopic(topic)
                try pair.eqiad.append([record(1), record(2)], to: topic, 0)
            }
            for topic in ["codfw.x", "eqiad.x"] { try pair.codfw.createTopic(topic) }
            try pair.codfw.append([record(3)], to: "codfw.x", 0)
            try await pair.withMirror(pair.configuration()) { there in
                try await pair.withMirror(pair.configuration(back: true)) { back in
                    try await eventually("both copied") {
                        pair.codfw.end("eqiad.x") == 2 && pair.eqiad.end("codfw.x") == 1
                    }
                    try pair.eqiad.append([record(4)], to: "eqiad.x", 0)
                    try pair.codfw.append([record(5)], to: "codfw.x", 0)
                    try await eventually("both copied again, and no lag left") {
                        pair.codfw.end("eqiad.x") == 3 && pair.eqiad.end("codfw.x") == 2 && there.snapshot().recordsBehind == 0
                            && back.snapshot().recordsBehind == 0
                    }
                    #expect(there.snapshot().partitions.map(\.partition.topic) == ["eqiad.x"])
                    #expect(back.snapshot().partitions.map(\.partition.topic) == ["codfw.x"])
                }
            }
            #expect(pair.codfw.topicNames.sorted() == ["codfw.x", "eqiad.x"])
            #expect(pair.eqiad.end("eqiad.x") == 3)
            #expect(pair.codfw.end("codfw.x") == 2)
        }
    }

    @Test func newTopicsAndPartitionsAreFollowedAndKeepTheirTimestampType() async throws {
        try await withPair { pair in
            try await pair.withMirror(pair.configuration()) { mirror in
                try pair.eqiad.createTopic("eqiad.late", partitions: 2, configuration: ["message.timestamp.type": "LogAppendTime"])
                try pair.eqiad.append([record(1)], to: "eqiad.late", 1)
                try await eventually("the new topic is copied", seconds: 5) { pair.codfw.end("eqiad.late", 1) == 1 }
                try pair.eqiad.addPartitions("eqiad.late", total: 4)
                try pair.eqiad.append([record(2)], to: "eqiad.late", 3)
                try await eventually("the new partition is copied", seconds: 5) { pair.codfw.end("eqiad.late", 3) == 1 }
                try pair.eqiad.append([record(3)], to: "eqiad.late", 1)
                try await eventually("the old one goes on", seconds: 5) { pair.codfw.end("eqiad.late", 1) == 2 }
                #expect(mirror.snapshot().partitions.count == 4)
            }
            let admin = try KafkaAdmin(
                KafkaClientConfiguration(bootstrapServers: [pair.codfw.bootstrapServers], clientID: "test", logger: quiet))
            let settings = try await admin.describeTopicConfigs(["eqiad.late"])
            #expect(try settings["eqiad.late"]?.get()["message.timestamp.type"]?.value == "LogAppendTime")
            await admin.close()
        }
    }

    @Test func theLagDelaysRecordsByTheirArrival() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.slow")
            let lag = Duration.milliseconds(700)
            try await pair.withMirror(pair.configuration(lag: lag)) { mirror in
                try await eventually("the mirror reads") { mirror.snapshot().partitions.count == 1 }
                for number in 0..<5 {
                    let written = ContinuousClock.now
                    try pair.eqiad.append([record(number)], to: "eqiad.slow", 0)
                    try await eventually("it is copied") { pair.codfw.end("eqiad.slow") == Int64(number + 1) }
                    let took = written.duration(to: .now)
                    #expect(took >= lag && took < lag + .seconds(2), "\(took)")
                }
                // Many at once wait once, not one after the other.
                let written = ContinuousClock.now
                for number in 5..<2005 { try pair.eqiad.append([record(number)], to: "eqiad.slow", 0) }
                try await eventually("the lag is seen") { mirror.snapshot().recordsBehind > 0 && mirror.snapshot().behind > .zero }
                try await eventually("all are copied") { pair.codfw.end("eqiad.slow") == 2005 }
                #expect(written.duration(to: .now) >= lag)
                #expect(written.duration(to: .now) < lag * 3 + .seconds(3))
            }
            #expect(numbers(try await readAll(pair.codfw, "eqiad.slow", count: 2005)) == Array(0..<2005))
        }
    }

    /// Many sends, two of a lane under way at a time, and a stop in their midst.
    @Test func aLongBacklogKeepsItsOrderThroughAStop() async throws {
        try await withPair { pair in
            let each = 30_000
            try pair.eqiad.createTopic("eqiad.long", partitions: 3)
            for start in stride(from: 0, to: each, by: 1000) {
                for partition in Int32(0)..<3 { try pair.eqiad.append((start..<start + 1000).map { record($0) }, to: "eqiad.long", partition) }
            }
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("some are copied") { (0..<3).reduce(0) { $0 + pair.codfw.end("eqiad.long", $1) } > 5000 }
            }
            try await pair.withMirror(pair.configuration()) { mirror in
                try await eventually("all are copied") { (0..<3).allSatisfy { pair.codfw.end("eqiad.long", $0) == Int64(each) } }
                try await eventually("and counted") { mirror.snapshot().recordsBehind == 0 }
            }
            for partition in Int32(0)..<3 {
                #expect(numbers(try await readAll(pair.codfw, "eqiad.long", partition, count: each)) == Array(0..<each))
            }
        }
    }

    @Test func oneDatacenterOrOneClusterIsRefused() async throws {
        try await withPair { pair in
            var same = try pair.configuration()
            same.to = same.from
            await #expect(throws: MirrorError.sameDatacenter(same.from)) { try await Mirror(same).run() }
            var loop = try pair.configuration()
            loop.targetBootstrapServers = loop.sourceBootstrapServers
            await #expect(throws: MirrorError.sameCluster(ClusterID(pair.eqiad.clusterID))) { try await Mirror(loop).run() }
        }
    }
}
