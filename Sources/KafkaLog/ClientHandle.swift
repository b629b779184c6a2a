import CRdKafka
import Logging
import Synchronization

/// Owns one `rd_kafka_t`, its queues and what its callbacks write to. Batches hold it too: librdkafka must not be destroyed
/// while one of its messages lives. Destroying waits for librdkafka's threads, so it happens on a thread of its own.
final class ClientHandle: @unchecked Sendable {
    // @unchecked: the pointers never change after `init`; all calls but the destroying ones are made by the client's thread, `topics` and `kept` are its own,
    // `pool` has its own lock.
    let client: OpaquePointer
    /// Where records, rebalances, errors and statistics arrive (consumer) or delivery reports (producer, admin).
    let mainQueue: OpaquePointer
    /// Answers to commits and admin requests.
    let replyQueue: OpaquePointer
    /// Where rebalances and records go while a consumer closes. Not the reply queue: an answer to a commit that arrives late
    /// there would abort the process when it is read as a record.
    let closeQueue: OpaquePointer
    let context: CallbackContext
    let pool = PointerPool()
    /// librdkafka's handles of the topics that were written to. Touched by the client's thread alone.
    private var topics: [String: OpaquePointer] = [:]
    /// What librdkafka was lent and may look at until it is destroyed. Touched by the client's thread alone.
    private var kept: [RecordBatch] = []
    /// Kept alive for librdkafka's wake-ups until the client is destroyed.
    private let wake: Unmanaged<ClientThread>

    /// What librdkafka goes by, given or its own; nil: it doesn't know that setting.
    func setting(_ name: String) -> String? {
        var text = [CChar](repeating: 0, count: 512)
        var size = text.count
        guard rd_kafka_conf_get(rd_kafka_conf(client), name, &text, &size) == RD_KAFKA_CONF_OK else { return nil }
        return string(fromNullTerminated: text)
    }

    /// `settings` are used up on success only, as `rd_kafka_new` has it.
    init(
        _ type: rd_kafka_type_t, settings: consuming ClientSettings, context: CallbackContext, thread: ClientThread
    ) throws(KafkaLogError) {
        let retainedContext = Unmanaged.passRetained(context)
        rd_kafka_conf_set_opaque(settings.pointer, retainedContext.toOpaque())
        rd_kafka_conf_set_log_cb(settings.pointer, logCallback)
        if type == RD_KAFKA_CONSUMER { context.join.install(settings) }
        var text = [CChar](repeating: 0, count: 512)
        guard let client = rd_kafka_new(type, settings.pointer, &text, text.count) else {
            retainedContext.release()
            throw .failed(
                LibraryFailure(rd_kafka_last_error(), operation: "create client", text: string(fromNullTerminated: text)))
        }
        settings.wasTaken()
        if type == RD_KAFKA_CONSUMER { rd_kafka_poll_set_consumer(client) }
        let queue = type == RD_KAFKA_CONSUMER ? rd_kafka_queue_get_consumer(client) : rd_kafka_queue_get_main(client)
        guard let queue, let reply = rd_kafka_queue_new(client), let close = rd_kafka_queue_new(client) else {
            rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
            retainedContext.release()
            throw .failed(LibraryFailure(RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE, operation: "create client queues"))
        }
        self.client = client
        self.context = context
        mainQueue = queue
        replyQueue = reply
        closeQueue = close
        wake = Unmanaged.passRetained(thread)
        for queue in [mainQueue, replyQueue] {
            rd_kafka_queue_cb_event_enable(
                queue,
                { _, opaque in
                    guard let opaque else { return }
                    Unmanaged<ClientThread>.fromOpaque(opaque).takeUnretainedValue().requestWake()
                }, wake.toOpaque())
        }
    }

    /// nil: not a topic's name.
    func topic(named name: String) -> OpaquePointer? {
        if let topic = topics[name] { return topic }
        guard !name.isEmpty, let topic = rd_kafka_topic_new(client, name, nil) else { return nil }
        topics[name] = topic
        return topic
    }

