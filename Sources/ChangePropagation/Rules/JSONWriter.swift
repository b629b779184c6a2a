/// Writing JSON values: into request bodies, and as plain text into URLs and headers.

extension JSONValue {
    /// Compact JSON (RFC 8259), UTF-8, fields in their order.
    public var jsonBytes: [UInt8] {
        var bytes: [UInt8] = []
        write(to: &bytes)
        return bytes
    }

    /// The same as text.
    public var jsonText: String { String(decoding: jsonBytes, as: UTF8.self) }

    /// What a template puts into a text: texts as they are, numbers and booleans as JSON writes them, null as nothing,
    /// a list as its items with commas between (all as JavaScript's `String()` does). nil for objects, and for lists
    /// that hold objects or lists: there is no sensible text for them.
    var plainText: String? {
        switch self {
        case .null: return ""
        case .string(let text): return text
        case .array(let items):
            var parts: [String] = []
            for item in items {
                switch item {
                case .array, .object: return nil
                default: parts.append(item.plainText ?? "")
                }
            }
            return parts.joined(separator: ",")
        case .object: return nil
        case .bool, .integer, .double, .number: return jsonText
        }
    }

    private func write(to bytes: inout [UInt8]) {
        switch self {
        case .null: bytes.append(contentsOf: "null".utf8)
        case .bool(let value): bytes.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): bytes.append(contentsOf: String(value).utf8)
        case .double(let value): bytes.append(contentsOf: Self.text(of: value).utf8)
        case .number(let text): bytes.append(contentsOf: text.utf8)
        case .string(let text): Self.write(text, to: &bytes)
        case .array(let items):
            bytes.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                item.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "]"))
        case .object(let object):
            bytes.append(UInt8(ascii: "{"))
            for (index, field) in object.fields.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                Self.write(field.name, to: &bytes)
                bytes.append(UInt8(ascii: ":"))
                field.value.write(to: &bytes)
            }
            bytes.append(UInt8(ascii: "}"))
        }
    }

    /// The shortest digits that read back as the same double; whole numbers without ".0", as JavaScript writes them.
    private static func text(of value: Double) -> String {
        if value == 0 { return "0" }
        // 2^53: above it a double's digits would claim a precision that it does not have.
        if value.magnitude < 9_007_199_254_740_992, let whole = Int64(exactly: value) { return String(whole) }
        return value.isFinite ? value.description : "null"
    }

    private static func write(_ text: String, to bytes: inout [UInt8]) {
        let hex = Array("0123456789abcdef".utf8)
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0x0A: bytes.append(contentsOf: "\\n".utf8)
            case 0x0D: bytes.append(contentsOf: "\\r".utf8)
            case 0x09: bytes.append(contentsOf: "\\t".utf8)
            case 0..<0x20:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(hex[Int(byte >> 4)])
                bytes.append(hex[Int(byte & 15)])
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
