import Yams

/// One node of a YAML file with its place. Reading it as something that it is not reports a problem and gives nil, so
/// that all problems of a file come out together.
package struct ConfigurationNode {
    let node: Node
    package let document: YAMLDocument

    /// What a plain or quoted scalar stands for.
    enum Scalar: Equatable {
        case null
        case bool(Bool)
        case integer(Int64)
        case double(Double)
        case text(String)
    }

    package func report(_ message: String) { document.report(message, at: node) }
    /// Something that is allowed, and likely not what is meant.
    func warn(_ message: String) { document.warn(message, at: node) }

    /// What this is, for messages that say what it should have been.
    var kind: String {
        switch node {
        case .mapping: "a map"
        case .sequence: "a list"
        case .alias: "an alias"
        case .scalar(let scalar):
            switch Self.read(scalar) {
            case .null: "nothing"
            case .bool(let value): "\(value)"
            case .integer, .double: scalar.string
            case .text: "\"\(scalar.string)\""
            }
        }
    }

    var isNull: Bool { scalar == .null }

    /// nil when this is a map or a list.
    var scalar: Scalar? {
        guard case .scalar(let scalar) = node else { return nil }
        guard let text = environmentText else { return Self.read(scalar) }
        // A value that is one variable and nothing else has the type that it would have if it stood there.
        return scalar.string.hasPrefix("{env(") && scalar.string.firstIndex(of: "}") == scalar.string.indices.last && !text.isEmpty
            ? Self.read(plain: text) : .text(text)
    }

    /// The text with each `{env(NAME)}` replaced; nil: it has none. One that is not set is reported.
    var environmentText: String? {
        guard case .scalar(let scalar) = node, scalar.string.contains("{env(") else { return nil }
        return document.replacingEnvironment(in: scalar.string, at: node)
    }

    /// The items of a list; nil when this is none.
    var items: [ConfigurationNode]? {
        guard case .sequence(let sequence) = node else { return nil }
        return sequence.map { ConfigurationNode(node: $0, document: document) }
    }

    /// The entries of a map with its merge keys (`<<`) resolved: its own entries win over merged ones, and earlier merged
    /// maps over later ones. nil when this is no map. Problems with keys are reported.
    var entries: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)]? {
        guard case .mapping(let mapping) = node else { return nil }
        var own: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)] = []
        var merged: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)] = []
        var first: [String: ConfigurationNode] = [:]
        for (key, value) in mapping {
            let keyNode = ConfigurationNode(node: key, document: document)
            let valueNode = ConfigurationNode(node: value, document: document)
            guard case .scalar(let scalar) = key else {
                keyNode.report("a key must be a text")
                continue
            }
            var name = scalar.string
            if name.unicodeScalars.first == YAMLDocument.repeatedKeyMark {
                while name.unicodeScalars.first == YAMLDocument.repeatedKeyMark { name.unicodeScalars.removeFirst() }
                if let earlier = first[name] {
                    report(repeated: name, at: keyNode, first: earlier)
                } else {
                    first[name] = keyNode
                }
            } else if name == "<<", scalar.style == .plain {
                if first[name] != nil { report(repeated: name, at: keyNode, first: first[name]) }
                merged += mergeEntries(valueNode)
            } else {
                if let earlier = first[name] { report(repeated: name, at: keyNode, first: earlier) }
                own.append((name, keyNode, valueNode))
            }
        }
        for entry in merged where !own.contains(where: { $0.key == entry.key }) { own.append(entry) }
        return own
    }

    private func report(repeated name: String, at keyNode: ConfigurationNode, first: ConfigurationNode?) {
        keyNode.report("the key \"\(name)\" is given twice; the first one is in line \(first?.node.mark?.line ?? 0)")
    }

    private func mergeEntries(
        _ value: ConfigurationNode
    ) -> [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)] {
        if let entries = value.entries { return entries }
        var all: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)] = []
        for item in value.items ?? [value] {
            guard let entries = item.entries else {
                item.report("\"<<\" merges a map or a list of maps, such as <<: *defaults, not \(item.kind)")
                continue
            }
            for entry in entries where !all.contains(where: { $0.key == entry.key }) { all.append(entry) }
        }
        return all
    }

    /// This node as a JSON value with `text` deciding what its texts become; nil after a problem was reported.
    func json(text: (ConfigurationNode, String) -> JSONValue? = { .string($1) }) -> JSONValue? {
        if let items {
            let values = items.map { $0.json(text: text) }
            return values.contains { $0 == nil } ? nil : .array(values.compactMap(\.self))
        }
        if let entries {
            var fields: [JSONObject.Field] = []
            for entry in entries {
                guard let value = entry.value.json(text: text) else { continue }
                fields.append(JSONObject.Field(entry.key, value))
            }
            return fields.count == entries.count ? .object(JSONObject(fields: fields)) : nil
        }
        switch scalar {
        case .null?: return .null
        case .bool(let value)?: return .bool(value)
        case .integer(let value)?: return .integer(value)
        case .double(let value)?: return .double(value)
        case .text(let value)?: return text(self, value)
        case nil: return nil
        }
    }

    // MARK: Scalars

    private static func read(_ scalar: Node.Scalar) -> Scalar {
        guard scalar.style == .plain, scalar.tag != Tag(.str) else { return .text(scalar.string) }
        return read(plain: scalar.string)
    }

    private static func read(plain text: String) -> Scalar {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        default: break
        }
        if let number = wholeNumber(text) { return .integer(number) }
        if let number = fraction(text) { return .double(number) }
        return .text(text)
    }

    /// `[-+]?[0-9]+`, `0x…`, `0o…`. Digits after a leading zero are a text: YAML 1.1 and 1.2 disagree about them.
    private static func wholeNumber(_ text: String) -> Int64? {
        if text.hasPrefix("0x") { return Int64(text.dropFirst(2), radix: 16) }
        if text.hasPrefix("0o") { return Int64(text.dropFirst(2), radix: 8) }
        let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), digits == "0" || !digits.hasPrefix("0") else { return nil }
        return Int64(text)
    }

    private static func fraction(_ text: String) -> Double? {
        guard text.utf8.allSatisfy({ (48...57).contains($0) || "+-.eE".utf8.contains($0) }),
            text.utf8.contains(where: { (48...57).contains($0) }), text.contains(".") || text.contains("e") || text.contains("E"),
            let value = Double(text), value.isFinite
        else { return nil }
        return value
    }
}
