import Checkpoints
import KafkaLog
import Logging

extension MirrorSession {
    /// Reads batches and deals their runs out to the lanes; a full lane makes it wait.
    func read() async throws {
        while true {
            guard let event = try await reader.nextEvent(max: MirrorLimits.recordsPerBatch) else { continue }
            switch event {
            case .batch(let batch):
                for run in batch.runs {
                    let lane = lanes[Int(UInt(bitPattern: run.partition.hashValue) % UInt(lanes.count))]
                    guard await lane.push(item(batch, run)) else { return }
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

    private func item(_ batch: RecordBatch, _ run: RecordBatch.Run) -> LaneItem {
        var bytes = 0
        batch.forEach(in: run) { bytes += ($0.keySize ?? 0) + ($0.valueSize ?? 0) }
        guard configuration.lag > .zero else { return LaneItem(batch: batch, run: run, bytes: bytes, due: nil) }
        // Of the run's last record: a record is never early, and only records of one fetch wait for each other.
        let last = batch.withRecord(at: run.range.upperBound - 1) { $0.offset }
        let arrival = table.arrival(of: last, in: run.partition) ?? .now
        return LaneItem(batch: batch, run: run, bytes: bytes, due: arrival + configuration.lag)
    }

    /// Writes what a lane holds, one send after the other: a partition's next records are sent when its last ones are acknowledged.
    func write(_ lane: LaneQueue, _ clusters: Clusters) async throws {
        while let items = try await lane.take() {
            var records: [ProducerRecord] = []
            records.reserveCapacity(items.reduce(0) { $0 + $1.records })
            for item in items { append(item, to: &records) }
            let results = await producer.send(contentsOf: records)
            var index = 0
            for item in items {
                try settle(item, results[index..<(index + item.records)], clusters)
                index += item.records
            }
        }
    }

    private func append(_ item: LaneItem, to records: inout [ProducerRecord]) {
        let partition = item.run.partition
        item.batch.forEach(in: item.run) { record in
            var headers: [RecordHeader] = []
            do throws(KafkaLogError) {
                headers = try record.headers()
            } catch {
                configuration.logger.error(
                    "a record's headers can't be read: it is copied without them",
                    metadata: ["partition": "\(partition)", "offset": "\(record.offset)", "error": "\(error)"])
            }
            var copy = ProducerRecord(
                topic: partition.topic, partition: partition.partition, key: record.withKey { $0.map { Array($0) } },
                value: record.withValue { $0.map { Array($0) } }, headers: headers, timestamp: record.timestamp)
            copy.isTimestampAbsent = record.timestamp == nil
            // librdkafka takes 0 for "now": one millisecond later is as near as it can be.
            if copy.timestamp?.milliseconds == 0 { copy.timestamp = MillisecondTimestamp(1) }
            records.append(copy)
        }
    }

    /// Takes the acknowledgements of one run into the progress, up to its first failure.
    private func settle(
        _ item: LaneItem, _ results: ArraySlice<Result<Delivery, KafkaLogError>>, _ clusters: Clusters
    ) throws {
        let partition = item.run.partition
        var acknowledged = 0
        /// Where the run's first record went, and the end of the log after its last one; nil: the broker did not tell, because it
        /// had the records from an earlier try.
        var first: Int64?
        var end: Int64?
        var failure: KafkaLogError?
        for result in results {
            switch result {
            case .success(let delivery):
                let offset = delivery.position?.offset ?? end
                if first == nil, let offset { first = offset - Int64(acknowledged) }
                end = offset.map { $0 + 1 }
                acknowledged += 1
            case .failure(let error): failure = error
            }
            if failure != nil { break }
        }
        if acknowledged > 0 {
            let next = item.batch.withRecord(at: item.run.range.lowerBound + acknowledged - 1) { $0.offset } + 1
            try advance(partition, to: next, count: Int64(acknowledged), first: first, end: end)
        }
        guard let failure else { return }
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
