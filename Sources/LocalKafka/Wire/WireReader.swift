import NIOCore

/// Reads Kafka's primitive types from one request, checking every length and count against the bytes that are left.
/// `flexible` (set from the request's version) selects between the classic and the compact forms of strings, bytes
/// and arrays, and whether tagged fields are present; so one parser serves all versions of a request.
public struct WireReader: Sendable {
    public var buffer: ByteBuffer
    public var flexible: Bool

    public init(_ buffer: ByteBuffer, flexible: Bool = false) {
        self.buffer = buffer
        self.flexible = flexible
    }

    public init(bytes: [UInt8], flexible: Bool = false) { self.init(ByteBuffer(bytes: bytes), flexible: flexible) }

    /// Bytes not read yet.
    public var remaining: Int { buffer.readableBytes }

    @inline(__always)
    private mutating func integer<T: FixedWidthInteger>(_ field: StaticStringBox) throws -> T {
        guard let value = buffer.readInteger(as: T.self) else { throw WireError.truncated(field: field) }
        return value
    }

    public mutating func int8() throws -> Int8 { try integer("int8") }
    public mutating func int16() throws -> Int16 { try integer("int16") }
    public mutating func int32() throws -> Int32 { try integer("int32") }
    public mutating func int64() throws -> Int64 { try integer("int64") }
    public mutating func bool() throws -> Bool { try int8() != 0 }

    public mutating func uuid() throws -> KafkaUUID {
        KafkaUUID(high: try integer("uuid"), low: try integer("uuid"))
    }

    /// An unsigned variable-length integer of at most 32 bits.
    public mutating func unsignedVarint() throws -> UInt32 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte: UInt8 = try integer("varint")
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { break }
            shift += 7
            if shift > 28 { throw WireError.varintTooLong }
        }
        guard let result = UInt32(exactly: value) else { throw WireError.varintTooLong }
        return result
    }

    /// A zigzag-coded variable-length integer of at most 64 bits (record fields use it for 32-bit values too).
    public mutating func varlong() throws -> Int64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte: UInt8 = try integer("varlong")
            if shift == 63 && byte > 1 { throw WireError.varintTooLong }
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { break }
            shift += 7
            if shift > 63 { throw WireError.varintTooLong }
        }
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    // MARK: Strings and bytes

    /// The length of a string or bytes field; nil for null.
    private mutating func length(_ field: StaticStringBox, short: Bool) throws -> Int? {
        let length: Int64
        if flexible {
            length = Int64(try unsignedVarint()) - 1
        } else {
            length = short ? Int64(try int16()) : Int64(try int32())
        }
        if length == -1 { return nil }
        guard length >= 0, length <= Int64(remaining) else { throw WireError.badLength(field: field, length) }
        return Int(length)
    }

    public mutating func nullableString(_ field: StaticStringBox = "string") throws -> String? {
        guard let length = try length(field, short: true) else { return nil }
        guard let view = buffer.readSlice(length: length) else { throw WireError.truncated(field: field) }
        guard let string = String(validating: view.readableBytesView, as: UTF8.self) else { throw WireError.notUTF8 }
        return string
    }

    public mutating func string(_ field: StaticStringBox = "string") throws -> String {
        guard let value = try nullableString(field) else { throw WireError.unexpectedNull(field: field) }
        return value
    }

    /// A slice of the request's own memory, not a copy.
    public mutating func nullableBytes(_ field: StaticStringBox = "bytes") throws -> ByteBuffer? {
        guard let length = try length(field, short: false) else { return nil }
        guard let slice = buffer.readSlice(length: length) else { throw WireError.truncated(field: field) }
        return slice
    }

    public mutating func bytes(_ field: StaticStringBox = "bytes") throws -> ByteBuffer {
        guard let value = try nullableBytes(field) else { throw WireError.unexpectedNull(field: field) }
        return value
    }

    // MARK: Arrays

    /// The element count of an array; nil for null. Never more than the bytes that are left, nor than
    /// `Limits.maxArrayElements`: each element of any Kafka array takes at least one byte.
    public mutating func nullableArrayCount(_ field: StaticStringBox = "array") throws -> Int? {
        let count = flexible ? Int64(try unsignedVarint()) - 1 : Int64(try int32())
        if count == -1 { return nil }
        guard count >= 0, count <= Int64(remaining) else { throw WireError.badLength(field: field, count) }
        guard count <= Int64(Limits.maxArrayElements) else {
            throw WireError.limitExceeded(field: field, limit: Limits.maxArrayElements)
        }
        return Int(count)
    }

    public mutating func arrayCount(_ field: StaticStringBox = "array") throws -> Int {
        guard let count = try nullableArrayCount(field) else { throw WireError.unexpectedNull(field: field) }
        return count
    }

    /// All elements of an array, each read by `element` (which reads its tagged fields itself). nil for null.
    public mutating func nullableArray<T>(
        _ field: StaticStringBox = "array", _ element: (inout WireReader) throws -> T
    ) throws -> [T]? {
        guard let count = try nullableArrayCount(field) else { return nil }
        var result: [T] = []
        for _ in 0..<count { result.append(try element(&self)) }
        return result
    }

    public mutating func array<T>(
        _ field: StaticStringBox = "array", _ element: (inout WireReader) throws -> T
    ) throws -> [T] {
        guard let result = try nullableArray(field, element) else { throw WireError.unexpectedNull(field: field) }
        return result
    }

    // MARK: Tagged fields

    /// Reads over the tagged fields that end a structure in flexible versions; does nothing in others.
    public mutating func skipTaggedFields() throws {
        guard flexible else { return }
        let count = try unsignedVarint()
        guard count <= UInt32(Limits.maxTaggedFields) else {
            throw WireError.limitExceeded(field: "tagged fields", limit: Limits.maxTaggedFields)
        }
        for _ in 0..<count {
            _ = try unsignedVarint()
            let size = Int(try unsignedVarint())
            guard size <= remaining else { throw WireError.badLength(field: "tagged field", Int64(size)) }
            buffer.moveReaderIndex(forwardBy: size)
        }
    }
}

/// A 128-bit id as Kafka writes topic ids.
public struct KafkaUUID: Hashable, Sendable, Codable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The id that means "none".
    public static let zero = KafkaUUID(high: 0, low: 0)

    public static func random() -> KafkaUUID {
        KafkaUUID(high: .random(in: 1 ... .max), low: .random(in: 1 ... .max))
    }

    /// Kafka's text form: base64 with the URL alphabet, no padding, 22 characters.
    public var description: String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".unicodeScalars)
        var text = String.UnicodeScalarView()
        for index in 0..<22 {
            let bit = 128 - 6 * (index + 1)
            let bits: UInt64
            switch bit {
            case 64...: bits = high >> UInt64(bit - 64)
            case 58..<64: bits = (high << UInt64(64 - bit)) | (low >> UInt64(bit))
            case 0..<58: bits = low >> UInt64(bit)
            default: bits = low << UInt64(-bit)
            }
            text.append(alphabet[Int(bits & 0x3f)])
        }
        return String(text)
    }
}
