import KafkaLog

/// Reads `topic`, `topics` and `exclude_topics` of a rule: streams by name, or by `/expression/`.
struct StreamReader {
    /// nil when `service` itself was wrong.
    let service: String?
    let datacenters: [Datacenter]

    private struct Listed {
        var names: [String] = []
        var expressions: [RegularExpression] = []
    }

    func read(_ map: ConfigurationMap) -> StreamSelection {
        if map.has("topic"), map.has("topics") { map.node.report("\(map.name) has both \"topic\" and \"topics\"; keep one") }
        if !map.has("topic"), !map.has("topics") {
            map.node.report("\(map.name) has no \"topic\"; name the stream that it reads, such as topic: mediawiki.page_change")
        }
        var wanted = Listed()
        for (key, isList) in [("topic", false), ("topics", true)] {
            if !isList, let node = map.node(key), node.items != nil {
                node.report("\(map.describe(key)) is one stream; write a list under \"topics\"")
                continue
            }
            list(key, map, into: &wanted)
        }
        var excluded = Listed()
        list("exclude_topics", map, into: &excluded)
        let selection = StreamSelection(
            names: wanted.names, expressions: wanted.expressions, excludedNames: excluded.names, excludedExpressions: excluded.expressions,
            service: service ?? "")
        if !wanted.names.isEmpty, selection.names.isEmpty, !selection.isOpen, let node = map.node("exclude_topics") {
            node.report("\(map.describe("exclude_topics")) leaves nothing to read")
        }
        return selection
    }

    private func list(_ key: String, _ map: ConfigurationMap, into found: inout Listed) {
        for (text, node) in map.strings(key) ?? [] {
            if text.hasPrefix("/") {
                if let expression = expression(text, node, map.describe(key)) { found.expressions.append(expression) }
            } else if key != "exclude_topics", let service, RetryTopics(service: service).stream(ofRetries: text) != nil {
                // Read as events by one rule, they would be lost as retries of the others in its group.
                node.report("\(map.describe(key)): \"\(text)\" holds retries of this service itself, which it reads anyway; remove it")
            } else if check(stream: text, node, map.describe(key)) {
                if found.names.contains(text) {
                    node.report("\(map.describe(key)) names \"\(text)\" twice")
                } else {
                    found.names.append(text)
                }
            }
        }
    }

    private func expression(_ text: String, _ node: ConfigurationNode, _ place: String) -> RegularExpression? {
        guard RuleReader.isRegularExpression(text) else {
            node.report("\(place): \"\(text)\" is neither a stream's name nor a regular expression; that is written /…/")
            return nil
        }
        do { return try RegularExpression(text) } catch {
            node.report("\(place): \(error.message)")
            return nil
        }
    }

    private func check(stream: String, _ node: ConfigurationNode, _ place: String) -> Bool {
        if let topic = OriginTopic(topic: stream, known: datacenters) {
            node.report(
                "\(place): \"\(stream)\" begins with the datacenter \"\(topic.origin)\"; give the stream's name without it, \"\(topic.stream)\", "
                    + "and choose datacenters with \"origins\"")
            return false
        }
        guard let longest = Self.whyNotStream(stream, datacenters, service: service) else { return true }
        node.report("\(place): \"\(stream)\" can't be a topic; letters, digits, \".\", \"-\" and \"_\" can, at most \(longest) of them")
        return false
    }

    /// nil when `stream` can be a stream's name; else how long one may be: Kafka's own rule for topic names, with room left for the longest
    /// datacenter's name and the dot, and for the name of its retry topic where `service` reads it.
    static func whyNotStream(_ stream: String, _ datacenters: some Sequence<Datacenter>, service: String? = nil) -> Int? {
        let allowed = stream.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
            default: false
            }
        }
        let retry = service.map { RetryTopics(service: $0).retryStream(of: "").utf8.count } ?? 0
        let longest = 249 - retry - (datacenters.map(\.name.utf8.count).max() ?? 0) - 1
        return allowed && !stream.isEmpty && stream.utf8.count <= longest && !stream.hasPrefix(".") && !stream.hasSuffix(".") ? nil : longest
    }
}
