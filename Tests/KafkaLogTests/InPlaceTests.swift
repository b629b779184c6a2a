import Glibc
import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

/// Reading on the consumer's own thread, and by tasks that prefer an executor.
@Suite(.timeLimit(.minutes(1)))
struct InPlaceTests {
    /// A reader that is faster than the broker finds nothing again and again, and more comes while it is on its way to waiting: a wake-up that finds
    /// nobody waiting must count. One that is forgotten lets it wait for good.
    private func readsAll(_ reading: @escaping @Sendable (KafkaConsumer, () async throws -> Int) async throws -> Int) async throws {
        try await withLocalKafka(partitions: 3) { cluster in
            try await produce(numbered("t", partitions: 3, each: 10_000), to: cluster.bootstrapServers)
            for _ in 0..<5 {
                let consumer = try makeConsumer(cluster.bootstrapServers, ["fetch.message.max.bytes": "2048"])
                try await consumer.assign(starts("t", 3, in: try await consumer.clusterID()))
                let got = try await reading(consumer) {
                    var got = 0
                    while got < 30_000, let batch = try await consumer.nextBatch(deadline: within(20)) { got += batch.count }
                    return got
                }
                #expect(got == 30_000)
                try await consumer.close()
            }
        }
    }

    @Test func nothingIsSleptThroughInPlace() async throws {
        try await readsAll { consumer, body in try await consumer.inPlace { try await body() } }
    }

    @Test func nothingIsSleptThroughByATaskThatPrefersAnotherExecutor() async throws {
        try await readsAll { _, body in
            try await withTaskExecutorPreference(globalConcurrentExecutor) { try await body() }
        }
    }

    @Test func aTaskInPlaceIsOnTheConsumersThread() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: 100), to: cluster.bootstrapServers)
            let consumer = try makeConsumer(cluster.bootstrapServers)
            let own = await consumer.threadOfItself()
            try await consumer.assign(starts("t", 1, in: try await consumer.clusterID()))
            let (count, threads) = try await consumer.inPlace {
                var count = 0
                var threads: Set<UInt> = []
                while count < 100, let batch = try await consumer.nextBatch(max: 10, deadline: within(10)) {
                    count += batch.count
                    threads.insert(UInt(pthread_self()))
                }
                return (count, threads)
            }
            #expect(count == 100)
            #expect(threads == [own])
            try await consumer.close()
        }
    }

    /// A deadline holds on the consumer's own thread, too.
    @Test func aDeadlineEndsWaitingInPlace() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            let consumer = try makeConsumer(cluster.bootstrapServers)
            try await consumer.assign(starts("t", 1, in: try await consumer.clusterID()))
            let event = try await consumer.inPlace { try await consumer.nextEvent(deadline: within(0.1)) }
            #expect(event == nil)
            try await consumer.close()
        }
    }
}

extension KafkaConsumer {
    fileprivate func threadOfItself() -> UInt { UInt(pthread_self()) }
}
