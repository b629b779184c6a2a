/// What a partition knows of each idempotent producer: enough to recognise a repeated batch and a missing one, by the
/// rules of Kafka's ProducerStateManager.
struct ProducerTable: Sendable {
    /// Batches that are remembered per producer, Kafka's number: as many as a client may have in flight.
    static let rememberedBatches = 5
    /// Producers that are remembered per partition; past it the one that wrote longest ago is forgotten.
    static let maxProducers = 100_000

    struct Batch: Sendable, Equatable {
        var firstSequence: Int32
        var lastSequence: Int32
        var baseOffset: Int64
        var timestamp: Int64
    }

    struct Producer: Sendable {
        var epoch: Int16
        var batches: [Batch]
        var lastOffset: Int64
    }

    enum Verdict: Equatable, Sendable {
        case append
        /// This batch is in the log already; answer as the first time.
        case duplicate(Batch)
        case refuse(ErrorCode)
    }

    private(set) var producers: [Int64: Producer] = [:]

    /// What to do with a batch that carries these numbers. A producer that isn't known may begin with any sequence
    /// number: what it wrote before may have been deleted.
    func verdict(producerID: Int64, epoch: Int16, firstSequence: Int32, lastSequence: Int32) -> Verdict {
        guard let producer = producers[producerID] else { return .append }
        if epoch < producer.epoch { return .refuse(.invalidProducerEpoch) }
        if epoch > producer.epoch { return firstSequence == 0 ? .append : .refuse(.outOfOrderSequenceNumber) }
        if let repeated = producer.batches.first(where: {
            $0.firstSequence == firstSequence && $0.lastSequence == lastSequence
        }) {
            return .duplicate(repeated)
        }
        guard let last = producer.batches.last?.lastSequence else { return .append }
        let expected = last == .max ? 0 : last + 1
        return firstSequence == expected ? .append : .refuse(.outOfOrderSequenceNumber)
    }

    mutating func record(producerID: Int64, epoch: Int16, batch: Batch, lastOffset: Int64) {
        var producer = producers[producerID] ?? Producer(epoch: epoch, batches: [], lastOffset: lastOffset)
        if producer.epoch != epoch { producer = Producer(epoch: epoch, batches: [], lastOffset: lastOffset) }
        producer.batches.append(batch)
        if producer.batches.count > Self.rememberedBatches { producer.batches.removeFirst() }
        producer.lastOffset = lastOffset
        producers[producerID] = producer
        if producers.count > Self.maxProducers,
            let oldest = producers.min(by: { $0.value.lastOffset < $1.value.lastOffset })?.key
        {
            producers[oldest] = nil
        }
    }
}
