/// The way to a field in an event: `meta.uri`, `tags[1]`, `meta['odd name']`.
struct FieldPath: Sendable, Equatable {
    enum Step: Sendable, Equatable {
        case field(String)
        case item(Int)
    }

    /// What the steps begin at.
    enum Root: Sendable, Equatable {
        case message
        /// The captures of the rule's regular expressions.
        case match
    }

    var root = Root.message
    let steps: [Step]
    /// As it was written, for messages.
    let text: String

    func value(in context: EventContext) -> JSONValue? {
        switch root {
        case .message: value(in: context.message)
        case .match: context.match.flatMap { value(in: $0) }
        }
    }

    /// nil when the event has no such field. A field whose value is null is there.
    func value(in event: JSONValue) -> JSONValue? {
        var value = event
        for step in steps {
            switch step {
            case .field(let name):
                guard let next = value[name] else { return nil }
                value = next
            case .item(let index):
                guard let next = value[index] else { return nil }
                value = next
            }
        }
        return value
    }
}

/// Reads names and steps of a path from a text, for templates and for `identity: json:…`.
struct FieldPathParser {
    private let text: [Unicode.Scalar]
    private(set) var at: Int
    private let end: Int

    struct Failure: Error { let message: String }

    init(_ text: some Sequence<Unicode.Scalar>) {
        self.text = Array(text)
        at = 0
        end = self.text.count
    }

    var isAtEnd: Bool { at == end }
    var next: Unicode.Scalar? { at < end ? text[at] : nil }
    var rest: String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text[at...])
        return String(view)
    }

    /// What was read since `start`.
    func text(from start: Int) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text[start..<at])
        return String(view)
    }

    mutating func skip(_ count: Int) { at = min(end, at + count) }
    mutating func skipSpaces() { while next == " " { at += 1 } }

    /// A text in quotes; nil, with nothing read, where none is. There are no escapes.
    mutating func quoted() -> String? {
        guard let quote = next, quote == "'" || quote == "\"", let close = text[(at + 1)...].firstIndex(of: quote) else { return nil }
        var view = String.UnicodeScalarView()
        view.append(contentsOf: text[(at + 1)..<close])
        at = close + 1
        return String(view)
    }

    /// The characters of a number, up to the first that is none's.
    mutating func number() -> String {
        let start = at
        while let scalar = next, ("0"..."9").contains(scalar) || "+-.eE".unicodeScalars.contains(scalar) { at += 1 }
        return text(from: start)
    }

    /// A name as JavaScript has it: letters, digits, `_` and `$`, not beginning with a digit. Empty when none is there.
    mutating func name() -> String {
        var view = String.UnicodeScalarView()
        while let scalar = next {
            let isDigit = ("0"..."9").contains(scalar)
            let isLetter = ("a"..."z").contains(scalar) || ("A"..."Z").contains(scalar) || scalar == "_" || scalar == "$"
            guard isLetter || (isDigit && !view.isEmpty) else { break }
            view.append(scalar)
            at += 1
        }
        return String(view)
    }

    /// All steps up to the end or to something that is no step: `.name`, `[3]`, `['name']`, `["name"]`.
    mutating func steps() throws(Failure) -> [FieldPath.Step] {
        var steps: [FieldPath.Step] = []
        while let scalar = next {
            if scalar == "." {
                at += 1
                let field = name()
                guard !field.isEmpty else { throw Failure(message: "a field's name must follow the \".\"; write ['…'] around odd names") }
                steps.append(.field(field))
            } else if scalar == "[" {
                at += 1
                steps.append(try bracket())
            } else {
                break
            }
        }
        return steps
    }

    private mutating func bracket() throws(Failure) -> FieldPath.Step {
        guard let first = next else { throw Failure(message: "\"]\" is missing") }
        if first == "'" || first == "\"" {
            guard let name = quoted() else { throw Failure(message: "the closing \(first) is missing") }
            guard next == "]" else { throw Failure(message: "\"]\" is missing") }
            at += 1
            return .field(name)
        }
        var digits = ""
        while let scalar = next, ("0"..."9").contains(scalar) {
            digits.unicodeScalars.append(scalar)
            at += 1
        }
        guard let index = Int(digits), next == "]" else {
            throw Failure(message: "inside [ ] stands an item's number, counted from 0, or a quoted name")
        }
        at += 1
        return .item(index)
    }
}
