import Checkpoints
import Handover
import KafkaLog

/// One stream of one origin that a group works on: a line of `offsets list`.
public struct GroupStream: Encodable, Sendable, Hashable {
    public var group: String
    public var origin: String
    public var stream: String
    public var topic: String
    public var partitions: Int
    /// Whoever owns partitions of it, the base owner first.
    public var owners: [String]
    public var epoch: Int64
    /// `stable`, `draining` or `resuming`.
    public var phase: String

    /// Those of every group, in order. Throws `StoreError` and `HandoverRefusal.format`.
    public static func load(from store: any SharedStore) async throws -> [GroupStream] {
        let assignments = AssignmentStore(store)
        var found: [GroupStream] = []
        for group in try await assignments.groups() {
            for (origin, stored) in try await assignments.load(group: group) { found += streams(group, origin, stored.assignment) }
        }
        return found.sorted { ($0.group, $0.topic) < ($1.group, $1.topic) }
    }

    static func streams(_ group: String, _ origin: Datacenter, _ assignment: Assignment) -> [GroupStream] {
        let phase =
            switch assignment.phase {
            case .stable: "stable"
            case .draining: "draining"
            case .resuming: "resuming"
            }
        func line(_ topic: String, _ count: Int32) -> GroupStream {
            let owners = Set((0..<max(0, count)).map { assignment.owner(of: TopicPartition(topic: topic, partition: $0)) })
            let others = owners.subtracting([assignment.owner]).sorted()
            let stream = OriginTopic(topic: topic, known: [origin])?.stream ?? topic
            return GroupStream(
                group: group, origin: origin.name, stream: stream, topic: topic, partitions: Int(count),
                owners: ((owners.contains(assignment.owner) || owners.isEmpty ? [assignment.owner] : []) + others).map(\.name), epoch: assignment.epoch,
                phase: phase)
        }
        return assignment.partitions.map { line($0.key, $0.value) }
    }

    public static func sheet(_ streams: [GroupStream]) -> Sheet {
        Sheet(
            [
                .init("GROUP", shrinksTo: 16), .init("ORIGIN"), .init("STREAM", shrinksTo: 20), .init("PARTS", isNumber: true), .init("OWNERS"),
                .init("EPOCH", isNumber: true, rank: 2), .init("PHASE", rank: 1),
            ],
            rows: streams.map {
                [
                    .init($0.group), .init($0.origin), .init($0.stream), .init("\($0.partitions)"), .init($0.owners.joined(separator: ",")),
                    .init("\($0.epoch)"), .init($0.phase, $0.phase == "stable" ? nil : .warning),
                ]
            })
    }

    public static func csv(_ streams: [GroupStream]) -> [[String]] {
        [["group", "origin", "stream", "topic", "partitions", "owners", "epoch", "phase"]]
            + streams.map { [$0.group, $0.origin, $0.stream, $0.topic, "\($0.partitions)", $0.owners.joined(separator: ";"), "\($0.epoch)", $0.phase] }
    }
}
