import NIOCore

/// A record batch that may be appended: whole, checksummed, its own numbers consistent.
struct ValidBatch: Sendable {
    var header: BatchHeader
    /// The whole batch, header included, as it came.
    var bytes: ByteBuffer
    /// The largest timestamp among the records (-1: none has one). For compressed batches, what the header says.
    var maxTimestamp: Int64

    /// Who sends a batch: clients may not do all that a test may.
    enum Origin: Sendable {
        /// A Produce request of this version.
        case client(produceVersion: Int16)
        /// The in-process API: control batches, holes among the offsets and LogAppendTime are allowed.
        case direct
    }

    /// Checks what Kafka's LogValidator checks, and answers with its error codes.
    static func check(_ bytes: ByteBuffer, origin: Origin, maxBytes: Int) -> Result<ValidBatch, ErrorCode> {
        bytes.withUnsafeReadableBytes { memory in
            switch check(memory, origin: origin, maxBytes: maxBytes) {
            case .success(let (header, maxTimestamp)):
                .success(ValidBatch(header: header, bytes: bytes, maxTimestamp: maxTimestamp))
            case .failure(let code): .failure(code)
            }
        }
    }

    private static func check(
        _ memory: UnsafeRawBufferPointer, origin: Origin, maxBytes: Int
    ) -> Result<(BatchHeader, Int64), ErrorCode> {
        guard memory.count > BatchHeader.Field.magic else { return .failure(.corruptMessage) }
        switch memory[BatchHeader.Field.magic] {
        case 2: break
        case 0, 1: return .failure(.unsupportedForMessageFormat)
        default: return .failure(.invalidRecord)
        }
        guard let header = BatchHeader(memory), Int(header.batchLength) >= BatchHeader.size - BatchHeader.lengthOverhead,
            header.totalBytes <= memory.count
        else { return .failure(.corruptMessage) }
        guard header.totalBytes == memory.count else { return .failure(.invalidRecord) }  // one batch at a time
        guard memory.count <= maxBytes else { return .failure(.messageTooLarge) }
        let checked = UnsafeRawBufferPointer(rebasing: memory[BatchHeader.checksumStart...])
        guard CRC32C.checksum(checked) == header.checksum else { return .failure(.corruptMessage) }
        guard header.compression <= 4 else { return .failure(.unsupportedCompressionType) }
        guard header.recordCount > 0, header.lastOffsetDelta >= 0, header.recordCount - 1 <= header.lastOffsetDelta else {
            return .failure(.invalidRecord)
        }
        if header.producerID >= 0, header.producerEpoch < 0 || header.baseSequence < 0 { return .failure(.invalidRecord) }
        if case .client(let version) = origin, let code = refusal(of: header, produceVersion: version) {
            return .failure(code)
        }
        guard header.compression == 0 else { return .success((header, header.maxTimestamp)) }
        guard let maxTimestamp = walk(memory, header: header, origin: origin) else { return .failure(.invalidRecord) }
        return .success((header, maxTimestamp))
    }

    private static func refusal(of header: BatchHeader, produceVersion: Int16) -> ErrorCode? {
        if header.isControl { return .invalidRecord }
        if header.recordCount != header.lastOffsetDelta &+ 1 { return .invalidRecord }
        if header.isLogAppendTime { return .invalidTimestamp }
        if header.compression == 4, produceVersion < 7 { return .unsupportedCompressionType }
        return nil
    }

    /// The largest timestamp; nil when the records don't fill the batch exactly or their offsets don't fit.
    private static func walk(_ memory: UnsafeRawBufferPointer, header: BatchHeader, origin: Origin) -> Int64? {
        var walker = RecordWalker(batch: memory)
        var largest: Int64 = -1
        var previousDelta: Int64 = -1
        for _ in 0..<header.recordCount {
            guard let record = walker.next() else { return nil }
            switch origin {
            case .client: guard record.offsetDelta == previousDelta &+ 1 else { return nil }
            case .direct: guard record.offsetDelta > previousDelta else { return nil }
            }
            previousDelta = record.offsetDelta
            largest = max(largest, header.baseTimestamp &+ record.timestampDelta)
        }
        guard walker.isAtEnd, previousDelta <= Int64(header.lastOffsetDelta) else { return nil }
        return header.isLogAppendTime ? header.maxTimestamp : largest
    }
}
