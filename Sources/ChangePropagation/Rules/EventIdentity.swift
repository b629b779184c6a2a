/// What makes two records the same event: `identity` in worker.yaml.
public enum EventIdentity: Sendable, Equatable {
    /// The whole record: key, value and time (Docs/Design.md, section 3). Repeats by a mirror can't be told from events
    /// that happen to be equal, so the worker drops none.
    case record
    /// The bytes of the header of this name.
    case header(String)
    /// A field of the JSON value, such as `meta.id`.
    case json(IdentityPath)

    /// The bytes that identify a record, nil for `.record` and where the record does not carry them (the caller then falls
    /// back to the whole record). Texts give their UTF-8, numbers and booleans their JSON; null, objects, lists and an
    /// empty text are no identity.
    ///
    /// - Parameters:
    ///   - event: the parsed value; nil when the record has none or it is not JSON. Only `.json` looks at it.
    ///   - header: gives the last header of a name; nil when there is none. Only `.header` calls it.
    public func bytes(event: @autoclosure () -> JSONValue?, header: (String) -> [UInt8]?) -> [UInt8]? {
        let found: [UInt8]?
        switch self {
        case .record: found = nil
        case .header(let name): found = header(name)
        case .json(let path):
            switch event().flatMap(path.path.value(in:)) {
            case .string(let text)?: found = Array(text.utf8)
            case let value?:
                switch value {
                case .integer, .double, .number, .bool: found = value.jsonBytes
                case .null, .array, .object, .string: found = nil
                }
            case nil: found = nil
            }
        }
        return found.flatMap { $0.isEmpty ? nil : $0 }
    }
}

/// A compiled path for `EventIdentity.json`.
public struct IdentityPath: Sendable, Equatable, CustomStringConvertible {
    let path: FieldPath

    /// nil when `text` is not a path such as `meta.id` or `ids[0]`.
    public init?(_ text: String) {
        var parser = FieldPathParser(("." + text).unicodeScalars)
        guard let steps = try? parser.steps(), parser.isAtEnd, !steps.isEmpty else { return nil }
        path = FieldPath(steps: steps, text: text)
    }

    public var description: String { path.text }
}
