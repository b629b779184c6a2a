import ChangePropagation
import Checkpoints
import Foundation
import KafkaLog
import LocalKafka
import Logging
import Synchronization
import TestSupport

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

@testable import Demo

/// One datacenter for one test: a broker in this process, workers as processes of their own with one rule, and a target that answers as the
/// test says. Ended whatever comes of it.
final class RuleStage: Sendable {
    static let service = "faults", rule = "calls", stream = "s", group = "faults-calls"
    static let topic = "eqiad.s", retryTopic = "eqiad.faults.retry.s", errorTopic = "eqiad.faults.error"

    /// What a worker's file says beside what every one says.
    struct Settings: Sendable {
        var partitions: Int32 = 1
        /// Lines of the rule.
        var rule = ["retry_limit: 2", "retry_delay: 200ms", "retry_factor: 1", "timeout: 20s"]
        /// Lines of the rule's `exec`. TARGET stands for the target's URL, WORKER for the worker's name.
        var exec = ["uri: 'TARGET/{message.meta.id}'", "headers: {x-worker: WORKER}"]
        /// Ports of the etcd that is the store; empty: SQLite.
        var etcd: [Int] = []
        /// Port of the Redis that has the claims; nil: the store has them.
        var redis: Int?
        /// Whether the target takes connections from the start.
        var isTargetUp = true
    }

    let cluster: LocalKafkaCluster
    let target: RuleTarget
    let store: any SharedStore
    let settings: Settings
    private let directory: TemporaryDirectory
    private let workers = Mutex<[String: (process: LeashedProcess, port: Int)]>([:])
    private let produced = Mutex<[String: Place]>([:])

    /// Where an event stands in the stream.
    struct Place: Hashable, Sendable {
        var partition: Int32
        var offset: Int64
    }

