import ArgumentParser
import ChangePropagation
import Foundation
import KafkaLog
import Logging
import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// `switchback produce`: writes JSON lines as events of one datacenter.
struct ProduceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "produce",
        abstract: "Write JSON lines into <dc>.<stream>, as they are or as templates of load.",
        discussion: """
            Each event is acknowledged by all replicas before it counts. Only topics of the named datacenter can be written.

            Example:
              switchback produce --dc eqiad --bootstrap 127.0.0.1:19092 \\
                  --stream mediawiki.recentchange --file events.jsonl
              switchback produce --config worker.yaml --stream mediawiki.recentchange \\
                  --file events.jsonl --fresh-ids --rate 200 --count 1000
            """)

    @Option(help: ArgumentHelp("The datacenter to write for (with --config: the one that is configured).", valueName: "dc"))
    var dc: String?
    @Option(help: ArgumentHelp("Its Kafka cluster.", valueName: "host:port,…"))
    var bootstrap: String?
    @Option(name: .shortAndLong, help: ArgumentHelp("Take datacenter, cluster and Kafka settings from this worker.yaml.", valueName: "file"))
    var config: String?
    @Option(help: "The stream, without a datacenter's prefix.")
    var stream: String
    @Option(help: ArgumentHelp("JSON lines; - is standard input.", valueName: "file"))
    var file: String
    @Option(help: "Events per second; 0: as fast as it goes.")
    var rate: Double = 0
    @Option(help: "How many events; the file is begun again as often as needed. 0: until SIGTERM. Default: each line once.")
    var count: Int?
    @Flag(help: "Give each event a new meta.id and the present time as meta.dt.")
    var freshIds = false
    @Option(help: ArgumentHelp("The field whose value becomes the key, such as meta.domain. None: no key.", valueName: "path"))
    var keyField: String?
    @Option(help: ArgumentHelp("The field that holds the record's time, such as meta.dt. None: now.", valueName: "path"))
    var timeField: String?
    @Option(help: "Make the topic with this many partitions when it is not there.")
    var partitions: Int32?
    @Option(help: "Seed of the fresh ids. None: random.")
    var seed: UInt64?
    @Option(help: ArgumentHelp("Write each acknowledged event's meta.id here, one a line.", valueName: "file"))
    var idsTo: String?

    /// How long a cluster that does not answer is waited for before anything is written.
    private static let startLimit = Duration.seconds(30)
    /// How long a stop waits for what is on its way.
    private static let stopLimit = Duration.seconds(5)
    /// Most events in flight at once.
    private static let batchLimit = 1_000

    func validate() throws {
        guard config != nil || (dc != nil && bootstrap != nil) else {
            throw ValidationError("say where to write: --dc eqiad --bootstrap 127.0.0.1:19092, or --config worker.yaml")
        }
        guard !stream.isEmpty else { throw ValidationError("--stream is empty; a stream's name would be right, such as mediawiki.recentchange") }
        guard rate >= 0, rate.isFinite else { throw ValidationError("--rate is \(rate); 0 or more would be right") }
        if let count, count < 0 { throw ValidationError("--count is \(count); 0 or more would be right") }
        if let partitions, !(1...10_000).contains(partitions) { throw ValidationError("--partitions is \(partitions); 1 to 10000 would be right") }
    }

    private struct Target {
        var datacenter: Datacenter
        var known: Set<Datacenter>
        var client: KafkaClientConfiguration
    }

    private func target() throws -> Target {
        let logger = makeLogger("switchback.produce", level: .error)
        var wanted: Datacenter?
        if let dc {
            guard let parsed = Datacenter(dc) else { throw Failure("--dc \(dc) is no datacenter's name; lower-case letters, digits and - would be right", code: 2) }
            wanted = parsed
        }
        guard let config else {
            guard let wanted, let bootstrap else { throw Failure("--dc and --bootstrap are needed without --config", code: 2) }
            let servers = bootstrap.split(separator: ",").map(String.init)
            return Target(
                datacenter: wanted, known: [wanted], client: KafkaClientConfiguration(bootstrapServers: servers, clientID: "switchback-produce", logger: logger))
        }
        let configuration = try WorkerConfiguration.load(path: config)
        if let wanted, wanted != configuration.datacenter {
            throw Failure("\(config) is for \(configuration.datacenter), which can't write \(wanted).*: use \(wanted)'s own configuration", code: 2)
        }
        guard let cluster = configuration.datacenters[configuration.datacenter] else { throw Failure("\(config): no cluster for \(configuration.datacenter)", code: 2) }
        let servers = (bootstrap ?? cluster.bootstrap).split(separator: ",").map { String($0.filter { !$0.isWhitespace }) }
        return Target(
            datacenter: configuration.datacenter, known: Set(configuration.datacenters.keys),
            client: KafkaClientConfiguration(bootstrapServers: servers, clientID: "switchback-produce", settings: cluster.kafka, logger: logger))
    }

    func run() async throws {
        let target = try target()
        let topic: OriginTopic
        do { topic = try OriginProducer.topic(stream, datacenter: target.datacenter, known: target.known) } catch {
            throw Failure("--stream \(error)", code: 2)
        }
        let templates = try EventTemplate.load(file)
        // Every event is made once before anything is touched: a line without the named time is found now.
        for template in templates { _ = try template.event(keyField: keyField, timeField: freshIds ? nil : timeField) }
        let ids = try idsTo.map(IDFile.init)
        var client = target.client
        // What no broker takes within this time fails, and the command with it: nobody waits for ever without a word.
        client.settings["message.timeout.ms"] = client.settings["message.timeout.ms"] ?? "30000"
        let producer = try KafkaProducer(client)
        let origin = OriginProducer(datacenter: target.datacenter, known: target.known, producer: producer)
        try await waitForKafka(producer, target.client)
        if let partitions { try await makeTopic(topic, partitions, target.client) }
        let sent = try await send(templates, to: origin, ids: ids)
        try await producer.close(within: .seconds(30))
        Console.line("\(sent) events written to \(topic)")
    }

    private func waitForKafka(_ producer: KafkaProducer, _ client: KafkaClientConfiguration) async throws {
        let deadline = ContinuousClock.now + Self.startLimit
        var hasSaid = false
        while true {
            do {
                _ = try await producer.clusterID(timeout: .seconds(2))
                return
            } catch {
                guard ContinuousClock.now < deadline else { throw Failure("nothing was written: \(error)") }
                if !hasSaid { Console.note("Kafka at \(client.bootstrapServers.joined(separator: ",")) does not answer; trying on for \(Self.startLimit.readable), then giving up") }
                hasSaid = true
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    private func makeTopic(_ topic: OriginTopic, _ partitions: Int32, _ client: KafkaClientConfiguration) async throws {
        let admin = try KafkaAdmin(client)
        let results = try await admin.createTopics([NewTopic(topic.topic, partitions: partitions)])
        await admin.close()
        guard case .failure(let error)? = results[topic.topic], error.label != "topic_already_exists" else { return }
        throw Failure("\(topic) could not be made: \(error)")
    }

    private func send(_ templates: [EventTemplate], to origin: OriginProducer, ids: IDFile?) async throws -> Int {
        let total = count ?? templates.count
        let stopping = StopFlag()
        let watcher = Task {
            for await _ in Signals.stop() { stopping.set() }
            guard stopping.isSet else { return }
            try await Task.sleep(for: Self.stopLimit)
            Console.note("switchback: stopped while events were on their way: what was not acknowledged may be written or not")
            _exit(1)
        }
        defer { watcher.cancel() }
        var random = SeededRandom(seed: seed ?? UInt64.random(in: 0 ... .max))
        var sent = 0
        let started = ContinuousClock.now
        var lastReport = started
        while (total == 0 || sent < total), !stopping.isSet {
            var due = Self.batchLimit
            if rate > 0 {
                let elapsed = started.duration(to: .now) / .seconds(1)
                due = min(due, Int(elapsed * rate) + 1 - sent)
                if due <= 0 {
                    try await Task.sleep(for: .seconds(min(1, (Double(sent) - elapsed * rate) / rate + 0.001)))
                    continue
                }
            }
            if total > 0 { due = min(due, total - sent) }
            var events: [OriginProducer.Event] = [], names: [String] = []
            for index in sent..<sent + due {
                let fresh = freshIds ? EventTemplate.Fresh(id: random.nextID(), time: Date()) : nil
                let made = try templates[index % templates.count].event(fresh: fresh, keyField: keyField, timeField: timeField)
                events.append(made.event)
                names.append(made.id ?? "")
            }
            let results = try await origin.send(events, stream: stream)
            for (result, id) in zip(results, names) {
                do { _ = try result.get() } catch { throw Failure("\(sent) events written, then: \(error)") }
                try ids?.write(id)
                sent += 1
            }
            if lastReport.duration(to: .now) >= .seconds(5) {
                lastReport = .now
                Console.note("\(sent)\(total > 0 ? " of \(total)" : "") events written")
            }
        }
        return sent
    }
}

/// A flag that a signal sets.
private final class StopFlag: Sendable {
    private let value = Mutex(false)
    var isSet: Bool { value.withLock { $0 } }
    func set() { value.withLock { $0 = true } }
}

/// Appends ids to a file, each at once.
private struct IDFile {
    private let handle: FileHandle

    init(_ path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil), let handle = FileHandle(forWritingAtPath: path) else {
            throw Failure("\(path) can't be written", code: 2)
        }
        self.handle = handle
    }

    func write(_ id: String) throws { try handle.write(contentsOf: Data((id + "\n").utf8)) }
}
