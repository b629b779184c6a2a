import KafkaLog

/// Reads the `rules` of a file. What stands in a rule is described in Docs/Configuration.md; the keys and their meaning
/// are those of change-propagation's rule files wherever that service has them.
struct RuleReader {
    /// Empty when `service` itself was wrong; then no default group is made from it.
    let service: String?
    let datacenters: [Datacenter]
    var modules = Modules()
    /// What holds where a rule says nothing.
    var defaults = RuleSettings()
    /// How far back a resume may go: claims have to be remembered for longer.
    var longestRewind = Duration.zero
    /// The types of limiters that have windows.
    var limiterTypes: Set<String> = []
    /// Makes a path that is meant from the file's folder absolute.
    var absolute: (String) -> String = { $0 }

    /// Keys of the whole rule engine that are not there yet. Each is refused, never ignored.
    static let laterKeys = [
        "switch", "decode_results",
    ]

    func read(_ key: String, _ keyNode: ConfigurationNode, _ node: ConfigurationNode) -> Rule? {
        guard Self.isName(key) else {
            keyNode.report("a rule's name is made of letters, digits, \"-\", \"_\" and \".\", at most 100 of them; \"\(key)\" is not")
            return nil
        }
        guard let map = ConfigurationMap(node, name: "rule \"\(key)\"") else { return nil }
        map.notSupportedYet(Self.laterKeys)
        let selection = StreamReader(service: service, datacenters: datacenters).read(map)
        let origins = origins(map)
        let group = group(map) ?? service.map { "\($0)-\(key)" }
        let cases = cases(map)
        var settings = RuleSettingsReader(limiterTypes: limiterTypes).read(map, over: defaults)
        let dedupe = DedupeReader().check(map, &settings, longestRewind: longestRewind)
        for path in settings.filters.paths where path.root == .match && !cases.contains(where: { $0.match?.captures(path.steps) == true }) {
            map.node.report("\(map.name): no regular expression in its \"match\" captures \(path.text)")
        }
        if let service, settings.onFailure == .deadLetter, selection.names.contains(RetryTopics(service: service).errorStream) {
            // A dead letter says nothing of those before it, so `max_hops` would not end that.
            (map.node("topic") ?? map.node("topics"))?.report(
                "\(map.name) reads this service's dead letters, and would make more of them of those that fail; give it on_failure: skip or halt")
        }
        let rule = Rule(
            name: key, group: group ?? "", selection: selection, origins: origins, settings: settings, delayUntil: delayUntil(map), dedupe: dedupe,
            cases: cases)
        map.finish()
        return rule
    }

