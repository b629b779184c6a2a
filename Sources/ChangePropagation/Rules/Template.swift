/// Templates: `{{message.meta.uri}}` puts a field's value in as it is, `{message.page_title}` URI-encodes it. They are
/// compiled when the file is loaded and never build code from strings.
///
/// | written | means |
/// |---|---|
/// | `message.a.b`, `message.tags[1]`, `message['odd name']` | a field of the event |
/// | `globals.message` | the same as `message`: alone, the whole event |
/// | `match.a.name`, `match.a[1]` | what the regular expression at `a` in the rule's `match` captured: a named group, or a numbered one |
/// | `decode(…)`, `date(…)`, `default(…, …)` | a function of such paths and of values as they are written (`TemplateFunction`) |
///
/// `{env(NAME)}` is replaced before templates are looked at (`YAMLDocument`).

/// Why a template can't be compiled; one line that says what would be right.
struct TemplateError: Error, Equatable {
    let message: String
}

/// A text with templates in it.
struct TextTemplate: Sendable, Equatable {
    enum Part: Sendable, Equatable {
        case literal(String)
        /// `{{path}}`
        case raw(TemplateExpression)
        /// `{path}`
        case encoded(TemplateExpression)
    }

    let parts: [Part]

    init(parts: [Part]) { self.parts = parts }

    init(_ text: String) throws(TemplateError) { parts = try TemplateParser(text).parts() }

    /// The text where nothing has to be filled in, else nil.
    var literal: String? {
        switch parts.first {
        case nil: ""
        case .literal(let text)? where parts.count == 1: text
        default: nil
        }
    }

    var paths: [FieldPath] {
        parts.flatMap { part -> [FieldPath] in
            switch part {
            case .literal: []
            case .raw(let expression), .encoded(let expression): expression.paths
            }
        }
    }

    /// - Throws: `missingField` or `notText`, with the path.
    func fill(from event: EventContext) throws(EventError) -> String {
        var text = ""
        for part in parts {
            switch part {
            case .literal(let literal): text += literal
            case .raw(let expression): text += try Self.text(of: expression, in: event)
            case .encoded(let expression): text += encodeURIComponent(try Self.text(of: expression, in: event))
            }
        }
        return text
    }

    private static func text(of expression: TemplateExpression, in event: EventContext) throws(EventError) -> String {
        guard let text = try expression.value(in: event).plainText else { throw EventError(.notText(path: expression.text)) }
        return text
    }
}

/// A value of a request's body, with templates in its texts. A text that is one raw template and nothing else keeps the
/// field's type: object, list, number, boolean or null.
indirect enum ValueTemplate: Sendable {
    case literal(JSONValue)
    case whole(TemplateExpression)
    case text(TextTemplate)
    case list([ValueTemplate])
    case object([(name: String, value: ValueTemplate)])

    init(text: String) throws(TemplateError) {
        let template = try TextTemplate(text)
        if let literal = template.literal {
            self = .literal(.string(literal))
        } else if template.parts.count == 1, case .raw(let expression) = template.parts[0] {
            self = .whole(expression)
        } else {
            self = .text(template)
        }
    }

    var paths: [FieldPath] {
        switch self {
        case .literal: []
        case .whole(let expression): expression.paths
        case .text(let template): template.paths
        case .list(let items): items.flatMap(\.paths)
        case .object(let fields): fields.flatMap { $0.value.paths }
        }
    }

    func fill(from event: EventContext) throws(EventError) -> JSONValue {
        switch self {
        case .literal(let value): return value
        case .whole(let expression): return try expression.value(in: event)
        case .text(let template): return .string(try template.fill(from: event))
        case .list(let items):
            var values: [JSONValue] = []
            values.reserveCapacity(items.count)
            for item in items { values.append(try item.fill(from: event)) }
            return .array(values)
        case .object(let fields):
            var values: [JSONObject.Field] = []
            values.reserveCapacity(fields.count)
            for field in fields { values.append(JSONObject.Field(field.name, try field.value.fill(from: event))) }
            return .object(JSONObject(fields: values))
        }
    }
}

/// `encodeURIComponent` of ECMAScript (ECMA-262, 19.2.6.4): all but letters, digits and `-_.!~*'()` as percent-encoded UTF-8.
func encodeURIComponent(_ text: String) -> String { percentEncode(text, keep: .unreserved) }

/// A set of ASCII characters.
struct ASCIISet: Sendable {
    private let low: UInt64
    private let high: UInt64

    init(_ contains: (UInt8) -> Bool) {
        func bits(_ range: Range<UInt8>) -> UInt64 { range.reduce(0) { $0 | (contains($1) ? 1 << UInt64($1 & 63) : 0) } }
        low = bits(0..<64)
        high = bits(64..<128)
    }

    func contains(_ byte: UInt8) -> Bool { byte < 128 && (byte < 64 ? low : high) >> UInt64(byte & 63) & 1 == 1 }

    /// What `encodeURIComponent` leaves as it is.
    static let unreserved = ASCIISet { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "-_.!~*'()".utf8.contains(byte)
        }
    }
    /// What may stand in a URL, escapes included.
    static let url = ASCIISet { $0 > 0x20 && $0 < 0x7F && !"\"<>\\^`{|}".utf8.contains($0) }
    /// Visible ones.
    static let visible = ASCIISet { $0 > 0x20 && $0 < 0x7F }
    /// Of a host's name or IPv4 address.
    static let host = ASCIISet { byte in
        switch byte {
        case 48...57, 65...90, 97...122, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
        default: false
        }
    }
}

/// Percent-encodes each byte of the UTF-8 of `text` that `keep` has not.
func percentEncode(_ text: String, keep: ASCIISet) -> String {
    if text.bytesAll({ keep.contains($0) }) { return text }
    let hex = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for byte in text.utf8 {
        if keep.contains(byte) {
            bytes.append(byte)
        } else {
            bytes.append(UInt8(ascii: "%"))
            bytes.append(hex[Int(byte >> 4)])
            bytes.append(hex[Int(byte & 15)])
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}

extension String {
    /// Whether every byte is as it must be: what each event's texts are asked. Over the bytes themselves, since an iterator over the view costs ten times
    /// as much.
    func bytesAll(_ isRight: (UInt8) -> Bool) -> Bool {
        utf8.withContiguousStorageIfAvailable { bytes in bytes.allSatisfy(isRight) } ?? utf8.allSatisfy(isRight)
    }
}
