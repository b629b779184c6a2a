import CSimdJSON

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// A quick look at events, before they are built as values: most events that come are wanted by no rule, and for those it is all that is
/// read. It says "surely not", or nothing; what the rules mean is decided by `Rule.evaluate` alone.
///
/// It belongs to whoever made it: its scanner keeps the text of the last event.
final class EventScreen {
    /// What was seen of one event. Valid within the closure it is given to.
    struct Sight {
        /// No rule wants the event, and it is well formed.
        let isUnwanted: Bool
        /// The text of the identity's field. nil: it has none that is a text, or none was asked for.
        let identity: UnsafeRawBufferPointer?
    }

    private enum Test {
        case isAbsent
        case isNull
        case isBool(Bool)
        case isInteger(Int64)
        /// Of the bytes in `texts`.
        case isText(start: Int, length: Int)
        case isList
        case isObject
        /// Of the expression in `expressions`.
        case matches(Int)
    }

    /// One field of an event and what a matcher asks of it. Plain memory: it is looked at for every event.
    private struct Condition {
        let field: Int
        let test: Test
    }

    /// What can be told of one case of a rule: it matches no event that fails one of the conditions up to `needed`, and none that passes all of
    /// one of the further runs of them.
    private struct CaseScreen {
        let needed: Range<Int>
        let never: Range<Int>
    }

    private let cases: UnsafeMutableBufferPointer<CaseScreen>
    private let conditions: UnsafeMutableBufferPointer<Condition>
    /// Runs of conditions, all of which an excluded event passes.
    private let exclusions: UnsafeMutableBufferPointer<Range<Int>>
    private let texts: UnsafeMutableBufferPointer<UInt8>
    private let expressions: [RegularExpression]
    private let identityField: Int?
    private let scanner: OpaquePointer
    private let fields: UnsafeMutableBufferPointer<csimdjson_field>

    /// nil: there is nothing to be told before an event is read whole (a rule wants every event, or the identity is none that can be looked
    /// for), or memory is short.
    init?(_ rules: [Rule], identity: EventIdentity) {
        var plan = Plan()
        for rule in rules {
            for candidate in rule.cases { guard plan.add(candidate) else { return nil } }
        }
        guard !plan.cases.isEmpty else { return nil }
        switch identity {
        case .record, .header: identityField = nil
        case .json(let path):
            var parent = -1
            for step in path.path.steps {
                guard case .field(let name) = step else { return nil }
                parent = plan.field(name, in: parent)
            }
            identityField = parent
        }
        guard let scanner = plan.makeScanner() else { return nil }
        self.scanner = scanner
        fields = .allocate(capacity: max(1, plan.names.count))
        cases = Self.keep(plan.cases)
        conditions = Self.keep(plan.conditions)
        exclusions = Self.keep(plan.exclusions)
        texts = Self.keep(plan.texts)
        expressions = plan.expressions
    }

    private static func keep<Element>(_ elements: [Element]) -> UnsafeMutableBufferPointer<Element> {
        let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: max(1, elements.count))
        _ = buffer.initialize(from: elements)
        return UnsafeMutableBufferPointer(rebasing: buffer[..<elements.count])
    }

    deinit {
        csimdjson_free(scanner)
        fields.deallocate()
        cases.deallocate()
        conditions.deallocate()
        exclusions.deallocate()
        texts.deallocate()
    }

    /// Calls `body` with what was seen; nil: the event must be read whole, by the strict parser.
    func look<Result>(_ bytes: UnsafeRawBufferPointer, _ body: (Sight?) -> Result) -> Result {
        guard let base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self),
            csimdjson_scan(scanner, base, bytes.count, fields.baseAddress) == 0
        else { return body(nil) }
        let identity = identityField.flatMap { text(fields[$0]) }
        return body(Sight(isUnwanted: cases.allSatisfy(isOut), identity: identity))
    }

    private func isOut(_ screen: CaseScreen) -> Bool {
        for index in screen.needed where !passes(conditions[index], whenUnclear: true) { return true }
        for index in screen.never where exclusions[index].allSatisfy({ passes(conditions[$0], whenUnclear: false) }) { return true }
        return false
    }

    /// `unclear`: the answer where only the strict reading can tell.
    @inline(__always)
    private func passes(_ condition: Condition, whenUnclear unclear: Bool) -> Bool {
        let field = fields[condition.field]
        switch condition.test {
        case .isAbsent: return field.kind == CSIMDJSON_ABSENT
        case .isNull: return field.kind == CSIMDJSON_NULL
        case .isBool(let value): return field.kind == CSIMDJSON_BOOL && (field.integer != 0) == value
        case .isInteger(let value):
            // 1.0 is the same number as 1.
            if field.kind == CSIMDJSON_OTHER { return unclear }
            return field.kind == CSIMDJSON_INTEGER && field.integer == value
        case .isText(let start, let length):
            guard field.kind == CSIMDJSON_TEXT, field.length == length else { return false }
            guard length > 0, let expected = texts.baseAddress, let text = field.text else { return length == 0 }
            // Most texts that are not it differ in their first letter.
            return text[0] == CChar(bitPattern: expected[start]) && memcmp(text, expected + start, length) == 0
        case .isList: return field.kind == CSIMDJSON_LIST
        case .isObject: return field.kind == CSIMDJSON_OBJECT
        case .matches(let expression):
            switch field.kind {
            case CSIMDJSON_ABSENT, CSIMDJSON_NULL, CSIMDJSON_LIST, CSIMDJSON_OBJECT: return false
            case CSIMDJSON_TEXT:
                guard let text = text(field), let matches = try? expressions[expression].matches(String(decoding: text, as: UTF8.self)) else { return unclear }
                return matches
            default: return unclear
            }
        }
    }

    private func text(_ field: csimdjson_field) -> UnsafeRawBufferPointer? {
        field.kind == CSIMDJSON_TEXT ? UnsafeRawBufferPointer(start: field.text, count: field.length) : nil
    }
}

