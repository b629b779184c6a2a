import NIOCore

/// Produce (0): appends record batches. Versions 0 to 2 carry message sets of the formats before 0.11 and are answered
/// with UNSUPPORTED_FOR_MESSAGE_FORMAT; they are advertised because librdkafka 2.0.2 takes a broker without
/// version 0 for one that can't take compressed batches, and sends them uncompressed without a word.
enum ProduceHandler {
    static let handler = APIHandler(.produce, versions: 0...10, firstFlexible: 9) { context, reader in
        var reader = reader
        let version = context.apiVersion
        if version >= 3 { _ = try reader.nullableString("transactional id") }
        let acks = try reader.int16()
        _ = try reader.int32()  // timeout: a single replica never has to wait
        let topics = try reader.array("topics") { reader in
            let name = try reader.string("topic")
            let partitions = try reader.array("partitions") { reader in
                let number = try reader.int32()
                let records = try reader.nullableBytes("records")
                try reader.skipTaggedFields()
                return (number: number, records: records)
            }
            try reader.skipTaggedFields()
            return (name: name, partitions: partitions)
        }
        try reader.skipTaggedFields()

        var failed = false
        var writer = context.response()
        try writer.array(topics) { writer, topic in
            writer.string(topic.name)
            try writer.array(topic.partitions) { writer, partition in
                let answer = try append(
                    partition.records, topic: topic.name, partition: partition.number, acks: acks, context: context)
                if answer.error != .none { failed = true }
                write(answer, partition: partition.number, version: version, to: &writer)
            }
            writer.noTaggedFields()
        }
        if version >= 1 { writer.int32(0) }  // throttle time
        writer.noTaggedFields()
        guard acks == 0 else { return writer }
        // A producer that asked for no answer learns of an error by losing its connection, as from Kafka.
        if failed { throw ConnectionMustClose(reason: "produce without acknowledgement failed") }
        return nil
    }

    private struct Answer {
        var error: ErrorCode
        var baseOffset: Int64 = -1
        var logAppendTime: Int64 = -1
        var logStart: Int64 = -1
    }

    private static func write(_ answer: Answer, partition: Int32, version: Int16, to writer: inout WireWriter) {
        writer.int32(partition)
        writer.error(answer.error)
        writer.int64(answer.baseOffset)
        if version >= 2 { writer.int64(answer.logAppendTime) }
        if version >= 5 { writer.int64(answer.logStart) }
        if version >= 8 {
            writer.arrayCount(0)  // errors of single records
            writer.nullableString(nil)
        }
        writer.noTaggedFields()
    }

    private static func append(
        _ records: ByteBuffer?, topic name: String, partition number: Int32, acks: Int16, context: RequestContext
    ) throws -> Answer {
        if let error = try context.injectedError(topic: name, partition: number) { return Answer(error: error) }
        guard acks == 0 || acks == 1 || acks == -1 else { return Answer(error: .invalidRequiredAcks) }
        guard let topic = context.cluster.topics.topic(name), let log = topic.partition(number) else {
            return Answer(error: .unknownTopicOrPartition)
        }
        guard context.apiVersion >= 3 else { return Answer(error: .unsupportedForMessageFormat) }
        guard let records, records.readableBytes > 0 else { return Answer(error: .invalidRecord) }
        let configuration = topic.configuration
        let checked = ValidBatch.check(
            records, origin: .client(produceVersion: context.apiVersion), maxBytes: configuration.maxMessageBytes)
        switch checked {
        case .failure(let error): return Answer(error: error)
        case .success(let batch):
            let time = configuration.usesLogAppendTime ? context.cluster.appendTime(broker: context.brokerID) : nil
            switch log.append(batch, as: context.brokerID, stampTime: time) {
            case .failure(let error): return Answer(error: error)
            case .success(let done):
                return Answer(
                    error: .none, baseOffset: done.baseOffset, logAppendTime: done.logAppendTime, logStart: done.logStart)
            }
        }
    }
}
