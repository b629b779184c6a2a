import ChangePropagation
import Foundation
import KafkaLog

/// Makes events in one datacenter at a steady rate, as its own producers would, and notes each in the ledger.
final class Load: Sendable {
    private let task: Task<Void, Never>

    /// Events of one request to the broker, at most.
    private static let batchLimit = 50

    init(
        _ configuration: DemoConfiguration, datacenter: Datacenter, client: KafkaClientConfiguration, rate: Double, seed: UInt64,
        book: Book
    ) throws {
        let producer = try KafkaProducer(client)
        let origin = OriginProducer(
            datacenter: datacenter, known: [DemoConfiguration.home, DemoConfiguration.away], producer: producer)
        let events = configuration.events
        task = Task {
            var random = SeededRandom(seed: seed)
            let began = ContinuousClock.now
            var sent = 0
            while !Task.isCancelled {
                let due = min(Self.batchLimit, Int(began.duration(to: .now) / .seconds(1) * rate) - sent)
                if due <= 0 {
                    try? await Task.sleep(for: .milliseconds(10))
                    continue
                }
                let batch = (0..<due).compactMap { _ in
                    Self.event(of: events[Int(random.next() % UInt64(events.count))], id: random.nextID())
                }
                for item in batch { book.note { $0.sent(item.id, origin: datacenter, isWanted: item.isWanted, at: $1) } }
                guard let results = try? await origin.send(batch.map(\.event), stream: DemoConfiguration.stream) else { return }
                for (item, result) in zip(batch, results) {
                    guard let delivery = try? result.get(), let position = delivery.position else { continue }
                    book.note { ledger, _ in ledger.acknowledged(item.id, partition: delivery.partition, offset: position.offset) }
                }
                sent += due
            }
            try? await producer.close(within: .seconds(5))
        }
    }

    private struct Item: Sendable {
        let event: OriginProducer.Event
        let id: String
        let isWanted: Bool
    }

    private static func event(of template: EventTemplate, id: String) -> Item? {
        guard var (event, _) = try? template.event(fresh: .init(id: id, time: Date())) else { return nil }
        event.key = Array(id.utf8)
        return Item(event: event, id: id, isWanted: DemoConfiguration.isWanted(template.value))
    }

    /// As `kill -9` would: nothing more is sent or noted, and nobody waits for what was on its way.
    func kill() { task.cancel() }

    /// Sends what it has begun to send, and no more.
    func stop() async {
        task.cancel()
        await task.value
    }
}
