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
    private var submissions: [UInt32: any Submission] = [:]
    /// Submissions that librdkafka's queue had no room for yet, oldest first.
    private var backlog: [UInt32] = []
    private var lastID: UInt32 = 0
    private let brokenPartitions = BrokenPartitions()
    private var flushes: [CheckedContinuation<Void, Never>] = []
    private var lastFatal: KafkaLogError?

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
            try checkSubmission(of: records.count)
        } catch {
            return records.map { _ in .failure(error) }
        }
        return await withCheckedContinuation { continuation in
            // A task that prefers an executor leaves this actor on its way here, and the client may have been closed meanwhile.
            guard handle != nil else { return continuation.resume(returning: records.map { _ in .failure(.closed) }) }
            submit([RecordSubmission(records, continuation)])
            pump()
        }
    }

    /// Sends what another client read, as it is: partition, key, value, headers and time (0, which librdkafka can't send, becomes 1).
    /// Hands the records over and returns, without waiting for anything; calls that follow each other keep the order of a
    /// partition's records. Nothing is copied of a record but key and headers, and nothing kept of it here; the batches are held until
    /// librdkafka has let go of them. At most `submissionLimit` records.
    ///
    /// Once a record has failed, nothing of its partition is handed over any more, in whatever call: it would stand in the log without that
    /// record. What librdkafka has got may still be written. To go on, look what the log holds and make another producer.
    public func forward(_ runs: [ForwardedRun]) -> Forwarding {
        let call = ForwardCall(count: runs.count, of: self)
        do throws(KafkaLogError) {
            try checkSubmission(of: runs.reduce(0) { $0 + $1.run.range.count })
        } catch {
            call.forwarding.settle(runs.map { _ in ForwardedRun.Outcome(acknowledged: 0, failure: error) })
            return call.forwarding
        }
        guard !runs.isEmpty else {
            call.forwarding.settle([])
            return call.forwarding
        }
        submit(runs.enumerated().map { RunSubmission($1, place: $0, of: call, brokenPartitions) })
        pump()
        return call.forwarding
    }

    private func checkSubmission(of count: Int) throws(KafkaLogError) {
        guard count <= Self.submissionLimit else {
            throw .invalidArgument("\(count) records in one send: the limit is \(Self.submissionLimit)")
        }
        guard handle != nil else { throw .closed }
        if let lastFatal { throw lastFatal }
        try clusterID()
    }

    private func submit(_ added: [any Submission]) {
        for submission in added {
            repeat { lastID &+= 1 } while submissions[lastID] != nil
            submissions[lastID] = submission
            backlog.append(lastID)
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
            // librdkafka may still look at what it was lent and has not reported on.
            if let lent = submission.lent { handle.keep(lent) }
            submission.finish()
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
        var done = 0
        defer { backlog.removeFirst(done) }
        while done < backlog.count {
            let id = backlog[done]
            if let submission = submissions[id] {
                guard submission.pump(id: id, handle, cluster) else { return }
                finishIfSettled(id, submission)
            }
            done += 1
        }
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
            report(event)
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

    private func report(_ event: borrowing ReplyEvent) {
        // Neighbouring reports are nearly always of the same submission.
        var current: (id: UInt32, submission: any Submission)?
        while let message = rd_kafka_event_message_next(event.event) {
            let opaque = UInt(bitPattern: message.pointee._private)
            let id = UInt32(truncatingIfNeeded: opaque >> 32)
            if current?.id != id { current = submissions[id].map { (id, $0) } }
            guard let submission = current?.submission else { continue }
            submission.report(Int(UInt32(truncatingIfNeeded: opaque)), message)
            if submission.open == 0 {
                finishIfSettled(id, submission)
                current = nil
            }
        }
    }

    private func finishIfSettled(_ id: UInt32, _ submission: any Submission) {
        guard submission.open == 0, submissions.removeValue(forKey: id) != nil else { return }
        submission.finish()
        if submissions.isEmpty { finishFlushes() }
    }

    private func waitUntilIdle() async {
        guard !submissions.isEmpty else { return }
        // Looked at again: see `send`.
        await withCheckedContinuation { if submissions.isEmpty { $0.resume() } else { flushes.append($0) } }
    }

    private func finishFlushes() {
        let waiting = flushes
        flushes.removeAll()
        for flush in waiting { flush.resume() }
    }
}
