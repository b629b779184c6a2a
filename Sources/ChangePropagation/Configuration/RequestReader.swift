/// Reads one request of a rule's `exec` and compiles its templates.
struct RequestReader {
    /// For messages: `"exec" in rule "purge"`.
    let place: String
    var modules = Modules()
    /// Makes a path that is meant from the file's folder absolute.
    var absolute: (String) -> String = { $0 }

    static let methods = ["get", "head", "post", "put", "patch", "delete", "options", "purge"]

    func read(_ node: ConfigurationNode) -> RequestTemplate? {
        guard let map = ConfigurationMap(node, name: place) else { return nil }
        if ["produce", "log"].contains(where: map.has) { return ownAction(map) }
        let found = uri(map)
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
        if case .own(let action)? = found?.destination { checkBody(bodyNode, of: action, map) }
        map.finish()
        return found.map {
            RequestTemplate(
                method: method.uppercased(), uri: $0.template, headers: headers, query: query, body: body, destination: $0.destination, name: place)
        }
    }

    private func checkBody(_ body: ConfigurationNode?, of action: OwnAction, _ map: ConfigurationMap) {
        switch action {
        case .events, .partition, .purge:
            if body == nil { map.reportMissing("body", "give the event or the list of events, such as body: '{{globals.message}}'") }
        case .produce, .log, .unknown: break
        }
    }

    /// An entry with `produce` or `log` in place of `uri`.
    private func ownAction(_ map: ConfigurationMap) -> RequestTemplate? {
        if map.has("produce"), map.has("log") {
            map.node.report("\(place) has both \"produce\" and \"log\"; write a list of two")
            map.ignore { $0 == "log" }
        }
        var action: OwnAction?
        if let node = map.node("produce") {
            let stream = map.string("produce", "a stream's name").flatMap { template($0, node) }
            if let name = stream?.literal, let longest = StreamReader.whyNotStream(name, []) {
                node.report("\(map.describe("produce")): \"\(name)\" can't be a topic; letters, digits, \".\", \"-\" and \"_\" can, at most \(longest) of them")
            }
            let key = map.string("key", "a text").flatMap { text in map.node("key").flatMap { template(text, $0) } }
            let partition = map.int("partition", in: 0...Int(Int32.max)).map(Int32.init)
            action = stream.map { .produce(stream: $0, key: key, partition: partition) }
        } else if let path = map.string("log", "the path of a file") {
            action = .log(file: absolute(path))
        }
        let body = map.node("body").flatMap(value)
        map.finish()
        return action.map {
            RequestTemplate(
                method: map.has("log") ? "LOG" : "PRODUCE", uri: TextTemplate(parts: []), headers: [], query: [], body: body, destination: .own($0),
                name: place)
        }
    }

    private func method(_ map: ConfigurationMap) -> String? {
        guard let node = map.node("method") else { return nil }
        if case .text(let text)? = node.scalar, Self.methods.contains(text.lowercased()) { return text.lowercased() }
        node.report("\"method\" in \(place) must be one of \(Self.methods.joined(separator: ", ")), not \(node.kind)")
        return nil
    }

    private func uri(_ map: ConfigurationMap) -> (template: TextTemplate, destination: RequestTemplate.Destination)? {
        map.reportMissing("uri", "give the URL to call, such as uri: 'http://127.0.0.1:8080/purge/{message.page_title}'")
        guard let node = map.node("uri") else { return nil }
        guard case .text(let text)? = node.scalar else {
            node.report("\"uri\" in \(place) must be a URL, not \(node.kind)")
            return nil
        }
        guard let template = template(text, node) else { return nil }
        if text.hasPrefix("/") { return (template, internalDestination(template, text, node)) }
        if let why = whyNotURL(template) { node.report("\"uri\" in \(place): bad URL \"\(text)\": \(why)") }
        return (template, .url)
    }

    /// Who answers for an internal path, as far as it stands before the first template.
    private func internalDestination(_ template: TextTemplate, _ text: String, _ node: ConfigurationNode) -> RequestTemplate.Destination {
        guard case .literal(let start)? = template.parts.first else { return .own(.unknown) }
        if let found = modules.module(for: start) {
            switch found.module {
            case .service(let base): return .service(path: found.path, base: base)
            case .purge(let service): return .own(.purge(service))
            case .partition(let partitioner): return .own(.partition(partitioner))
            }
        }
        if Modules.isUnder(start, Modules.eventsPath) { return .own(.events) }
        let example =
            switch true {
            case Modules.isUnder(start, "/sys/purge"): "modules: {/sys/purge: {host: 239.128.0.112, port: 4827}}"
            case Modules.isUnder(start, "/sys/partition"):
                "modules: {/sys/partition: {partition_stream: …, partition_key: database, partition_map: {enwiki: 0}, partition_default: 1}}"
            default: "modules: {\(Self.module(of: start)): 'http://…'}"
            }
        node.warn("\"uri\" in \(place): nobody answers for \(text); give \(example). Without it each event that gets there is a failure")
        return .own(.unknown)
    }

    /// The first two parts of an internal path.
    private static func module(of path: String) -> String { "/" + path.split(separator: "/").prefix(2).joined(separator: "/") }

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
        let pairs = pairs(map, "headers") { name, node in
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
        let literals = map.node("headers")?.entries ?? []
        for entry in literals where entry.value.scalar.map(Self.isControlling) == true {
            entry.value.report("\"\(entry.key)\" in \"headers\" in \(place) holds a control character, which no header can")
        }
        return pairs
    }

    private static func isControlling(_ scalar: ConfigurationNode.Scalar) -> Bool {
        guard case .text(let text) = scalar else { return false }
        return text.utf8.contains { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F }
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
