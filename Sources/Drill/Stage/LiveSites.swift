import ChangePropagation
import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Logging
import Synchronization

/// Real clusters and the real store, with canary topics, a canary group and workers of the drill's own. What others have there is not touched.
final class LiveSites: DrillSites {
    let store: any SharedStore
    let key: AssignmentKey
    let target: Datacenter
    let topic: String
    private let setting: DrillSetting
    private let configuration: WorkerConfiguration
    private let executable: String
    private let directory: URL
    private let sink: Sink
    private let processes = Mutex<[Datacenter: LeashedProcess]>([:])

    /// Streams of this beginning are never matched by a rule's expression (Docs/Configuration.md).
    static let stream = "switchback.drill.canary"
    static let service = "switchback.drill"
    static let group = "switchback.drill-canary"
    /// How long canaries are kept, in milliseconds: a day.
    private static let retention = "86400000"

    private static let timeout = Duration.seconds(10)

    /// Opens the store and starts the target, nothing else.
    init(
        _ setting: DrillSetting, _ configuration: WorkerConfiguration, executable: String, directory: URL,
        work: @escaping @Sendable (String, Datacenter) async throws -> Void
    ) async throws {
        guard let origin = Datacenter(setting.origin), let target = Datacenter(setting.target) else {
            throw DrillFailure("the journal names no datacenters", code: 2)
        }
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        (self.setting, self.configuration, self.executable, self.directory, self.target) = (setting, configuration, executable, directory, target)
        key = AssignmentKey(group: setting.group, origin: origin)
        topic = OriginTopic(origin: origin, stream: Self.stream).topic
        sink = try await Sink(seed: setting.seed, work: work) { _, _ in }
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        store = PatientStore(try await configuration.store.configuration().open(logger: logger), patience: .ofDrills, logger: logger)
    }

