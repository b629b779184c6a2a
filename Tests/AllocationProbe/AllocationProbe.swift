import CAllocations
import Foundation
import KafkaLog

/// Reads a topic with batches of at most MAX records and says how many allocations that took outside librdkafka's own threads:
/// SERVERS TOPIC RECORDS MAX WAY, and prints RECORDS BATCHES ALLOCATIONS. A program of its own, because its malloc is not the usual one.
@main
struct AllocationProbe {
    /// What is done with each record.
    enum Way: String {
        /// It is looked at where it lies.
        case lent
        /// An async handler is awaited for it.
        case handled
        /// It is copied: the measurement must show that.
        case copied
    }

    struct Usage: Error {}

    /// librdkafka's threads are called so.
    private static let library = "rdk:"
    private static let limit = Duration.seconds(50)

    static func main() async throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 6, let records = Int(arguments[3]), let limit = Int(arguments[4]), let way = Way(rawValue: arguments[5]) else {
            throw Usage()
        }
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: KafkaClientConfiguration(bootstrapServers: [arguments[1]])))
        let cluster = try await consumer.clusterID()
        try await consumer.assign([TopicPartition(topic: arguments[2], partition: 0): Position(0, in: cluster)])
        let reader = Reader(consumer: consumer, way: way, limit: limit)
        // What is made once (caches, the first wait) is not what a record costs.
        _ = try await reader.read(records / 10, until: .now + Self.limit)
        let before = callocations_outside(library)
        let (count, batches) = try await reader.read(records - records / 10, until: .now + Self.limit)
        print(count, batches, callocations_outside(library) - before)
        try await consumer.close()
    }
}

actor Reader {
    private let consumer: KafkaConsumer
    private let way: AllocationProbe.Way
    private let limit: Int
    private var bytes = 0

    init(consumer: KafkaConsumer, way: AllocationProbe.Way, limit: Int) {
        self.consumer = consumer
        self.way = way
        self.limit = limit
    }

    func read(_ records: Int, until deadline: ContinuousClock.Instant) async throws -> (records: Int, batches: Int) {
        var count = 0
        var batches = 0
        while count < records, let batch = try await consumer.nextBatch(max: min(limit, records - count), deadline: deadline) {
            count += batch.count
            batches += 1
            switch way {
            case .lent: batch.forEach { look(at: $0) }
            case .handled: for index in 0..<batch.count { await handle(batch.withRecord(at: index) { $0.valueSize ?? 0 }) }
            case .copied: for index in 0..<batch.count { bytes += try batch.detached(at: index).value?.count ?? 0 }
            }
        }
        return (count, batches)
    }

    private func look(at record: borrowing RecordView) {
        bytes += record.withKey { $0?.count ?? 0 } + record.withValue { $0?.count ?? 0 } + Int(record.partition)
        bytes += Int(truncatingIfNeeded: record.offset) + Int(truncatingIfNeeded: record.timestamp?.milliseconds ?? 0)
    }

    @inline(never)
    private func handle(_ size: Int) async { bytes += size }
}
