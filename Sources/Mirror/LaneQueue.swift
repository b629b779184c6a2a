import KafkaLog

/// Records of one partition on their way to the target.
struct LaneItem: Sendable {
    let batch: RecordBatch
    let run: RecordBatch.Run
    /// The batch's share of what may be held; goes with the last of its items.
    let share: ReadBudget.Share
    /// Not to be written before; nil: at once.
    let due: ContinuousClock.Instant?

    var records: Int { run.range.count }
}

/// The queue between the reader and one writer: first in first out, each item when its time has come. `ReadBudget` bounds it.
/// One task pushes, one task takes.
actor LaneQueue {
    private var items: [LaneItem] = []
    /// Items before it were taken.
    private var head = 0
    private var isClosed = false
    private var taker: CheckedContinuation<Void, Never>?

    /// false: the queue is closed, and the item was not taken.
    func push(_ item: LaneItem) -> Bool {
        guard !isClosed else { return false }
        items.append(item)
        wake(&taker)
        return true
    }

    /// The items whose time has come, as many as one send may hold, at least one; without `waits` perhaps none. nil: the queue is
    /// closed; what is left in it is dropped (it was not committed, so it is read again).
    func take(waits: Bool) async throws -> [LaneItem]? {
        while !isClosed {
            if !waits, head == items.count || items[head].due ?? .now > .now { return [] }
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
        let now = ContinuousClock.now
        while head < items.count {
            let item = items[head]
            if let due = item.due, due > now { break }
            if takenRecords + item.records > MirrorLimits.recordsPerSend, !taken.isEmpty { break }
            taken.append(item)
            takenRecords += item.records
            head += 1
        }
        if head == items.count || head > 1024 {
            items.removeFirst(head)
            head = 0
        }
        return taken
    }

    func close() {
        isClosed = true
        items.removeAll()
        head = 0
        wake(&taker)
    }

    private func wake(_ continuation: inout CheckedContinuation<Void, Never>?) {
        let waiting = continuation
        continuation = nil
        waiting?.resume()
    }
}
