/// A rule's `match`, compiled when the file is loaded. Evaluating it allocates nothing but for regular expressions.
///
/// What the values of `match` mean (as in change-propagation):
///
/// | in the file | true when the event's field |
/// |---|---|
/// | an object | is an object whose fields match one by one |
/// | a list | is a list that holds, for each item here, an item that matches it, in any order |
/// | `'undefined'` | is absent, in an object that is there (null is not absent) |
/// | `/…/flags` | is a text, a number or a boolean in whose text the regular expression matches |
/// | anything else | is that value: same type, same text byte by byte; 1 and 1.0 are one number |
indirect enum Matcher: Sendable {
    case fields([(name: String, matcher: Matcher)])
    case everyItem([Matcher])
    case absent
    case expression(RegularExpression)
    case equals(JSONValue)

    /// - Throws: `tooCostly` when a regular expression needs more than its limits allow.
    func matches(_ value: JSONValue?) throws(EventError) -> Bool {
        switch self {
        case .fields(let fields):
            guard case .object(let object)? = value else { return false }
            for field in fields { if try !field.matcher.matches(object[field.name]) { return false } }
            return true
        case .everyItem(let matchers):
            guard case .array(let items)? = value else { return false }
            for matcher in matchers {
                var isThere = false
                for item in items where try matcher.matches(item) {
                    isThere = true
                    break
                }
                if !isThere { return false }
            }
            return true
        case .absent: return value == nil
        case .expression(let expression):
            guard let text = value?.scalarText else { return false }
            do { return try expression.matches(text) } catch { throw EventError(.tooCostly(expression: expression.text)) }
        case .equals(let expected): return value == expected
        }
    }

    /// What regular expressions captured in an event that matches, in the shape of `match`: under a field with an expression its named
    /// groups by name, or a list of all groups by number (0 is the whole match). nil: there is no expression in it.
    func captures(_ value: JSONValue?) throws(EventError) -> JSONValue? {
        switch self {
        case .fields(let fields):
            var found: [JSONObject.Field] = []
            for field in fields {
                if let inner = try field.matcher.captures(value?[field.name]) { found.append(JSONObject.Field(field.name, inner)) }
            }
            return found.isEmpty ? nil : .object(JSONObject(fields: found))
        case .everyItem(let matchers):
            guard case .array(let items)? = value else { return nil }
            var found: [JSONValue] = []
            for matcher in matchers {
                for item in items where try matcher.matches(item) {
                    if let inner = try matcher.captures(item) { found.append(inner) }
                    break
                }
            }
            return found.isEmpty ? nil : .array(found)
        case .expression(let expression):
            guard let text = value?.scalarText else { return nil }
            let groups: [String?]?
            do { groups = try expression.captures(text) } catch { throw EventError(.tooCostly(expression: expression.text)) }
            guard let groups else { return nil }
            if expression.names.isEmpty { return .array(groups.map { $0.map { .string($0) } ?? .null }) }
            let fields = expression.names.sorted { $0.key < $1.key }.compactMap { number, name in
                groups[number].map { JSONObject.Field(name, .string($0)) }
            }
            return .object(JSONObject(fields: fields))
        case .absent, .equals: return nil
        }
    }
}

extension Matcher {
    /// Whether an expression in it can give something at this path: what templates name is checked when the file is loaded.
    func captures(_ path: some Collection<FieldPath.Step>) -> Bool {
        switch self {
        case .fields(let fields):
            guard case .field(let name)? = path.first else { return false }
            return fields.contains { $0.name == name && $0.matcher.captures(path.dropFirst()) }
        case .everyItem(let matchers):
            guard case .item? = path.first else { return false }
            return matchers.contains { $0.captures(path.dropFirst()) }
        case .expression(let expression):
            switch path.first {
            case nil: return true
            case .field(let name)?: return expression.names.values.contains(name)
            case .item(let number)?: return expression.names.isEmpty && number <= expression.groups
            }
        case .absent, .equals: return false
        }
    }
}

extension JSONValue {
    /// The text of a text, number or boolean, as JavaScript's `String()` gives it; nil for all else.
    fileprivate var scalarText: String? {
        switch self {
        case .array, .object, .null: nil
        default: plainText
        }
    }
}

/// What a rule's templates see of one event.
struct EventContext: Sendable {
    let message: JSONValue
    /// What regular expressions captured; nil: there are none.
    let match: JSONValue?

    init(_ message: JSONValue, match: JSONValue? = nil) {
        self.message = message
        self.match = match
    }
}
