import Checkpoints
import KafkaLog

/// Reads stretches of several partitions of one cluster and keeps a print of each record.
struct LogScan {
    struct Stretch: Sendable {
        var from: Int64
        /// Offsets from here on are not wanted.
        var end: Int64
        /// Records wanted at most.
        var limit: Int
    }

    struct Found: Sendable {
        var prints: [RecordPrint] = []
        /// After the last record that was taken; the stretch's end when there is nothing more in it.
        var next: Int64
    }

    let consumer: KafkaConsumer
    let cluster: ClusterID
    let requestTimeout: Duration

    /// Replaces what `consumer` is assigned, and leaves it without any. Throws `KafkaLogError` and `CancellationError`.
    func read(_ stretches: [TopicPartition: Stretch]) async throws -> [TopicPartition: Found] {
        var found = stretches.mapValues { Found(next: $0.from) }
        var open = stretches.filter { $0.value.from < $0.value.end && $0.value.limit > 0 }
        if open.isEmpty { return found }
        try await consumer.assign(open.mapValues { Position($0.from, in: cluster) })
        var isSecondStall = false
        while !open.isEmpty {
            guard let event = try await consumer.nextEvent(deadline: .now + MirrorLimits.scanStall) else {
                // Nothing comes. With a broker that answers, twice: holes up to the end of the stretch.
                if isSecondStall { break }
                for result in try await consumer.watermarks(Array(open.keys), timeout: requestTimeout).values { _ = try result.get() }
                isSecondStall = true
                continue
            }
            switch event {
            case .batch(let batch):
                isSecondStall = false
                for run in batch.runs { take(run, of: batch, &open, &found) }
            case .partitionFailed(let partition, let error):
                if open[partition] != nil { throw error }
            case .failed(let error):
                if error.isFatal { throw error }
            case .assigned, .revoking, .lost: continue
            }
        }
        for (partition, stretch) in open { found[partition]?.next = stretch.end }
        try await consumer.assign([:])
        return found
    }

    private func take(
        _ run: RecordBatch.Run, of batch: RecordBatch, _ open: inout [TopicPartition: Stretch],
        _ found: inout [TopicPartition: Found]
    ) {
        guard let stretch = open[run.partition], var result = found[run.partition] else { return }
        found[run.partition] = nil  // one owner: the array grows in place
        var isDone = false
        batch.forEach(in: run) { record in
            if isDone || record.offset < result.next { return }
            if record.offset >= stretch.end {
                result.next = stretch.end
                isDone = true
                return
            }
            result.prints.append(RecordPrint(record))
            result.next = record.offset + 1
            isDone = result.prints.count >= stretch.limit || result.next >= stretch.end
        }
        if isDone { open[run.partition] = nil }
        found[run.partition] = result
    }
}

extension RecordPrint {
    init(_ record: borrowing RecordView) {
        content = record.withKey { key in
            record.withValue { value in Fingerprint.ofRecord(key: key, value: value, timestamp: nil).bits }
        }
        // The mirror writes 1 for 0, see `KafkaProducer.forward`.
        timestamp = record.timestampType == .logAppendTime ? nil : record.timestamp.map { max(1, $0.milliseconds) } ?? -1
    }
}
