import CRdKafka
import Glibc
import Logging

/// A record that a broker has acknowledged.
public struct Delivery: Hashable, Sendable {
    public let partition: TopicPartition
    /// The record's own offset; nil: the broker did not tell (acks=0, or it had the record from an earlier try).
    public let position: Position?
    /// What the record carries now: a LogAppendTime topic's broker sets it. nil: none.
    public let timestamp: MillisecondTimestamp?
}

/// Sends records. Unless set otherwise with acks=all and idempotence: in order per partition, once each while this producer lives.
///
/// A record that failed with a time-out may still have been written: `isRetriable` says that sending again makes sense,
/// not that it can't be there twice.
public actor KafkaProducer {
    nonisolated let thread: ClientThread
    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }
    public nonisolated let configuration: KafkaClientConfiguration

    private var handle: ClientHandle?
    private var cluster: ClusterID?
    private var submissions: [UInt32: Submission] = [:]
    /// Submissions that librdkafka's queue had no room for yet, oldest first.
    private var backlog: [UInt32] = []
    private var lastID: UInt32 = 0
    private var flushes: [CheckedContinuation<Void, Never>] = []
    private var lastFatal: KafkaLogError?

    /// Records of one `send` and what became of them. A reference: delivery reports change it in place.
    private final class Submission {
        let records: [ProducerRecord]
        var results: [Result<Delivery, KafkaLogError>?]
        /// The first record that librdkafka has not got.
        var next = 0
        /// Records without a result.
        var open: Int
        let continuation: CheckedContinuation<[Result<Delivery, KafkaLogError>], Never>

        init(
            _ records: [ProducerRecord], _ continuation: CheckedContinuation<[Result<Delivery, KafkaLogError>], Never>
        ) {
            self.records = records
            self.continuation = continuation
            results = Array(repeating: nil, count: records.count)
            open = records.count
        }

        func settle(_ index: Int, _ result: Result<Delivery, KafkaLogError>) {
            guard results.indices.contains(index), results[index] == nil else { return }
            results[index] = result
            open -= 1
        }
    }

    /// Records of one `send(contentsOf:)`.
    public static let submissionLimit = 1_000_000

    /// Makes the client. Does not wait for a broker.
    public init(_ configuration: KafkaClientConfiguration) throws(KafkaLogError) {
        let settings = ClientSettings()
        try settings.apply(configuration, defaults: ["acks": "all", "enable.idempotence": "true"])
        rd_kafka_conf_set_events(settings.pointer, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS)
        let thread = ClientThread(name: "kafka-producer")
        handle = try ClientHandle(
            RD_KAFKA_PRODUCER, settings: settings,
            context: CallbackContext(logger: configuration.logger, clientID: configuration.clientID), thread: thread)
        self.configuration = configuration
        self.thread = thread
        thread.wakeHandler = { [weak self] in self?.assumeIsolated { $0.serveEvents() } }
        try thread.start()
    }

    deinit { thread.stop() }

    /// Sends one record and waits for the acknowledgement, or for librdkafka's giving up (`delivery.timeout.ms`, 5 minutes unless set).
    public func send(_ record: ProducerRecord) async throws(KafkaLogError) -> Delivery {
        guard let result = await send(contentsOf: [record]).first else { throw .closed }
        return try result.get()
    }

    /// Sends many records and returns when every one is acknowledged or failed: one result per record, in their order. Waits,
    /// without spinning, while librdkafka's queue is full. At most `submissionLimit` records.
    public func send(contentsOf records: [ProducerRecord]) async -> [Result<Delivery, KafkaLogError>] {
        guard !records.isEmpty else { return [] }
        do throws(KafkaLogError) {
            guard records.count <= Self.submissionLimit else {
                throw .invalidArgument("\(records.count) records in one send: the limit is \(Self.submissionLimit)")
            }
            guard handle != nil else { throw .closed }
            if let lastFatal { throw lastFatal }
            try clusterID()
        } catch {
            return records.map { _ in .failure(error) }
        }
        return await withCheckedContinuation { continuation in
            repeat { lastID &+= 1 } while submissions[lastID] != nil
            submissions[lastID] = Submission(records, continuation)
            backlog.append(lastID)
            pump()
        }
    }

    /// Waits until everything that was sent has its result.
    public nonisolated func flush(within limit: Duration = .seconds(30)) async throws(KafkaLogError) {
        let deadline = ContinuousClock.now + limit
        let isDone = await firstToFinish {
            await self.waitUntilIdle()
            return true
        } orAt: {
            deadline
        }
        guard isDone else { throw .deadlineExceeded(what: "flush") }
    }

    /// Flushes, then ends the client. What has no result at the deadline fails, and may or may not be written.
    public func close(within limit: Duration = .seconds(30)) async throws(KafkaLogError) {
        guard handle != nil else { return }
        var failure: KafkaLogError?
        do throws(KafkaLogError) { try await flush(within: limit) } catch { failure = error }
        guard let handle else { return }
        self.handle = nil
        rd_kafka_purge(handle.client, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)
        drain(handle)
        let abandoned = submissions
        submissions.removeAll()
        backlog.removeAll()
        for submission in abandoned.values {
            submission.continuation.resume(returning: submission.results.map { $0 ?? .failure(.closed) })
        }
        finishFlushes()
        if let failure { throw failure }
    }

    /// The id of the cluster that this client is connected to; asks a broker once.
    @discardableResult
    public func clusterID(timeout: Duration? = nil) throws(KafkaLogError) -> ClusterID {
        if let cluster { return cluster }
        guard let handle else { throw .closed }
        let id = try handle.clusterID(timeout: timeout ?? configuration.requestTimeout, servers: configuration.bootstrapServers)
        cluster = id
        return id
    }

    /// Topics and their partitions. Blocks this client's thread, at most `timeout`.
    public func metadata(_ selection: TopicSelection = .all, timeout: Duration = .seconds(10)) throws(KafkaLogError)
        -> ClusterMetadata
    {
        guard let handle else { throw .closed }
        return try handle.metadata(selection, timeout: timeout)
    }

    // MARK: On the thread

    /// Hands records to librdkafka, oldest first, until its queue is full. Delivery reports call it again.
    private func pump() {
        guard let handle else { return }
        while let id = backlog.first {
            guard let submission = submissions[id] else {
                backlog.removeFirst()
                continue
            }
            while submission.next < submission.records.count {
                let index = submission.next
                let code = produce(submission.records[index], opaque: UInt(id) << 32 | UInt(index), handle)
                switch code {
                case .success: break
                case .failure(let error) where error.code == RD_KAFKA_RESP_ERR__QUEUE_FULL.rawValue: return
                case .failure(let error): submission.settle(index, .failure(error))
                }
                submission.next += 1
            }
            backlog.removeFirst()
            finishIfSettled(id, submission)
        }
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
        let headers = Self.makeHeaders(record.headers)
        let code = withBytes(record.key) { key in
            withBytes(record.value) { value in
                switchback_produce(
                    handle.client, topic, record.partition ?? -1, value?.baseAddress, value?.count ?? 0, key?.baseAddress,
                    key?.count ?? 0, headers, time, UnsafeMutableRawPointer(bitPattern: opaque))
            }
        }
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return .success(()) }
        if let headers { rd_kafka_headers_destroy(headers) }
        return .failure(.failed(LibraryFailure(code, operation: "produce to \(record.topic)")))
    }

    private static func makeHeaders(_ headers: [RecordHeader]) -> OpaquePointer? {
        guard !headers.isEmpty, let list = rd_kafka_headers_new(headers.count) else { return nil }
        for header in headers {
            _ = withBytes(header.value) { value in
                rd_kafka_header_add(list, header.name, -1, value?.baseAddress, value?.count ?? 0)
            }
        }
        return list
    }

    private func serveEvents() {
        guard let handle else { return }
        drain(handle)
        pump()
    }

    private func drain(_ handle: ClientHandle) {
        while let event = rd_kafka_queue_poll(handle.mainQueue, 0) { serve(ReplyEvent(event), handle) }
    }

    private func serve(_ event: consuming ReplyEvent, _ handle: ClientHandle) {
        switch event.type {
        case RD_KAFKA_EVENT_DR:
            while let message = rd_kafka_event_message_next(event.event) { report(message) }
        case RD_KAFKA_EVENT_STATS:
            guard let text = rd_kafka_event_stats(event.event) else { return }
            handle.context.statistics.report(UnsafeRawBufferPointer(start: text, count: strlen(text)))
        case RD_KAFKA_EVENT_ERROR:
            let text = rd_kafka_event_error_string(event.event).map { String(cString: $0) }
            let error = clientError(handle.client, code: rd_kafka_event_error(event.event), text: text)
            if error.isFatal { lastFatal = error }
            configuration.logger.log(level: error.severity, "Kafka producer error", metadata: ["error": "\(error)"])
        default: break
        }
    }

    private func report(_ message: UnsafePointer<rd_kafka_message_t>) {
        let opaque = UInt(bitPattern: message.pointee._private)
        let id = UInt32(truncatingIfNeeded: opaque >> 32)
        guard let submission = submissions[id] else { return }
        let index = Int(UInt32(truncatingIfNeeded: opaque))
        guard submission.records.indices.contains(index) else { return }
        let partition = TopicPartition(topic: submission.records[index].topic, partition: message.pointee.partition)
        let code = message.pointee.err
        if code == RD_KAFKA_RESP_ERR_NO_ERROR {
            let offset = message.pointee.offset
            submission.settle(
                index,
                .success(
                    Delivery(
                        partition: partition, position: offset < 0 ? nil : cluster.map { Position(offset, in: $0) },
                        timestamp: MillisecondTimestamp(rd_kafka_message_timestamp(message, nil)))))
        } else {
            submission.settle(index, .failure(.partitionFailed(partition, LibraryFailure(code, operation: "produce"))))
        }
        finishIfSettled(id, submission)
    }

    private func finishIfSettled(_ id: UInt32, _ submission: Submission) {
        guard submission.open == 0, submissions.removeValue(forKey: id) != nil else { return }
        submission.continuation.resume(returning: submission.results.map { $0 ?? .failure(.closed) })
        if submissions.isEmpty { finishFlushes() }
    }

    private func waitUntilIdle() async {
        guard !submissions.isEmpty else { return }
        await withCheckedContinuation { flushes.append($0) }
    }

    private func finishFlushes() {
        let waiting = flushes
        flushes.removeAll()
        for flush in waiting { flush.resume() }
    }
}

/// Lends the bytes to a C function that tells null from empty: an empty array's buffer has no address of its own.
private func withBytes<Result>(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Result) -> Result {
    guard let bytes else { return body(nil) }
    guard !bytes.isEmpty else {
        return withUnsafeBytes(of: UInt8(0)) { body(UnsafeRawBufferPointer(start: $0.baseAddress, count: 0)) }
    }
    return bytes.withUnsafeBytes { body($0) }
}