    /// Holds `batch` until the client is destroyed.
    func keep(_ batch: RecordBatch) { kept.append(batch) }

    deinit {
        // librdkafka below 2.3 aborts the process when a client that joined by cooperative-sticky is destroyed before its first
        // assignment (its issue 4312): such a client is left alone, with its threads, until the process ends.
        if context.awaitsFirstAssignment, rd_kafka_version() < 0x0203_0000 {
            context.logger.debug("a client without a first assignment is not destroyed")
            return
        }
        let remains = Remains(
            client: client, topics: Array(topics.values), queues: [mainQueue, replyQueue, closeQueue], context: Unmanaged.passUnretained(context), wake: wake, kept: kept)
        // Without a thread the caller waits: rather that than a leak.
        if spawnThread(name: "kafka-destroy", { remains.destroy() }) != 0 { remains.destroy() }
    }

    /// What is left of a client when nobody uses it any more: the one place that destroys a client.
    private struct Remains: @unchecked Sendable {  // @unchecked: handed over whole to the one thread that destroys it
        let client: OpaquePointer
        let topics: [OpaquePointer]
        let queues: [OpaquePointer]
        let context: Unmanaged<CallbackContext>
        let wake: Unmanaged<ClientThread>
        let kept: [RecordBatch]

        func destroy() {
            for topic in topics { rd_kafka_topic_destroy(topic) }
            for queue in queues {
                rd_kafka_queue_cb_event_enable(queue, nil, nil)
                rd_kafka_queue_destroy(queue)
            }
            // An orderly leave was made by `close`; here nobody is left to answer a rebalance.
            rd_kafka_destroy_flags(client, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)
            wake.release()
            context.release()
            withExtendedLifetime(kept) {}
        }
    }
}

/// What librdkafka's callbacks write to.
final class CallbackContext: @unchecked Sendable {
    // @unchecked: the constants are safe to share; the variables are touched only by callbacks that librdkafka runs inside
    // calls of the client's thread, by that thread, and by whoever destroys the client when nobody uses it any more.
    let logger: Logger
    let statistics: StatisticsReporter
    let join = JoinWatch()
    var rebalances: [Rebalance] = []
    var errors: [KafkaLogError] = []
    /// While closing nobody answers a revocation: the callback does.
    var isClosing = false
    /// It has subscribed, and the group has never given it an assignment, not even an empty one.
    private(set) var awaitsFirstAssignment = false
    private var wasEverAssigned = false

    func expectsFirstAssignment() { awaitsFirstAssignment = !wasEverAssigned }

    struct Rebalance {
        enum Kind { case assign, revoke, lost }
        let kind: Kind
        let isCooperative: Bool
        let partitions: [TopicPartition]
    }

    init(logger: Logger, clientID: String) {
        self.logger = logger
        statistics = StatisticsReporter(clientID: clientID, logger: logger)
    }

    static func of(_ opaque: UnsafeMutableRawPointer?) -> CallbackContext? {
        opaque.map { Unmanaged<CallbackContext>.fromOpaque($0).takeUnretainedValue() }
    }

    /// Sets the callbacks of errors and statistics; both run inside the client's thread's own calls.
    static func installCallbacks(_ conf: OpaquePointer?, isConsumer: Bool) {
        rd_kafka_conf_set_error_cb(conf) { client, code, text, opaque in
            guard let client, let context = CallbackContext.of(opaque) else { return }
            context.errors.append(clientError(client, code: rd_kafka_resp_err_t(rawValue: code), text: text.map { String(cString: $0) }))
        }
        rd_kafka_conf_set_stats_cb(conf) { _, json, size, opaque in
            guard let json, let context = CallbackContext.of(opaque) else { return 0 }
            context.statistics.report(UnsafeRawBufferPointer(start: json, count: size))
            return 0  // librdkafka frees the text
        }
        guard isConsumer else { return }
        rd_kafka_conf_set_rebalance_cb(conf) { client, code, partitions, opaque in
            guard let client, let context = CallbackContext.of(opaque) else { return }
            context.rebalance(client, code, partitions)
        }
    }

