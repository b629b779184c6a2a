import KafkaLog

/// What a whole service file of change-propagation says that has a counterpart here.
struct ServiceFile {
    /// The rules by name.
    var rules: ConfigurationMap?
    /// The options beside them, which hold for all rules.
    var options: ConfigurationMap?
    var modules = Modules()
    var limiters: [String: [Limiters.Window]] = [:]
    var service: String?
    var datacenter: String?
    var bootstrap: String?
}

/// Reads such a file: `paths` with `x-modules`, either at the top, under `spec`, or under `services: [{conf: {spec: …}}]`. What has no
/// counterpart here is named in a warning; nothing is dropped without a word.
struct ServiceFileReader {
    /// Modules that the file's own `modules` name: they answer, whatever the service file says about their paths.
    let given: Modules

    /// Whether the file is one: it has its rules where change-propagation has them.
    static func isServiceFile(_ map: ConfigurationMap) -> Bool { !map.has("rules") && ["paths", "spec", "services"].contains(where: map.has) }

    func read(_ map: ConfigurationMap) -> ServiceFile {
        var file = ServiceFile()
        let services = map.node("services").flatMap(\.items)?.first.flatMap { ConfigurationMap($0, name: "\"services\"") }
        file.service = services?.string("name")
        _ = services?.node("module")
        let conf = services?.map("conf", name: "\"conf\" in \"services\"")
        let innerSpec = conf?.map("spec", name: "\"spec\"")
        let spec = map.map("spec", name: "\"spec\"") ?? innerSpec
        for path in (map.map("paths") ?? spec?.map("paths", name: "\"paths\""))?.allEntries ?? [] { read(path.key, path.value, into: &file) }
        // A specification that stands under two names is gone through once.
        for part in [services, conf, spec] { part?.finish() }
        if file.rules == nil { map.node.report("no rules were found: they stand as \"templates\" in the options of sys/kafka.js, under \"paths\" and \"x-modules\"") }
        return file
    }

    private func read(_ path: String, _ node: ConfigurationNode, into file: inout ServiceFile) {
        guard let map = ConfigurationMap(node, name: "\"\(path)\" in \"paths\"") else { return }
        for item in map.node("x-modules")?.items ?? [] {
            guard let module = ConfigurationMap(item, name: "\"x-modules\" of \(path)") else { continue }
            _ = module.node("type")
            let kind = module.string("path") ?? ""
            let options = module.map("options", name: "\"options\" of \(kind)")
            read(kind, path, item, options, into: &file)
            module.finish()
        }
        map.finish()
    }

    private func read(_ kind: String, _ path: String, _ node: ConfigurationNode, _ options: ConfigurationMap?, into file: inout ServiceFile) {
        switch kind.split(separator: "/").last {
        case "kafka.js": readQueue(options, into: &file)
        case "purge.js": add(options.flatMap(ModuleReader().purge), path, &file)
        case "partitioner.js":
            guard let options else { return }
            // There the stream stands among templates.
            let templates = options.map("templates", name: "\"templates\" in \(options.name)")
            add(ModuleReader().partitioner(options, stream: templates ?? options), path, &file)
            templates?.finish()
        case "rate_limiter.js": file.limiters = RuleSettingsReader.windows(options?.map("limiters"))
        case "deduplicator.js": node.warn("\(kind) is no module here; give defaults: {dedupe: [id, root]} for what it does")
        default:
            if given.module(for: path) == nil {
                node.warn("\(kind) has no counterpart here; where it runs as a service of its own, give modules: {\(path): 'http://…'}")
            }
            return
        }
        // All of its settings for the queue are read later, with the rules.
        if kind.hasSuffix("kafka.js") { return }
        options?.finish()
    }

    private func add(_ module: Modules.Module?, _ path: String, _ file: inout ServiceFile) {
        var path = path
        while path.hasSuffix("/") { path.removeLast() }
        if let module, given.module(for: path) == nil { file.modules.add(path, module) }
    }

    private func readQueue(_ options: ConfigurationMap?, into file: inout ServiceFile) {
        guard let options else { return }
        if file.rules != nil { options.node.report("\(options.name) is the second one; rules of one of them only can be read") }
        file.rules = options.map("templates", name: "\"templates\" in \(options.name)")
        file.options = options
        file.bootstrap = options.string("metadata_broker_list")
        let names = ["dc_name", "consume_dc", "produce_dc"].compactMap { options.string($0) }
        file.datacenter = names.first
        if Set(names).count > 1 { options.node.warn("\(options.name): one datacenter's topics are read and another's written; a worker writes its own datacenter's only") }
        for key in ["consumer", "producer"] where options.has(key) {
            options.ignore { $0 == key }
            options.node(key)?.warn("\(options.describe(key)) is left out; librdkafka's settings stand under datacenters: {…: {kafka: {…}}}")
        }
    }
}
