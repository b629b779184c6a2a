import KafkaLog

/// Records of one partition on their way to the target.
struct LaneItem: Sendable {
    let batch: RecordBatch
    let run: RecordBatch.Run
    /// Keys and values.
    let bytes: Int
    /// Not to be written before; nil: at once.
    let due: ContinuousClock.Instant?

    var records: Int { run.range.count }
}

/// The queue between the reader and one writer: bounded, first in first out, each item when its time has come.
/// One task pushes, one task takes.
actor LaneQueue {
    private var items: [LaneItem] = []
    /// Items before it were taken.
    private var head = 0
    private var records = 0
    private var bytes = 0
    private var isClosed = false
    private var pusher: CheckedContinuation<Void, Never>?
    private var taker: CheckedContinuation<Void, Never>?

    /// Returns when there was room. false: the queue is closed, and the item was not taken.
    func push(_ item: LaneItem) async -> Bool {
        while !isClosed, records > 0,
            records + item.records > MirrorLimits.recordsPerLane || bytes + item.bytes > MirrorLimits.bytesPerLane
        {
            await withCheckedContinuation { pusher = $0 }
        }
        guard !isClosed else { return false }
        items.append(item)
        records += item.records
        bytes += item.bytes
        wake(&taker)
        return true
    }

    /// The items whose time has come, as many as one send may hold, at least one. nil: the queue is closed; what is left in
    /// it is dropped (it was not committed, so it is read again).
    func take() async throws -> [LaneItem]? {
        while !isClosed {
            guard head < items.count else {
                await withCheckedContinuation { taker = $0 }
                continue
            }
            if let due = items[head].due, due > .now {
                try await Task.sleep(until: due, clock: .continuous)
                continue
            }
            return takeDue()
        }
        return nil
    }

    private func takeDue() -> [LaneItem] {
        var taken: [LaneItem] = []
        var takenRecords = 0
        var takenBytes = 0
        let now = ContinuousClock.now
        while head < items.count {
            let item = items[head]
            if let due = item.due, due > now { break }
            let fits =
                takenRecords + item.records <= MirrorLimits.recordsPerSend && takenBytes + item.bytes <= MirrorLimits.bytesPerSend
            if !fits, !taken.isEmpty { break }
            taken.append(item)
            takenRecords += item.records
            takenBytes += item.bytes
            head += 1
        }
        if head == items.count || head > 1024 {
            items.removeFirst(head)
            head = 0
        }
        records -= takenRecords
        bytes -= takenBytes
        wake(&pusher)
        return taken
    }

    func close() {
        isClosed = true
        items.removeAll()
        head = 0
        wake(&pusher)
        wake(&taker)
    }

    private func wake(_ continuation: inout CheckedContinuation<Void, Never>?) {
        let waiting = continuation
        continuation = nil
        waiting?.resume()
    }
}