    private func rebalance(
        _ client: OpaquePointer, _ code: rd_kafka_resp_err_t, _ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?
    ) {
        let isCooperative = rd_kafka_rebalance_protocol(client).map { String(cString: $0) } == "COOPERATIVE"
        let isAssignment = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        if isAssignment { (wasEverAssigned, awaitsFirstAssignment) = (true, false) }
        if isClosing {
            // librdkafka waits for the answer before it leaves the group.
            if isCooperative, !isAssignment, let list {
                if let error = rd_kafka_incremental_unassign(client, list) { rd_kafka_error_destroy(error) }
            } else {
                rd_kafka_assign(client, nil)
            }
            return
        }
        let kind: Rebalance.Kind =
            isAssignment ? .assign : rd_kafka_assignment_lost(client) != 0 ? .lost : .revoke
        if !isAssignment, code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS {
            errors.append(.failed(LibraryFailure(code, operation: "rebalance")))
        }
        rebalances.append(
            Rebalance(kind: kind, isCooperative: isCooperative, partitions: PartitionList.partitions(in: list)))
    }
}

/// The error that stands behind `code`: for a fatal one librdkafka keeps the cause apart.
func clientError(_ client: OpaquePointer, code: rd_kafka_resp_err_t, text: String?) -> KafkaLogError {
    guard code == RD_KAFKA_RESP_ERR__FATAL else {
        return .failed(LibraryFailure(code, operation: "client", text: text))
    }
    var buffer = [CChar](repeating: 0, count: 512)
    let cause = rd_kafka_fatal_error(client, &buffer, buffer.count)
    return .failed(
        LibraryFailure(cause, operation: "client", text: string(fromNullTerminated: buffer), isFatal: true))
}

/// Runs on any of librdkafka's threads.
private func logCallback(
    client: OpaquePointer?, level: Int32, facility: UnsafePointer<CChar>?, text: UnsafePointer<CChar>?
) {
    guard let client, let context = CallbackContext.of(rd_kafka_opaque(client)) else { return }
    let facility = facility.map { String(cString: $0) } ?? ""
    let severity: Logger.Level =
        switch level {
        // A connection that failed: the client reports it as an error event too.
        case _ where facility == "FAIL": .debug
        case ...2: .critical
        case 3: .error
        case 4: .warning
        case 5: .notice
        case 6: .info
        default: .debug
        }
    context.logger.log(
        level: severity, "librdkafka",
        metadata: [
            "facility": "\(facility)", "text": "\(text.map { String(cString: $0) } ?? "")",
        ])
}

typealias MessagePointer = UnsafeMutablePointer<rd_kafka_message_t>

/// Pointer arrays for batches, used again: reading allocates nothing per record and little per batch.
final class PointerPool: Sendable {
    private struct Spare: @unchecked Sendable {  // @unchecked: unused memory, owned by whoever takes it
        let base: UnsafeMutablePointer<MessagePointer?>
        let capacity: Int
    }
    private static let spareLimit = 8
    private let spares = Mutex<[Spare]>([])

    func take(_ capacity: Int) -> UnsafeMutablePointer<MessagePointer?> {
        let spare = spares.withLock { spares in
            spares.lastIndex { $0.capacity == capacity }.map { spares.remove(at: $0) }
        }
        return spare?.base ?? .allocate(capacity: capacity)
    }

    func giveBack(_ base: UnsafeMutablePointer<MessagePointer?>, capacity: Int) {
        let spare = Spare(base: base, capacity: capacity)
        let dropped = spares.withLock { spares -> Spare? in
            spares.append(spare)
            return spares.count > Self.spareLimit ? spares.removeFirst() : nil
        }
        dropped?.base.deallocate()
    }

    deinit { spares.withLock { for spare in $0 { spare.base.deallocate() } } }
}
