import CRdKafka

/// Keeps librdkafka below 2.2 fetching while its owner works. Its broker threads stop asking for more when the local queue is full, look again
/// only when something wakes them, or a second later, and nothing wakes them when the queue empties.
///
/// 1. A broker's thread finds the queue full and sleeps. 2. The owner reads the queue empty in some milliseconds. 3. Nothing comes for the rest of
/// the second. So the threads are woken whenever a part of what the queue may hold was read: that happens before a full one is empty, costs no
/// request, and wakes nobody where little is read. What librdkafka drops by itself (a seek makes what was fetched stale) is read by nobody, so after
/// that an empty queue is a reason, too.
struct QueueRelief {
    /// Between full and empty the threads are woken so many times.
    private static let parts: Int64 = 2
    /// An empty queue is a reason when so much of either half was read since the last time: markers of transactions fill it too, and are read by nobody.
    private static let markerParts: Int64 = 4

    private let recordLimit: Int64
    private let byteLimit: Int64
    private var records: Int64 = 0
    private var bytes: Int64 = 0
    private var mayHaveDropped = false

    /// - Parameters:
    ///   - records: how many the queue holds when librdkafka stops to fetch (`queued.min.messages`).
    ///   - bytes: the same in bytes (`queued.max.messages.kbytes`).
    init(records: Int64, bytes: Int64) {
        recordLimit = Swift.max(1, records / Self.parts)
        byteLimit = Swift.max(1, bytes / Self.parts)
    }

    /// What has been fetched may be dropped: a seek, a pause, another assignment.
    mutating func expectDrops() { mayHaveDropped = true }

    /// So much was taken off the queue. Returns whether the brokers' threads are to be woken.
    mutating func took(records: Int, bytes: Int, isEmpty: Bool) -> Bool {
        self.records += Int64(records)
        self.bytes += Int64(bytes)
        let hasReadMuch = self.records >= recordLimit / Self.markerParts || self.bytes >= byteLimit / Self.markerParts
        let isDue = self.records >= recordLimit || self.bytes >= byteLimit || (isEmpty && (mayHaveDropped || hasReadMuch))
        guard isDue else { return false }
        if isEmpty { mayHaveDropped = false }
        (self.records, self.bytes) = (0, 0)
        return true
    }
}

extension ClientHandle {
    /// Wakes every broker's thread, without a request. librdkafka has one call that does only that: giving it the credentials that it has.
    func wakeBrokers(user: String, password: String) {
        guard let error = rd_kafka_sasl_set_credentials(client, user, password) else { return }
        context.logger.debug("waking the brokers' threads failed", metadata: ["error": "\(String(cString: rd_kafka_error_string(error)))"])
        rd_kafka_error_destroy(error)
    }
}
