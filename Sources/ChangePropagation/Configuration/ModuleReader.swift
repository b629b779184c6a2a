/// Reads `modules`: who answers for internal paths.
struct ModuleReader {
    func read(_ map: ConfigurationMap?) -> Modules {
        var modules = Modules()
        guard let map else { return modules }
        for entry in map.allEntries {
            guard let path = path(entry.key, entry.keyNode) else { continue }
            if let module = module(path, entry.value) { modules.add(path, module) }
        }
        return modules
    }

    private func path(_ key: String, _ node: ConfigurationNode) -> String? {
        var path = key
        while path.count > 1, path.hasSuffix("/") { path.removeLast() }
        guard path.hasPrefix("/"), path.count > 1, !path.contains("{"), !path.contains("?") else {
            node.report("\"\(key)\" in \"modules\" is not an internal path; such as /sys/links would be right")
            return nil
        }
        guard path != Modules.eventsPath, path != "/sys/queue" else {
            node.report("\"\(key)\" in \"modules\": \(Modules.eventsPath) is switchback's own; remove it")
            return nil
        }
        return path
    }

    private func module(_ path: String, _ node: ConfigurationNode) -> Modules.Module? {
        if node.entries == nil {
            guard case .text(let text)? = node.scalar else {
                node.report("\"\(path)\" in \"modules\" must be a URL, or a map for a cache or a partitioner, not \(node.kind)")
                return nil
            }
            if let why = ScalarFormat.whyNotHTTP(text) {
                node.report("\"\(path)\" in \"modules\": bad URL \"\(text)\": \(why)")
                return nil
            }
            return .service(base: text.hasSuffix("/") ? String(text.dropLast()) : text)
        }
        guard let map = ConfigurationMap(node, name: "\"\(path)\" in \"modules\"") else { return nil }
        let isPartitioner = map.keys.contains { $0.hasPrefix("partition_") }
        let module = isPartitioner ? partitioner(map) : purge(map)
        map.finish()
        return module
    }

    /// A cache: `host` and `port`.
    func purge(_ map: ConfigurationMap) -> Modules.Module? {
        map.reportMissing("host", "give the cache's name or address")
        map.reportMissing("port", "give the cache's UDP port, such as port: 4827")
        let host = map.string("host")
        let port = map.int("port", in: 1...65535)
        let format = map.choice("format", HTCPFormat.allCases.map { ($0.rawValue, $0) }) ?? .squid
        guard let host, let port else { return nil }
        return .purge(PurgeService(host: host, port: port, format: format))
    }

    /// `partition_stream`, `partition_key`, `partition_map`, `partition_default`.
    ///
    /// - Parameter streamMap: where `partition_stream` stands; nil: beside the others.
    func partitioner(_ map: ConfigurationMap, stream streamMap: ConfigurationMap? = nil) -> Modules.Module? {
        let streamMap = streamMap ?? map
        streamMap.reportMissing("partition_stream", "name the stream that the events go to")
        map.reportMissing("partition_key", "name the field that decides, such as partition_key: database")
        map.reportMissing("partition_map", "give the partitions of the field's values, such as partition_map: {enwiki: 0}")
        map.reportMissing("partition_default", "give the partition of all other values")
        let stream = stream(streamMap)
        let key = map.string("partition_key").flatMap { text -> FieldPath? in
            if let path = IdentityPath(text)?.path { return path }
            map.node("partition_key")?.report("\(map.describe("partition_key")): \"\(text)\" is not a field's path, such as meta.domain")
            return nil
        }
        let numbers = 0...Int(Int32.max)
        var partitions: [String: Int32] = [:]
        if let inner = map.map("partition_map") {
            for entry in inner.allEntries { partitions[entry.key] = inner.int(entry.key, in: numbers).map(Int32.init) }
        }
        guard let stream, let key, let otherwise = map.int("partition_default", in: numbers) else { return nil }
        return .partition(Partitioner(stream: stream, key: key, map: partitions, otherwise: Int32(otherwise)))
    }

    private func stream(_ map: ConfigurationMap) -> TextTemplate? {
        guard let text = map.string("partition_stream"), let node = map.node("partition_stream") else { return nil }
        do {
            let template = try TextTemplate(text)
            if let name = template.literal, StreamReader.whyNotStream(name, []) != nil {
                node.report("\(map.describe("partition_stream")): \"\(name)\" can't be a topic; letters, digits, \".\", \"-\" and \"_\" can")
            }
            return template
        } catch {
            node.report("\(map.describe("partition_stream")): \(error.message)")
            return nil
        }
    }
}
