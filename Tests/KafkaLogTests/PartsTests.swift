import Testing

@testable import KafkaLog

@Suite("Calls for thousands of partitions")
struct PartsTests {
    @Test("They are made in parts that hold every partition once, and keep a topic together", arguments: [0, 1, 499, 500, 501, 10_000])
    func parts(_ count: Int) {
        let all = Set((0..<count).map { TopicPartition(topic: "t\($0 % 10)", partition: Int32($0 / 10)) })
        let parts = PartitionList.parts(of: all)
        #expect(parts.allSatisfy { !$0.isEmpty && $0.count <= PartitionList.callLimit })
        #expect(parts.count == (count + PartitionList.callLimit - 1) / PartitionList.callLimit)
        #expect(parts.flatMap(\.self).count == count && Set(parts.flatMap(\.self)) == all)
        if count == 10_000 { #expect(parts.allSatisfy { Set($0.map(\.topic)).count == 1 }) }
    }
}
