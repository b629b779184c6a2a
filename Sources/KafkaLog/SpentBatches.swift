import CRdKafka
import Synchronization

/// The records of a batch that nobody holds any more.
struct SpentBatch: @unchecked Sendable {  // @unchecked: memory that nobody else knows of, owned by whoever takes it
    let messages: UnsafeMutablePointer<UnsafeMutablePointer<rd_kafka_message_t>?>
    let count: Int
    let capacity: Int
}

/// Batches whose records wait to be freed. Freeing a record costs as much as taking it off the queue, so that is done by the client's thread, while whoever
/// reads looks at the next batch.
final class SpentBatches: Sendable {
    /// So many wait at most; whoever lets go of one more frees it.
    static let limit = 4

    private let waiting = Mutex<[SpentBatch]>([])
    private let pool: PointerPool

    init(pool: PointerPool) { self.pool = pool }

    /// From any thread.
    func add(_ batch: SpentBatch) {
        let mustFree = waiting.withLock { waiting in
            guard waiting.count < Self.limit else { return true }
            waiting.append(batch)
            return false
        }
        if mustFree { free(batch) }
    }

    /// Frees what waits.
    func freeAll() {
        while let batch = waiting.withLock({ $0.popLast() }) { free(batch) }
    }

    /// So many wait now.
    var count: Int { waiting.withLock { $0.count } }

    private func free(_ batch: SpentBatch) {
        for index in 0..<batch.count { rd_kafka_message_destroy(batch.messages[index]) }
        pool.giveBack(batch.messages, capacity: batch.capacity)
    }
}
