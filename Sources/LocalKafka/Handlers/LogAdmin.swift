/// DeleteRecords (21), OffsetForLeaderEpoch (23), DescribeCluster (60).
enum LogAdminHandlers {
    static let deleteRecords = APIHandler(.deleteRecords, versions: 0...2, firstFlexible: 2) { context, reader in
        var reader = reader
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let partitions = try reader.array("partitions") { reader in
                let number = try reader.int32()
                let offset = try reader.int64()
                try reader.skipTaggedFields()
                return (number: number, offset: offset)
            }
            try reader.skipTaggedFields()
            return (name: name, partitions: partitions)
        }
        _ = try reader.int32()  // timeout
        try reader.skipTaggedFields()

        var writer = context.response()
        writer.int32(0)  // throttle time
        try writer.array(topics) { writer, topic in
            writer.string(topic.name)
            try writer.array(topic.partitions) { writer, partition in
                let result = try delete(topic.name, partition.number, before: partition.offset, context: context)
                writer.int32(partition.number)
                switch result {
                case .success(let start):
                    writer.int64(start)
                    writer.error(.none)
                case .failure(let error):
                    writer.int64(-1)
                    writer.error(error)
                }
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    private static func delete(
        _ topic: String, _ number: Int32, before offset: Int64, context: RequestContext
    ) throws -> Result<Int64, ErrorCode> {
        if let error = try context.injectedError(topic: topic, partition: number) { return .failure(error) }
        guard let log = context.cluster.topics.partition(topic, number) else { return .failure(.unknownTopicOrPartition) }
        let result = log.deleteRecords(before: offset, broker: context.brokerID)
        guard case .success = result else { return result }
        do { try context.cluster.topics.save(topic) } catch { return .failure(.kafkaStorageError) }
        return result
    }

    static let offsetForLeaderEpoch = APIHandler(.offsetForLeaderEpoch, versions: 2...4, firstFlexible: 4) { context, reader in
        var reader = reader
        if context.apiVersion >= 3 { _ = try reader.int32() }  // replica id
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let partitions = try reader.array("partitions") { reader in
                let number = try reader.int32()
                let currentEpoch = try reader.int32()
                let epoch = try reader.int32()
                try reader.skipTaggedFields()
                return (number: number, currentEpoch: currentEpoch, epoch: epoch)
            }
            try reader.skipTaggedFields()
            return (name: name, partitions: partitions)
        }
        try reader.skipTaggedFields()

        var writer = context.response()
        writer.int32(0)  // throttle time
        try writer.array(topics) { writer, topic in
            writer.string(topic.name)
            try writer.array(topic.partitions) { writer, partition in
                var error = try context.injectedError(topic: topic.name, partition: partition.number)
                let log = context.cluster.topics.partition(topic.name, partition.number)
                if error == nil, log == nil { error = .unknownTopicOrPartition }
                if error == nil, case .failure(let code)? = log?.bounds(
                    broker: context.brokerID, leaderEpoch: partition.currentEpoch)
                {
                    error = code
                }
                let end = error == nil ? log?.endOffset(ofEpoch: partition.epoch) : nil
                writer.error(error ?? .none)
                writer.int32(partition.number)
                writer.int32(end?.epoch ?? -1)
                writer.int64(end?.endOffset ?? -1)
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
        return writer
    }

    static let describeCluster = APIHandler(.describeCluster, versions: 0...1, firstFlexible: 0) { context, reader in
        var reader = reader
        _ = try reader.bool()  // include operations
        if context.apiVersion >= 1 { _ = try reader.int8() }  // endpoint type
        try reader.skipTaggedFields()
        var writer = context.response()
        writer.int32(0)  // throttle time
        writer.error(try context.injectedError() ?? .none)
        writer.nullableString(nil)
        if context.apiVersion >= 1 { writer.int8(1) }  // brokers, not controllers
        writer.string(context.cluster.clusterID)
        writer.int32(context.cluster.controllerID)
        writer.array(context.cluster.runningBrokers) { writer, broker in
            writer.int32(broker.id)
            writer.string(broker.host)
            writer.int32(Int32(broker.port))
            writer.nullableString(nil)
            writer.noTaggedFields()
        }
        writer.int32(MetadataHandler.unknownOperations)
        writer.noTaggedFields()
        return writer
    }
}
