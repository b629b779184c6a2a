/// A rule's `match`, compiled when the file is loaded. Evaluating it allocates nothing.
///
/// What the values of `match` mean (as in change-propagation):
///
/// | in the file | true when the event's field |
/// |---|---|
/// | an object | is an object whose fields match one by one |
/// | a list | is a list that holds, for each item here, an item that matches it, in any order |
/// | `'undefined'` | is absent, in an object that is there (null is not absent) |
/// | anything else | is that value: same type, same text byte by byte; 1 and 1.0 are one number |
indirect enum Matcher: Sendable {
    case fields([(name: String, matcher: Matcher)])
    case everyItem([Matcher])
    case absent
    case equals(JSONValue)

    func matches(_ value: JSONValue?) -> Bool {
        switch self {
        case .fields(let fields):
            guard case .object(let object)? = value else { return false }
            return fields.allSatisfy { $0.matcher.matches(object[$0.name]) }
        case .everyItem(let matchers):
            guard case .array(let items)? = value else { return false }
            return matchers.allSatisfy { matcher in items.contains { matcher.matches($0) } }
        case .absent: return value == nil
        case .equals(let expected): return value == expected
        }
    }
}
