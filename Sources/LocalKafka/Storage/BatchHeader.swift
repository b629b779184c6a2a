/// The fixed part of a record batch of format 2 (kafka.apache.org/documentation, "Record Batch").
struct BatchHeader: Sendable, Equatable {
    /// Bytes from the base offset to the record count.
    static let size = 61
    /// Bytes in front of what `batchLength` counts: base offset and the length itself.
    static let lengthOverhead = 12
    /// Where the bytes begin that the checksum covers: the attributes.
    static let checksumStart = 21

    enum Field {
        static let baseOffset = 0
        static let batchLength = 8
        static let leaderEpoch = 12
        static let magic = 16
        static let checksum = 17
        static let attributes = 21
        static let lastOffsetDelta = 23
        static let baseTimestamp = 27
        static let maxTimestamp = 35
        static let producerID = 43
        static let producerEpoch = 51
        static let baseSequence = 53
        static let recordCount = 57
    }

    var baseOffset: Int64
    var batchLength: Int32
    var leaderEpoch: Int32
    var magic: Int8
    var checksum: UInt32
    var attributes: Int16
    var lastOffsetDelta: Int32
    var baseTimestamp: Int64
    var maxTimestamp: Int64
    var producerID: Int64
    var producerEpoch: Int16
    var baseSequence: Int32
    var recordCount: Int32

    /// nil when there are fewer than 61 bytes. Nothing is checked.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size else { return nil }
        func load<T: FixedWidthInteger>(_ offset: Int) -> T {
            T(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
        }
        baseOffset = load(Field.baseOffset)
        batchLength = load(Field.batchLength)
        leaderEpoch = load(Field.leaderEpoch)
        magic = load(Field.magic)
        checksum = load(Field.checksum)
        attributes = load(Field.attributes)
        lastOffsetDelta = load(Field.lastOffsetDelta)
        baseTimestamp = load(Field.baseTimestamp)
        maxTimestamp = load(Field.maxTimestamp)
        producerID = load(Field.producerID)
        producerEpoch = load(Field.producerEpoch)
        baseSequence = load(Field.baseSequence)
        recordCount = load(Field.recordCount)
    }

    /// Bytes of the whole batch; never negative.
    var totalBytes: Int { max(0, Int(batchLength)) + Self.lengthOverhead }
    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; 5 to 7 are not defined.
    var compression: Int16 { attributes & 0x07 }
    var isLogAppendTime: Bool { attributes & 0x08 != 0 }
    var isTransactional: Bool { attributes & 0x10 != 0 }
    var isControl: Bool { attributes & 0x20 != 0 }
    var lastOffset: Int64 { baseOffset &+ Int64(lastOffsetDelta) }
    /// The sequence number of the last record; they go from 2^31 - 1 to 0.
    var lastSequence: Int32 { Int32((Int64(baseSequence) + Int64(lastOffsetDelta)) & Int64(Int32.max)) }

    static let logAppendTimeBit: Int16 = 0x08
}

/// One record's own fields that the broker looks at.
struct RecordSummary: Sendable, Equatable {
    var offsetDelta: Int64
    var timestampDelta: Int64
}

/// Walks the records of an uncompressed batch without reading keys and values.
struct RecordWalker {
    private let bytes: UnsafeRawBufferPointer
    private var position: Int
    private let end: Int

    /// `batch`: a whole batch, header included.
    init(batch: UnsafeRawBufferPointer) {
        bytes = batch
        position = BatchHeader.size
        end = batch.count
    }

    var isAtEnd: Bool { position >= end }

    /// The next record; nil when its bytes are malformed or there are none left.
    mutating func next() -> RecordSummary? {
        guard let length = varlong(), length >= 0, length <= Int64(end - position) else { return nil }
        let recordEnd = position + Int(length)
        guard length >= 1 else { return nil }
        position += 1  // attributes, unused
        guard let timestampDelta = varlong(), let offsetDelta = varlong(), position <= recordEnd else { return nil }
        position = recordEnd
        return RecordSummary(offsetDelta: offsetDelta, timestampDelta: timestampDelta)
    }

    private mutating func varlong() -> Int64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end, shift <= 63 {
            let byte = bytes[position]
            position &+= 1
            value |= UInt64(byte & 0x7f) &<< shift
            if byte & 0x80 == 0 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
            shift &+= 7
        }
        return nil
    }
}