    private init(_ settings: Settings, _ answer: @escaping RuleTarget.Answer) async throws {
        self.settings = settings
        directory = try TemporaryDirectory()
        var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory.file("kafka"), brokers: try ownAddresses())
        configuration.logger = Self.quiet
        target = try RuleTarget(isUp: settings.isTargetUp, answer)
        let address = settings.etcd.isEmpty
            ? "sqlite:\(directory.file("store.db").path)"
            : "etcd://\(settings.etcd.map { "127.0.0.1:\($0)" }.joined(separator: ","))/switchback/"
        store = try await StoreConfiguration(parsing: address).open(logger: Self.quiet)
        cluster = try await LocalKafkaCluster.start(configuration)
        try cluster.createTopic(Self.topic, partitions: settings.partitions)
    }

    static let quiet: Logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }()

    /// - Parameter answer: what the target answers to a call.
    static func run(
        _ settings: Settings = Settings(), answer: @escaping RuleTarget.Answer = { _ in .status(200) }, _ body: (RuleStage) async throws -> Void
    ) async throws {
        let stage = try await RuleStage(settings, answer)
        var failure: (any Error)?
        do { try await body(stage) } catch {
            failure = error
            for name in stage.workers.withLock({ $0.keys.sorted() }) {
                print("worker \(name) ended its log with:\n" + stage.log(of: name).split(separator: "\n").suffix(25).joined(separator: "\n"))
            }
        }
        for worker in stage.workers.withLock({ $0.values.map(\.process) }) { worker.kill() }
        stage.target.server.stop()
        await stage.store.close()
        await stage.cluster.stop()
        stage.directory.remove()
        if let failure { throw failure }
    }

    // MARK: Workers

    /// Starts a worker, anew when there was one of this name.
    func start(_ name: String = "a", dyingAt point: String? = nil) throws {
        let port = try workers.withLock { $0[name]?.port } ?? freePort()
        let file = configuration(of: name)
        try Data(text(name, port).utf8).write(to: file)
        let process = try LeashedProcess(
            name, try Executable.switchback(), ["worker", "--config", file.path], log: logFile(of: name),
            environment: point.map { ["SWITCHBACK_CRASH_AT": $0] } ?? [:], launch: { try TestSupport.launch($0) })
        workers.withLock { $0[name] = (process, port) }
    }

    func configuration(of name: String) -> URL { directory.file("\(name).yaml") }

    /// The file of a worker. Its rule's lines may be others than the settings'.
    func text(_ name: String, _ port: Int? = nil, rule: [String]? = nil) -> String {
        let port = port ?? workers.withLock { $0[name]?.port } ?? 0
        let exec = settings.exec.map { $0.replacing("TARGET", with: target.server.url).replacing("WORKER", with: name) }
        let storeLine = settings.etcd.isEmpty
            ? "sqlite: store.db" : "etcd: {endpoints: [\(settings.etcd.map { "\"http://127.0.0.1:\($0)\"" }.joined(separator: ", "))]}"
        return """
            service: \(Self.service)
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "\(cluster.bootstrapServers)", kafka: {delivery.timeout.ms: 2000, reconnect.backoff.max.ms: 500}}}
            store: {\(storeLine)}
            \(settings.redis.map { "claims: {redis: {address: \"127.0.0.1:\($0)\", timeout: 500ms}}" } ?? "x-claims: none")
            identity: json:meta.id
            instance: \(name)
            lease: 3s
            session_timeout: 6s
            drain_timeout: 10s
            listen: 127.0.0.1:\(port)
            checkpoints: {interval: 100ms, commit_interval: 100ms}
            rules:
              \(Self.rule):
                topic: \(Self.stream)
                \((rule ?? settings.rule).joined(separator: "\n    "))
                exec:
                  \(exec.joined(separator: "\n      "))

            """
    }

    private func logFile(of name: String) -> URL { directory.file("\(name).log") }
    func log(of name: String = "a") -> String { (try? String(contentsOf: logFile(of: name), encoding: .utf8)) ?? "" }
    private func process(_ name: String) -> LeashedProcess? { workers.withLock { $0[name]?.process } }

    /// SIGKILL, and the worker is gone.
    func kill(_ name: String = "a") async throws {
        process(name)?.kill()
        try await waitForEnd(name)
    }

    /// SIGTERM; returns when it has ended.
    func end(_ name: String = "a") async throws {
        process(name)?.terminate()
        try await waitForEnd(name)
    }

    func hangUp(_ name: String = "a") { process(name)?.hangUp() }

    func isRunning(_ name: String = "a") -> Bool { process(name)?.isRunning == true }

    func waitForEnd(_ name: String = "a") async throws { try await wait("worker \(name) ends") { !self.isRunning(name) } }

    /// What a worker's endpoint answers; empty while nobody does.
    func get(_ path: String, of name: String = "a") async -> String {
        guard let port = workers.withLock({ $0[name]?.port }), let url = URL(string: "http://127.0.0.1:\(port)\(path)"),
            let (data, _) = try? await URLSession.shared.data(from: url)
        else { return "" }
        return String(decoding: data, as: UTF8.self)
    }

    // MARK: Events

    /// Appends these events to partitions in turn, as one batch each.
    func produce(_ ids: [String], extra: String = "") throws {
        for partition in 0..<settings.partitions {
            let own = ids.enumerated().filter { $0.offset % Int(settings.partitions) == Int(partition) }.map(\.element)
            guard !own.isEmpty else { continue }
            let base = try append(own.map { Array(#"{"meta":{"id":"\#($0)","stream":"s","request_id":"r"}\#(extra)}"#.utf8) }, partition)
            for (index, id) in own.enumerated() {
                produced.withLock { $0[id] = Place(partition: partition, offset: base + Int64(index)) }
            }
        }
    }

    /// Appends one batch; nil is a tombstone. The offset of its first record.
    @discardableResult
    func append(_ values: [[UInt8]?], _ partition: Int32 = 0) throws -> Int64 {
        try cluster.append(values.map { RawRecord(timestamp: Self.now, value: $0) }, to: Self.topic, partition)
    }

    static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }

    // MARK: Looking

    func wait(_ what: String, _ condition: () async throws -> Bool) async throws {
        try await eventually(what, timeout: .seconds(40), condition)
    }

    /// How many records a topic has; 0 while it is not there.
    func count(_ topic: String) -> Int64 {
        (0..<settings.partitions).reduce(0) { $0 + ((try? cluster.status(topic, $1).nextOffset) ?? 0) }
    }

    /// All records of a topic, by partition and offset.
    func records(_ topic: String) async throws -> [(place: Place, json: JSONValue)] {
        guard count(topic) > 0 else { return [] }
        let client = KafkaClientConfiguration(
            bootstrapServers: [cluster.bootstrapServers], clientID: "look", settings: [:], logger: Self.quiet)
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        let partitions = (0..<settings.partitions).filter { ((try? cluster.status(topic, $0).nextOffset) ?? 0) > 0 }
        let ends = try await consumer.watermarks(partitions.map { TopicPartition(topic: topic, partition: $0) }).mapValues { try $0.get() }
        var open = ends.mapValues(\.high.offset)
        try await consumer.assign(ends.mapValues(\.low))
        var found: [(place: Place, json: JSONValue)] = []
        while !open.isEmpty {
            guard let batch = try await consumer.nextBatch(deadline: .now + .seconds(20)) else {
                throw TestTimeout("\(topic) can't be read to its end")
            }
            for index in 0..<batch.count {
                let record = try batch.detached(at: index)
                found.append((Place(partition: record.partition.partition, offset: record.position.offset), try parseEvent(record.value ?? [])))
                if let end = open[record.partition], record.position.offset >= end - 1 { open[record.partition] = nil }
            }
        }
        try await consumer.close()
        return found
    }

    func checkpoints() async throws -> [TopicPartition: Checkpoint] {
        try await CheckpointStore(store).load(group: Self.group).compactMapValues { try? $0.checkpoint.get() }
    }

    /// Whether the checkpoints say that everything in the stream and in the retry topic is done.
    func isAllPassed() async throws -> Bool {
        let stored = try await checkpoints()
        return [Self.topic, Self.retryTopic].allSatisfy { topic in
            (0..<settings.partitions).allSatisfy { partition in
                let end = (try? cluster.status(topic, partition).nextOffset) ?? 0
                return end == 0 || stored[TopicPartition(topic: topic, partition: partition)]?.position.offset == end
            }
        }
    }

    func waitUntilPassed() async throws { try await wait("the checkpoints have passed everything") { try await self.isAllPassed() } }

    /// Events that the store says are done, retries and all. What is called after a crash although it stands here is a repeat that could have
    /// been known.
    func known() async throws -> Set<String> {
        let stored = try await checkpoints()
        func isDone(_ topic: String, _ place: Place, _ identity: String) -> Bool {
            guard let checkpoint = stored[TopicPartition(topic: topic, partition: place.partition)] else { return false }
            return place.offset < checkpoint.position.offset || checkpoint.beyond.contains(Fingerprint.ofIdentity(identity))
        }
        var open: Set<String> = []
        for record in try await records(Self.retryTopic) {
            guard let own = record.json["meta"]?["id"]?.string, let id = Self.id(record.json) else { continue }
            if !isDone(Self.retryTopic, record.place, own) { open.insert(id) }
        }
        return Set(produced.withLock { $0 }.filter { isDone(Self.topic, $0.value, $0.key) && !open.contains($0.key) }.keys)
    }

    /// The event in a retry record or dead letter.
    static func id(_ parked: JSONValue) -> String? { parked["original_event"]?["meta"]?["id"]?.string }

    /// Ids of the events that are dead letters.
    func dead() async throws -> [String] { try await records(Self.errorTopic).compactMap { Self.id($0.json) } }

    /// What became of every event that was produced. Printed, so that a run leaves its figures behind.
    func account(_ what: String) async throws -> RuleAccount {
        let dead = try await dead()
        let ids = produced.withLock { Array($0.keys) }
        let account = RuleAccount(
            events: ids.count, lost: ids.filter { target.succeeded[$0] == nil && !dead.contains($0) }.sorted(), dead: dead.sorted(),
            repeated: target.succeeded.mapValues { $0 - 1 }.filter { $0.value > 0 })
        print("  \(what): \(account.events) events, \(account.lost.count) lost, \(account.dead.count) dead letters, "
            + "\(account.repeated.values.reduce(0, +)) repeated")
        return account
    }
}

/// What became of events.
struct RuleAccount {
    let events: Int
    /// Neither answered with success nor a dead letter.
    let lost: [String]
    /// One for each record.
    let dead: [String]
    /// Successes beyond the first.
    let repeated: [String: Int]
}
