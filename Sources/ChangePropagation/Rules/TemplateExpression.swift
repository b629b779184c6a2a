/// What stands between the braces of a template: a path, a value as it is written, or a function of such.
indirect enum TemplateExpression: Sendable, Equatable {
    case path(FieldPath)
    case literal(JSONValue)
    case call(TemplateFunction, [TemplateExpression], text: String)

    /// As it was written, for messages.
    var text: String {
        switch self {
        case .path(let path): path.text
        case .literal(let value): value.jsonText
        case .call(_, _, let text): text
        }
    }

    /// Every path that it names.
    var paths: [FieldPath] {
        switch self {
        case .path(let path): [path]
        case .literal: []
        case .call(_, let arguments, _): arguments.flatMap(\.paths)
        }
    }

    /// - Throws: `missingField`, or what a function can't do with its arguments.
    func value(in event: EventContext) throws(EventError) -> JSONValue {
        switch self {
        case .path(let path):
            guard let value = path.value(in: event) else { throw EventError(.missingField(path: path.text)) }
            return value
        case .literal(let value): return value
        case .call(.default, let arguments, _):
            // Its first argument may be absent: that is what it is for.
            if let first = try arguments[0].optionalValue(in: event), first.isTruthy { return first }
            return try arguments[1].value(in: event)
        case .call(let function, let arguments, let text):
            var values: [JSONValue] = []
            for argument in arguments { values.append(try argument.value(in: event)) }
            guard let result = function.apply(values) else { throw EventError(.badArgument(call: text)) }
            return result
        }
    }

    /// nil where a field is missing.
    private func optionalValue(in event: EventContext) throws(EventError) -> JSONValue? {
        do { return try value(in: event) } catch {
            if case .missingField = error.kind { return nil }
            throw error
        }
    }
}

/// Functions that templates may use; change-propagation's of the same names.
enum TemplateFunction: String, Sendable, CaseIterable {
    /// `decode(x)`: `decodeURIComponent` of ECMAScript (ECMA-262, 19.2.6.3).
    case decode
    /// `date(x)`, `date(x, 'iso')`: a time in the form that HTTP headers have (RFC 9110, section 5.6.7), or in ISO 8601.
    case date
    /// `default(x, y)`: x, or y where x is absent, null, false, 0 or an empty text.
    case `default`

    /// How many arguments it takes.
    var arity: ClosedRange<Int> {
        switch self {
        case .decode: 1...1
        case .date: 1...2
        case .default: 2...2
        }
    }

    /// nil when it can't be done. `default` decides before its arguments are known and is not asked.
    func apply(_ arguments: [JSONValue]) -> JSONValue? {
        switch self {
        case .decode: arguments[0].plainText.flatMap(decodeURIComponent).map(JSONValue.string)
        case .date:
            TemplateDate(arguments[0]).flatMap { date in
                switch arguments.count > 1 ? arguments[1].string : "rfc822" {
                case "rfc822": .string(date.http)
                case "iso": .string(date.iso)
                default: nil
                }
            }
        case .default: nil
        }
    }
}

extension JSONValue {
    /// What JavaScript takes for true.
    fileprivate var isTruthy: Bool {
        switch self {
        case .null: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .double(let value): value != 0
        case .string(let text): !text.isEmpty
        case .number, .array, .object: true
        }
    }
}

/// nil when an escape is broken, or the bytes are no UTF-8.
func decodeURIComponent(_ text: String) -> String? {
    if text.bytesAll({ $0 != UInt8(ascii: "%") }) { return text }
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            bytes.append(byte)
            continue
        }
        let digits = rest.prefix(2)
        guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
            let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
        else { return nil }
        bytes.append(value)
        rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
}
