/// A map of a configuration file, read key by key. Each reader reports what is wrong, says what would be right, and gives
/// nil; `finish` then reports every key that nobody asked for.
package final class ConfigurationMap {
    let node: ConfigurationNode
    /// Where this is, for messages: `rule "purge"`; empty for the whole file.
    let name: String
    private let entries: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)]
    private var asked: [String] = []
    private var later: Set<String> = []

    /// nil, after a report, when `node` is no map.
    package init?(_ node: ConfigurationNode, name: String) {
        guard let entries = node.entries else {
            node.report("\(name.isEmpty ? "the file" : name) must be a map, not \(node.kind)")
            return nil
        }
        self.node = node
        self.name = name
        self.entries = entries
    }

    var keys: [String] { entries.map(\.key) }
    var allEntries: [(key: String, keyNode: ConfigurationNode, value: ConfigurationNode)] { entries }

    /// `"topic" in rule "purge"`.
    func describe(_ key: String) -> String { name.isEmpty ? "\"\(key)\"" : "\"\(key)\" in \(name)" }

    /// The value of `key` whatever it is, or nil when the key is not there. A key without a value is reported.
    package func node(_ key: String) -> ConfigurationNode? {
        if !asked.contains(key) { asked.append(key) }
        guard let entry = entries.first(where: { $0.key == key }) else { return nil }
        if entry.value.isNull {
            entry.keyNode.report("\(describe(key)) has no value; give it one or remove the line")
            return nil
        }
        return entry.value
    }

    package func has(_ key: String) -> Bool { entries.contains { $0.key == key } }

    /// Keys of features that are still to come: they are refused with a line of their own.
    func notSupportedYet(_ keys: [String]) {
        for entry in entries where keys.contains(entry.key) {
            later.insert(entry.key)
            if node.document.isForeign {
                entry.keyNode.warn("\(describe(entry.key)) is not supported yet and is left out")
            } else {
                entry.keyNode.report("\(describe(entry.key)) is not supported yet; remove it")
            }
        }
    }

    /// Keys that are accepted and not looked at.
    func ignore(where predicate: (String) -> Bool) {
        for entry in entries where predicate(entry.key) { later.insert(entry.key) }
    }

    package func reportMissing(_ key: String, _ whatItIs: String) {
        if !has(key) { node.report("\(describe(key)) is missing; \(whatItIs)") }
    }

    /// Reports the keys that were not asked for.
    package func finish() {
        for entry in entries where !asked.contains(entry.key) && !later.contains(entry.key) {
            if node.document.isForeign {
                entry.keyNode.warn("\(describe(entry.key)) has no counterpart here and is left out")
                continue
            }
            let place = name.isEmpty ? "" : " in \(name)"
            let hint = didYouMean(entry.key, among: asked)
            let known = hint.isEmpty ? "; the keys here are \(asked.sorted().joined(separator: ", "))" : hint
            entry.keyNode.report("unknown key \"\(entry.key)\"\(place)\(known)")
        }
    }

    // MARK: Typed readers

    private func wrong(_ value: ConfigurationNode, _ key: String, _ expected: String) {
        value.report("\(describe(key)) must be \(expected), not \(value.kind)")
    }

    package func map(_ key: String, name: String? = nil) -> ConfigurationMap? {
        node(key).flatMap { ConfigurationMap($0, name: name ?? describe(key)) }
    }

    package func string(_ key: String, _ expected: String = "a text") -> String? {
        guard let value = node(key) else { return nil }
        return text(value, key, expected)
    }

    /// A text that is not empty. Numbers and booleans must be quoted.
    private func text(_ value: ConfigurationNode, _ key: String, _ expected: String) -> String? {
        // What comes from the environment can't be quoted: a number is as good as a text there.
        switch value.environmentText.map(ConfigurationNode.Scalar.text) ?? value.scalar {
        case .text(let text)?:
            if text.isEmpty {
                wrong(value, key, expected)
                return nil
            }
            return text
        case .integer?, .double?, .bool?:
            value.report("\(describe(key)) must be \(expected), not \(value.kind); put it in quotes if it is meant as text")
        case .null?, nil: wrong(value, key, expected)
        }
        return nil
    }

    /// One text or a list of them.
    func strings(_ key: String, _ expected: String = "a text or a list of texts") -> [(value: String, node: ConfigurationNode)]? {
        guard let value = node(key) else { return nil }
        let items = value.items ?? [value]
        if items.isEmpty { value.report("\(describe(key)) is an empty list; name at least one") }
        return items.compactMap { item in text(item, key, expected).map { ($0, item) } }
    }

    package func int(_ key: String, in range: ClosedRange<Int>) -> Int? {
        guard let value = node(key) else { return nil }
        guard case .integer(let number)? = value.scalar, let number = Int(exactly: number), range.contains(number) else {
            wrong(value, key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    package func number(_ key: String, in range: ClosedRange<Double>) -> Double? {
        guard let value = node(key) else { return nil }
        let number: Double? =
            switch value.scalar {
            case .integer(let whole)?: Double(whole)
            case .double(let real)?: real
            default: nil
            }
        guard let number, range.contains(number) else {
            wrong(value, key, "a number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return number
    }

    func bool(_ key: String) -> Bool? {
        guard let value = node(key) else { return nil }
        guard case .bool(let flag)? = value.scalar else {
            wrong(value, key, "true or false")
            return nil
        }
        return flag
    }

    /// - Parameter bareMilliseconds: whether a number without a unit is milliseconds, as in change-propagation's rules.
    package func duration(_ key: String, in range: ClosedRange<Duration>, bareMilliseconds: Bool = false) -> Duration? {
        duration(key, in: range, bareUnit: bareMilliseconds ? .milliseconds(1) : nil)
    }

    /// - Parameter bareUnit: what a number without a unit counts; nil: only 0 may stand without one.
    func duration(_ key: String, in range: ClosedRange<Duration>, bareUnit: Duration?) -> Duration? {
        guard let value = node(key) else { return nil }
        let found: Duration? =
            switch value.scalar {
            case .text(let text)?: ScalarFormat.duration(text)
            case .integer(let number)? where number >= 0 && number < 36_000_000_000: bareUnit.map { $0 * number } ?? (number == 0 ? .zero : nil)
            default: nil
            }
        guard let found, range.contains(found) else {
            let bounds = "from \(ScalarFormat.describe(range.lowerBound)) to \(ScalarFormat.describe(range.upperBound))"
            wrong(value, key, "a time \(bounds), such as 500ms, 30s, 5m or 1h")
            return nil
        }
        return found
    }

    /// Bytes.
    func size(_ key: String, in range: ClosedRange<Int>) -> Int? {
        guard let value = node(key) else { return nil }
        let found: Int? =
            switch value.scalar {
            case .text(let text)?: ScalarFormat.size(text)
            case .integer(let number)?: Int(exactly: number)
            default: nil
            }
        guard let found, range.contains(found) else {
            let bounds = "from \(ScalarFormat.describe(bytes: range.lowerBound)) to \(ScalarFormat.describe(bytes: range.upperBound))"
            wrong(value, key, "a size \(bounds), such as 512B, 64KiB or 1MiB")
            return nil
        }
        return found
    }

    /// One of `choices`.
    package func choice<T>(_ key: String, _ choices: [(name: String, value: T)]) -> T? {
        guard let value = node(key) else { return nil }
        let names = choices.map(\.name)
        if case .text(let text)? = value.scalar {
            if let found = choices.first(where: { $0.name == text }) { return found.value }
            let hint = didYouMean(text, among: names)
            value.report("\(describe(key)) must be one of \(names.joined(separator: ", ")), not \"\(text)\"\(hint)")
        } else {
            wrong(value, key, "one of \(names.joined(separator: ", "))")
        }
        return nil
    }

    /// One or several absolute http or https URLs.
    func urls(_ key: String) -> [String]? {
        strings(key, "a URL such as http://127.0.0.1:2379, or a list of them")?.compactMap { text, node in
            guard let why = ScalarFormat.whyNotHTTP(text) else { return text }
            node.report("\(describe(key)): bad URL \"\(text)\": \(why)")
            return nil
        }
    }
}
