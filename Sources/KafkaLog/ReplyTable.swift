import CRdKafka

/// An answer of librdkafka to a request that was sent with an opaque number.
struct ReplyEvent: ~Copyable {
    let event: OpaquePointer
    init(_ event: OpaquePointer) { self.event = event }
    deinit { rd_kafka_event_destroy(event) }

    var type: rd_kafka_event_type_t { rd_kafka_event_type(event) }
    var id: UInt { UInt(bitPattern: rd_kafka_event_opaque(event)) }

    /// The failure of the request as a whole.
    func failure(_ operation: String) -> LibraryFailure? {
        let code = rd_kafka_event_error(event)
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return nil }
        return LibraryFailure(
            code, operation: operation, text: rd_kafka_event_error_string(event).map { String(cString: $0) })
    }
}

/// Requests that wait for an answer. An answer is read where it arrives, and only its Swift values are handed on.
struct ReplyTable {
    /// Gets the answer, or nil when none came in time or the client was closed.
    typealias Handler = (borrowing ReplyEvent) -> Void

    private struct Waiting {
        let answer: Handler
        let fail: (KafkaLogError) -> Void
    }
    private var waiting: [UInt: Waiting] = [:]
    private var lastID: UInt = 0

    mutating func add(_ answer: @escaping Handler, orFail fail: @escaping (KafkaLogError) -> Void) -> UInt {
        lastID &+= 1
        waiting[lastID] = Waiting(answer: answer, fail: fail)
        return lastID
    }

    /// false: nobody waits for it (any more).
    mutating func deliver(_ event: borrowing ReplyEvent) -> Bool {
        guard let entry = waiting.removeValue(forKey: event.id) else { return false }
        entry.answer(event)
        return true
    }

    mutating func fail(_ id: UInt, _ error: KafkaLogError) { waiting.removeValue(forKey: id)?.fail(error) }

    mutating func failAll(_ error: KafkaLogError) {
        let all = waiting
        waiting.removeAll()
        for entry in all.values { entry.fail(error) }
    }
}
