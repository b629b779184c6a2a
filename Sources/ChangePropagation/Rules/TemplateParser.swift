/// Reads templates out of a text of the configuration.
struct TemplateParser {
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
            let expression = try ExpressionParser(text[start..<end]).whole()
            parts.append(isRaw ? .raw(expression) : .encoded(expression))
            at = end + close.count
        }
        if !literal.isEmpty { parts.append(.literal(String(literal))) }
        return parts
    }
}

/// Reads what stands between a template's braces.
private struct ExpressionParser {
    private let text: String
    private var parser: FieldPathParser
    private var depth = 0

    /// Functions inside each other, at most.
    private static let maximumDepth = 16

    init(_ source: ArraySlice<Unicode.Scalar>) {
        let source = source.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
        var written = String.UnicodeScalarView()
        written.append(contentsOf: source)
        text = String(written)
        parser = FieldPathParser(source)
    }

    private func failure(_ message: String) -> TemplateError { TemplateError(message: "in the template \"\(text)\": \(message)") }

    func whole() throws(TemplateError) -> TemplateExpression {
        var reader = self
        let start = reader.parser.next
        if start == nil || start == "\"" || start == "'" || !reader.startsAnArgument {
            throw TemplateError(
                message: "\"{\(text)}\" is not a template; write {{message.field}} or, URI-encoded, {message.field}; "
                    + "a body with braces is written as a YAML map, not as text")
        }
        let expression = try reader.expression()
        guard reader.parser.isAtEnd else {
            throw failure("\"\(reader.parser.rest)\" is not understood; a template is a path such as message.meta.uri")
        }
        return expression
    }

    private var startsAnArgument: Bool {
        var probe = parser
        return !probe.name().isEmpty
    }

    private mutating func expression() throws(TemplateError) -> TemplateExpression {
        let start = parser.at
        let root = parser.name()
        guard !root.isEmpty else { return .literal(try literal()) }
        if parser.next == "(" { return try call(root, from: start) }
        switch root {
        case "true": return .literal(true)
        case "false": return .literal(false)
        case "null": return .literal(nil)
        default: return .path(try path(root, from: start))
        }
    }

    private mutating func call(_ name: String, from start: Int) throws(TemplateError) -> TemplateExpression {
        guard let function = TemplateFunction(rawValue: name) else {
            let known = TemplateFunction.allCases.map(\.rawValue)
            let hint = didYouMean(name, among: known)
            throw failure("there is no function \(name)(); there are \(known.map { "\($0)()" }.joined(separator: ", "))\(hint)")
        }
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw failure("more than \(Self.maximumDepth) functions inside each other") }
        var arguments: [TemplateExpression] = []
        repeat {
            parser.skip(1)
            parser.skipSpaces()
            arguments.append(try expression())
            parser.skipSpaces()
        } while parser.next == ","
        guard parser.next == ")" else { throw failure("the \")\" of \(name)( is missing") }
        parser.skip(1)
        guard function.arity.contains(arguments.count) else {
            let wanted = function.arity.count == 1 ? "\(function.arity.lowerBound)" : "\(function.arity.lowerBound) or \(function.arity.upperBound)"
            throw failure("\(name)() takes \(wanted) argument\(function.arity.upperBound == 1 ? "" : "s"), not \(arguments.count)")
        }
        if function == .date, arguments.count > 1, !["rfc822", "iso"].map({ .literal(.string($0)) }).contains(arguments[1]) {
            throw failure("the second argument of date() is 'rfc822' or 'iso'")
        }
        return .call(function, arguments, text: parser.text(from: start))
    }

    private mutating func literal() throws(TemplateError) -> JSONValue {
        if let quoted = parser.quoted() { return .string(quoted) }
        let number = parser.number()
        if let whole = Int64(number) { return .integer(whole) }
        if let real = Double(number), real.isFinite { return .double(real) }
        throw failure("an argument is a path such as message.meta.uri, a number, true, false, null, or a text in '…'")
    }

    private mutating func path(_ root: String, from start: Int) throws(TemplateError) -> FieldPath {
        var steps: [FieldPath.Step]
        do { steps = try parser.steps() } catch { throw failure(error.message) }
        let written = parser.text(from: start)
        switch root {
        case "message": return FieldPath(steps: steps, text: written)
        case "match": return FieldPath(root: .match, steps: steps, text: written)
        case "globals":
            guard case .field(let name)? = steps.first else {
                throw TemplateError(message: "\"globals\" alone is no value; {{globals.message}} is the whole event")
            }
            steps.removeFirst()
            switch name {
            case "message": return FieldPath(steps: steps, text: written)
            case "match": return FieldPath(root: .match, steps: steps, text: written)
            default: throw TemplateError(message: "there is no globals.\(name); {{globals.message}} is the whole event")
            }
        default:
            let hint = didYouMean(root, among: ["message", "match", "globals"])
            throw failure("\"\(root)\" is not known; a path begins with message or globals\(hint)")
        }
    }
}
