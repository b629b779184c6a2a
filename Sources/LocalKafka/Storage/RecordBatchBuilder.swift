import NIOCore

/// A record as a test or a tool wants it in a log.
public struct RawRecord: Sendable, Equatable {
    /// Milliseconds since 1970; -1: none.
    public var timestamp: Int64
    /// nil is a null key, which is not an empty one.
    public var key: [UInt8]?
    /// nil is a null value (a tombstone), which is not an empty one.
    public var value: [UInt8]?
    public var headers: [(name: String, value: [UInt8]?)]
    /// Offsets between this record and the one before it that hold nothing: a compacted log.
    public var skippedBefore: Int32 = 0

    public init(
        timestamp: Int64, key: [UInt8]? = nil, value: [UInt8]? = nil, headers: [(name: String, value: [UInt8]?)] = [],
        skippedBefore: Int32 = 0
    ) {
        self.timestamp = timestamp
        self.key = key
        self.value = value
        self.headers = headers
        self.skippedBefore = skippedBefore
    }

    public static func == (a: RawRecord, b: RawRecord) -> Bool {
        a.timestamp == b.timestamp && a.key == b.key && a.value == b.value && a.skippedBefore == b.skippedBefore
            && a.headers.count == b.headers.count
            && zip(a.headers, b.headers).allSatisfy { $0.name == $1.name && $0.value == $1.value }
    }
}

/// Makes uncompressed record batches of format 2, byte for byte as a producer would.
public struct RecordBatchBuilder: Sendable {
    public var records: [RawRecord]
    public var baseOffset: Int64 = 0
    public var producerID: Int64 = -1
    public var producerEpoch: Int16 = -1
    public var baseSequence: Int32 = -1
    /// A transaction marker: `records` must be one with a control record's key.
    public var isControl = false
    /// Set by the broker: readers take `maxTimestamp` for every record.
    public var isLogAppendTime = false
    /// What the header says is the largest timestamp; nil: the real one.
    public var maxTimestamp: Int64?

    /// `records` must not be empty for a batch that a broker takes.
    public init(records: [RawRecord]) { self.records = records }

    public func bytes() -> [UInt8] {
        let baseTimestamp = records.first?.timestamp ?? -1
        var body = WireWriter()
        var offsetDelta: Int64 = -1
        for record in records {
            offsetDelta += 1 + Int64(max(0, record.skippedBefore))
            var writer = WireWriter()
            writer.int8(0)
            writer.varlong(record.timestamp &- baseTimestamp)
            writer.varlong(offsetDelta)
            Self.write(record.key, to: &writer)
            Self.write(record.value, to: &writer)
            writer.varlong(Int64(record.headers.count))
            for header in record.headers {
                Self.write(Array(header.name.utf8), to: &writer)
                Self.write(header.value, to: &writer)
            }
            body.varlong(Int64(writer.buffer.readableBytes))
            body.buffer.writeBuffer(&writer.buffer)
        }
        let largest = maxTimestamp ?? records.map(\.timestamp).max() ?? -1
        var covered = WireWriter()
        covered.int16((isLogAppendTime ? 0x08 : 0) | (isControl ? 0x20 : 0))
        covered.int32(Int32(truncatingIfNeeded: offsetDelta))
        covered.int64(baseTimestamp)
        covered.int64(largest)
        covered.int64(producerID)
        covered.int16(producerEpoch)
        covered.int32(baseSequence)
        covered.int32(Int32(truncatingIfNeeded: records.count))
        covered.buffer.writeBuffer(&body.buffer)
        var batch = WireWriter()
        batch.int64(baseOffset)
        batch.int32(Int32(truncatingIfNeeded: covered.buffer.readableBytes + BatchHeader.checksumStart - BatchHeader.lengthOverhead))
        batch.int32(-1)  // leader epoch
        batch.int8(2)  // magic
        let checksum = covered.buffer.withUnsafeReadableBytes { CRC32C.checksum($0) }
        batch.int32(Int32(bitPattern: checksum))
        batch.buffer.writeBuffer(&covered.buffer)
        return Array(batch.buffer.readableBytesView)
    }

    private static func write(_ bytes: [UInt8]?, to writer: inout WireWriter) {
        writer.varlong(Int64(bytes?.count ?? -1))
        if let bytes { writer.buffer.writeBytes(bytes) }
    }
}
