/// Where each batch of a partition lies and the largest timestamp in it, so that lookups by offset and by time read at
/// most one batch. Kept in memory only (56 bytes a batch); rebuilt from the files at start. Positions count the bytes of
/// the partition over all its files, from the first one that was ever open in this process.
struct BatchIndex: Sendable {
    struct Entry: Sendable, Equatable {
        var baseOffset: Int64
        var lastOffset: Int64
        var position: Int64
        var maxTimestamp: Int64
        /// The largest `maxTimestamp` of this and all earlier entries: grows, so it can be searched by halving.
        var prefixMax: Int64
        var leaderEpoch: Int32
        /// The batch failed its checksum at start; it must not be served.
        var isCorrupt: Bool
    }

    private(set) var entries: ContiguousArray<Entry> = []
    /// The position after the last batch.
    private(set) var endPosition: Int64 = 0
    /// Indices of corrupt entries, in order; nearly always empty.
    private(set) var corruptIndices: [Int] = []

    init(startPosition: Int64 = 0) { endPosition = startPosition }

    mutating func append(
        baseOffset: Int64, lastOffset: Int64, bytes: Int64, maxTimestamp: Int64, leaderEpoch: Int32, isCorrupt: Bool = false
    ) {
        let previous = entries.last?.prefixMax ?? .min
        if isCorrupt { corruptIndices.append(entries.count) }
        entries.append(
            Entry(
                baseOffset: baseOffset, lastOffset: lastOffset, position: endPosition, maxTimestamp: maxTimestamp,
                prefixMax: max(previous, maxTimestamp), leaderEpoch: leaderEpoch, isCorrupt: isCorrupt))
        endPosition += bytes
    }

    func endPosition(of index: Int) -> Int64 {
        index + 1 < entries.count ? entries[index + 1].position : endPosition
    }

    /// The first batch that ends at or after `offset`; the count of entries when there is none. Between batches there may
    /// be holes, so the batch can begin after `offset`.
    func firstIndex(endingAtOrAfter offset: Int64) -> Int {
        partitionPoint(from: 0) { $0.lastOffset < offset }
    }

    /// The first batch, from `start` on, that has a timestamp of `timestamp` or later. Only where a batch in front of
    /// `start` has one too does this read on batch by batch.
    func firstIndex(withTimestamp timestamp: Int64, from start: Int) -> Int? {
        var index = start
        if start == 0 || start > entries.count || entries[start - 1].prefixMax < timestamp {
            index = partitionPoint(from: min(start, entries.count)) { $0.prefixMax < timestamp }
        } else {
            while index < entries.count, entries[index].maxTimestamp < timestamp { index += 1 }
        }
        return index < entries.count ? index : nil
    }

    /// One past the last batch of the run that begins at `start`, ends at or before position `limit`, and holds no
    /// corrupt batch.
    func runEnd(from start: Int, limit: Int64) -> Int {
        let firstCorrupt = corruptIndices.first { $0 >= start } ?? entries.count
        var low = start
        var high = firstCorrupt
        while low < high {
            let middle = low + (high - low) / 2
            if endPosition(of: middle) <= limit { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Drops the batches that end before `offset`.
    mutating func removeBatches(endingBefore offset: Int64) {
        let count = firstIndex(endingAtOrAfter: offset)
        guard count > 0 else { return }
        entries.removeFirst(count)
        corruptIndices = corruptIndices.compactMap { $0 >= count ? $0 - count : nil }
        var largest = Int64.min
        for index in entries.indices {
            largest = max(largest, entries[index].maxTimestamp)
            entries[index].prefixMax = largest
        }
    }

    private func partitionPoint(from start: Int, where isBefore: (Entry) -> Bool) -> Int {
        var low = start
        var high = entries.count
        while low < high {
            let middle = low + (high - low) / 2
            if isBefore(entries[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
