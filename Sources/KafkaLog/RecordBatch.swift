import CRdKafka
import Synchronization

/// Records of several partitions as they came from librdkafka, neither copied nor moved (or made in memory, for simulations). The batch owns them: they are freed when
/// the last reference to it goes, on whatever thread that is. While it lives, librdkafka keeps the whole fetch
/// responses that its records lie in, so copy (`detached`) what is to be kept long.
public final class RecordBatch: @unchecked Sendable {
    // @unchecked: nothing changes after `init` but librdkafka's lazy parsing of headers, which `headerLock` guards.
    @usableFromInline let messages: UnsafeMutablePointer<UnsafeMutablePointer<rd_kafka_message_t>?>
    /// Never 0.
    public let count: Int
    /// The cluster that every record's offset belongs to.
    public let cluster: ClusterID
    /// The partitions of the records, in the records' order: each run is one partition's records, offsets rising.
    public let runs: [Run]
    let headerLock = Mutex<Void>(())
    private let capacity: Int
    /// nil: the records did not come from librdkafka.
    private let handle: ClientHandle?
    /// The records themselves where they were made in memory; nil where librdkafka owns them.
    let made: [Record]?
    /// Whether `made` is there: to look at that for every record would count references.
    let isMade: Bool

    /// Neighbouring records of one partition.
    public struct Run: Sendable {
        public let partition: TopicPartition
        /// Indices of the records in the batch.
        public let range: Range<Int>
    }

    init(
        messages: UnsafeMutablePointer<UnsafeMutablePointer<rd_kafka_message_t>?>, count: Int, capacity: Int,
        cluster: ClusterID, runs: [Run], handle: ClientHandle
    ) {
        self.messages = messages
        self.count = count
        self.capacity = capacity
        self.cluster = cluster
        self.runs = runs
        self.handle = handle
        made = nil
        isMade = false
    }

    /// A batch of records that no client fetched: for simulations and tests. Copies their bytes.
    /// - Returns: nil when `records` is empty.
    public convenience init?(_ records: [Record]) {
        guard let first = records.first else { return nil }
        var runs: [Run] = []
        for (index, record) in records.enumerated() {
            if let last = runs.last, last.partition == record.partition {
                runs[runs.count - 1] = Run(partition: last.partition, range: last.range.lowerBound..<index + 1)
            } else {
                runs.append(Run(partition: record.partition, range: index..<index + 1))
            }
        }
        self.init(made: records, runs: runs, cluster: first.position.cluster)
    }

    private init(made: [Record], runs: [Run], cluster: ClusterID) {
        messages = .allocate(capacity: made.count)
        for (index, record) in made.enumerated() {
            let message = UnsafeMutablePointer<rd_kafka_message_t>.allocate(capacity: 1)
            message.initialize(to: rd_kafka_message_t())
            message.pointee.partition = record.partition.partition
            message.pointee.offset = record.position.offset
            (message.pointee.key, message.pointee.key_len) = Self.copy(record.key)
            (message.pointee.payload, message.pointee.len) = Self.copy(record.value)
            // librdkafka's own pointer in its messages; here the record's place in `made`, from 1.
            message.pointee._private = UnsafeMutableRawPointer(bitPattern: index + 1)
            (messages + index).initialize(to: message)
        }
        count = made.count
        capacity = made.count
        self.cluster = cluster
        self.runs = runs
        self.made = made
        isMade = true
        handle = nil
    }

    private static func copy(_ bytes: [UInt8]?) -> (UnsafeMutableRawPointer?, Int) {
        guard let bytes else { return (nil, 0) }
        let copy = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 1)
        bytes.withUnsafeBytes { copy.copyMemory(from: $0.baseAddress ?? UnsafeRawPointer(copy), byteCount: $0.count) }
        return (copy, bytes.count)
    }

    deinit {
        guard let handle else { return freeMade() }
        for index in 0..<count { rd_kafka_message_destroy(messages[index]) }
        handle.pool.giveBack(messages, capacity: capacity)
    }

    private func freeMade() {
        for index in 0..<count {
            guard let message = messages[index] else { continue }
            message.pointee.key?.deallocate()
            message.pointee.payload?.deallocate()
            message.deallocate()
        }
        messages.deallocate()
    }

    /// Calls `body` with each record in order. Allocates and copies nothing.
    @inlinable
    public func forEach<Failure: Error>(_ body: (borrowing RecordView) throws(Failure) -> Void) throws(Failure) {
        for run in runs.indices {
            for index in runs[run].range { try withRecord(at: index, run: run, body) }
        }
    }

    /// Calls `body` with each record of one run, in order.
    @inlinable
    public func forEach<Failure: Error>(
        in run: Run, _ body: (borrowing RecordView) throws(Failure) -> Void
    ) throws(Failure) {
        guard let position = runs.firstIndex(where: { $0.range == run.range }) else { return }
        for index in runs[position].range { try withRecord(at: index, run: position, body) }
    }

    /// Calls `body` with the record at `index` (0 to `count` - 1), for code that must await between records.
    @inlinable
    public func withRecord<Result, Failure: Error>(
        at index: Int, _ body: (borrowing RecordView) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        precondition(index >= 0 && index < count, "no such record in this batch")
        var low = 0
        var high = runs.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if runs[middle].range.lowerBound <= index { low = middle } else { high = middle - 1 }
        }
        return try withRecord(at: index, run: low, body)
    }

    @inlinable @inline(__always)
    func withRecord<Result, Failure: Error>(
        at index: Int, run: Int, _ body: (borrowing RecordView) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        // librdkafka fills the array without holes; `init` got the count of it.
        try body(RecordView(message: messages[index].unsafelyUnwrapped, batch: self, run: run))
    }

    /// A copy of the record at `index`. Throws as `RecordView.headers` does.
    public func detached(at index: Int) throws(KafkaLogError) -> Record {
        try withRecord(at: index) { (record) throws(KafkaLogError) in try record.detached() }
    }
}

