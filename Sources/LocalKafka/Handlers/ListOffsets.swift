/// ListOffsets (2): the log's start, its end, the record with the largest timestamp, and the first record with a
/// timestamp of T or later.
enum ListOffsetsHandler {
    static let latest: Int64 = -1
    static let earliest: Int64 = -2
    static let maxTimestamp: Int64 = -3

    static let handler = APIHandler(.listOffsets, versions: 1...7, firstFlexible: 6) { context, reader in
        var reader = reader
        let version = context.apiVersion
        _ = try reader.int32()  // replica id
        if version >= 2 { _ = try reader.int8() }  // isolation level: without transactions both are the same
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let partitions = try reader.array("partitions") { reader in
                let number = try reader.int32()
                let leaderEpoch = version >= 4 ? try reader.int32() : -1
                let timestamp = try reader.int64()
                try reader.skipTaggedFields()
                return (number: number, leaderEpoch: leaderEpoch, timestamp: timestamp)
            }
            try reader.skipTaggedFields()
            return (name: name, partitions: partitions)
        }
        var writer = context.response()
        if version >= 2 { writer.int32(0) }  // throttle time
        try writer.array(topics) { writer, topic in
            writer.string(topic.name)
            try writer.array(topic.partitions) { writer, partition in
                let answer = try find(
                    topic.name, partition.number, leaderEpoch: partition.leaderEpoch, timestamp: partition.timestamp,
                    context: context)
                writer.int32(partition.number)
                writer.error(answer.error)
                writer.int64(answer.timestamp)
                writer.int64(answer.offset)
                if version >= 4 { writer.int32(answer.leaderEpoch) }
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private struct Answer {
        var error: ErrorCode = .none
        var timestamp: Int64 = -1
        var offset: Int64 = -1
        var leaderEpoch: Int32 = -1
    }

    private static func find(
        _ topic: String, _ number: Int32, leaderEpoch: Int32, timestamp: Int64, context: RequestContext
    ) throws -> Answer {
        if let error = try context.injectedError(topic: topic, partition: number) { return Answer(error: error) }
        guard let log = context.cluster.topics.partition(topic, number) else {
            return Answer(error: .unknownTopicOrPartition)
        }
        switch log.bounds(broker: context.brokerID, leaderEpoch: leaderEpoch) {
        case .failure(let error): return Answer(error: error)
        case .success(let bounds):
            do {
                switch timestamp {
                case latest: return Answer(offset: bounds.highWatermark, leaderEpoch: bounds.epoch)
                case earliest: return Answer(offset: bounds.logStart, leaderEpoch: bounds.epoch)
                case maxTimestamp where context.apiVersion >= 7: return answer(try log.recordWithMaxTimestamp())
                case 0...: return answer(try log.firstRecord(withTimestamp: timestamp))
                default: return Answer(error: .unsupportedVersion)
                }
            } catch {
                context.logger.error(
                    "lookup by time failed", metadata: ["topic": "\(topic)", "partition": "\(number)", "error": "\(error)"])
                return Answer(error: .kafkaStorageError)
            }
        }
    }

    private static func answer(_ match: PartitionLog.TimeMatch?) -> Answer {
        guard let match else { return Answer() }
        return Answer(timestamp: match.timestamp, offset: match.offset, leaderEpoch: match.leaderEpoch)
    }
}
