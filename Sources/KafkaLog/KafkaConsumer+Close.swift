import CRdKafka
import Glibc

extension KafkaConsumer {
    /// Leaves the group in an orderly way and ends the client. Returns within `limit`, also when no broker answers; what librdkafka
    /// still has to do then goes on in the background. Batches that were handed out stay valid. Later calls throw `closed`.
    ///
    /// Finish, checkpoint and commit before: a revocation that waits for its answer is answered here.
    /// - Throws: `deadlineExceeded` when the group was not left in time (the broker will notice after `session.timeout.ms`).
    public nonisolated func close(within limit: Duration = .seconds(10)) async throws(KafkaLogError) {
        let deadline = ContinuousClock.now + limit
        let isDone = await firstToFinish {
            await self.closeOnThread(until: deadline)
        } orAt: {
            deadline
        }
        guard isDone else { throw .deadlineExceeded(what: "close the consumer") }
    }

    /// How long closing waits for librdkafka before it looks whether it is done.
    private static let closeSliceMilliseconds: Int32 = 20

    private static let closeBatchLimit = 1000

    /// false: the deadline came first. Blocks the client's thread in slices.
    private func closeOnThread(until deadline: ContinuousClock.Instant) -> Bool {
        guard let handle else { return true }
        self.handle = nil
        serveLastReplies(handle)
        wakeReader()
        handle.context.isClosing = true
        if let rebalance = pendingRebalance {
            pendingRebalance = nil
            if rebalance.kind == .assign {
                rd_kafka_assign(handle.client, nil)
            } else {
                do throws(KafkaLogError) {
                    try Self.giveUp(rebalance, handle)
                } catch {
                    configuration.client.logger.warning("revocation at close failed", metadata: ["error": "\(error)"])
                }
            }
        }
        partitions.removeAll()
        if let error = rd_kafka_consumer_close_queue(handle.client, handle.closeQueue) {
            configuration.client.logger.warning(
                "closing the consumer failed", metadata: ["error": "\(String(cString: rd_kafka_error_string(error)))"])
            rd_kafka_error_destroy(error)
            return true  // a client with a fatal error is no member of its group any more
        }
        let messages = handle.pool.take(Self.closeBatchLimit)
        defer { handle.pool.giveBack(messages, capacity: Self.closeBatchLimit) }
        while rd_kafka_consumer_closed(handle.client) == 0 {
            if ContinuousClock.now >= deadline { return false }
            // The rebalance callback runs in here and answers while `isClosing`; records that still come are dropped.
            // (rd_kafka_queue_poll_callback would abort the process at a record that has no callback.)
            let count = rd_kafka_consume_batch_queue(
                handle.closeQueue, Self.closeSliceMilliseconds, messages, Self.closeBatchLimit)
            for index in 0..<Swift.max(0, count) { rd_kafka_message_destroy(messages[index]) }
        }
        return true
    }

    private func serveLastReplies(_ handle: ClientHandle) {
        while let event = rd_kafka_queue_poll(handle.replyQueue, 0) {
            _ = replies.deliver(ReplyEvent(event))
        }
        replies.failAll(.closed)
    }
}

/// Runs `body`; returns its result, or false at the deadline, whichever is first. `body` is not stopped.
func firstToFinish(
    _ body: @escaping @Sendable () async -> Bool, orAt deadline: () -> ContinuousClock.Instant
) async -> Bool {
    let (stream, results) = AsyncStream.makeStream(of: Bool.self, bufferingPolicy: .bufferingOldest(1))
    let deadline = deadline()
    Task { results.yield(await body()) }
    let timer = Task {
        try await Task.sleep(until: deadline, clock: .continuous)
        results.yield(false)
    }
    defer { timer.cancel() }
    for await result in stream { return result }
    return false
}
