import Foundation
import NIOCore

extension PartitionLog {
    /// Raises the log's start; `offset` -1 means the high watermark. Returns the new start. Files that hold nothing
    /// readable any more are deleted.
    func deleteRecords(before offset: Int64, broker: Int32?) -> Result<Int64, ErrorCode> {
        let result: Result<Int64, ErrorCode> = state.withLock { state in
            guard !state.isClosed else { return .failure(.unknownTopicOrPartition) }
            if let broker, state.leader != broker { return .failure(.notLeaderOrFollower) }
            let target = offset == -1 ? state.nextOffset : offset
            guard target >= 0, target <= state.nextOffset else { return .failure(.offsetOutOfRange) }
            guard target > state.logStart else { return .success(state.logStart) }
            state.logStart = target
            state.index.removeBatches(endingBefore: target)
            let firstNeeded = state.index.entries.first?.position ?? state.index.endPosition
            while state.segments.count > 1, state.segments[1].startPosition <= firstNeeded {
                unlink(state.segments[0].file.path)
                state.segments.removeFirst()
            }
            return .success(target)
        }
        wakeAll()
        return result
    }

    /// Cuts the log off at a batch boundary: batches that hold `offset` or a later one go, as after an unclean election.
    /// Returns the new next offset, which is at most `offset`. Responses that are being sent keep the old bytes.
    func truncate(to offset: Int64) throws -> Int64 {
        let end: Int64 = try state.withLock { state in
            let keep = state.index.entries.prefix { $0.lastOffset < offset }.last
            let keptEnd = keep.map { entry in
                state.index.endPosition(of: state.index.firstIndex(endingAtOrAfter: entry.lastOffset))
            }
            for segment in state.segments.reversed() {
                guard let keptEnd, segment.startPosition < keptEnd else {
                    unlink(segment.file.path)
                    continue
                }
                try Self.cut(segment.file, to: keptEnd - segment.startPosition)
                break
            }
            var fresh = State(leader: state.leader)
            fresh.leaderEpoch = state.leaderEpoch
            fresh.logStart = min(state.logStart, max(0, offset))
            fresh.waiters = state.waiters
            let floor = keep.map { $0.lastOffset + 1 } ?? min(fresh.logStart, max(0, offset))
            try Self.recover(&fresh, directory: directory, nextOffsetFloor: floor, options: options)
            fresh.epochs = state.epochs.filter { $0.startOffset <= fresh.nextOffset }
            if fresh.epochs.isEmpty { fresh.epochs = [EpochStart(epoch: state.leaderEpoch, startOffset: 0)] }
            state = fresh
            return fresh.nextOffset
        }
        wakeAll()
        return end
    }

    /// Replaces a file by its first `size` bytes, in a new file: what is being sent from the old one stays as it was.
    private static func cut(_ file: LogFile, to size: Int64) throws {
        guard try size < file.size() else { return }
        let temporary = file.path + ".cut"
        unlink(temporary)
        let copy = try LogFile(path: temporary, create: true)
        let chunk = 4 * 1024 * 1024
        var done: Int64 = 0
        while done < size {
            let count = Int(min(Int64(chunk), size - done))
            var buffer = ByteBuffer()
            try file.read(at: done, count: count, into: &buffer)
            try buffer.withUnsafeReadableBytes { bytes in
                try copy.write(bytes, UnsafeRawBufferPointer(start: nil, count: 0), at: done)
            }
            done += Int64(count)
        }
        guard rename(temporary, file.path) == 0 else { throw LocalKafkaError.system(path: file.path, operation: "replace") }
    }

    /// Makes `broker` the leader, in a new leader epoch.
    func moveLeader(to broker: Int32) {
        state.withLock { state in
            state.leader = broker
            state.leaderEpoch += 1
            state.epochs.append(EpochStart(epoch: state.leaderEpoch, startOffset: state.nextOffset))
        }
        wakeAll()
    }

    /// Moves the next offset forward and leaves a hole, as transaction markers and compaction do.
    func skipOffsets(_ count: Int64) {
        state.withLock { state in
            let (next, overflow) = state.nextOffset.addingReportingOverflow(max(0, count))
            if !overflow { state.nextOffset = next }
        }
        wakeAll()
    }

    /// Ends it all: appends and reads are refused from now on, waiting readers are woken.
    func close() {
        state.withLock { $0.isClosed = true }
        wakeAll()
    }

    private func wakeAll() {
        for waiter in state.withLock({ Array($0.waiters.values) }) { waiter.signal() }
    }
}
