import LocalKafka
import Testing

@_spi(Testing) @testable import KafkaLog

@Suite(.timeLimit(.minutes(1)))
struct QueueReliefTests {
    @Test func brokersAreWokenBeforeAFullQueueIsEmpty() {
        var relief = QueueRelief(records: 1000, bytes: 1_000_000)
        let woken = (0..<100).filter { _ in relief.took(records: 10, bytes: 10, isEmpty: false) }
        #expect(woken.count == 2)
        let byBytes = (0..<100).filter { _ in relief.took(records: 1, bytes: 10_000, isEmpty: false) }
        #expect(byBytes.count == 2)
    }

    @Test func aTrickleWakesNobody() {
        var relief = QueueRelief(records: 1000, bytes: 1_000_000)
        #expect(!(0..<100).contains { _ in relief.took(records: 1, bytes: 100, isEmpty: true) })
        #expect(!(0..<200).contains { _ in relief.took(records: 0, bytes: 0, isEmpty: true) })
    }

    /// What a seek made stale is dropped inside librdkafka: nobody counts it.
    @Test func afterASeekAnEmptyQueueWakesOnce() {
        var relief = QueueRelief(records: 1000, bytes: 1_000_000)
        relief.expectDrops()
        let answers = [(10, false), (0, true), (0, true)].map { relief.took(records: $0, bytes: $0, isEmpty: $1) }
        #expect(answers == [false, true, false])
    }

    /// A full queue of 1000 held 800 markers of transactions: nobody counts those either.
    @Test func aQueueThatMarkersFilledIsRelievedWhenItIsEmpty() {
        var relief = QueueRelief(records: 1000, bytes: 1_000_000)
        let answers = (0..<20).map { relief.took(records: 10, bytes: 10, isEmpty: $0 == 19) }
        #expect(answers.firstIndex(of: true) == 19)
    }

    @Test func limitsOfNothingWakeAtEveryRecord() {
        var relief = QueueRelief(records: 0, bytes: 0)
        let answers = [1, 0, 1].map { relief.took(records: $0, bytes: 0, isEmpty: false) }
        #expect(answers == [true, false, true])
    }

    /// librdkafka 2.0.2 without relief: its thread finds the queue full dozens of times here, and sleeps for a second each time.
    @Test(arguments: [["queued.min.messages": "100"], ["queued.max.messages.kbytes": "16"]])
    func aFullQueueCostsNoSecond(limit: [String: String]) async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: 3000), to: cluster.bootstrapServers, ["batch.num.messages": "50"])
            let consumer = try makeConsumer(cluster.bootstrapServers, limit.merging(["fetch.message.max.bytes": "2048"]) { $1 })
            try await consumer.assign(starts("t", 1, in: consumer.clusterID()))
            let began = ContinuousClock.now
            for pass in 0..<3 {
                #expect(try await read(consumer, count: 1000, max: 20, seconds: 30).map(\.position.offset) == (0..<1000).map { Int64($0) })
                // The queue is full of what this makes stale.
                if pass < 2 { try await consumer.seek(starts("t", 1, in: consumer.clusterID())) }
            }
            #expect(began.duration(to: .now) < .seconds(10))
            try await consumer.close()
        }
    }
}
