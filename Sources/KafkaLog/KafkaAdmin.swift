import CRdKafka
import Glibc
import Logging

/// Administers a cluster: topics, groups and their offsets. Every call has a timeout and a result per item; a call that
/// could not be made at all throws.
public actor KafkaAdmin {
    nonisolated let thread: ClientThread
    public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }
    public nonisolated let configuration: KafkaClientConfiguration

    private var handle: ClientHandle?
    private var cluster: ClusterID?
    private var replies = ReplyTable()

    /// How long after librdkafka's own timeout of a request its answer is still waited for.
    private static let graceAfterTimeout: Duration = .seconds(2)

    /// Makes the client. Does not wait for a broker.
    public init(_ configuration: KafkaClientConfiguration) throws(KafkaLogError) {
        let settings = ClientSettings()
        try settings.apply(configuration, defaults: [:])
        rd_kafka_conf_set_events(settings.pointer, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_STATS)
        let thread = ClientThread(name: "kafka-admin")
        handle = try ClientHandle(
            RD_KAFKA_PRODUCER, settings: settings,
            context: CallbackContext(logger: configuration.logger, clientID: configuration.clientID), thread: thread)
        self.configuration = configuration
        self.thread = thread
        thread.wakeHandler = { [weak self] in self?.assumeIsolated { $0.serveEvents() } }
        try thread.start()
    }

    deinit { thread.stop() }

    /// Ends the client; requests without an answer fail with `closed`.
    public func close() {
        handle = nil
        replies.failAll(.closed)
    }

    /// The id of the cluster that this client is connected to; asks a broker once.
    @discardableResult
    public func clusterID(timeout: Duration? = nil) throws(KafkaLogError) -> ClusterID {
        if let cluster { return cluster }
        let id = try openHandle().clusterID(
            timeout: timeout ?? configuration.requestTimeout, servers: configuration.bootstrapServers)
        cluster = id
        return id
    }

    /// Topics and their partitions. Blocks this client's thread, at most `timeout`.
    public func metadata(_ selection: TopicSelection = .all, timeout: Duration = .seconds(10)) throws(KafkaLogError)
        -> ClusterMetadata
    {
        try openHandle().metadata(selection, timeout: timeout)
    }

    /// Where to start for each partition's time; as `KafkaConsumer.lookUp`, without a consumer.
    public func lookUp(
        times: [TopicPartition: MillisecondTimestamp], timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        try await runLookup(times.mapValues { Optional($0) }, timeout: timeout)
    }

    /// The first offset and the high watermark of each partition.
    public func watermarks(
        _ wanted: some Collection<TopicPartition>, timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>] {
        let none: MillisecondTimestamp? = nil
        let times = Dictionary(wanted.map { ($0, none) }, uniquingKeysWith: { first, _ in first })
        return try await runLookup(times, timeout: timeout).mapValues { $0.map { Watermarks(low: $0.low, high: $0.high) } }
    }

    private func runLookup(
        _ times: [TopicPartition: MillisecondTimestamp?], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        guard !times.isEmpty else { return [:] }
        let deadline = ContinuousClock.now + timeout
        let cluster = try clusterID(timeout: timeout)
        return await (try openHandle()).lookUp(times, until: deadline, cluster: cluster)
    }

    // MARK: Requests

    func openHandle() throws(KafkaLogError) -> ClientHandle {
        guard let handle else { throw .closed }
        return handle
    }

    /// Sends one request and reads its answer where it arrives.
    /// - Parameter send: makes the request with these options on this queue; throws when it can't be made.
    func request<Answer: Sendable>(
        _ operation: rd_kafka_admin_op_t, _ name: String, timeout: Duration,
        send: (ClientHandle, OpaquePointer) throws(KafkaLogError) -> Void,
        read: @escaping (borrowing ReplyEvent) -> Answer
    ) async throws(KafkaLogError) -> Answer {
        let result: Result<Answer, KafkaLogError> = await withCheckedContinuation { continuation in
            let id = replies.add {
                if let failure = $0.failure(name) {
                    continuation.resume(returning: .failure(.failed(failure)))
                } else {
                    continuation.resume(returning: .success(read($0)))
                }
            } orFail: {
                continuation.resume(returning: .failure($0))
            }
            do throws(KafkaLogError) {
                // Looked at again: a task that prefers an executor leaves this actor on its way here.
                let handle = try openHandle()
                try sendRequest(operation, name, id: id, timeout: timeout, handle, send)
            } catch {
                replies.fail(id, error)
                return
            }
            expire(id, after: timeout + Self.graceAfterTimeout, name)
        }
        return try result.get()
    }

    private func sendRequest(
        _ operation: rd_kafka_admin_op_t, _ name: String, id: UInt, timeout: Duration, _ handle: ClientHandle,
        _ send: (ClientHandle, OpaquePointer) throws(KafkaLogError) -> Void
    ) throws(KafkaLogError) {
        guard let options = rd_kafka_AdminOptions_new(handle.client, operation) else {
            throw .failed(LibraryFailure(RD_KAFKA_RESP_ERR__INVALID_ARG, operation: name))
        }
        defer { rd_kafka_AdminOptions_destroy(options) }
        var text = [CChar](repeating: 0, count: 256)
        let milliseconds = max(1, timeout.timeoutMilliseconds)
        let code = rd_kafka_AdminOptions_set_request_timeout(options, milliseconds, &text, text.count)
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            throw .failed(LibraryFailure(code, operation: name, text: string(fromNullTerminated: text)))
        }
        rd_kafka_AdminOptions_set_opaque(options, UnsafeMutableRawPointer(bitPattern: id))
        try send(handle, options)
    }

    private func expire(_ id: UInt, after timeout: Duration, _ name: String) {
        Task { [weak self] in
            try? await Task.sleep(for: timeout)
            await self?.failReply(id, .deadlineExceeded(what: name))
        }
    }

    private func failReply(_ id: UInt, _ error: KafkaLogError) { replies.fail(id, error) }

    private func serveEvents() {
        guard let handle else { return }
        while let event = rd_kafka_queue_poll(handle.replyQueue, 0) { _ = replies.deliver(ReplyEvent(event)) }
        while let event = rd_kafka_queue_poll(handle.mainQueue, 0) {
            let event = ReplyEvent(event)
            if event.type == RD_KAFKA_EVENT_STATS, let text = rd_kafka_event_stats(event.event) {
                handle.context.statistics.report(UnsafeRawBufferPointer(start: text, count: strlen(text)))
            } else if event.type == RD_KAFKA_EVENT_ERROR {
                let text = rd_kafka_event_error_string(event.event).map { String(cString: $0) }
                let error = clientError(handle.client, code: rd_kafka_event_error(event.event), text: text)
                configuration.logger.log(level: error.severity, "Kafka admin client error", metadata: ["error": "\(error)"])
            }
        }
    }
}
