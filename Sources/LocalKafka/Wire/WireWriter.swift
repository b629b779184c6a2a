import NIOCore

/// Writes Kafka's primitive types, classic or compact as `flexible` says. Ranges of files can be appended without
/// reading them: they are sent with sendfile(2).
public struct WireWriter: Sendable {
    /// What goes to the socket, in order.
    public private(set) var parts: [IOData] = []
    /// The part that is being written; appended to `parts` when a file range follows.
    public var buffer: ByteBuffer
    public var flexible: Bool
    /// Bytes in `parts`.
    private var finishedBytes = 0

    public init(flexible: Bool = false, capacity: Int = 512) {
        self.buffer = ByteBufferAllocator().buffer(capacity: capacity)
        self.flexible = flexible
    }

    /// What was written since the last file range, as an array.
    public var bytes: [UInt8] { Array(buffer.readableBytesView) }

    /// Bytes written so far, file ranges included.
    public var count: Int { finishedBytes + buffer.readableBytes }

    public mutating func int8(_ value: Int8) { buffer.writeInteger(value) }
    public mutating func int16(_ value: Int16) { buffer.writeInteger(value) }
    public mutating func int32(_ value: Int32) { buffer.writeInteger(value) }
    public mutating func int64(_ value: Int64) { buffer.writeInteger(value) }
    public mutating func bool(_ value: Bool) { buffer.writeInteger(value ? 1 : 0, as: UInt8.self) }
    public mutating func error(_ code: ErrorCode) { int16(code.rawValue) }

    public mutating func uuid(_ value: KafkaUUID) {
        buffer.writeInteger(value.high)
        buffer.writeInteger(value.low)
    }

    public mutating func unsignedVarint(_ value: UInt32) {
        var rest = value
        while rest >= 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        buffer.writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    public mutating func varlong(_ value: Int64) {
        var rest = UInt64(bitPattern: (value << 1) ^ (value >> 63))
        while rest >= 0x80 {
            buffer.writeInteger(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        buffer.writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    /// Classic strings longer than 32,767 bytes can't be written: they are cut there (only our own texts get that long).
    public mutating func nullableString(_ value: String?) {
        guard let value else {
            if flexible { unsignedVarint(0) } else { int16(-1) }
            return
        }
        if flexible {
            unsignedVarint(UInt32(value.utf8.count) + 1)
            buffer.writeString(value)
        } else {
            let bytes = value.utf8.prefix(Int(Int16.max))
            int16(Int16(bytes.count))
            buffer.writeBytes(bytes)
        }
    }

    public mutating func string(_ value: String) { nullableString(value) }

    /// The length in front of bytes that the caller appends itself; nil writes null.
    public mutating func bytesLength(_ count: Int?) {
        if flexible {
            unsignedVarint(UInt32(truncatingIfNeeded: (count ?? -1) + 1))
        } else {
            int32(Int32(truncatingIfNeeded: count ?? -1))
        }
    }

    public mutating func nullableBytes(_ value: ByteBuffer?) {
        bytesLength(value?.readableBytes)
        if var value { buffer.writeBuffer(&value) }
    }

    public mutating func bytes(_ value: ByteBuffer) { nullableBytes(value) }

    public mutating func arrayCount(_ count: Int) {
        if flexible { unsignedVarint(UInt32(count) + 1) } else { int32(Int32(count)) }
    }

    public mutating func nullArray() {
        if flexible { unsignedVarint(0) } else { int32(-1) }
    }

    /// An array; `element` writes one element with its tagged fields.
    public mutating func array<S: Collection>(_ elements: S, _ element: (inout WireWriter, S.Element) throws -> Void) rethrows {
        arrayCount(elements.count)
        for item in elements { try element(&self, item) }
    }

    /// The empty set of tagged fields that ends a structure in flexible versions; nothing in others.
    public mutating func noTaggedFields() {
        if flexible { unsignedVarint(0) }
    }

    // MARK: Parts

    /// Appends a range of a file, which must stay unchanged until the response has been sent. Its handle is closed then; who
    /// throws the response away instead must call `discard`.
    public mutating func append(_ region: FileRegion) {
        endPart()
        finishedBytes += region.readableBytes
        parts.append(.fileRegion(region))
    }

    /// Ends the part in `buffer`, so that `parts` holds everything.
    public mutating func endPart() {
        guard buffer.readableBytes > 0 else { return }
        finishedBytes += buffer.readableBytes
        parts.append(.byteBuffer(buffer))
        buffer = ByteBuffer()
    }

    /// Closes the file ranges of a response that won't be sent.
    mutating func discard() {
        for case .fileRegion(let region) in parts { try? region.fileHandle.close() }
        parts = []
    }

    /// Everything as a frame: the size, then the parts. The first part must begin with four bytes that were reserved for
    /// the size.
    mutating func finishFrame() -> [IOData] {
        endPart()
        let size = finishedBytes - 4
        if case .byteBuffer(var first) = parts.first {
            parts[0] = .byteBuffer(ByteBuffer())
            first.setInteger(Int32(truncatingIfNeeded: size), at: first.readerIndex)
            parts[0] = .byteBuffer(first)
        }
        return parts
    }
}
