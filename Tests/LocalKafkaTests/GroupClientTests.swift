import Foundation
import Testing

@testable import LocalKafka

/// Real clients in groups, over real sockets.
@Suite(.serialized) struct GroupClientTests {
    /// Joins a group, prints its partitions whenever they change, and leaves when a line comes in.
    static let pythonMember = """
        import json, sys, threading
        from kafka import KafkaConsumer
        servers, group, topic = sys.argv[1:4]
        consumer = KafkaConsumer(bootstrap_servers=servers, group_id=group, auto_offset_reset="earliest",
            enable_auto_commit=False, heartbeat_interval_ms=100, session_timeout_ms=6000,
            api_version_auto_timeout_ms=15000)
        consumer.subscribe([topic])
        leave = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.readline(), leave.set()), daemon=True).start()
        last = None
        while not leave.is_set():
            for records in consumer.poll(timeout_ms=20).values():
                for record in records: print("record", record.partition, record.offset, flush=True)
            now = sorted(p.partition for p in consumer.assignment())
            if now != last: print("assigned", json.dumps(now), flush=True)
            last = now
        consumer.commit()
        consumer.close()
        print("left", flush=True)
        """

    private func produce(_ cluster: LocalKafkaCluster, _ values: [String]) async throws {
        let producer = try GroupClient.kcat(cluster, ["-P", "-t", "t"])
        for value in values { producer.send(value) }
        producer.endInput()
        #expect(await producer.exit() == 0)
    }

    @Test func twoPythonConsumersShareAndOneThatLeavesGivesAllToTheOther() async throws {
        try await withGroupCluster { cluster, _ in
            let arguments = [cluster.bootstrapServers, "g", "t"]
            let first = try GroupClient.python(Self.pythonMember, arguments)
            let second = try GroupClient.python(Self.pythonMember, arguments)
            defer { first.kill(); second.kill() }
            await expectInGroup("\(first.output) \(second.output)") {
                cluster.assignment(ofGroup: "g")?.values.map(\.count).sorted() == [2, 2]
            }
            #expect(Set((cluster.assignment(ofGroup: "g") ?? [:]).values.joined()) == [0, 1, 2, 3])
            second.send("leave")
            #expect(await second.exit() == 0)
            #expect(second.output.last == "left", "\(second.output)")
            await expectInGroup("\(first.output)") { first.output.last == "assigned [0, 1, 2, 3]" }
            first.send("leave")
            #expect(await first.exit() == 0)
            // A client does not wait for the answer to its leaving.
            await expectInGroup { cluster.groups.describe("g").state == .empty }
        }
    }

    @Test func aKilledMembersPartitionsGoToTheOtherWhenItsSessionEnds() async throws {
        try await withGroupCluster { cluster, _ in
            let options = ["-X", "session.timeout.ms=1000", "-X", "heartbeat.interval.ms=100", "-G", "g", "t"]
            let first = try GroupClient.kcat(cluster, options)
            let second = try GroupClient.kcat(cluster, options)
            defer { first.kill(); second.kill() }
            await expectInGroup("\(first.output)") { cluster.assignment(ofGroup: "g")?.count == 2 }
            second.kill()
            await expectInGroup("\(first.output)") {
                    let now = cluster.assignment(ofGroup: "g").map { Array($0.values) }
                    return now == [[0, 1, 2, 3]]
            }
        }
    }

    @Test(arguments: ["range,roundrobin", "cooperative-sticky"])
    func twoKcatsShareAndReadEverythingOnce(strategy: String) async throws {
        try await withGroupCluster { cluster, _ in
            let options = [
                "-q", "-u", "-X", "partition.assignment.strategy=\(strategy)", "-X", "auto.offset.reset=earliest",
                "-X", "heartbeat.interval.ms=100", "-X", "auto.commit.interval.ms=100", "-G", "g", "t",
            ]
            let first = try GroupClient.kcat(cluster, options)
            await expectInGroup("\(first.output)") { cluster.assignment(ofGroup: "g")?.count == 1 }
            let second = try GroupClient.kcat(cluster, options)
            defer { first.kill(); second.kill() }
            await expectInGroup("\(String(describing: cluster.assignment(ofGroup: "g"))) \(first.output) \(second.output)") {
                cluster.assignment(ofGroup: "g")?.values.map(\.count).sorted() == [2, 2]
            }
            #expect(cluster.groups.describe("g").protocolName == strategy.split(separator: ",").first.map(String.init))
            let values = (0..<200).map { "v\($0)" }
            try await produce(cluster, values)
            await expectInGroup { Set(first.output + second.output).isSuperset(of: values) }
            let read = (first.output + second.output).filter { $0.hasPrefix("v") }
            #expect(read.count == 200)
            func committed() -> [Int32: Int64] { cluster.committedOffsets(ofGroup: "g")["t"] ?? [:] }
            // Before the end: what kcat commits while it ends it does not wait for.
            await expectInGroup("\(committed())") { committed().values.reduce(0, +) == 200 }
            for client in [first, second] {
                client.terminate()
                #expect(await client.exit() != nil, "\(client.output.suffix(3))")
            }
            #expect(committed().values.reduce(0, +) == 200, "\(committed())")
            await expectInGroup("both leave") { cluster.groups.describe("g").state == .empty }
        }
    }

