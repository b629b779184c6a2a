/// Reads one request of a rule's `exec` and compiles its templates.
struct RequestReader {
    /// For messages: `"exec" in rule "purge"`.
    let place: String

    static let methods = ["get", "head", "post", "put", "patch", "delete", "options", "purge"]

    func read(_ node: ConfigurationNode) -> RequestTemplate? {
        guard let map = ConfigurationMap(node, name: place) else { return nil }
        let uri = uri(map)
        let headers = headers(map)
        let query = pairs(map, "query")
        let bodyNode = map.node("body")
        let body = bodyNode.flatMap(value)
        // change-propagation's own default is get; nobody means a get that has a body.
        let method = method(map) ?? (bodyNode == nil ? "get" : "post")
        if let bodyNode, bodyNode.scalar == nil, let type = headers.first(where: { $0.name == "content-type" }), let text = type.value.literal,
            !text.lowercased().contains("json")
        {
            bodyNode.report("\(place): a body written as a map or list is sent as JSON; \(text) is not supported yet, write the body as text")
        }
        map.finish()
        return uri.map { RequestTemplate(method: method.uppercased(), uri: $0, headers: headers, query: query, body: body) }
    }

    private func method(_ map: ConfigurationMap) -> String? {
        guard let node = map.node("method") else { return nil }
        if case .text(let text)? = node.scalar, Self.methods.contains(text.lowercased()) { return text.lowercased() }
        node.report("\"method\" in \(place) must be one of \(Self.methods.joined(separator: ", ")), not \(node.kind)")
        return nil
    }

    private func uri(_ map: ConfigurationMap) -> TextTemplate? {
        map.reportMissing("uri", "give the URL to call, such as uri: 'http://127.0.0.1:8080/purge/{message.page_title}'")
        guard let node = map.node("uri") else { return nil }
        guard case .text(let text)? = node.scalar else {
            node.report("\"uri\" in \(place) must be a URL, not \(node.kind)")
            return nil
        }
        if text.hasPrefix("/") {
            node.report("\"uri\" in \(place): internal paths such as \(text) are not supported yet; give a URL with http:// or https://")
            return nil
        }
        guard let template = template(text, node) else { return nil }
        if let why = whyNotURL(template) { node.report("\"uri\" in \(place): bad URL \"\(text)\": \(why)") }
        return template
    }

    /// What can be said before any event is there: everything when nothing is to be filled in; else the part up to the
    /// first template, with the host when it ends before that.
    private func whyNotURL(_ template: TextTemplate) -> String? {
        if let literal = template.literal { return ScalarFormat.whyNotHTTP(literal) }
        guard case .literal(let start)? = template.parts.first else { return nil }
        let scheme = ["http://", "https://"].first { start.hasPrefix($0) }
        guard let scheme else { return "it must begin with http:// or https://" }
        let rest = start.dropFirst(scheme.count)
        guard let end = rest.firstIndex(where: { "/?#".contains($0) }) else { return nil }
        return ScalarFormat.whyNotHTTP(String(start[..<end]))
    }

    private func headers(_ map: ConfigurationMap) -> [(name: String, value: TextTemplate)] {
        let own = ["content-length", "transfer-encoding", "connection"]
        return pairs(map, "headers") { name, node in
            let lower = name.lowercased()
            if own.contains(lower) {
                node.report("\"headers\" in \(place): \"\(name)\" is set by switchback itself; remove it")
                return nil
            }
            let allowed = lower.utf8.allSatisfy { byte in
                switch byte {
                case 48...57, 97...122: true
                default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
                }
            }
            guard allowed, !lower.isEmpty else {
                node.report("\"headers\" in \(place): \"\(name)\" can't be a header's name")
                return nil
            }
            return lower
        }
    }

    /// A map of names and single values.
    private func pairs(
        _ map: ConfigurationMap, _ key: String, checkName: (String, ConfigurationNode) -> String? = { name, _ in name }
    ) -> [(name: String, value: TextTemplate)] {
        guard let inner = map.map(key, name: "\"\(key)\" in \(place)") else { return [] }
        var pairs: [(name: String, value: TextTemplate)] = []
        for entry in inner.allEntries {
            guard let name = checkName(entry.key, entry.keyNode) else { continue }
            let value: TextTemplate? =
                switch entry.value.scalar {
                case .text(let text)?: template(text, entry.value)
                case .null?: TextTemplate(parts: [])
                case .integer?, .double?, .bool?:
                    entry.value.json()?.plainText.map { TextTemplate(parts: [.literal($0)]) }
                case nil: nil
                }
            if entry.value.scalar == nil {
                entry.value.report("\"\(entry.key)\" in \"\(key)\" in \(place) must be a single value, not \(entry.value.kind)")
            }
            if let value { pairs.append((name, value)) }
        }
        return pairs
    }

    private func template(_ text: String, _ node: ConfigurationNode) -> TextTemplate? {
        do {
            return try TextTemplate(text)
        } catch {
            node.report("\(place): \(error.message)")
            return nil
        }
    }

    private func value(_ node: ConfigurationNode) -> ValueTemplate? {
        if let items = node.items {
            let values = items.map(value)
            return values.contains { $0 == nil } ? nil : .list(values.compactMap(\.self))
        }
        if let entries = node.entries {
            let fields = entries.map { ($0.key, value($0.value)) }
            return fields.contains { $0.1 == nil } ? nil : .object(fields.compactMap { name, value in value.map { (name, $0) } })
        }
        guard case .text(let text)? = node.scalar else { return node.json().map(ValueTemplate.literal) }
        do {
            return try ValueTemplate(text: text)
        } catch {
            node.report("\(place): \(error.message)")
            return nil
        }
    }
}