extension EventScreen {
    /// What is made of the rules before it is put where it is quickly read.
    private struct Plan {
        /// The fields that some condition asks for, each once, after those that they stand in.
        var names: [String] = []
        var parents: [Int32] = []
        var cases: [CaseScreen] = []
        var conditions: [Condition] = []
        var exclusions: [Range<Int>] = []
        var texts: [UInt8] = []
        var expressions: [RegularExpression] = []

        mutating func field(_ name: String, in parent: Int) -> Int {
            if let known = names.indices.first(where: { parents[$0] == parent && sameBytes(names[$0], name) }) { return known }
            names.append(name)
            parents.append(Int32(parent))
            return names.count - 1
        }

        func makeScanner() -> OpaquePointer? {
            withPointers(names.map { Array($0.utf8CString) }[...], []) { csimdjson_new(names.count, parents, $0, names.map(\.utf8.count)) }
        }

        /// False: nothing is needed of an event for this case.
        mutating func add(_ candidate: Rule.Case) -> Bool {
            let start = conditions.count
            if let match = candidate.match { _ = collect(match, at: -1) }
            let needed = start..<conditions.count
            let first = exclusions.count
            for matcher in candidate.matchNot {
                let start = conditions.count
                if collect(matcher, at: -1) { exclusions.append(start..<conditions.count) }
            }
            cases.append(CaseScreen(needed: needed, never: first..<exclusions.count))
            return !needed.isEmpty || exclusions.count > first
        }

        /// Adds what `matcher` needs of `field` (−1: the event itself, which is an object). True: that is all that it asks.
        private mutating func collect(_ matcher: Matcher, at field: Int) -> Bool {
            switch matcher {
            case .fields(let inner):
                var isWhole = field < 0 || add(field, .isObject)
                for inside in inner { isWhole = collect(inside.matcher, at: self.field(inside.name, in: field)) && isWhole }
                return isWhole
            case .everyItem:
                _ = add(field, .isList)
                return false
            case .absent: return add(field, .isAbsent)
            case .expression(let expression):
                expressions.append(expression)
                return add(field, .matches(expressions.count - 1))
            case .equals(let value): return collect(value, at: field)
            }
        }

        private mutating func collect(_ value: JSONValue, at field: Int) -> Bool {
            switch value {
            case .null: return add(field, .isNull)
            case .bool(let bool): return add(field, .isBool(bool))
            case .integer(let integer): return add(field, .isInteger(integer))
            case .string(let text):
                texts += Array(text.utf8)
                return add(field, .isText(start: texts.count - text.utf8.count, length: text.utf8.count))
            case .array:
                _ = add(field, .isList)
                return false
            case .object:
                _ = add(field, .isObject)
                return false
            case .double, .number: return false
            }
        }

        private mutating func add(_ field: Int, _ test: Test) -> Bool {
            guard field >= 0 else { return false }
            conditions.append(Condition(field: field, test: test))
            return true
        }
    }
}

/// `body` with the address of each text.
private func withPointers<Result>(
    _ texts: ArraySlice<[CChar]>, _ found: [UnsafePointer<CChar>?], _ body: ([UnsafePointer<CChar>?]) -> Result
) -> Result {
    guard let first = texts.first else { return body(found) }
    return first.withUnsafeBufferPointer { withPointers(texts.dropFirst(), found + [$0.baseAddress], body) }
}
