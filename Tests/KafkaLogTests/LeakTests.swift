import LocalKafka
import TestSupport
import Testing

@_spi(Testing) @testable import KafkaLog

/// A client that was closed and let go leaves nothing: its thread ends.
@Suite(.timeLimit(.minutes(1)))
struct LeakTests {
    private final class Weak<Object: AnyObject & Sendable>: @unchecked Sendable {  // @unchecked: a weak reference is read by one task at a time
        weak var object: Object?
        init(_ object: Object) { self.object = object }
    }

    private func expectEnd(_ what: String, _ thread: () async throws -> ClientThread) async throws {
        let watched = Weak(try await thread())
        try await eventually("the end of the thread of a closed \(what)", timeout: .seconds(10)) { watched.object == nil }
    }

    @Test func aClosedClientLeavesNoThread() async throws {
        try await withLocalKafka { cluster in
            let servers = cluster.bootstrapServers
            try await expectEnd("admin") {
                let admin = try KafkaAdmin(client(servers))
                try await admin.clusterID()
                await admin.close()
                return admin.thread
            }
            try await expectEnd("producer") {
                let producer = try KafkaProducer(client(servers))
                _ = await producer.send(contentsOf: numbered("t", partitions: 1, each: 10))
                try await producer.close()
                return producer.thread
            }
            try await expectEnd("consumer") {
                let consumer = try makeConsumer(servers)
                try await consumer.assign([TopicPartition(topic: "t", partition: 0): Position(0, in: try await consumer.clusterID())])
                _ = try await consumer.nextBatch()
                try await consumer.close()
                return consumer.thread
            }
            try await expectEnd("member of a group") {
                let consumer = try makeConsumer(servers, group: "g")
                try await consumer.subscribe(to: ["t"])
                // Before its first assignment such a client is kept alive on purpose (`ClientHandle`).
                guard case .assigned(let given) = try await consumer.nextEvent(deadline: .now + .seconds(20)) else { throw TestTimeout("no assignment came") }
                try await consumer.acceptAssignment([:], paused: Set(given))
                try await consumer.close()
                return consumer.thread
            }
        }
    }
}