    @Test func committedOffsetsSurviveARestart() async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("group-test-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: directory) }
        let options = ["-q", "-e", "-X", "auto.offset.reset=earliest", "-G", "g", "t"]
        let before = try await startGroupCluster(in: directory)
        _ = try before.topics.create("t", partitions: 2, configuration: [:])
        try await produce(before, ["a", "b", "c"])
        let first = try GroupClient.kcat(before, options)
        // What it committed at its end, not its end: this librdkafka sometimes hangs when it is destroyed.
        await expectInGroup { Set(first.output) == ["a", "b", "c"] && before.committedOffsets(ofGroup: "g")["t"]?.values.reduce(0, +) == 3 }
        await expectInGroup { before.groups.describe("g").state == .empty }
        first.kill()
        let committed = before.committedOffsets(ofGroup: "g")
        await before.stop()

        let after = try await startGroupCluster(in: directory)
        #expect(after.committedOffsets(ofGroup: "g") == committed)
        try await produce(after, ["d"])
        let second = try GroupClient.kcat(after, options)
        await expectInGroup { second.output == ["d"] && after.committedOffsets(ofGroup: "g")["t"]?.values.reduce(0, +) == 4 }
        second.kill()
        await after.stop()
    }

    @Test func aStaticMemberThatRestartsCausesNoRebalance() async throws {
        try await withGroupCluster { cluster, _ in
            func member(_ instance: String) throws -> GroupClient {
                try GroupClient.kcat(
                    cluster, ["-X", "group.instance.id=\(instance)", "-X", "heartbeat.interval.ms=100", "-G", "g", "t"])
            }
            let first = try member("a")
            let second = try member("b")
            defer { first.kill(); second.kill() }
            await expectInGroup("\(first.output)") { cluster.assignment(ofGroup: "g")?.count == 2 }
            let generation = cluster.groups.generation("g")
            let ids = Set(cluster.groups.describe("g").members.map(\.memberID))
            second.kill()
            _ = await second.exit()
            let third = try member("b")
            defer { third.kill() }
            await expectInGroup("\(third.output)") {
                Set(cluster.groups.describe("g").members.map(\.memberID)) != ids && third.output.contains { $0.contains("assigned") }
            }
            #expect(cluster.groups.generation("g") == generation)
        }
    }

    @Test func membersFollowACoordinatorThatMoves() async throws {
        try await withGroupCluster(brokers: 2, partitions: 2) { cluster, _ in
            let client = try GroupClient.kcat(
                cluster,
                [
                    "-q", "-u", "-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=100", "-X",
                    "auto.commit.interval.ms=100", "-G", "g", "t",
                ])
            defer { client.kill() }
            // Not before the client has read its offsets: this librdkafka does not ask again when the coordinator moves just then.
            try await produce(cluster, ["x"])
            await expectInGroup("\(client.output)") { cluster.committedOffsets(ofGroup: "g")["t"]?.values.reduce(0, +) == 1 }
            let old = try #require(cluster.coordinator(ofGroup: "g"))
            cluster.moveCoordinator(ofGroup: "g", to: 3 - old)
            #expect(cluster.coordinator(ofGroup: "g") == 3 - old)
            try await produce(cluster, ["a", "b"])
            await expectInGroup("\(client.output) \(cluster.committedOffsets(ofGroup: "g"))") {
                cluster.committedOffsets(ofGroup: "g")["t"]?.values.reduce(0, +) == 3
            }
            await expectInGroup("\(client.output)") { Set(client.output).isSuperset(of: ["x", "a", "b"]) }
        }
    }
}
