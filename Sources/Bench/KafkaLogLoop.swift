import CBaseline
import Foundation
import KafkaLog
import Logging

/// Reads a topic's partitions from their beginning through KafkaLog: what the C loops are held against.
struct KafkaLogLoop {
    let servers: String
    let topic: String
    let partitions: Int32
    let records: Int64
    let batch: Int
    var settings: [String: String] = [:]
    var manner = Manner.inPlace
    /// Turns of work per record (`cbaseline_work`); 0: none.
    var turns: Int64 = 0

    private static let limit = Duration.seconds(240)

    enum Manner {
        /// Counts records on the consumer's own thread, or on another that gets each batch.
        case inPlace, handedOver
        /// Awaits a handler for each record, an actor, on the consumer's own thread.
        case handled
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// The time runs from assign() to the last record. Memory is for the caller to fill in.
    func run() async throws -> ChildResult {
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let client = KafkaClientConfiguration(bootstrapServers: [servers], clientID: "bench", settings: settings, logger: logger)
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        let cluster = try await consumer.clusterID()
        let starts = (0..<partitions).map { (TopicPartition(topic: topic, partition: $0), Position(0, in: cluster)) }
        let positions = Dictionary(uniqueKeysWithValues: starts)
        let cpu = Figures.cpuSeconds()
        let began = ContinuousClock.now
        try await consumer.assign(positions)
        let (count, bytes) =
            switch manner {
            case .inPlace: try await consumer.inPlace { try await self.count(consumer, until: began + Self.limit) }
            case .handedOver: try await self.count(consumer, until: began + Self.limit)
            case .handled: try await consumer.inPlace { try await self.handle(consumer, until: began + Self.limit) }
            }
        let seconds = began.duration(to: .now) / .seconds(1)
        let used = Figures.cpuSeconds() - cpu
        try await consumer.close()
        return ChildResult(records: count, bytes: Int64(bytes), seconds: seconds, cpuSeconds: used, peak: 0, steady: 0)
    }

    private func next(_ consumer: KafkaConsumer, after count: Int64, until deadline: ContinuousClock.Instant) async throws -> RecordBatch {
        guard let batch = try await consumer.nextBatch(max: batch, deadline: deadline) else { throw Failure(description: "only \(count) records came") }
        return batch
    }

    private func count(_ consumer: KafkaConsumer, until deadline: ContinuousClock.Instant) async throws -> (Int64, Int) {
        var count: Int64 = 0
        var bytes = 0
        while count < records {
            try await next(consumer, after: count, until: deadline).forEach { record in
                count += 1
                bytes += record.valueSize ?? 0
                if turns > 0 { cbaseline_work(turns) }
            }
        }
        return (count, bytes)
    }

    private func handle(_ consumer: KafkaConsumer, until deadline: ContinuousClock.Instant) async throws -> (Int64, Int) {
        let handler = Handler(turns: turns)
        while await handler.count < records { await handler.take(try await next(consumer, after: await handler.count, until: deadline)) }
        return (await handler.count, await handler.bytes)
    }

    /// What a user does: awaits a handler for each record.
    private actor Handler {
        private let turns: Int64
        private(set) var count: Int64 = 0
        private(set) var bytes = 0

        init(turns: Int64) { self.turns = turns }

        func take(_ batch: RecordBatch) async {
            for index in 0..<batch.count {
                let (size, first) = batch.withRecord(at: index) { record in (record.valueSize ?? 0, record.withValue { $0?.first ?? 0 }) }
                await handle(size, first)
            }
        }

        @inline(never)
        private func handle(_ size: Int, _ first: UInt8) async {
            count += 1
            bytes += size + Int(first & 0)
            if turns > 0 { cbaseline_work(turns) }
        }
    }
}
