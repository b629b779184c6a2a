/// Reads JSON (RFC 8259) strictly: no comments, no trailing commas, no lone surrogates, no bytes that are not UTF-8.
/// The one door is `parseEvent`, so that a quicker parser can take this one's place.

/// Objects and lists inside each other, at most. An event that nests deeper is refused, so that no input can exhaust
/// the stack.
public let maximumEventDepth = 200

/// Parses a record's value. Of a field that is given twice the last one counts, as in `JSON.parse`.
///
/// - Throws: `EventError` of kind `notJSON`, which says at which byte and why.
public func parseEvent(_ bytes: UnsafeRawBufferPointer) throws(EventError) -> JSONValue {
    var parser = JSONParser(bytes: bytes)
    do {
        return try parser.document()
    } catch {
        throw EventError(.notJSON(reason: error.reason, byte: error.offset))
    }
}

/// The same for bytes in an array.
public func parseEvent(_ bytes: [UInt8]) throws(EventError) -> JSONValue {
    let result = bytes.withUnsafeBytes { raw in
        Result { () throws(EventError) -> JSONValue in try parseEvent(raw) }
    }
    return try result.get()
}

private struct JSONFailure: Error {
    let reason: String
    let offset: Int
}

private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    private var at = 0
    private var depth = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func document() throws(JSONFailure) -> JSONValue {
        skipSpace()
        guard at < bytes.count else { throw failure("it is empty") }
        let value = try value()
        skipSpace()
        guard at == bytes.count else { throw failure("there is something after the end of the value") }
        return value
    }

    private func failure(_ reason: String) -> JSONFailure { JSONFailure(reason: reason, offset: at) }

    private func peek() -> UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skipSpace() {
        while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x0A || bytes[at] == 0x0D || bytes[at] == 0x09 { at += 1 }
    }

    private mutating func value() throws(JSONFailure) -> JSONValue {
        guard let first = peek() else { throw failure("it ends too early") }
        switch first {
        case UInt8(ascii: "{"): return try object()
        case UInt8(ascii: "["): return try array()
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw failure("a value was expected")
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONFailure) -> JSONValue {
        let count = text.utf8CodeUnitCount
        guard bytes.count - at >= count, (0..<count).allSatisfy({ bytes[at + $0] == text.utf8Start[$0] }) else {
            throw failure("a value was expected")
        }
        at += count
        return value
    }

    private mutating func enter() throws(JSONFailure) {
        depth += 1
        guard depth <= maximumEventDepth else { throw failure("it nests deeper than \(maximumEventDepth) levels") }
        at += 1
        skipSpace()
    }

    private mutating func array() throws(JSONFailure) -> JSONValue {
        try enter()
        var items: [JSONValue] = []
        if peek() != UInt8(ascii: "]") {
            while true {
                items.append(try value())
                skipSpace()
                guard peek() == UInt8(ascii: ",") else { break }
                at += 1
                skipSpace()
            }
        }
        guard peek() == UInt8(ascii: "]") else { throw failure(at < bytes.count ? "\",\" or \"]\" was expected" : "it ends too early") }
        at += 1
        depth -= 1
        return .array(items)
    }

    private mutating func object() throws(JSONFailure) -> JSONValue {
        try enter()
        var fields: [JSONObject.Field] = []
        if peek() != UInt8(ascii: "}") {
            while true {
                guard peek() == UInt8(ascii: "\"") else {
                    throw failure(at < bytes.count ? "a field's name was expected" : "it ends too early")
                }
                let name = try string()
                skipSpace()
                guard peek() == UInt8(ascii: ":") else { throw failure("\":\" was expected") }
                at += 1
                skipSpace()
                fields.append(JSONObject.Field(name, try value()))
                skipSpace()
                guard peek() == UInt8(ascii: ",") else { break }
                at += 1
                skipSpace()
            }
        }
        guard peek() == UInt8(ascii: "}") else { throw failure(at < bytes.count ? "\",\" or \"}\" was expected" : "it ends too early") }
        at += 1
        depth -= 1
        return .object(JSONObject(fields: JSONObject.lastOfEachName(fields)))
    }

    private mutating func digits() -> Bool {
        let start = at
        while let byte = peek(), (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { at += 1 }
        return at > start
    }

    private mutating func number() throws(JSONFailure) -> JSONValue {
        let start = at
        if peek() == UInt8(ascii: "-") { at += 1 }
        if peek() == UInt8(ascii: "0") {
            at += 1
        } else if !digits() {
            throw failure("a digit was expected")
        }
        var isWhole = true
        if peek() == UInt8(ascii: ".") {
            isWhole = false
            at += 1
            guard digits() else { throw failure("a digit was expected") }
        }
        if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
            isWhole = false
            at += 1
            if peek() == UInt8(ascii: "+") || peek() == UInt8(ascii: "-") { at += 1 }
            guard digits() else { throw failure("a digit was expected") }
        }
        let text = String(decoding: bytes[start..<at], as: UTF8.self)
        if isWhole {
            if let value = Int64(text) { return .integer(value) }
            return .number(text)
        }
        if let value = Double(text), value.isFinite { return .double(value) }
        return .number(text)
    }

    private mutating func string() throws(JSONFailure) -> String {
        let start = at + 1
        at = start
        var bits: UInt8 = 0
        while at < bytes.count {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                let text = try string(in: start..<at, isASCII: bits < 0x80)
                at += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(from: start) }
            guard byte >= 0x20 else { throw failure("a control character stands in a string") }
            bits |= byte
            at += 1
        }
        throw failure("it ends too early")
    }

    private func string(in range: Range<Int>, isASCII: Bool) throws(JSONFailure) -> String {
        let slice = UnsafeRawBufferPointer(rebasing: bytes[range])
        // Nothing in it can be wrong; `validating` is generic and asks for its types anew with each string, which takes longer than to read it.
        if isASCII { return String(decoding: slice, as: UTF8.self) }
        guard let text = String(validating: slice, as: UTF8.self) else { throw failure("a string is not UTF-8") }
        return text
    }

    /// The slow way for strings with escapes: `at` is at the first one.
    private mutating func escapedString(from start: Int) throws(JSONFailure) -> String {
        var text = Array(bytes[start..<at])
        while let byte = peek() {
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else { throw failure("a string is not UTF-8") }
                at += 1
                return string
            case UInt8(ascii: "\\"):
                at += 1
                try escape(into: &text)
            case 0..<0x20: throw failure("a control character stands in a string")
            default:
                text.append(byte)
                at += 1
            }
        }
        throw failure("it ends too early")
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONFailure) {
        guard let byte = peek() else { throw failure("it ends too early") }
        at += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hexUnit()
            if (0xD800..<0xDC00).contains(code), peek() == UInt8(ascii: "\\"), at + 1 < bytes.count, bytes[at + 1] == UInt8(ascii: "u") {
                at += 2
                let low = try hexUnit()
                guard (0xDC00..<0xE000).contains(low) else { throw failure("half of a surrogate pair stands alone") }
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw failure("half of a surrogate pair stands alone") }
            text.append(contentsOf: Array(String(Character(scalar)).utf8))
        default: throw failure("an unknown escape stands in a string")
        }
    }

    private mutating func hexUnit() throws(JSONFailure) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek() else { throw failure("it ends too early") }
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): code = code << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"): code = code << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"): code = code << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: throw failure("four hex digits were expected")
            }
            at += 1
        }
        return code
    }
}
