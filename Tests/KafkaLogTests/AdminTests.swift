import Foundation
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct AdminTests {
    @Test func topicsAreMadeDescribedGrownAndDeleted() async throws {
        try await withLocalKafka { cluster in
            let admin = try KafkaAdmin(client(cluster.bootstrapServers))
            let made = try await admin.createTopics([
                NewTopic("eqiad.a", partitions: 2, settings: ["message.timestamp.type": "LogAppendTime"]),
                NewTopic("eqiad.b", partitions: 1), NewTopic("codfw.b", partitions: 1),
            ])
            #expect(made.count == 3)
            for result in made.values { try result.get() }
            let again = try await admin.createTopics([NewTopic("eqiad.a", partitions: 2)])
            guard case .failure(let error)? = again["eqiad.a"] else { Issue.record("made twice"); return }
            #expect(error.label == "topic_already_exists" && !error.isRetriable)
            #expect(try await admin.metadata(.matching("^eqiad\\.")).topics.map(\.name).sorted() == ["eqiad.a", "eqiad.b"])
            #expect(try await admin.metadata(.topic("eqiad.a")).topics.first?.partitions.count == 2)
            let configs = try await admin.describeTopicConfigs(["eqiad.a", "no.such"])
            #expect(try configs["eqiad.a"]?.get()["message.timestamp.type"]?.value == "LogAppendTime")
            guard case .failure? = configs["no.such"] else { Issue.record("\(configs)"); return }
            try await admin.createPartitions(["eqiad.a": 5])["eqiad.a"]?.get()
            #expect(try await admin.metadata(.topic("eqiad.a")).topics.first?.partitions.count == 5)
            try await admin.deleteTopics(["eqiad.b"])["eqiad.b"]?.get()
            #expect(cluster.topicNames.sorted() == ["codfw.b", "eqiad.a"])
            await admin.close()
            await #expect(throws: KafkaLogError.closed) { try await admin.listGroups() }
        }
    }

    @Test func groupsAreListedDescribedAndTheirOffsetsReadAndSet() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try cluster.createTopic("t")
            try await produce(numbered("t", partitions: 1, each: 10), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers, group: "g")
            let id = try await consumer.clusterID()
            let partition = TopicPartition(topic: "t", partition: 0)
            try await consumer.subscribe(to: ["t"])
            guard case .assigned? = try await consumer.nextEvent(deadline: within(10)) else { Issue.record("no assignment"); return }
            try await consumer.acceptAssignment(starts("t", 1, in: id))
            try await consumer.commit([partition: CommittedOffset(Position(7, in: id), metadata: "m")])
            let admin = try KafkaAdmin(client(cluster.bootstrapServers))
            let listings = try await admin.listGroups()
            #expect(listings.groups.map(\.id) == ["g"] && listings.failures.isEmpty)
            let group = try await admin.describeGroups(["g"])["g"]?.get()
            #expect(group?.state == "Stable" && group?.members.first?.partitions == [partition])
            #expect(try await admin.groupOffsets("g")[partition]?.get()?.position == Position(7, in: id))
            try await consumer.close()
            let altered = try await admin.alterGroupOffsets("g", [partition: CommittedOffset(Position(3, in: id))])
            _ = try altered[partition]?.get()
            #expect(try await admin.groupOffsets("g", partitions: [partition])[partition]?.get()?.position.offset == 3)
            let low = try await admin.deleteRecords(before: [partition: Position(6, in: id)])
            #expect(try low[partition]?.get() == Position(6, in: id))
            await admin.close()
        }
    }

    @Test func aRequestWithoutAnAnswerEndsByItsTimeout() async throws {
        try await withLocalKafka { cluster in
            let admin = try KafkaAdmin(client(cluster.bootstrapServers))
            cluster.faults.add(FaultRule(.dropReply, apiKey: .createTopics, count: nil))
            let took = await ContinuousClock().measure {
                await #expect(throws: KafkaLogError.self) {
                    try await admin.createTopics([NewTopic("t", partitions: 1)], timeout: .seconds(1))
                }
            }
            // Not by librdkafka's own, which is a minute.
            #expect(took < .seconds(50))
            await admin.close()
        }
    }
}
