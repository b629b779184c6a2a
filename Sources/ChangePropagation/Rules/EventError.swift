/// Why one event can't be acted on, though the rule and the worker are well. Trying the same event again gives the same
/// error, so none of them is retriable; what happens to the event is the rule's `on_failure`.
public struct EventError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// The record's value is not JSON. `byte` counts from 0.
        case notJSON(reason: String, byte: Int)
        /// A template names a field that the event does not have, such as `message.meta.uri`.
        case missingField(path: String)
        /// A template puts an object (or a list of objects) into a text.
        case notText(path: String)
        /// A function of a template can't do anything with the event's value: `date(message.title)`.
        case badArgument(call: String)
        /// The request's URL, once filled in, is not an absolute http or https URL.
        case badURL(String)
        /// A request goes to an internal path that `modules` says nothing about.
        case noModule(path: String)
        /// The body, once filled in, is nothing that the rule's action can be given.
        case badBody(reason: String)
        /// A header's value, once filled in, holds a control character.
        case badHeader(name: String)
        /// A regular expression of the rule would need more steps than it may (`RegularExpression.matchLimit`).
        case tooCostly(expression: String)
        /// What the rule's `delay_until` makes of the event is no time.
        case notATime(String)
        /// A record of a retry topic that no worker wrote: this field is missing or of another type.
        case notParked(missing: String)
    }

    public let kind: Kind
    public init(_ kind: Kind) { self.kind = kind }

    public var isRetriable: Bool { false }

    /// A short stable name for metrics.
    public var label: String {
        switch kind {
        case .notJSON: "not_json"
        case .missingField: "missing_field"
        case .notText: "not_text"
        case .badArgument: "bad_argument"
        case .badURL: "bad_url"
        case .noModule: "no_module"
        case .badBody: "bad_body"
        case .badHeader: "bad_header"
        case .tooCostly: "too_costly"
        case .notATime: "not_a_time"
        case .notParked: "not_parked"
        }
    }

    public var description: String {
        switch kind {
        case .notJSON(let reason, let byte): "the event is not JSON: \(reason), at byte \(byte)"
        case .missingField(let path): "the event has no field \(path), which the rule's template needs"
        case .notText(let path): "the event's field \(path) is an object; the rule's template needs a text or number there"
        case .badArgument(let call): "the event's value is nothing that the rule's template \(call) can do anything with"
        case .badURL(let url): "the rule's template makes \"\(url)\", which is not an http or https URL"
        case .noModule(let path): "the rule sends the event to \(path), and \"modules\" has no URL for that path"
        case .badBody(let reason): "the rule's template makes a body that can't be used: \(reason)"
        case .badHeader(let name): "the rule's template puts a control character into the header \"\(name)\""
        case .tooCostly(let expression): "the rule's regular expression \(expression) would need too many steps on this event"
        case .notATime(let text): "the rule's delay_until makes \"\(text)\", which is no ISO 8601 time and no number of seconds or milliseconds since 1970"
        case .notParked(let field): "this is no record of a retry topic: its field \(field) is missing or of another type"
        }
    }
}
