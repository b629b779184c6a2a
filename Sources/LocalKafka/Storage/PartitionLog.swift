import Foundation
import Logging
import NIOCore
import Synchronization

/// One partition: its files, its index, its leader. Safe to use from any thread; one lock guards all of it, held over
/// the write of one batch or the read of one batch, never over a wait.
final class PartitionLog: Sendable {
    struct Options: Sendable {
        var segmentBytes: Int64
        var syncsEveryAppend: Bool
        var logger: Logger
    }

    struct Segment: Sendable {
        /// The lowest offset that can be in the file; its name.
        var baseOffset: Int64
        /// The index position of its first byte.
        var startPosition: Int64
        var file: LogFile
    }

    struct State: Sendable {
        var segments: [Segment] = []
        var index = BatchIndex()
        var producers = ProducerTable()
        /// The lowest offset that clients may read.
        var logStart: Int64 = 0
        /// The offset of the next record: the high watermark, since there is nobody to replicate to.
        var nextOffset: Int64 = 0
        var leader: Int32
        var leaderEpoch: Int32 = 0
        /// Each leader epoch with the offset at which it began.
        var epochs: [EpochStart] = [EpochStart(epoch: 0, startOffset: 0)]
        /// Long polls to wake when something changes here.
        var waiters: [ObjectIdentifier: WakeUp] = [:]
        /// The topic was deleted or the cluster stopped.
        var isClosed = false
    }

    let topic: String
    let partition: Int32
    let directory: String
    let options: Options
    let state: Mutex<State>

    /// Opens the partition's directory, making it when it is not there, and recovers its files.
    init(topic: String, partition: Int32, directory: String, facts: PartitionFacts, options: Options) throws {
        self.topic = topic
        self.partition = partition
        self.directory = directory
        self.options = options
        var state = State(leader: facts.leader)
        state.leaderEpoch = facts.leaderEpoch
        state.epochs = facts.epochs
        state.logStart = facts.logStart
        try Self.recover(&state, directory: directory, nextOffsetFloor: facts.nextOffsetFloor, options: options)
        self.state = Mutex(state)
    }

    /// What must be kept beside the files.
    var facts: PartitionFacts {
        state.withLock { state in
            PartitionFacts(
                leader: state.leader, leaderEpoch: state.leaderEpoch, epochs: state.epochs, logStart: state.logStart,
                nextOffsetFloor: state.nextOffset)
        }
    }

    // MARK: Append

    struct Appended: Sendable, Equatable {
        var baseOffset: Int64
        /// The time the broker gave the records; -1 for CreateTime.
        var logAppendTime: Int64
        var logStart: Int64
    }

    /// Who may append: the leader's id, or nil for the in-process API, which is not bound to a broker.
    /// `stampTime`: the time for LogAppendTime topics; nil keeps the producer's.
    /// `keepsOffset`: leave the batch at its own base offset (which may leave a hole in front of it).
    func append(
        _ batch: ValidBatch, as broker: Int32?, stampTime: Int64?, keepsOffset: Bool = false
    ) -> Result<Appended, ErrorCode> {
        let (result, waiters) = state.withLock { state in
            let result = Self.append(
                batch, to: &state, as: broker, stampTime: stampTime, keepsOffset: keepsOffset, directory: directory, options: options)
            return (result, Array(state.waiters.values))
        }
        if case .success = result { for waiter in waiters { waiter.signal() } }
        return result
    }

    private static func append(
        _ batch: ValidBatch, to state: inout State, as broker: Int32?, stampTime: Int64?, keepsOffset: Bool,
        directory: String, options: Options
    ) -> Result<Appended, ErrorCode> {
        guard !state.isClosed else { return .failure(.unknownTopicOrPartition) }
        if let broker, state.leader != broker { return .failure(.notLeaderOrFollower) }
        let header = batch.header
        if header.producerID >= 0, !header.isControl {
            switch state.producers.verdict(
                producerID: header.producerID, epoch: header.producerEpoch, firstSequence: header.baseSequence,
                lastSequence: header.lastSequence)
            {
            case .append: break
            case .refuse(let code): return .failure(code)
            case .duplicate(let first):
                return .success(
                    Appended(
                        baseOffset: first.baseOffset, logAppendTime: stampTime == nil ? -1 : first.timestamp,
                        logStart: state.logStart))
            }
        }
        if keepsOffset, header.baseOffset < state.nextOffset { return .failure(.invalidRecord) }
        let baseOffset = keepsOffset ? header.baseOffset : state.nextOffset
        guard baseOffset <= Int64.max - Int64(Int32.max) - 1 else { return .failure(.invalidRecord) }
        do {
            try write(batch, at: baseOffset, stampTime: stampTime, to: &state, directory: directory, options: options)
        } catch {
            options.logger.error("append failed", metadata: ["directory": "\(directory)", "error": "\(error)"])
            return .failure(.kafkaStorageError)
        }
        return .success(Appended(baseOffset: baseOffset, logAppendTime: stampTime ?? -1, logStart: state.logStart))
    }

