import Foundation
import KafkaLog
import Logging

extension WorkerConfiguration {
    /// What a file is read for.
    public enum Purpose: Sendable {
        /// To work by it.
        case work
        /// To look at its rules: a service file of change-propagation needs neither a store nor datacenters then.
        case rules
    }

    /// Reads and checks `path`. Nothing else is touched: no connection, no other file.
    ///
    /// - Parameters:
    ///   - purpose: for `rules`, `store`, `datacenter` and `datacenters` of a service file may be made up; a warning says so.
    ///   - environment: what `{env(NAME)}` is replaced by.
    /// - Throws: `ConfigurationError` with everything that is wrong.
    public static func load(
        path: String, for purpose: Purpose = .work, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(ConfigurationError) -> WorkerConfiguration {
        let data: Data
        do {
            data = try Data(contentsOf: URL(filePath: path))
        } catch {
            var isFolder: ObjCBool = false
            let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
            let why = !exists ? "there is no such file" : isFolder.boolValue ? "this is a folder; a file would be right" : "the file can't be read: \(error.localizedDescription)"
            throw ConfigurationError(file: path.isEmpty ? "''" : path, message: why)
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw ConfigurationError(file: path, message: "the file is not UTF-8 text")
        }
        return try parse(text, file: path, for: purpose, environment: environment)
    }

    /// The same for a text that was read already.
    ///
    /// - Parameters:
    ///   - file: its name, for messages; relative paths in it are meant from its folder.
    ///   - environment: what `{env(NAME)}` is replaced by.
    public static func parse(
        _ text: String, file: String, for purpose: Purpose = .work, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(ConfigurationError) -> WorkerConfiguration {
        let root = try YAMLDocument.parse(text, file: file, environment: environment)
        let configuration = WorkerConfigurationReader(root: root, file: file, purpose: purpose).read()
        try root.document.finish()
        guard var configuration else {
            throw ConfigurationError(file: file, message: "the file could not be understood")
        }
        configuration.warnings = root.document.warnings.sorted { ($0.line, $0.column) < ($1.line, $1.column) }
        return configuration
    }
}

private struct WorkerConfigurationReader {
    let root: ConfigurationNode
    let file: String
    let purpose: WorkerConfiguration.Purpose

    private var folder: URL { URL(filePath: file).deletingLastPathComponent() }

    private func absolute(_ path: String) -> String {
        URL(filePath: path, relativeTo: folder).absoluteURL.standardizedFileURL.path(percentEncoded: false)
    }

    /// nil after a report.
    func read() -> WorkerConfiguration? {
        guard let map = ConfigurationMap(root, name: "") else { return nil }
        map.ignore { $0.hasPrefix("x-") }
        var modules = ModuleReader().read(map.map("modules"))
        let foreign = foreign(map, &modules)
        let service = service(map, foreign)
        let datacenters = datacenters(map, foreign)
        let datacenter = datacenter(map, among: datacenters.keys.sorted(), foreign)
        let store = store(map, foreign)
        let claims = claims(map)
        let limiters = (foreign?.limiters ?? [:]).merging(RuleSettingsReader.windows(map.map("limiters"))) { $1 }
        var reader = RuleReader(service: service, datacenters: datacenters.keys.sorted(), modules: modules, absolute: absolute)
        let checkpoints = checkpoints(map.map("checkpoints"))
        let lease = map.duration("lease", in: .seconds(1)...(.seconds(600))) ?? .seconds(5)
        let sessionTimeout = map.duration("session_timeout", in: .seconds(1)...(.seconds(1800))) ?? .seconds(10)
        reader.limiterTypes = Set(limiters.keys)
        reader.longestRewind = checkpoints.longestRewind(lease: lease, sessionTimeout: sessionTimeout)
        if let options = foreign?.options {
            reader.defaults = RuleSettingsReader(limiterTypes: reader.limiterTypes).read(options, over: reader.defaults)
            options.finish()
        }
        if let inner = map.map("defaults") {
            reader.defaults = RuleSettingsReader(limiterTypes: reader.limiterTypes).read(inner, over: reader.defaults)
            inner.finish()
        }
        let rules = rules(map, foreign, reader)
        let http = http(map.map("http"))
        let identity = identity(map)
        let dedupeWindow = map.int("dedupe_window", in: 0...1_048_576) ?? 1024
        let instance = instance(map)
        let standby = map.bool("standby") ?? true
        let drainTimeout = map.duration("drain_timeout", in: .zero...(.seconds(3600))) ?? .seconds(25)
        let heartbeat = map.duration("heartbeat", in: .milliseconds(100)...(.seconds(3600)))
        let listen = listen(map)
        let readyLag = map.duration("ready_lag", in: .seconds(1)...(.seconds(7 * 86_400))) ?? .seconds(300)
        let logLevel = map.choice("log_level", Logger.Level.allCases.map { ($0.rawValue, $0) }) ?? .info
        map.finish()
        guard let service, let datacenter, let store else { return nil }
        var configuration = WorkerConfiguration(
            service: service, datacenter: datacenter, datacenters: datacenters, store: store, lease: lease, checkpoints: checkpoints,
            identity: identity, dedupeWindow: dedupeWindow, instance: instance, sessionTimeout: sessionTimeout,
            standby: standby, drainTimeout: drainTimeout, heartbeat: heartbeat, listen: listen, readyLag: readyLag, logLevel: logLevel, http: http, rules: rules)
        configuration.limiters = limiters
        configuration.claims = claims
        return configuration
    }

    /// What a service file of change-propagation says; nil: the file is none. Its modules are added to `modules`.
    private func foreign(_ map: ConfigurationMap, _ modules: inout Modules) -> ServiceFile? {
        guard ServiceFileReader.isServiceFile(map) else {
            map.notSupportedYet(["paths", "spec", "services", "templates"])
            return nil
        }
        root.document.isForeign = true
        let found = ServiceFileReader(given: modules).read(map)
        for entry in found.modules.entries { modules.add(entry.path, entry.module) }
        return found
    }

    private func service(_ map: ConfigurationMap, _ foreign: ServiceFile?) -> String? {
        if let foreign, !map.has("service") { return foreign.service.flatMap { RuleReader.isName($0) ? $0 : nil } ?? "changeprop" }
        map.reportMissing("service", "name the service, such as service: purger")
        guard let service = map.string("service") else { return nil }
        if !RuleReader.isName(service) {
            map.node("service")?.report("\"service\" is made of letters, digits, \"-\", \"_\" and \".\", at most 100 of them; \"\(service)\" is not")
        }
        return service
    }

    private func listen(_ map: ConfigurationMap) -> WorkerConfiguration.ListenAddress? {
        guard let text = map.string("listen", "host:port such as 127.0.0.1:9102") else { return nil }
        guard let (host, port) = ScalarFormat.hostAndPort(text) else {
            map.node("listen")?.report("\"listen\" must be host:port such as 127.0.0.1:9102, not \"\(text)\"")
            return nil
        }
        return .init(host: host, port: port)
    }

    private func instance(_ map: ConfigurationMap) -> String? {
        guard let instance = map.string("instance") else { return nil }
        if !RuleReader.isName(instance) {
            map.node("instance")?.report("\"instance\" is made of letters, digits, \"-\", \"_\" and \".\", at most 100 of them; \"\(instance)\" is not")
        }
        return instance
    }

    // MARK: Datacenters

    private func datacenters(_ map: ConfigurationMap, _ foreign: ServiceFile?) -> [Datacenter: WorkerConfiguration.ClusterSettings] {
        if let foreign, !map.has("datacenters") {
            let bootstrap = foreign.bootstrap ?? ""
            if let datacenter = foreign.datacenter.flatMap(Datacenter.init), !bootstrap.isEmpty { return [datacenter: .init(bootstrap: bootstrap)] }
            if purpose == .rules, let made = Datacenter("local") {
                map.node.warn("a worker needs \"datacenters\", which this file does not say in full; topics are shown as of a datacenter \"local\"")
                return [made: .init(bootstrap: bootstrap)]
            }
        }
        map.reportMissing("datacenters", "list all datacenters with their clusters, such as datacenters: {eqiad: {bootstrap: \"kafka1:9092\"}}")
        guard let inner = map.map("datacenters") else { return [:] }
        var found: [Datacenter: WorkerConfiguration.ClusterSettings] = [:]
        if inner.allEntries.isEmpty { inner.node.report("\"datacenters\" is empty; list all datacenters with their clusters") }
        for entry in inner.allEntries {
            guard let datacenter = Datacenter(entry.key) else {
                entry.keyNode.report("a datacenter's name is made of lower-case letters, digits and \"-\", at most 63 of them; \"\(entry.key)\" is not")
                continue
            }
            // An entry with a mistake in it still counts as a datacenter, so that one mistake does not bring up others.
            found[datacenter] = WorkerConfiguration.ClusterSettings(bootstrap: "")
            if let settings = ConfigurationMap(entry.value, name: "datacenter \"\(datacenter)\"") { found[datacenter] = cluster(settings) }
        }
        return found
    }

    private func cluster(_ map: ConfigurationMap) -> WorkerConfiguration.ClusterSettings {
        map.reportMissing("bootstrap", "give its brokers, such as bootstrap: \"kafka1:9092,kafka2:9092\"")
        let bootstrap = (map.strings("bootstrap", "brokers such as \"kafka1:9092,kafka2:9092\"") ?? []).map { text, node in
            for broker in text.split(separator: ",", omittingEmptySubsequences: false) {
                let trimmed = broker.drop { $0 == " " }
                if ScalarFormat.hostAndPort(trimmed) == nil {
                    node.report("\(map.describe("bootstrap")): \"\(trimmed)\" is not host:port with a port from 1 to 65535")
                }
            }
            return text.replacing(" ", with: "")
        }
        let kafka = map.map("kafka", name: "\"kafka\" of \(map.name)").map(kafkaSettings) ?? [:]
        map.finish()
        return WorkerConfiguration.ClusterSettings(bootstrap: bootstrap.joined(separator: ","), kafka: kafka)
    }

    /// librdkafka settings that would break what the worker promises, and where to say what they are meant for.
    private static let reserved = [
        "bootstrap.servers": "use \"bootstrap\"", "metadata.broker.list": "use \"bootstrap\"",
        "group.id": "use the rule's \"group\"", "group.instance.id": "use \"instance\"",
        "session.timeout.ms": "use \"session_timeout\"", "auto.offset.reset": "a position that is gone is never skipped silently",
        "enable.auto.commit": "use \"checkpoints\": {\"commit_interval\"}", "auto.commit.interval.ms": "use \"checkpoints\": {\"commit_interval\"}",
        "enable.auto.offset.store": "positions move only over finished records", "enable.partition.eof": "it must stay off",
        "partition.assignment.strategy": "it is always cooperative-sticky",
    ]

    private func kafkaSettings(_ map: ConfigurationMap) -> [String: String] {
        var settings: [String: String] = [:]
        for entry in map.allEntries {
            if let instead = Self.reserved[entry.key] {
                entry.keyNode.report("\"\(entry.key)\" in \(map.name) is set by switchback itself; \(instead)")
                continue
            }
            guard let text = entry.value.json()?.plainText, entry.value.scalar != nil, !entry.value.isNull else {
                entry.value.report("\"\(entry.key)\" in \(map.name) must be a single value, not \(entry.value.kind)")
                continue
            }
            if let problem = KafkaClientConfiguration.problem(setting: entry.key, value: text) {
                entry.value.report("\"\(entry.key)\" in \(map.name): \(problem)")
                continue
            }
            settings[entry.key] = text
        }
        return settings
    }

    private func datacenter(_ map: ConfigurationMap, among known: [Datacenter], _ foreign: ServiceFile?) -> Datacenter? {
        if let foreign, !map.has("datacenter") {
            let named = foreign.datacenter.flatMap(Datacenter.init)
            if let named, known.contains(named) { return named }
            if purpose == .rules { return known.first }
        }
        map.reportMissing("datacenter", "name the datacenter in which this worker runs")
        guard let name = map.string("datacenter"), let node = map.node("datacenter") else { return nil }
        // With no list there is one mistake, and it is reported there.
        if known.isEmpty { return Datacenter(name) }
        return RuleReader.datacenter(name, node, among: known, place: "\"datacenter\"")
    }

    // MARK: Store

    private func store(_ map: ConfigurationMap, _ foreign: ServiceFile?) -> WorkerConfiguration.StoreSettings? {
        if foreign != nil, purpose == .rules, !map.has("store") {
            map.node.warn("a worker needs \"store\": where checkpoints and assignments are kept")
            return .sqlite(path: absolute("switchback.sqlite"))
        }
        map.reportMissing("store", "give store: {sqlite: FILE}, or store: {etcd: {endpoints: [URL, …]}}")
        guard let inner = map.map("store") else { return nil }
        if inner.has("sqlite") == inner.has("etcd"), inner.keys.allSatisfy({ ["sqlite", "etcd"].contains($0) }) {
            inner.node.report("\"store\" must have one of sqlite and etcd")
        }
        let path = inner.string("sqlite", "the path of a file")
        let etcd = inner.map("etcd", name: "\"etcd\" in \"store\"").map(etcd)
        inner.finish()
        if let path { return .sqlite(path: absolute(path)) }
        return etcd.map { .etcd($0) }
    }

    /// nil: in the store.
    private func claims(_ map: ConfigurationMap) -> WorkerConfiguration.RedisSettings? {
        guard let outer = map.map("claims") else { return nil }
        outer.reportMissing("redis", "give claims: {redis: {address: \"127.0.0.1:6379\"}}, or leave \"claims\" out to keep claims in the store")
        let inner = outer.map("redis", name: "\"redis\" in \"claims\"")
        outer.finish()
        guard let inner else { return nil }
        inner.reportMissing("address", "give address: \"127.0.0.1:6379\"")
        let address = inner.string("address", "a host and a port such as 127.0.0.1:6379")
        let place = address.flatMap { ScalarFormat.hostAndPort($0) }
        if let address, place == nil {
            inner.node("address")?.report("\(inner.describe("address")) is \"\(address)\"; a host and a port such as 127.0.0.1:6379 would be right")
        }
        if inner.has("password") {
            inner.node.report(
                "\(inner.describe("password")): passwords don't stand in this file; write it into a file of its own and give \"password_file\"")
            inner.ignore { $0 == "password" }
        }
        let username = inner.string("username")
        let passwordFile = inner.string("password_file", "the path of a file").map(absolute)
        if username != nil, passwordFile == nil { inner.node("username")?.report("\(inner.describe("username")) needs \"password_file\" beside it") }
        let database = inner.int("database", in: 0...65_535) ?? 0
        let prefix = inner.string("prefix") ?? "switchback"
        if prefix.isEmpty || prefix.contains(where: { "{}".contains($0) }) {
            inner.node("prefix")?.report("\(inner.describe("prefix")) must be a text without braces, such as switchback")
        }
        let timeout = inner.duration("timeout", in: .milliseconds(10)...(.seconds(60))) ?? .seconds(2)
        inner.finish()
        guard let place else { return nil }
        return WorkerConfiguration.RedisSettings(
            host: place.host.hasPrefix("[") ? String(place.host.dropFirst().dropLast()) : place.host, port: place.port, username: username,
            passwordFile: passwordFile, database: database, prefix: prefix, timeout: timeout)
    }

    private func etcd(_ map: ConfigurationMap) -> WorkerConfiguration.EtcdSettings {
        map.reportMissing("endpoints", "give endpoints: [http://127.0.0.1:2379]")
        let endpoints = map.urls("endpoints") ?? []
        let schemes = Set(endpoints.map { $0.lowercased().hasPrefix("https://") })
        if schemes.count > 1 { map.node("endpoints")?.report("\(map.describe("endpoints")) must be all http or all https") }
        var prefix = map.string("prefix") ?? "/switchback"
        if !prefix.hasPrefix("/") { prefix = "/" + prefix }
        while prefix.hasSuffix("/") { prefix.removeLast() }
        let username = map.string("username")
        let passwordFile = map.string("password_file", "the path of a file")
        let certFile = map.string("cert_file", "the path of a file")
        let keyFile = map.string("key_file", "the path of a file")
        for (one, other) in [("username", "password_file"), ("password_file", "username"), ("cert_file", "key_file"), ("key_file", "cert_file")]
        where map.has(one) && !map.has(other) {
            map.node(one)?.report("\(map.describe(one)) needs \"\(other)\" beside it")
        }
        if map.has("password") {
            map.node.report(
                "\(map.describe("password")): passwords don't stand in this file; write it into a file of its own and give \"password_file\"")
            map.ignore { $0 == "password" }
        }
        let settings = WorkerConfiguration.EtcdSettings(
            endpoints: endpoints, prefix: prefix, username: username, passwordFile: passwordFile.map(absolute),
            caFile: map.string("ca_file", "the path of a file").map(absolute), certFile: certFile.map(absolute), keyFile: keyFile.map(absolute),
            timeout: map.duration("timeout", in: .milliseconds(10)...(.seconds(60))) ?? .seconds(2))
        map.finish()
        return settings
    }

    // MARK: The rest

    private func checkpoints(_ map: ConfigurationMap?) -> WorkerConfiguration.CheckpointSettings {
        let often = Duration.milliseconds(50)...(.seconds(600))
        let hour = Duration.zero...(.seconds(3600))
        let settings = WorkerConfiguration.CheckpointSettings(
            interval: map?.duration("interval", in: often) ?? .seconds(1),
            commitInterval: map?.duration("commit_interval", in: often) ?? .milliseconds(500),
            slack: map?.duration("slack", in: hour) ?? .seconds(1),
            hold: map?.duration("hold", in: hour) ?? .seconds(30),
            tail: map?.int("tail", in: 1...256) ?? 16,
            maxBeyond: map?.int("max_beyond", in: 1...4096) ?? 96)
        map?.finish()
        return settings
    }

    private func http(_ map: ConfigurationMap?) -> WorkerConfiguration.HTTPSettings {
        let defaults = WorkerConfiguration.HTTPSettings()
        let hour = Duration.milliseconds(1)...(.seconds(3600))
        let settings = WorkerConfiguration.HTTPSettings(
            connectTimeout: map?.duration("connect_timeout", in: .milliseconds(1)...(.seconds(300))) ?? defaults.connectTimeout,
            idleTimeout: map?.duration("idle_timeout", in: hour) ?? defaults.idleTimeout,
            connectionMaxAge: map?.duration("connection_max_age", in: .seconds(1)...(.seconds(3600))) ?? defaults.connectionMaxAge,
            responseLimit: map?.size("response_limit", in: 0...(1 << 30)) ?? defaults.responseLimit)
        map?.finish()
        return settings
    }

    private func identity(_ map: ConfigurationMap) -> EventIdentity {
        guard let text = map.string("identity", "record, header:NAME or json:PATH"), let node = map.node("identity") else { return .record }
        if text == "record" { return .record }
        if text.hasPrefix("header:"), text.utf8.count > 7 { return .header(String(text.dropFirst(7))) }
        if text.hasPrefix("json:"), let path = IdentityPath(String(text.dropFirst(5))) { return .json(path) }
        node.report("\"identity\" must be record, header:NAME or json:PATH such as json:meta.id, not \"\(text)\"")
        return .record
    }

    private func rules(_ map: ConfigurationMap, _ foreign: ServiceFile?, _ reader: RuleReader) -> [Rule] {
        if foreign == nil { map.reportMissing("rules", "give at least one, such as rules: {purge: {topic: mediawiki.page_change, exec: {…}}}") }
        guard let inner = foreign == nil ? map.map("rules") : foreign?.rules else { return [] }
        if inner.allEntries.isEmpty { inner.node.report("\"\(foreign == nil ? "rules" : "templates")\" is empty; give at least one rule") }
        var rules: [Rule] = []
        for entry in inner.allEntries {
            guard let rule = reader.read(entry.key, entry.keyNode, entry.value) else { continue }
            for (reader, other) in rules.flatMap({ [($0, rule), (rule, $0)] })
            where reader.usesRetryTopics && other.group == RetryTopics.kafkaGroup(of: reader.group) {
                entry.keyNode.report(
                    "the group \"\(other.group)\" of rule \"\(other.name)\" is the one that reads the retries of rule \"\(reader.name)\"; give one of them "
                        + "another \"group\"")
            }
            rules.append(rule)
        }
        return rules
    }
}
