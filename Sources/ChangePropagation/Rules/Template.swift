/// Templates: `{{message.meta.uri}}` puts a field's value in as it is, `{message.page_title}` URI-encodes it. They are
/// compiled when the file is loaded and never build code from strings.
///
/// | written | means |
/// |---|---|
/// | `message.a.b`, `message.tags[1]`, `message['odd name']` | a field of the event |
/// | `globals.message` | the same as `message`: alone, the whole event |
/// | `match.a.name`, `match.a[1]` | what the regular expression at `a` in the rule's `match` captured: a named group, or a numbered one |
///
/// Functions and `{env(NAME)}` have their place here and are refused until they exist.

/// Why a template can't be compiled; one line that says what would be right.
struct TemplateError: Error, Equatable {
    let message: String
}

/// A text with templates in it.
struct TextTemplate: Sendable, Equatable {
    enum Part: Sendable, Equatable {
        case literal(String)
        /// `{{path}}`
        case raw(FieldPath)
        /// `{path}`
        case encoded(FieldPath)
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
        parts.compactMap { part in
            switch part {
            case .literal: nil
            case .raw(let path), .encoded(let path): path
            }
        }
    }

    /// - Throws: `missingField` or `notText`, with the path.
    func fill(from event: EventContext) throws(EventError) -> String {
        var text = ""
        for part in parts {
            switch part {
            case .literal(let literal): text += literal
            case .raw(let path): text += try Self.text(at: path, in: event)
            case .encoded(let path): text += encodeURIComponent(try Self.text(at: path, in: event))
            }
        }
        return text
    }

    private static func text(at path: FieldPath, in event: EventContext) throws(EventError) -> String {
        guard let value = path.value(in: event) else { throw EventError(.missingField(path: path.text)) }
        guard let text = value.plainText else { throw EventError(.notText(path: path.text)) }
        return text
    }
}

/// A value of a request's body, with templates in its texts. A text that is one raw template and nothing else keeps the
/// field's type: object, list, number, boolean or null.
indirect enum ValueTemplate: Sendable {
    case literal(JSONValue)
    case whole(FieldPath)
    case text(TextTemplate)
    case list([ValueTemplate])
    case object([(name: String, value: ValueTemplate)])

    init(text: String) throws(TemplateError) {
        let template = try TextTemplate(text)
        if let literal = template.literal {
            self = .literal(.string(literal))
        } else if template.parts.count == 1, case .raw(let path) = template.parts[0] {
            self = .whole(path)
        } else {
            self = .text(template)
        }
    }

    var paths: [FieldPath] {
        switch self {
        case .literal: []
        case .whole(let path): [path]
        case .text(let template): template.paths
        case .list(let items): items.flatMap(\.paths)
        case .object(let fields): fields.flatMap { $0.value.paths }
        }
    }

    func fill(from event: EventContext) throws(EventError) -> JSONValue {
        switch self {
        case .literal(let value): return value
        case .whole(let path):
            guard let value = path.value(in: event) else { throw EventError(.missingField(path: path.text)) }
            return value
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
func encodeURIComponent(_ text: String) -> String {
    percentEncode(text) { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "-_.!~*'()".utf8.contains(byte)
        }
    }
}

/// Percent-encodes each byte of the UTF-8 of `text` that `keep` does not want.
func percentEncode(_ text: String, keep: (UInt8) -> Bool) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    for byte in text.utf8 {
        if keep(byte) {
            bytes.append(byte)
        } else {
            bytes.append(UInt8(ascii: "%"))
            bytes.append(hex[Int(byte >> 4)])
            bytes.append(hex[Int(byte & 15)])
        }
    }
    return String(decoding: bytes, as: UTF8.self)
}

private struct TemplateParser {
    private let text: [Unicode.Scalar]

    init(_ text: String) { self.text = Array(text.unicodeScalars) }

    func parts() throws(TemplateError) -> [TextTemplate.Part] {
        var parts: [TextTemplate.Part] = []
        var literal = String.UnicodeScalarView()
        var at = 0
        while at < text.count {
            if text[at] == "}" {
                throw TemplateError(message: "a \"}\" stands without its \"{\"; a body with braces is written as a YAML map, not as text")
            }
            guard text[at] == "{" else {
                literal.append(text[at])
                at += 1
                continue
            }
            if !literal.isEmpty {
                parts.append(.literal(String(literal)))
                literal = String.UnicodeScalarView()
            }
            let isRaw = at + 1 < text.count && text[at + 1] == "{"
            let start = at + (isRaw ? 2 : 1)
            let close: [Unicode.Scalar] = isRaw ? ["}", "}"] : ["}"]
            guard let end = (start..<text.count).first(where: { text[$0...].starts(with: close) }) else {
                throw TemplateError(message: "a template is not closed: \"\(isRaw ? "}}" : "}")\" is missing")
            }
            let path = try expression(text[start..<end])
            parts.append(isRaw ? .raw(path) : .encoded(path))
            at = end + close.count
        }
        if !literal.isEmpty { parts.append(.literal(String(literal))) }
        return parts
    }

    private func expression(_ source: ArraySlice<Unicode.Scalar>) throws(TemplateError) -> FieldPath {
        let source = source.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
        var written = String.UnicodeScalarView()
        written.append(contentsOf: source)
        let text = String(written)
        var parser = FieldPathParser(source)
        let root = parser.name()
        guard !root.isEmpty else {
            throw TemplateError(
                message: "\"{\(text)}\" is not a template; write {{message.field}} or, URI-encoded, {message.field}; "
                    + "a body with braces is written as a YAML map, not as text")
        }
        if parser.next == "(" {
            throw TemplateError(message: "functions in templates, such as \(root)(), are not supported yet")
        }
        var steps: [FieldPath.Step]
        do {
            steps = try parser.steps()
        } catch {
            throw TemplateError(message: "in the template \"\(text)\": \(error.message)")
        }
        guard parser.isAtEnd else {
            throw TemplateError(
                message: "in the template \"\(text)\": \"\(parser.rest)\" is not understood; a template is a path such as message.meta.uri")
        }
        switch root {
        case "message": break
        case "globals":
            guard case .field(let name)? = steps.first else {
                throw TemplateError(message: "\"globals\" alone is no value; {{globals.message}} is the whole event")
            }
            guard name == "message" || name == "match" else {
                throw TemplateError(message: "there is no globals.\(name); {{globals.message}} is the whole event")
            }
            steps.removeFirst()
            if name == "match" { return FieldPath(root: .match, steps: steps, text: text) }
        case "match": return FieldPath(root: .match, steps: steps, text: text)
        default:
            let hint = didYouMean(root, among: ["message", "match", "globals"])
            throw TemplateError(message: "in the template \"\(text)\": \"\(root)\" is not known; a path begins with message or globals\(hint)")
        }
        return FieldPath(steps: steps, text: text)
    }
}
