import CRdKafka

/// The records of one call that a producer has not finished yet, and what became of them. A reference: delivery reports change it
/// in place. Touched by the producer's thread alone.
protocol Submission: AnyObject {
    /// Records without a result.
    var open: Int { get }
    /// What librdkafka was given without a copy of it; nil: nothing.
    var lent: RecordBatch? { get }
    /// Hands records to librdkafka, from the first that it has not got. false: its queue is full. `id` goes into the upper half of each
    /// message's opaque, the record's index into the lower one. `cluster` is the one that is written to.
    func pump(id: UInt32, _ handle: ClientHandle, _ cluster: ClusterID?) -> Bool
    /// librdkafka's word on the record at `index`.
    func report(_ index: Int, _ message: UnsafePointer<rd_kafka_message_t>)
    /// Gives the caller its results. What has none by now failed as `closed`. Called once.
    func finish()
}

/// Records of one `send`.
final class RecordSubmission: Submission {
    private let records: [ProducerRecord]
    private var results: [Result<Delivery, KafkaLogError>?]
    /// The first record that librdkafka has not got.
    private var next = 0
    private(set) var open: Int
    private var cluster: ClusterID?
    private let continuation: CheckedContinuation<[Result<Delivery, KafkaLogError>], Never>

    var lent: RecordBatch? { nil }

    init(
        _ records: [ProducerRecord], _ continuation: CheckedContinuation<[Result<Delivery, KafkaLogError>], Never>
    ) {
        self.records = records
        self.continuation = continuation
        results = Array(repeating: nil, count: records.count)
        open = records.count
    }

    func pump(id: UInt32, _ handle: ClientHandle, _ cluster: ClusterID?) -> Bool {
        self.cluster = cluster
        while next < records.count {
            switch produce(records[next], opaque: UInt(id) << 32 | UInt(next), handle) {
            case .success: break
            case .failure(let error) where error.code == RD_KAFKA_RESP_ERR__QUEUE_FULL.rawValue: return false
            case .failure(let error): settle(next, .failure(error))
            }
            next += 1
        }
        return true
    }

    func report(_ index: Int, _ message: UnsafePointer<rd_kafka_message_t>) {
        guard records.indices.contains(index) else { return }
        let partition = TopicPartition(topic: records[index].topic, partition: message.pointee.partition)
        let code = message.pointee.err
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return settle(index, .failure(.partitionFailed(partition, LibraryFailure(code, operation: "produce"))))
        }
        let offset = message.pointee.offset
        settle(
            index,
            .success(
                Delivery(
                    partition: partition, position: offset < 0 ? nil : cluster.map { Position(offset, in: $0) },
                    timestamp: MillisecondTimestamp(rd_kafka_message_timestamp(message, nil)))))
    }

    func finish() { continuation.resume(returning: results.map { $0 ?? .failure(.closed) }) }

    private func settle(_ index: Int, _ result: Result<Delivery, KafkaLogError>) {
        guard results.indices.contains(index), results[index] == nil else { return }
        results[index] = result
        open -= 1
    }

    private func produce(_ record: ProducerRecord, opaque: UInt, _ handle: ClientHandle) -> Result<Void, KafkaLogError> {
        guard let topic = handle.topic(named: record.topic) else {
            return .failure(.invalidArgument("'\(record.topic)' is not a topic's name"))
        }
        if let partition = record.partition, partition < 0 { return .failure(.invalidArgument("partition \(partition)")) }
        var time = record.timestamp?.milliseconds ?? 0
        if record.timestamp != nil, time == 0, !record.isTimestampAbsent {
            return .failure(.invalidArgument("librdkafka can't send the timestamp 0"))
        }
        if record.isTimestampAbsent { time = -1 }
        let headers = makeHeaders(record.headers)
        let code = withBytes(record.key) { key in
            withBytes(record.value) { value in
                switchback_produce(
                    handle.client, topic, record.partition ?? -1, RD_KAFKA_MSG_F_COPY, value?.baseAddress, value?.count ?? 0, key?.baseAddress,
                    key?.count ?? 0, headers, time, UnsafeMutableRawPointer(bitPattern: opaque))
            }
        }
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return .success(()) }
        if let headers { rd_kafka_headers_destroy(headers) }
        return .failure(.failed(LibraryFailure(code, operation: "produce to \(record.topic)")))
    }
}

/// librdkafka's list of these headers, the caller's to free; nil: there are none.
func makeHeaders(_ headers: [RecordHeader]) -> OpaquePointer? {
    guard !headers.isEmpty, let list = rd_kafka_headers_new(headers.count) else { return nil }
    for header in headers {
        _ = withBytes(header.value) { value in
            rd_kafka_header_add(list, header.name, -1, value?.baseAddress, value?.count ?? 0)
        }
    }
    return list
}

/// Lends the bytes to a C function that tells null from empty: an empty array's buffer has no address of its own.
private func withBytes<Result>(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
    guard let bytes else { return body(nil) }
    guard !bytes.isEmpty else {
        return withUnsafeBytes(of: UInt8(0)) { body(UnsafeRawBufferPointer(start: $0.baseAddress, count: 0)) }
    }
    return bytes.withUnsafeBytes { body($0) }
}