    private func group(_ map: ConfigurationMap) -> String? {
        guard let group = map.string("group") else { return nil }
        if group.utf8.count > 200 || group.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) {
            map.node("group")?.report(
                "\(map.describe("group")) can't hold spaces or control characters, nor more than 200 bytes; \"\(group)\" does")
        }
        return group
    }

    private func delayUntil(_ map: ConfigurationMap) -> DueTime? {
        guard let text = map.string("delay_until", "a template such as '{{message.delay_until}}'") else { return nil }
        do throws(TemplateError) {
            let template = try ValueTemplate(text: text)
            if template.paths.isEmpty { throw TemplateError(message: "it names no field of the event; a template such as '{{message.delay_until}}' does") }
            if template.paths.contains(where: { $0.root == .match }) { throw TemplateError(message: "captures can't stand here; name a field of the event") }
            return DueTime(template: template)
        } catch {
            map.node("delay_until")?.report("\(map.describe("delay_until")): \(error.message)")
            return nil
        }
    }

    static func isName(_ name: String) -> Bool {
        (1...100).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                switch byte {
                case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
                default: false
                }
            }
    }

    // MARK: Streams and origins

    private func origins(_ map: ConfigurationMap) -> [Datacenter] {
        guard let names = map.strings("origins", "a datacenter or a list of them") else { return datacenters.sorted() }
        var origins: Set<Datacenter> = []
        for (name, node) in names {
            if let datacenter = Self.datacenter(name, node, among: datacenters, place: map.describe("origins")) { origins.insert(datacenter) }
        }
        return origins.sorted()
    }

    /// Reports "no such datacenter" with those that there are.
    static func datacenter(_ name: String, _ node: ConfigurationNode, among known: [Datacenter], place: String) -> Datacenter? {
        if let datacenter = Datacenter(name), known.contains(datacenter) { return datacenter }
        let names = known.sorted().map(\.name)
        let hint = didYouMean(name, among: names)
        let list = names.isEmpty ? "\"datacenters\" lists none" : "\"datacenters\" lists \(names.joined(separator: ", "))"
        node.report("\(place): no such datacenter \"\(name)\"; \(list)\(hint)")
        return nil
    }

    // MARK: Matching

    /// The list under `cases`, or the one case that stands in the rule itself.
    private func cases(_ map: ConfigurationMap) -> [Rule.Case] {
        guard let node = map.node("cases") else { return [self.case(map)] }
        for key in ["match", "match_not", "exec", "action"] where map.has(key) {
            node.report("\(map.name) has both \"cases\" and \"\(key)\"; write \"\(key)\" inside the cases")
            _ = map.node(key)
        }
        guard let items = node.items, !items.isEmpty else {
            node.report("\(map.describe("cases")) must be a list of cases, each with \"match\" and \"exec\", not \(node.kind)")
            return []
        }
        return items.enumerated().compactMap { index, item in
            guard let inner = ConfigurationMap(item, name: "case \(index + 1) of \(map.name)") else { return nil }
            let found = self.case(inner, sample: RuleSettingsReader(limiterTypes: limiterTypes).sample(inner))
            inner.finish()
            return found
        }
    }

    /// - Parameter sample: the case's own; nil: the rule's.
    private func `case`(_ map: ConfigurationMap, sample: Sample? = nil) -> Rule.Case {
        let match = map.node("match").flatMap { self.match($0, map.describe("match")) }
        let found = Rule.Case(match: match, matchNot: matchNot(map), requests: requests(map), sample: sample)
        for path in found.requests.flatMap(\.paths) + (sample?.template?.paths ?? []) where path.root == .match && match?.captures(path.steps) != true {
            map.node.report("\(map.name): no regular expression in its \"match\" captures \(path.text)")
        }
        return found
    }

    private func matchNot(_ map: ConfigurationMap) -> [Matcher] {
        guard let node = map.node("match_not") else { return [] }
        let place = map.describe("match_not")
        guard let items = node.items else { return match(node, place).map { [$0] } ?? [] }
        if items.isEmpty { node.report("\(place) is an empty list; remove it") }
        return items.compactMap { match($0, place) }
    }

    /// The whole of a `match`, which is an object.
    private func match(_ node: ConfigurationNode, _ place: String) -> Matcher? {
        guard node.entries != nil else {
            node.report("\(place) must be a map of fields and what they must be, not \(node.kind)")
            return nil
        }
        return matcher(node, place)
    }

    private func matcher(_ node: ConfigurationNode, _ place: String) -> Matcher? {
        if let entries = node.entries {
            if entries.isEmpty {
                node.report("\(place): an empty map matches nothing in particular; remove it, or write 'undefined' for a field that must be absent")
                return nil
            }
            let fields = entries.map { ($0.key, matcher($0.value, place)) }
            return fields.contains { $0.1 == nil } ? nil : .fields(fields.compactMap { name, matcher in matcher.map { (name, $0) } })
        }
        if let items = node.items {
            let matchers = items.map { matcher($0, place) }
            return matchers.contains { $0 == nil } ? nil : .everyItem(matchers.compactMap(\.self))
        }
        guard let value = node.json() else { return nil }
        if case .string(let text) = value {
            if text == "undefined" { return .absent }
            if Self.isRegularExpression(text) {
                do { return .expression(try RegularExpression(text)) } catch {
                    node.report("\(place): \(error.message)")
                    return nil
                }
            }
        }
        return .equals(value)
    }

    /// `/…/` with JavaScript's flags behind it; change-propagation takes every such text for a regular expression.
    static func isRegularExpression(_ text: String) -> Bool {
        guard text.hasPrefix("/"), let end = text.lastIndex(of: "/"), text.distance(from: text.startIndex, to: end) >= 2 else { return false }
        let flags = text[text.index(after: end)...]
        return flags.count <= 6 && flags.allSatisfy { "dgimsuvy".contains($0) }
    }

    // MARK: Requests

    private func requests(_ map: ConfigurationMap) -> [RequestTemplate] {
        let action = map.node("action")
        if let action, action.scalar != .text("none") {
            action.report("\(map.describe("action")) can only be none so far; requests are written under \"exec\"")
        }
        guard let node = map.node("exec") else {
            if action == nil, !map.has("exec") { map.node.warn("\(map.name) has no \"exec\" and does nothing; write action: none if that is meant") }
            return []
        }
        if action != nil { node.report("\(map.name) has both \"exec\" and \"action: none\"; keep one") }
        if let items = node.items {
            if items.isEmpty { node.report("\(map.describe("exec")) is an empty list; write action: none for a rule that does nothing") }
            return items.enumerated().compactMap { requestReader("request \($0.offset + 1) of \(map.name)").read($0.element) }
        }
        return requestReader("\"exec\" in \(map.name)").read(node).map { [$0] } ?? []
    }

    private func requestReader(_ place: String) -> RequestReader { RequestReader(place: place, modules: modules, absolute: absolute) }
}