/// One record in its batch. It can't be stored or leave the closure that got it; neither may the bytes that it lends.
public struct RecordView: ~Copyable {
    @usableFromInline let message: UnsafeMutablePointer<rd_kafka_message_t>
    // The batch outlives every view of it: views exist only inside its own methods' closures.
    @usableFromInline unowned(unsafe) let batch: RecordBatch
    @usableFromInline let run: Int

    @inlinable @inline(__always)
    init(message: UnsafeMutablePointer<rd_kafka_message_t>, batch: RecordBatch, run: Int) {
        self.message = message
        self.batch = batch
        self.run = run
    }

    @inlinable public var topicPartition: TopicPartition { batch.runs[run].partition }
    @inlinable public var partition: Int32 { message.pointee.partition }
    /// This record's own offset: to go on after it, read from `offset + 1`.
    @inlinable public var offset: Int64 { message.pointee.offset }
    public var position: Position { Position(offset, in: batch.cluster) }

    /// The record in memory that this is a view of; nil where librdkafka owns it.
    private var made: Record? {
        guard batch.isMade, let made = batch.made else { return nil }
        return made[Int(bitPattern: message.pointee._private) - 1]
    }

    /// nil: the record carries none.
    public var timestamp: MillisecondTimestamp? {
        if let made { return made.timestamp }
        return MillisecondTimestamp(rd_kafka_message_timestamp(message, nil))
    }

    public var timestampType: TimestampType {
        if let made { return made.timestamp == nil ? .none : made.timestampType }
        var type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
        let timestamp = rd_kafka_message_timestamp(message, &type)
        if timestamp < 0 { return .none }
        return type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? .logAppendTime : type == RD_KAFKA_TIMESTAMP_CREATE_TIME ? .createTime : .none
    }

    /// Bytes of the key; nil: the key is null.
    @inlinable public var keySize: Int? { message.pointee.key == nil ? nil : message.pointee.key_len }
    /// Bytes of the value; nil: the value is null.
    @inlinable public var valueSize: Int? { message.pointee.payload == nil ? nil : message.pointee.len }

    /// Lends the key's bytes for the call; nil is a null key, an empty buffer an empty one.
    @inlinable
    public func withKey<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let base = message.pointee.key else { return try body(nil) }
        return try body(UnsafeRawBufferPointer(start: base, count: message.pointee.key_len))
    }

    /// Lends the value's bytes for the call; nil is a null value, an empty buffer an empty one.
    @inlinable
    public func withValue<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer?) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        guard let base = message.pointee.payload else { return try body(nil) }
        return try body(UnsafeRawBufferPointer(start: base, count: message.pointee.len))
    }

    /// A copy of the headers, in order. librdkafka parses them when first asked: records that nobody asks cost nothing.
    /// Throws `partitionFailed` when their bytes are not headers.
    public func headers() throws(KafkaLogError) -> [RecordHeader] {
        if let made { return made.headers }
        let parsed: Result<[RecordHeader], KafkaLogError> = batch.headerLock.withLock { _ in
            var list: OpaquePointer?
            let code = rd_kafka_message_headers(message, &list)
            if code == RD_KAFKA_RESP_ERR__NOENT { return .success([]) }
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let list else {
                return .failure(.partitionFailed(topicPartition, LibraryFailure(code, operation: "headers of \(offset)")))
            }
            return .success((0..<rd_kafka_header_cnt(list)).compactMap { Self.header(at: $0, in: list) })
        }
        return try parsed.get()
    }

    /// librdkafka's own list of a copy of the headers, the caller's to free; nil: there are none. Throws as `headers` does.
    func headerList() throws(KafkaLogError) -> OpaquePointer? {
        if let made { return makeHeaders(made.headers) }
        var list: OpaquePointer?
        let code = batch.headerLock.withLock { _ in rd_kafka_message_headers(message, &list) }
        if code == RD_KAFKA_RESP_ERR__NOENT { return nil }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let list else {
            throw .partitionFailed(topicPartition, LibraryFailure(code, operation: "headers of \(offset)"))
        }
        // Once parsed, nothing changes it until the record is destroyed.
        return rd_kafka_headers_copy(list)
    }

    private static func header(at index: Int, in list: OpaquePointer) -> RecordHeader? {
        var name: UnsafePointer<CChar>?
        var value: UnsafeRawPointer?
        var size = 0
        guard rd_kafka_header_get_all(list, index, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR, let name
        else { return nil }
        return RecordHeader(
            name: String(cString: name), value: value.map { Array(UnsafeRawBufferPointer(start: $0, count: size)) })
    }

    /// A copy of the whole record: allocates for key, value and headers. Throws as `headers` does.
    public func detached() throws(KafkaLogError) -> Record {
        Record(
            partition: topicPartition, position: position, timestamp: timestamp, timestampType: timestampType,
            key: withKey { $0.map { Array($0) } }, value: withValue { $0.map { Array($0) } }, headers: try headers())
    }
}