    /// Writes the batch as it came, but for the fields that are the broker's to set: base offset and leader epoch, which
    /// the checksum does not cover, and, where they differ, timestamp type and largest timestamp, which it does.
    private static func write(
        _ batch: ValidBatch, at baseOffset: Int64, stampTime: Int64?, to state: inout State, directory: String, options: Options
    ) throws {
        var header = batch.header
        header.baseOffset = baseOffset
        header.leaderEpoch = state.leaderEpoch
        header.maxTimestamp = stampTime ?? batch.maxTimestamp
        if stampTime != nil { header.attributes |= BatchHeader.logAppendTimeBit }
        let fileSize = state.index.endPosition - (state.segments.last?.startPosition ?? state.index.endPosition)
        if state.segments.isEmpty || fileSize >= options.segmentBytes { try roll(&state, directory: directory) }
        let segment = state.segments[state.segments.count - 1]
        try batch.bytes.withUnsafeReadableBytes { memory in
            var head = Array(memory.prefix(BatchHeader.size))
            let body = UnsafeRawBufferPointer(rebasing: memory[BatchHeader.size...])
            let resealed = header.maxTimestamp != batch.header.maxTimestamp || header.attributes != batch.header.attributes
            try head.withUnsafeMutableBytes { head in
                head.storeBigEndian(header.baseOffset, at: BatchHeader.Field.baseOffset)
                head.storeBigEndian(header.leaderEpoch, at: BatchHeader.Field.leaderEpoch)
                if resealed {
                    head.storeBigEndian(header.attributes, at: BatchHeader.Field.attributes)
                    head.storeBigEndian(header.maxTimestamp, at: BatchHeader.Field.maxTimestamp)
                    let covered = UnsafeRawBufferPointer(rebasing: head[BatchHeader.checksumStart...])
                    let checksum = CRC32C.checksum(body, after: CRC32C.checksum(covered))
                    head.storeBigEndian(checksum, at: BatchHeader.Field.checksum)
                }
                try segment.file.write(
                    UnsafeRawBufferPointer(head), body, at: state.index.endPosition - segment.startPosition)
            }
        }
        if options.syncsEveryAppend { try segment.file.sync() }
        note(header, bytes: batch.bytes.readableBytes, in: &state)
    }

    /// Enters a batch that is in the file into what is kept in memory.
    static func note(_ header: BatchHeader, bytes: Int, in state: inout State) {
        state.index.append(
            baseOffset: header.baseOffset, lastOffset: header.lastOffset, bytes: Int64(bytes),
            maxTimestamp: header.maxTimestamp, leaderEpoch: header.leaderEpoch)
        state.nextOffset = header.lastOffset + 1
        guard header.producerID >= 0, !header.isControl else { return }
        state.producers.record(
            producerID: header.producerID, epoch: header.producerEpoch,
            batch: ProducerTable.Batch(
                firstSequence: header.baseSequence, lastSequence: header.lastSequence, baseOffset: header.baseOffset,
                timestamp: header.maxTimestamp),
            lastOffset: header.lastOffset)
    }

    static func roll(_ state: inout State, directory: String) throws {
        let file = try LogFile(path: "\(directory)/\(Self.fileName(state.nextOffset))", create: true)
        state.segments.append(
            Segment(baseOffset: state.nextOffset, startPosition: state.index.endPosition, file: file))
    }

    static func fileName(_ baseOffset: Int64) -> String {
        let digits = String(baseOffset)
        return String(repeating: "0", count: max(0, 20 - digits.count)) + digits + ".log"
    }

    // MARK: Waiting

    func addWaiter(_ waiter: WakeUp) { state.withLock { $0.waiters[ObjectIdentifier(waiter)] = waiter } }
    func removeWaiter(_ waiter: WakeUp) { state.withLock { $0.waiters[ObjectIdentifier(waiter)] = nil } }
}

/// What is kept of a partition beside its files.
struct PartitionFacts: Codable, Sendable, Equatable {
    var leader: Int32
    var leaderEpoch: Int32 = 0
    var epochs: [EpochStart] = [EpochStart(epoch: 0, startOffset: 0)]
    var logStart: Int64 = 0
    /// The next offset is at least this: the end of the log may be a hole.
    var nextOffsetFloor: Int64 = 0
}

struct EpochStart: Codable, Sendable, Equatable {
    var epoch: Int32
    var startOffset: Int64
}

extension UnsafeMutableRawBufferPointer {
    func storeBigEndian<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
    }
}
