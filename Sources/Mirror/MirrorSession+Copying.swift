import KafkaLog
import Logging

extension MirrorSession {
    /// Reads batches and deals their runs out to the lanes; waits while too much is on its way.
    func read() async throws {
        while true {
            guard let event = try await reader.nextEvent(max: MirrorLimits.recordsPerBatch) else { continue }
            switch event {
            case .batch(let batch):
                guard let share = await budget.take(size(of: batch)) else { return }
                for run in batch.runs {
                    let lane = lanes[Int(UInt(bitPattern: run.partition.hashValue) % UInt(lanes.count))]
                    guard await lane.push(item(batch, run, share)) else { return }
                }
            case .partitionFailed(let partition, let error):
                // Out of range: retention overtook the mirror, which the next session sees and reports.
                if case .offsetOutOfRange = error { throw MirrorError.client(.source, error) }
                if error.isRetriable { continue }
                throw MirrorError.partition(partition, .source, error)
            case .failed(let error):
                if error.isFatal { throw MirrorError.client(.source, error) }
                if error.isRetriable { reachability.failed(.source, servers: configuration.sourceBootstrapServers, error) }
            case .assigned, .revoking, .lost:
                continue  // comes to members of a group only
            }
        }
    }

    /// Bytes that a batch takes in memory, about.
    private func size(of batch: RecordBatch) -> Int {
        var bytes = batch.count * MirrorLimits.recordOverhead
        batch.forEach { bytes += ($0.keySize ?? 0) + ($0.valueSize ?? 0) }
        return bytes
    }

    private func item(_ batch: RecordBatch, _ run: RecordBatch.Run, _ share: ReadBudget.Share) -> LaneItem {
        guard configuration.lag > .zero else { return LaneItem(batch: batch, run: run, share: share, due: nil) }
        // Of the run's last record: a record is never early, and only records of one fetch wait for each other.
        let last = batch.withRecord(at: run.range.upperBound - 1) { $0.offset }
        let arrival = table.arrival(of: last, in: run.partition) ?? .now
        return LaneItem(batch: batch, run: run, share: share, due: arrival + configuration.lag)
    }

    /// Writes what a lane holds. While one send is being acknowledged the next is handed over, so that the target always has something
    /// to do; their acknowledgements are taken in their order. The producer hands over nothing of a partition after a failure.
    func write(_ lane: LaneQueue) async throws {
        var underway: [(items: [LaneItem], forwarding: Forwarding)] = []
        var isOpen = true
        while isOpen || !underway.isEmpty {
            if isOpen, underway.count < MirrorLimits.sendsPerLane {
                if let items = try await lane.take(waits: underway.isEmpty) {
                    guard items.isEmpty else {
                        let runs = items.map { ForwardedRun($0.run, of: $0.batch) }
                        underway.append((items, await producer.forward(runs)))
                        continue
                    }
                } else {
                    isOpen = false
                }
            }
            guard !underway.isEmpty else { continue }
            let oldest = underway.removeFirst()
            try settle(oldest.items, await oldest.forwarding.outcomes)
        }
    }

    /// Takes the acknowledgements of one send into the progress, those beside a failure, too, and then throws it.
    private func settle(_ items: [LaneItem], _ outcomes: [ForwardedRun.Outcome]) throws {
        var failed: [TopicPartition: any Error] = [:]
        var first: (any Error)?
        for (item, outcome) in zip(items, outcomes) where failed[item.run.partition] == nil {
            do { try settle(item, outcome) } catch {
                failed[item.run.partition] = error
                first = first ?? error
            }
        }
        if let first { throw first }
    }

    /// Takes the acknowledgements of one run into the progress, up to its first failure.
    private func settle(_ item: LaneItem, _ outcome: ForwardedRun.Outcome) throws {
        let partition = item.run.partition
        if outcome.unreadableHeaders > 0 {
            let first = item.batch.withRecord(at: item.run.range.lowerBound) { $0.offset }
            configuration.logger.error(
                "records' headers can't be read: they are copied without them",
                metadata: [
                    "partition": "\(partition)", "records": "\(outcome.unreadableHeaders)", "of": "\(item.records)", "from_offset": "\(first)",
                ])
        }
        if outcome.acknowledged > 0 {
            let next = item.batch.withRecord(at: item.run.range.lowerBound + outcome.acknowledged - 1) { $0.offset } + 1
            try advance(
                partition, to: next, count: Int64(outcome.acknowledged), first: outcome.first?.offset, end: outcome.end?.offset)
        }
        guard let failure = outcome.failure else { return }
        // A session that ends closes the producer: that says nothing of the partition.
        if failure == .closed || ["purge_queue", "purge_inflight"].contains(failure.label) { throw CancellationError() }
        if failure.isFatal { throw MirrorError.client(.target, failure) }
        throw MirrorError.partition(partition, .target, failure)
    }

    private func advance(_ partition: TopicPartition, to next: Int64, count: Int64, first: Int64?, end: Int64?) throws {
        let outcome = table.update(partition) { progress -> (expected: Int64, isFirstForeign: Bool) in
            let expected = progress.targetEnd
            let isFirst = progress.foreign == 0
            progress.next = next
            progress.copied &+= count
            progress.targetEnd = end ?? expected &+ count
            progress.arrivals.forget(below: next)
            if let first, first > expected { progress.foreign &+= first - expected }
            return (expected, isFirst)
        }
        table.release(partition)
        guard let outcome, let first else { return }
        if first < outcome.expected {
            throw MirrorError.targetMoved(partition, expected: outcome.expected, actual: first)
        }
        if first > outcome.expected, outcome.isFirstForeign {
            configuration.logger.error(
                "somebody else writes to a mirrored partition: is a second mirror running?",
                metadata: [
                    "partition": "\(partition)", "expected_offset": "\(outcome.expected)", "offset": "\(first)",
                ])
        }
    }
}
