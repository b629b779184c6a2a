import NIOCore

extension PartitionLog {
    /// A run of whole batches in one file.
    struct Slice: Sendable {
        var file: LogFile
        var position: Int64
        var count: Int
    }

    /// What a reader gets at an offset.
    struct ReadResult: Sendable {
        var error: ErrorCode = .none
        var highWatermark: Int64 = -1
        var logStart: Int64 = -1
        /// nil: nothing there yet.
        var slice: Slice?
    }

    /// Whole batches from the one that holds `offset` (or, over a hole, the next), at most `maxBytes` in all; with
    /// `atLeastOne` the first even when it is larger. The first batch can begin before `offset`.
    /// `leaderEpoch`: the epoch that the client believes in, -1 for none.
    func read(from offset: Int64, maxBytes: Int, atLeastOne: Bool, broker: Int32, leaderEpoch: Int32) -> ReadResult {
        state.withLock { state in
            if let error = Self.refusal(state, broker: broker, leaderEpoch: leaderEpoch) { return ReadResult(error: error) }
            var result = ReadResult(highWatermark: state.nextOffset, logStart: state.logStart)
            guard offset >= state.logStart, offset <= state.nextOffset else {
                result.error = .offsetOutOfRange
                return result
            }
            let index = state.index
            let start = index.firstIndex(endingAtOrAfter: offset)
            guard start < index.entries.count else { return result }
            guard !index.entries[start].isCorrupt else {
                result.error = .corruptMessage
                return result
            }
            let position = index.entries[start].position
            guard let number = state.segments.lastIndex(where: { $0.startPosition <= position }) else { return result }
            let fileEnd = number + 1 < state.segments.count ? state.segments[number + 1].startPosition : index.endPosition
            var end = index.runEnd(from: start, limit: min(fileEnd, position + Int64(maxBytes)))
            if end == start, atLeastOne { end = start + 1 }
            guard end > start else { return result }
            let count = Int(index.endPosition(of: end - 1) - position)
            result.slice = Slice(
                file: state.segments[number].file, position: position - state.segments[number].startPosition, count: count)
            return result
        }
    }

    /// Why a client may not read here, or nil.
    static func refusal(_ state: State, broker: Int32, leaderEpoch: Int32) -> ErrorCode? {
        if state.isClosed { return .unknownTopicOrPartition }
        if state.leader != broker { return .notLeaderOrFollower }
        if leaderEpoch >= 0 {
            if leaderEpoch < state.leaderEpoch { return .fencedLeaderEpoch }
            if leaderEpoch > state.leaderEpoch { return .unknownLeaderEpoch }
        }
        return nil
    }

    /// Where the log begins and ends, for a client.
    func bounds(broker: Int32, leaderEpoch: Int32) -> Result<(logStart: Int64, highWatermark: Int64, epoch: Int32), ErrorCode> {
        state.withLock { state in
            if let error = Self.refusal(state, broker: broker, leaderEpoch: leaderEpoch) { return .failure(error) }
            return .success((state.logStart, state.nextOffset, state.leaderEpoch))
        }
    }

    /// The end of `epoch`: the largest epoch at most that, and where the next one begins.
    func endOffset(ofEpoch epoch: Int32) -> (epoch: Int32, endOffset: Int64) {
        state.withLock { state in
            guard epoch <= state.leaderEpoch, let number = state.epochs.lastIndex(where: { $0.epoch <= epoch }) else {
                return (-1, -1)
            }
            let end = number + 1 < state.epochs.count ? state.epochs[number + 1].startOffset : state.nextOffset
            return (state.epochs[number].epoch, end)
        }
    }

    // MARK: Lookup by time

    struct TimeMatch: Sendable, Equatable {
        var offset: Int64
        var timestamp: Int64
        var leaderEpoch: Int32
    }

    /// The first record in log order with a timestamp of `timestamp` or later; nil when there is none.
    ///
    /// Exact in uncompressed batches. In a compressed one, and where the broker set the time, the answer is the batch's
    /// first offset: never later than the right one. The timestamp told then is the largest of the batch.
    /// Throws `LocalKafkaError.storage` when the batch can't be read.
    func firstRecord(withTimestamp timestamp: Int64) throws -> TimeMatch? {
        try state.withLock { state in
            var start = state.index.firstIndex(endingAtOrAfter: state.logStart)
            while let number = state.index.firstIndex(withTimestamp: timestamp, from: start) {
                if let match = try Self.firstRecord(withTimestamp: timestamp, inBatch: number, of: state) { return match }
                start = number + 1  // the records that matched lie before the log's start
            }
            return nil
        }
    }

    /// The first record with the largest timestamp; nil when no record has one.
    func recordWithMaxTimestamp() throws -> TimeMatch? {
        try state.withLock { state in
            let start = state.index.firstIndex(endingAtOrAfter: state.logStart)
            guard start < state.index.entries.count else { return nil }
            var largest = state.index.entries[start...].lazy.map(\.maxTimestamp).max() ?? -1
            if state.index.entries[start].baseOffset < state.logStart {
                let rest = state.index.entries[(start + 1)...].lazy.map(\.maxTimestamp).max() ?? -1
                largest = max(rest, try Self.largestTimestamp(inBatch: start, of: state))
            }
            guard largest >= 0 else { return nil }
            for number in start..<state.index.entries.count where state.index.entries[number].maxTimestamp >= largest {
                if let match = try Self.firstRecord(withTimestamp: largest, inBatch: number, of: state) { return match }
            }
            return nil
        }
    }

    private static func batch(_ number: Int, of state: State) throws -> ByteBuffer {
        let entry = state.index.entries[number]
        var buffer = ByteBuffer()
        guard let segment = state.segments.last(where: { $0.startPosition <= entry.position }) else { return buffer }
        let count = Int(state.index.endPosition(of: number) - entry.position)
        buffer.reserveCapacity(count)
        try segment.file.read(at: entry.position - segment.startPosition, count: count, into: &buffer)
        return buffer
    }

    private static func firstRecord(
        withTimestamp timestamp: Int64, inBatch number: Int, of state: State
    ) throws -> TimeMatch? {
        let entry = state.index.entries[number]
        return try batch(number, of: state).withUnsafeReadableBytes { memory in
            guard !entry.isCorrupt, let header = BatchHeader(memory) else { return nil }
            guard header.compression == 0, !header.isLogAppendTime else {
                let offset = max(entry.baseOffset, state.logStart)
                return TimeMatch(offset: offset, timestamp: header.maxTimestamp, leaderEpoch: entry.leaderEpoch)
            }
            var walker = RecordWalker(batch: memory)
            while let record = walker.next() {
                let time = header.baseTimestamp &+ record.timestampDelta
                let offset = header.baseOffset &+ record.offsetDelta
                if time >= timestamp, offset >= state.logStart {
                    return TimeMatch(offset: offset, timestamp: time, leaderEpoch: entry.leaderEpoch)
                }
            }
            return nil
        }
    }

    /// The largest timestamp among the records of one batch that are not before the log's start.
    private static func largestTimestamp(inBatch number: Int, of state: State) throws -> Int64 {
        try batch(number, of: state).withUnsafeReadableBytes { memory in
            guard let header = BatchHeader(memory) else { return -1 }
            guard header.compression == 0, !header.isLogAppendTime else { return header.maxTimestamp }
            var walker = RecordWalker(batch: memory)
            var largest: Int64 = -1
            while let record = walker.next() {
                guard header.baseOffset &+ record.offsetDelta >= state.logStart else { continue }
                largest = max(largest, header.baseTimestamp &+ record.timestampDelta)
            }
            return largest
        }
    }
}
