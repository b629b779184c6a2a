import Handover
import KafkaLog
import LocalKafka
import TestSupport
import Testing

@testable import ChangePropagation

@Suite("Topics by expression, against real clusters")
struct GroupWorkerTopicTests {
    private func append(_ ids: [String], to topic: String, _ partition: Int32 = 0, in world: WorkerWorld) throws {
        for id in ids {
            let record = RawRecord(timestamp: 1_700_000_000_000, value: Array(#"{"id":"\#(id)"}"#.utf8))
            try world.clusters[WorkerWorld.eqiad]?.append([record], to: topic, partition)
        }
    }

    @Test("A topic that comes to match is read from its beginning within seconds, and its owner reports it")
    func newTopic() async throws {
        try await WorkerWorld.run { world in
            let cluster = try #require(world.clusters[WorkerWorld.eqiad])
            let worker = try await world.start(WorkerWorld.eqiad, topics: "['/^s(\\.|$)/']", rule: "    exclude_topics: [s.secret]")
            try await world.waitForCalls(try world.produce(0..<10))
            for topic in ["eqiad.s.new", "eqiad.s.secret", "eqiad.switchback.s", "eqiad.test.retry.s", "eqiad.test.error"] {
                try cluster.createTopic(topic, partitions: 2)
                try append(["\(topic)-before"], to: topic, in: world)
            }
            try await world.waitForCalls(["eqiad.s.new-before"], timeout: .seconds(15))
            try append(["after"], to: "eqiad.s.new", 1, in: world)
            try await world.waitForCalls(["after"])
            try await eventually("the assignment knows the new topic") { try await world.assignment()?.partitions["eqiad.s.new"] == 2 }
            try await worker.stop()
            #expect(Set(world.counts.keys) == Set((0..<10).map { "e\($0)" } + ["eqiad.s.new-before", "after"]))
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            // What was read is stored: the next worker repeats nothing.
            let next = try await world.start(WorkerWorld.eqiad, topics: "['/^s(\\.|$)/']", rule: "    exclude_topics: [s.secret]")
            try append(["last"], to: "eqiad.s.new", in: world)
            try await world.waitForCalls(["last"])
            try await next.stop()
            #expect(world.counts.values.allSatisfy { $0 == 1 })
        }
    }

    @Test("With nothing that matches yet a worker waits, and reads what comes")
    func nothingYet() async throws {
        try await WorkerWorld.run { world in
            let cluster = try #require(world.clusters[WorkerWorld.eqiad])
            let worker = try await world.start(WorkerWorld.eqiad, topics: "['/^later/']")
            try await Task.sleep(for: .seconds(1))
            try cluster.createTopic("eqiad.later", partitions: 1)
            try append(["a", "b"], to: "eqiad.later", in: world)
            try await world.waitForCalls(["a", "b"], timeout: .seconds(15))
            try await worker.stop()
        }
    }

    @Test("A topic's new partitions are read from their beginning within seconds", arguments: ["[s]", "['/^s$/']"])
    func grownTopic(_ topics: String) async throws {
        try await WorkerWorld.run { world in
            let worker = try await world.start(WorkerWorld.eqiad, topics: topics)
            try await world.waitForCalls(try world.produce(0..<10))
            try world.clusters[WorkerWorld.eqiad]?.addPartitions(WorkerWorld.topic, total: 4)
            try append(["grown"], to: WorkerWorld.topic, 3, in: world)
            try await world.waitForCalls(["grown"], timeout: .seconds(15))
            try await eventually("the assignment knows the new partitions") { try await world.assignment()?.partitions[WorkerWorld.topic] == 4 }
            try await worker.stop()
            #expect(world.counts.values.allSatisfy { $0 == 1 })
        }
    }
}