    func client(_ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration {
        LiveClients.client(configuration, datacenter, name)
    }

    // MARK: Processes

    func begin(isNew: Bool, homeIsUp: Bool) async throws {
        try await takeLock()
        if isNew { try await makeTopic() }
        for datacenter in homeIsUp ? [key.origin, target] : [target] { try startWorker(datacenter) }
        try await wait("the canaries' workers to report") { [self] in
            let found = try await AssignmentStore(store).load(group: key.group)
            return found[key.origin]?.assignment.partitions[topic] == setting.plan.load.partitions
        }
    }

    private func makeTopic() async throws {
        // Else a cluster that is down looks like a mirror that brings nothing, and only after long patience.
        for datacenter in [key.origin, target] {
            let admin = try KafkaAdmin(client(datacenter, "admin"))
            do { try await admin.clusterID(timeout: Self.timeout) } catch {
                await admin.close()
                throw DrillFailure("\(datacenter)'s cluster can't be asked: \(error)")
            }
            await admin.close()
        }
        let admin = try KafkaAdmin(client(key.origin, "admin"))
        let count = Int(setting.plan.load.partitions)
        let present = try await admin.metadata(.all, timeout: Self.timeout).topics.first { $0.name == topic && $0.failure == nil }?.partitions.count
        if let present, present != count {
            await admin.close()
            throw DrillFailure("the canary topic \(topic) of an earlier drill has \(present) partitions, not \(count): say 'load: {partitions: \(present)}' in the plan, or delete the topic in both clusters")
        }
        if present == nil {
            let topic = NewTopic(topic, partitions: setting.plan.load.partitions, settings: ["retention.ms": Self.retention])
            let made = try await admin.createTopics([topic], timeout: Self.timeout)
            do { for result in made.values { try result.get() } } catch {
                await admin.close()
                throw DrillFailure("the canary topic \(topic.name) can't be made in \(key.origin): \(error); let this user create topics")
            }
        }
        await admin.close()
        let mirrored = try KafkaAdmin(client(target, "admin"))
        defer { Task { await mirrored.close() } }
        try await wait("the mirror to make \(topic) in \(target); does it carry '\(key.origin).*', and how often does it look for new topics?") { [topic, setting] in
            try await mirrored.metadata(.all, timeout: Self.timeout).topics.first { $0.name == topic }?.partitions.count
                == Int(setting.plan.load.partitions)
        }
    }

    private func startWorker(_ datacenter: Datacenter) throws {
        let file = directory.appending(path: "\(datacenter)-worker.yaml")
        let text = LiveClients.worker(configuration, datacenter, setting, sink: sink.port)
        try Data(text.utf8).write(to: file)
        let process = try LeashedProcess(
            "\(datacenter)'s canary worker", executable, ["worker", "--config", file.path], log: directory.appending(path: "\(datacenter)-worker.log"))
        processes.withLock { $0[datacenter] = process }
    }

    private func wait(_ what: String, _ condition: @escaping @Sendable () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(setting.plan.times.patience)
        while true {
            if (try? await condition()) == true { return }
            try check()
            guard ContinuousClock.now < deadline else { throw DrillFailure("waited \(DrillWords.seconds(setting.plan.times.patience)) for \(what)") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    func cutOff() async throws { processes.withLock { $0.removeValue(forKey: key.origin) }?.kill() }
    func bringBack() async throws { try startWorker(key.origin) }
    func freezeWorker() { processes.withLock { $0[key.origin] }?.freeze() }
    func thawWorker() { processes.withLock { $0[key.origin] }?.thaw() }
    func freezeMirror() {}
    func thawMirror() {}
    func killStoreLeader() async throws -> String { throw DrillFailure("a live drill does not touch the store's members", code: 2) }
    func restoreStore() async throws {}

    func check() throws {
        for (datacenter, process) in processes.withLock({ $0 }) where !process.isRunning {
            throw DrillFailure("\(datacenter)'s canary worker ended by itself; its log, \(process.log.path), ends with: \(process.lastWords(3))")
        }
    }

    func end() async {
        let running = processes.withLock { running in
            defer { running = [:] }
            return Array(running.values)
        }
        for process in running { process.terminate() }
        let deadline = ContinuousClock.now + .seconds(8)
        while running.contains(where: \.isRunning), ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(50)) }
        for process in running { process.kill() }
        await sink.stop()
    }

    /// Lets the next drill begin. The canary topics and the canary group stay for it: a mirror may take minutes to notice a new topic.
    func cleanUp() async throws {
        let stored = try await store.get(Self.lock)
        if let stored, stored.bytes == Array(setting.id.utf8) {
            _ = try await store.commit(StoreTransaction(expected: [Self.lock: stored.revision], writes: [Self.lock: .delete]))
        }
        await store.close()
    }

    private static let lock = StoreKey("drills", group)

    /// One drill at a time uses the canaries of a store.
    private func takeLock() async throws {
        let own = Array(setting.id.utf8)
        if let stored = try await store.get(Self.lock) {
            guard stored.bytes == own else {
                throw DrillFailure(
                    "drill \(String(decoding: stored.bytes, as: UTF8.self)) uses the canaries of this store; end it there with 'switchback drill resume' or 'switchback drill abort'", code: 2)
            }
            return
        }
        if case .conflict = try await store.commit(StoreTransaction(expected: [Self.lock: 0], writes: [Self.lock: .put(own)])) {
            throw DrillFailure("another drill has just begun to use the canaries of this store; wait for its end", code: 2)
        }
    }
}

/// What a live drill takes from worker.yaml.
enum LiveClients {
    static func client(_ configuration: WorkerConfiguration, _ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration {
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        let cluster = configuration.datacenters[datacenter]
        let servers = (cluster?.bootstrap ?? "").split(separator: ",").map { String($0.filter { !$0.isWhitespace }) }
        return KafkaClientConfiguration(
            bootstrapServers: servers, clientID: "switchback-drill-\(name)", settings: cluster?.kafka ?? [:], logger: logger)
    }

    private static func quoted(_ text: String) -> String { "'\(text.replacing("'", with: "''"))'" }
    private static func milliseconds(_ duration: Duration) -> String { "\(max(1, Int(duration / .milliseconds(1))))ms" }

    /// The worker.yaml of a canary worker: clusters, store and times as the real one has them, a service and a rule of its own.
    static func worker(_ configuration: WorkerConfiguration, _ datacenter: Datacenter, _ setting: DrillSetting, sink: Int) -> String {
        var lines = ["service: \(LiveSites.service)", "datacenter: \(datacenter)", "datacenters:"]
        for (name, cluster) in configuration.datacenters.sorted(by: { $0.key < $1.key }) {
            lines += ["  \(name):", "    bootstrap: \(quoted(cluster.bootstrap))"]
            if !cluster.kafka.isEmpty {
                lines.append("    kafka:")
                lines += cluster.kafka.sorted { $0.key < $1.key }.map { "      \($0.key): \(quoted($0.value))" }
            }
        }
        lines.append("store:")
        switch configuration.store {
        case .sqlite(let path): lines.append("  sqlite: \(quoted(path))")
        case .etcd(let etcd):
            lines += ["  etcd:", "    endpoints: [\(etcd.endpoints.map(quoted).joined(separator: ", "))]", "    prefix: \(quoted(etcd.prefix))"]
            let options = [
                ("username", etcd.username), ("password_file", etcd.passwordFile), ("ca_file", etcd.caFile), ("cert_file", etcd.certFile),
                ("key_file", etcd.keyFile),
            ]
            for (name, value) in options { if let value { lines.append("    \(name): \(quoted(value))") } }
            lines.append("    timeout: \(milliseconds(etcd.timeout))")
        }
        let checkpoints = configuration.checkpoints
        lines += [
            "identity: json:meta.id", "lease: \(milliseconds(configuration.lease))", "session_timeout: \(milliseconds(configuration.sessionTimeout))",
            "drain_timeout: 5s",
            "checkpoints: {interval: \(milliseconds(checkpoints.interval)), commit_interval: \(milliseconds(checkpoints.commitInterval)), hold: \(milliseconds(checkpoints.hold))}",
            "rules:", "  canary:", "    topic: \(LiveSites.stream)", "    group: \(setting.group)", "    origins: \(setting.origin)",
        ]
        lines += DrillRule.lines.map { "    " + $0 }
        lines += ["    exec:", "      method: post", "      uri: 'http://127.0.0.1:\(sink)/propagate/\(datacenter)/{message.meta.id}'", ""]
        return lines.joined(separator: "\n")
    }
}
