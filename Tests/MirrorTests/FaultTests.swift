import Foundation
import KafkaLog
import LocalKafka
import Testing
import TestSupport

@testable import Mirror

@Suite(.serialized) struct FaultTests {
    /// A mirror in a process of its own, this test program again, so that it can be killed as a process is.
    final class Child {
        let process = Process()

        init(_ pair: Pair) throws {
            process.executableURL = URL(filePath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
            process.arguments = ["--testing-library", "swift-testing", "--filter", "MirrorChild"]
            process.environment = ProcessInfo.processInfo.environment.merging([
                MirrorChild.variable: "\(pair.eqiad.bootstrapServers) \(pair.codfw.bootstrapServers) \(getpid())"
            ]) { $1 }
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            if let path = ProcessInfo.processInfo.environment["MIRROR_TEST_LOG"] {
                // The child's log, for whoever looks for what went wrong in it.
                _ = FileManager.default.createFile(atPath: "\(path).child", contents: nil)
                process.standardError = FileHandle(forWritingAtPath: "\(path).child") ?? .nullDevice
            }
            try launch(process)
        }

        /// kill -9, and waits until it is gone.
        func kill() {
            Foundation.kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
        }
    }

    @Test func aMirrorThatIsKilledRepeatsAndLosesNothing() async throws {
        var random = SeededGenerator(seed: Seed.fresh("aMirrorThatIsKilledRepeatsAndLosesNothing"))
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t", partitions: 2)
            var written = [0, 0]
            func write(_ count: Int, _ partition: Int) throws {
                let records = (written[partition]..<(written[partition] + count)).map { record($0) }
                try pair.eqiad.append(records, to: "eqiad.t", Int32(partition))
                written[partition] += count
            }
            try pair.eqiad.skipOffsets("eqiad.t", 0, count: 17)
            for round in 0..<4 {
                let child = try Child(pair)
                defer { child.kill() }
                // Killed while records flow, at any distance from its last commit.
                let goal = pair.codfw.end("eqiad.t", 0) + Int64.random(in: 50...900, using: &random)
                try await eventually("round \(round): the child copies", seconds: 30) {
                    for partition in 0..<2 { try write(Int.random(in: 1...40, using: &random), partition) }
                    return pair.codfw.end("eqiad.t", 0) >= goal
                }
            }
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("the rest is copied") {
                    (0..<2).allSatisfy { pair.codfw.end("eqiad.t", Int32($0)) >= Int64(written[$0]) }
                }
            }
            for partition in 0..<2 {
                let copies = try await readAll(pair.codfw, "eqiad.t", Int32(partition), count: written[partition])
                #expect(numbers(copies) == Array(0..<written[partition]))
            }
        }
    }

    @Test func anOrderlyStopGoesOnWithoutComparing() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t")
            for round in 0..<3 {
                try pair.eqiad.append((0..<100).map { record(round * 100 + $0) }, to: "eqiad.t", 0)
                try await pair.withMirror(pair.configuration()) { _ in
                    try await eventually("copied") { pair.codfw.end("eqiad.t") == Int64(round + 1) * 100 }
                }
                let committed = try await committedProgress(pair)
                #expect(committed == CommittedProgress(
                    source: Position(Int64(round + 1) * 100, in: ClusterID(pair.eqiad.clusterID)), targetEnd: Int64(round + 1) * 100))
            }
            #expect(numbers(try await readAll(pair.codfw, "eqiad.t", count: 300)) == Array(0..<300))
        }
    }

    private func committedProgress(_ pair: Pair) async throws -> CommittedProgress? {
        let client = KafkaClientConfiguration(bootstrapServers: [pair.codfw.bootstrapServers], clientID: "test", logger: quiet)
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client, groupID: "switchback-mirror.eqiad"))
        let partition = TopicPartition(topic: "eqiad.t", partition: 0)
        let committed = try await consumer.committed([partition])[partition]?.get()
        try await consumer.close()
        return committed.flatMap { CommittedProgress(targetOffset: $0.position.offset, metadata: $0.metadata) }
    }

    @Test(arguments: ["source", "target"]) func aBrokerThatGoesAwayIsWaitedFor(_ side: String) async throws {
        try await withPair { pair in
            let cluster = side == "source" ? pair.eqiad : pair.codfw
            try pair.eqiad.createTopic("eqiad.t")
            var written = 0
            func write(_ count: Int) throws {
                try pair.eqiad.append((written..<(written + count)).map { record($0) }, to: "eqiad.t", 0)
                written += count
            }
            try await pair.withMirror(pair.configuration()) { mirror in
                for _ in 0..<2 {
                    try write(500)
                    try await eventually("some are copied") { pair.codfw.end("eqiad.t") > 0 }
                    try await cluster.stopBroker(1)
                    try write(500)
                    try await eventually("the mirror says so", seconds: 10) {
                        let status = mirror.snapshot()
                        return side == "source" ? !status.isSourceReachable : !status.isTargetReachable
                    }
                    try await cluster.startBroker(1)
                    try await eventually("all are copied") { pair.codfw.end("eqiad.t") == Int64(written) }
                    try await eventually("the mirror is whole again", seconds: 10) {
                        mirror.snapshot().isSourceReachable && mirror.snapshot().isTargetReachable
                    }
                }
            }
            #expect(numbers(try await readAll(pair.codfw, "eqiad.t", count: written)) == Array(0..<written))
        }
    }

    @Test func whatRetentionTookIsCountedAndTheRestIsCopied() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t")
            try pair.eqiad.append((0..<100).map { record($0) }, to: "eqiad.t", 0)
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("copied") { pair.codfw.end("eqiad.t") == 100 }
            }
            try pair.eqiad.append((100..<150).map { record($0) }, to: "eqiad.t", 0)
            try pair.eqiad.append((150..<200).map { record($0) }, to: "eqiad.t", 0)
            try pair.eqiad.deleteRecords("eqiad.t", 0, before: 130)
            try await pair.withMirror(pair.configuration()) { mirror in
                try await eventually("the rest is copied") { pair.codfw.end("eqiad.t") == 170 }
                #expect(mirror.snapshot().lost == 30)
            }
            #expect(numbers(try await readAll(pair.codfw, "eqiad.t", count: 170)) == Array(0..<100) + Array(130..<200))
        }
    }

    @Test func recordsOfSomebodyElseInTheTargetCostRepeatsAtWorst() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t")
            try pair.eqiad.append((0..<100).map { record($0) }, to: "eqiad.t", 0)
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("copied") { pair.codfw.end("eqiad.t") == 100 }
            }
            try pair.codfw.append([record(100), record(777)], to: "eqiad.t", 0)
            try pair.eqiad.append((100..<110).map { record($0) }, to: "eqiad.t", 0)
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("copied") { pair.codfw.end("eqiad.t") == 112 }
            }
            let copies = numbers(try await readAll(pair.codfw, "eqiad.t", count: 112))
            #expect(copies == Array(0..<100) + [100, 777] + Array(100..<110))
        }
    }

    /// Without any commit the copies themselves tell how far the mirror came.
    @Test func aTargetWithoutACommitIsComparedFromTheStart() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t")
            try pair.codfw.createTopic("eqiad.t")
            try pair.eqiad.append((0..<300).map { record($0) }, to: "eqiad.t", 0)
            try pair.codfw.append((0..<120).map { record($0) }, to: "eqiad.t", 0)
            try await pair.withMirror(pair.configuration()) { _ in
                try await eventually("the rest is copied") { pair.codfw.end("eqiad.t") == 300 }
            }
            #expect(numbers(try await readAll(pair.codfw, "eqiad.t", count: 300)) == Array(0..<300))
        }
    }

    /// A record that the target refuses stops its own partition, visibly, and no other.
    @Test func aRecordThatTheTargetRefusesStopsItsPartitionOnly() async throws {
        try await withPair { pair in
            try pair.eqiad.createTopic("eqiad.t", partitions: 2)
            try pair.codfw.createTopic("eqiad.t", partitions: 2)
            pair.codfw.faults.add(FaultRule(.error(.messageTooLarge), apiKey: .produce, topic: "eqiad.t", partition: 0, count: 1))
            try pair.eqiad.append([record(0)], to: "eqiad.t", 0)
            try pair.eqiad.append([record(0)], to: "eqiad.t", 1)
            try await pair.withMirror(pair.configuration()) { mirror in
                try await eventually("the other partition is copied, this one is held") {
                    pair.codfw.end("eqiad.t", 1) == 1 && mirror.snapshot().partitions.contains { $0.held != nil }
                }
                try await eventually("it is tried again by itself") { pair.codfw.end("eqiad.t", 0) == 1 }
            }
            #expect(pair.codfw.end("eqiad.t", 1) == 1)
        }
    }
}

/// What a child of `FaultTests` runs: a mirror, until it is killed or its parent is gone.
@Suite struct MirrorChild {
    static let variable = "SWITCHBACK_MIRROR_CHILD"

    @Test(.enabled(if: ProcessInfo.processInfo.environment[variable] != nil)) func mirrorUntilKilled() async throws {
        let words = try #require(ProcessInfo.processInfo.environment[Self.variable]).split(separator: " ").map(String.init)
        var configuration = try Pair.configuration(words[0], words[1])
        // Long, so that a good deal is uncommitted when the child is killed.
        configuration.commitInterval = .milliseconds(600)
        let mirror = Mirror(configuration)
        let task = Task { try await mirror.run() }
        while String(getppid()) == words[2] { try await Task.sleep(for: .milliseconds(50)) }
        task.cancel()
    }
}
