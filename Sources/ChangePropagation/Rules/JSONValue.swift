/// A JSON value as an event carries it. Integers keep every digit, objects keep the order of their fields, and texts are
/// compared by their bytes, as JavaScript and the producers do (Swift's own `==` would call "é" and "e" + accent equal).
public enum JSONValue: Sendable {
    case null
    case bool(Bool)
    /// A number written without fraction and exponent that fits 64 bits.
    case integer(Int64)
    /// Any other number that a double holds. Always finite.
    case double(Double)
    /// A number that neither of the two holds (an integer over 64 bits, 1e400), as it was written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// The field `name` of an object; nil when this is no object or has no such field.
    public subscript(name: String) -> JSONValue? {
        guard case .object(let object) = self else { return nil }
        return object[name]
    }

    /// The item at `index` (from 0) of an array; nil when this is no array or is shorter.
    public subscript(index: Int) -> JSONValue? {
        guard case .array(let items) = self, items.indices.contains(index) else { return nil }
        return items[index]
    }

    /// The text of a string; nil for every other type.
    public var string: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }
}

/// The fields of a JSON object in the order in which they were written. Events have a few dozen fields at most, so a
/// search from the first one is quicker than hashing.
public struct JSONObject: Sendable {
    public struct Field: Sendable {
        public let name: String
        public let value: JSONValue
        public init(_ name: String, _ value: JSONValue) {
            self.name = name
            self.value = value
        }
    }

    public let fields: [Field]

    /// `fields` must not repeat a name; `parseEvent` sees to it.
    public init(fields: [Field]) { self.fields = fields }

    public subscript(name: String) -> JSONValue? {
        for field in fields where sameBytes(field.name, name) { return field.value }
        return nil
    }
}

/// Byte-wise equality of texts, without Unicode normalisation.
@inline(__always)
func sameBytes(_ a: String, _ b: String) -> Bool {
    a.utf8.count == b.utf8.count && a.utf8.elementsEqual(b.utf8)
}

extension JSONValue: Equatable {
    /// Equal as JavaScript's `===` on plain values: 1 and 1.0 are the same number, 1 and "1" are not. Objects are equal
    /// whatever the order of their fields.
    public static func == (a: JSONValue, b: JSONValue) -> Bool {
        switch (a, b) {
        case (.null, .null): true
        case (.bool(let a), .bool(let b)): a == b
        case (.integer(let a), .integer(let b)): a == b
        case (.double(let a), .double(let b)): a == b
        case (.integer(let whole), .double(let real)), (.double(let real), .integer(let whole)):
            Int64(exactly: real) == whole
        case (.number(let a), .number(let b)), (.string(let a), .string(let b)): sameBytes(a, b)
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)):
            a.fields.count == b.fields.count && a.fields.allSatisfy { b[$0.name] == $0.value }
        default: false
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByNilLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = value.isFinite ? .double(value) : .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(nilLiteral: ()) { self = .null }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    /// A name that is given twice keeps its last value.
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(fields: JSONObject.lastOfEachName(elements.map { JSONObject.Field($0.0, $0.1) })))
    }
}

extension JSONObject {
    /// Drops all but the last field of each name, as `JSON.parse` does.
    static func lastOfEachName(_ fields: [Field]) -> [Field] {
        // Up to this many fields, comparing all pairs is quicker than hashing; above it a hostile event must not be
        // able to make us compare millions of pairs.
        let pairwiseLimit = 32
        if fields.count <= pairwiseLimit {
            var repeats = false
            for (index, field) in fields.enumerated() where !repeats {
                repeats = fields[..<index].contains { sameBytes($0.name, field.name) }
            }
            if !repeats { return fields }
        }
        var last: [[UInt8]: Int] = [:]
        for (index, field) in fields.enumerated() { last[Array(field.name.utf8)] = index }
        if last.count == fields.count { return fields }
        return last.values.sorted().map { fields[$0] }
    }
}
