import KafkaLog
import Logging

/// Sends through one producer, and makes another when that one can't go on: an idempotent producer that lost its place among the broker's
/// sequence numbers fails for ever.
actor RenewingProducer: RecordProducer {
    private let make: @Sendable () throws -> any RecordProducer
    private let close: @Sendable (any RecordProducer) async -> Void
    private let logger: Logger
    private var current: (producer: any RecordProducer, number: Int)?
    private var made = 0

    /// - Parameter close: ends a producer that is not used any more.
    init(
        logger: Logger, make: @escaping @Sendable () throws -> any RecordProducer, close: @escaping @Sendable (any RecordProducer) async -> Void
    ) {
        self.logger = logger
        self.make = make
        self.close = close
    }

    func send(contentsOf records: [ProducerRecord]) async -> [Result<Delivery, KafkaLogError>] {
        let (producer, number): (any RecordProducer, Int)
        do { (producer, number) = try present() } catch {
            let failure = error as? KafkaLogError ?? .closed
            return records.map { _ in .failure(failure) }
        }
        let results = await producer.send(contentsOf: records)
        let fatal = results.lazy.compactMap { if case .failure(let error) = $0, error.isFatal { error } else { nil } }.first
        // Others may have waited for the same one meanwhile: it is given up once.
        if let fatal, current?.number == number {
            logger.error("The producer can't go on; making a new one", metadata: ["error": "\(fatal)"])
            current = nil
            Task { [close] in await close(producer) }
        }
        return results
    }

    /// Ends what there is.
    func end() async {
        guard let producer = current?.producer else { return }
        current = nil
        await close(producer)
    }

    private func present() throws -> (any RecordProducer, Int) {
        if let current { return (current.producer, current.number) }
        made += 1
        let producer = try make()
        current = (producer, made)
        return (producer, made)
    }
}
