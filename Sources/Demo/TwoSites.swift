import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging
import Synchronization

/// Two datacenters as processes of their own (Kafka, mirror and worker in each, a producer in eqiad) around one store and one sink, to
/// be killed, stopped and started one by one: the stage of the fault tests and of the handover bench.
package final class TwoSites: Sendable {
    package struct Settings: Sendable {
        /// `switchback`.
        package var executable: String
        /// Holds everything that the run writes; made when it is not there.
        package var directory: URL
        /// Decides the producer's ids and the sink's delays.
        package var seed: UInt64
        /// Lines below `store:` of worker.yaml, and the same as an address.
        package var storeLines: String
        package var storeAddress: String
        package var partitions: Int32 = 4
        /// How far the mirrors are behind at least.
        package var lag = Duration.zero
        package var lease = Duration.seconds(1)
        package var checkpointInterval = Duration.milliseconds(200)
        package var commitInterval = Duration.milliseconds(200)
        /// How long a resume waits for the mirror to bring the tail.
        package var hold = Duration.seconds(30)
        package var sessionTimeout = Duration.seconds(3)
        package var concurrency = 16
        /// Events per second of the producer.
        package var rate = 100.0
        /// Bytes of an event's text, beside its names.
        package var eventSize = 100
        /// How long anything that should happen soon may take before the run is given up.
        package var patience = Duration.seconds(30)
        /// Starts a process; tests start one at a time.
        package var launch: @Sendable (Process) throws -> Void = { try $0.run() }
        /// What the sink does before it answers; nil: it takes 2 to 16 ms. What it throws becomes status 500.
        package var work: (@Sendable (String, Datacenter) async throws -> Void)?
        /// The rule's lines but for its topic and its request.
        package var rule = ["retry_limit: 0", "immediate_retries: 2", "on_failure: halt"]
        /// Of eqiad's and codfw's brokers; nil: free ones.
        package var brokerPorts: [Int]?

        package init(executable: String, directory: URL, seed: UInt64, etcd ports: [Int]) {
            self.executable = executable
            self.directory = directory
            self.seed = seed
            storeLines = "  etcd: {endpoints: [\(ports.map { "\"http://127.0.0.1:\($0)\"" }.joined(separator: ", "))], prefix: /switchback}"
            storeAddress = "etcd://\(ports.map { "127.0.0.1:\($0)" }.joined(separator: ","))/switchback/"
        }
    }

    package enum Part: Hashable, Sendable, CustomStringConvertible {
        case broker(Datacenter)
        /// Into this datacenter, from the other.
        case mirror(Datacenter)
        case worker(Datacenter)
        /// In eqiad.
        case producer

        package var description: String {
            switch self {
            case .broker(let datacenter): "\(datacenter)-kafka"
            case .mirror(let datacenter): "\(datacenter)-mirror"
            case .worker(let datacenter): "\(datacenter)-worker"
            case .producer: "producer"
            }
        }
    }

    package static let home = DemoConfiguration.home
    package static let away = DemoConfiguration.away
    package static let stream = "s"
    package static let topic = "\(home).\(stream)"
    package static let group = "demo-propagate"
    package static let key = AssignmentKey(group: group, origin: home)

    package let settings: Settings
    package let store: any SharedStore
    let calls: CallBook
    private let sink: Sink
    private let ports: [Datacenter: Int]
    private let processes = Mutex<[Part: LeashedProcess]>([:])
    private let commands = Mutex(0)
    /// How often the producer was started: each one writes ids of its own. The same ones again would be dropped as a mirror's repeats.
    private let producers = Mutex<UInt64>(0)

    /// Starts the sink and opens the store, nothing else.
    package init(_ settings: Settings) async throws {
        self.settings = settings
        for name in ["", Self.home.name, Self.away.name] {
            try FileManager.default.createDirectory(at: settings.directory.appending(path: name), withIntermediateDirectories: true)
        }
        let calls = CallBook()
        self.calls = calls
        sink = try await Sink(seed: settings.seed, work: settings.work) { id, datacenter in calls.note(id, datacenter) }
        let free = try settings.brokerPorts ?? FreePorts.take(2)
        ports = [Self.home: free[0], Self.away: free[1]]
        var logger = Logger(label: "switchback.sites")
        logger.logLevel = .critical
        store = try await StoreConfiguration(parsing: settings.storeAddress).open(logger: logger)
    }

    package static func other(_ datacenter: Datacenter) -> Datacenter { datacenter == home ? away : home }

    // MARK: Processes

    /// Starts one part, with `environment` beside what this process has.
    package func start(_ part: Part, environment: [String: String] = [:]) throws {
        let process = try LeashedProcess(
            "\(part)", settings.executable, try arguments(of: part), log: log(part), environment: environment, launch: settings.launch)
        processes.withLock { $0[part] = process }
    }

    private func arguments(of part: Part) throws -> [String] {
        switch part {
        case .broker(let datacenter):
            return ["local", "--dc", "\(datacenter)=\(bootstrap(datacenter))", "--data", settings.directory.appending(path: "\(datacenter)/kafka").path]
        case .mirror(let datacenter):
            let other = Self.other(datacenter)
            return [
                "mirror", "--from", "\(other)=\(bootstrap(other))", "--to", "\(datacenter)=\(bootstrap(datacenter))",
                "--lag", String(settings.lag / .seconds(1)),
            ]
        case .worker(let datacenter): return ["worker", "--config", try configuration(datacenter)]
        case .producer:
            let events = settings.directory.appending(path: "events.jsonl")
            let text = String(repeating: "x", count: settings.eventSize)
            let seed = producers.withLock { count in
                defer { count += 1 }
                return settings.seed &+ count
            }
            try Data(#"{"meta":{"id":"","dt":""},"type":"edit","text":"\#(text)"}"#.utf8).write(to: events)
            return [
                "produce", "--config", try configuration(Self.home), "--stream", Self.stream, "--file", events.path, "--fresh-ids",
                "--key-field", "meta.id", "--rate", String(settings.rate), "--count", "0", "--seed", String(seed),
                "--ids-to", idsFile.path,
            ]
        }
    }

    package func log(_ part: Part) -> URL { settings.directory.appending(path: "\(part).log") }

    private func process(_ part: Part) -> LeashedProcess? { processes.withLock { $0[part] } }

    /// nil: it was not started, or was killed.
    package func pid(_ part: Part) -> pid_t? { process(part)?.pid }
    package func isRunning(_ part: Part) -> Bool { process(part)?.isRunning ?? false }
    package func kill(_ part: Part) { processes.withLock { $0.removeValue(forKey: part) }?.kill() }
    package func freeze(_ part: Part) { process(part)?.freeze() }
    package func thaw(_ part: Part) { process(part)?.thaw() }

    /// SIGTERM, and waits for the end.
    package func end(_ part: Part) async throws {
        guard let process = processes.withLock({ $0.removeValue(forKey: part) }) else { return }
        process.terminate()
        try await waitFor("the end of \(part)") { !process.isRunning }
        process.kill()
    }

    /// Runs `switchback handover …` on eqiad's assignment; returns while it runs. Its log is a file of its own.
    package func handover(_ verb: String, _ more: [String] = [], environment: [String: String] = [:]) throws -> LeashedProcess {
        let number = commands.withLock { number in
            number += 1
            return number
        }
        return try LeashedProcess(
            "handover \(verb)", settings.executable,
            ["handover", verb, "--store", settings.storeAddress, "--group", Self.group, "--origin", Self.home.name] + more,
            log: settings.directory.appending(path: "handover-\(number)-\(verb).log"), environment: environment, launch: settings.launch)
    }

    /// Throws when a part that was started and not killed has ended.
    package func check() throws {
        for (part, process) in processes.withLock({ $0 }) where !process.isRunning {
            throw DemoFailure("\(part) ended by itself; its log, \(process.log.path), ends with:\n\(process.lastWords(10))")
        }
    }

    /// Ends everything and closes the store; the directory stays.
    package func tearDown() async {
        for process in processes.withLock({ $0.values.map(\.self) }) { process.kill() }
        await sink.stop()
        await store.close()
    }

    // MARK: Setting up

    package func bootstrap(_ datacenter: Datacenter) -> String { "127.0.0.1:\(ports[datacenter] ?? 0)" }

    package func client(_ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration {
        var logger = Logger(label: "switchback.sites")
        logger.logLevel = .critical
        return KafkaClientConfiguration(
            bootstrapServers: [bootstrap(datacenter)], clientID: "switchback-sites-\(name)",
            settings: ["reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "200"], logger: logger)
    }

    /// Starts brokers, topics and mirrors, and gives eqiad's log a past that retention has taken, so that an event has another offset in
    /// codfw.
    package func startClusters() async throws {
        for datacenter in [Self.home, Self.away] {
            try await startBroker(datacenter)
            let admin = try KafkaAdmin(client(datacenter, "admin"))
            for result in try await admin.createTopics([NewTopic("\(datacenter).\(Self.stream)", partitions: settings.partitions)]).values {
                try result.get()
            }
            if datacenter == Self.home { try await age(admin) }
            await admin.close()
        }
        for datacenter in [Self.home, Self.away] { try start(.mirror(datacenter)) }
        for datacenter in [Self.home, Self.away] {
            let admin = try KafkaAdmin(client(datacenter, "admin"))
            let copy = "\(Self.other(datacenter)).\(Self.stream)"
            try await answer("the copy of \(copy) in \(datacenter)") {
                let found = try await admin.metadata(.all).topics.first { $0.name == copy }
                guard found?.partitions.count == Int(settings.partitions) else { throw DemoFailure("not there yet") }
            }
            await admin.close()
        }
    }

    /// Returns when it answers.
    package func startBroker(_ datacenter: Datacenter) async throws {
        try start(.broker(datacenter))
        let admin = try KafkaAdmin(client(datacenter, "admin"))
        try await answer("\(datacenter)'s Kafka") { _ = try await admin.clusterID(timeout: .seconds(2)) }
        await admin.close()
    }

    private func age(_ admin: KafkaAdmin) async throws {
        let producer = try KafkaProducer(client(Self.home, "past"))
        let cluster = try await admin.clusterID()
        var ends: [TopicPartition: Position] = [:]
        for number in 0..<settings.partitions {
            let count = 20 + 7 * Int(number)
            let records = (0..<count).map { ProducerRecord(topic: Self.topic, partition: number, key: nil, value: Array("past \($0)".utf8)) }
            for result in await producer.send(contentsOf: records) { _ = try result.get() }
            ends[TopicPartition(topic: Self.topic, partition: number)] = Position(Int64(count), in: cluster)
        }
        for result in try await admin.deleteRecords(before: ends).values { _ = try result.get() }
        try await producer.close(within: .seconds(5))
    }

    /// Starts both workers and waits until it is known which partitions there are.
    package func startWorkers(_ environment: [Datacenter: [String: String]] = [:]) async throws {
        for datacenter in [Self.home, Self.away] { try start(.worker(datacenter), environment: environment[datacenter] ?? [:]) }
        try await answer("the workers") {
            let found = try await AssignmentStore(store).load(group: Self.group)
            guard found.count == 2, found.values.allSatisfy({ !$0.assignment.partitions.isEmpty }) else { throw DemoFailure("no assignment yet") }
        }
    }

    /// Writes the worker.yaml of a datacenter: the two differ in the second line, the instance and the path that they call.
    private func configuration(_ datacenter: Datacenter) throws -> String {
        func milliseconds(_ duration: Duration) -> String { "\(Int(duration / .milliseconds(1)))ms" }
        let text = """
            service: demo
            datacenter: \(datacenter)
            datacenters:
              eqiad: {bootstrap: "\(bootstrap(Self.home))"}
              codfw: {bootstrap: "\(bootstrap(Self.away))"}
            store:
            \(settings.storeLines)
            identity: json:meta.id
            instance: \(datacenter)-1
            lease: \(milliseconds(settings.lease))
            session_timeout: \(milliseconds(settings.sessionTimeout))
            drain_timeout: 5s
            checkpoints: {interval: \(milliseconds(settings.checkpointInterval)), commit_interval: \(milliseconds(settings.commitInterval)), hold: \(milliseconds(settings.hold))}
            rules:
              propagate:
                topic: \(Self.stream)
                concurrency: \(settings.concurrency)
            \(settings.rule.map { "    " + $0 }.joined(separator: "\n"))
                exec:
                  method: post
                  uri: 'http://127.0.0.1:\(sink.port)/propagate/\(datacenter)/{message.meta.id}'

            """
        let file = settings.directory.appending(path: "\(datacenter)/worker.yaml")
        try Data(text.utf8).write(to: file)
        return file.path
    }
}
