import Foundation
import KafkaLog
import Logging

/// One datacenter of the demonstration: a Kafka cluster, the mirror that fills it from the other one, and a worker. Each is a
/// process of its own.
final class Site {
    let datacenter: Datacenter
    let other: Datacenter
    /// Where its Kafka listens; the same after a return.
    let port: Int
    private let otherPort: Int
    private let configuration: DemoConfiguration
    private let directory: URL
    private var broker: LeashedProcess?
    private var mirror: LeashedProcess?
    private var worker: LeashedProcess?

    init(_ datacenter: Datacenter, port: Int, other: Datacenter, otherPort: Int, _ configuration: DemoConfiguration) throws {
        self.datacenter = datacenter
        self.port = port
        self.other = other
        self.otherPort = otherPort
        self.configuration = configuration
        directory = configuration.directory.appending(path: datacenter.name)
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    }

    var bootstrap: String { "127.0.0.1:\(port)" }
    var topic: String { "\(datacenter).\(DemoConfiguration.stream)" }

    func client(_ name: String) -> KafkaClientConfiguration {
        var logger = Logger(label: "switchback.demo")
        logger.logLevel = .critical
        return KafkaClientConfiguration(
            bootstrapServers: [bootstrap], clientID: "switchback-demo-\(name)",
            settings: ["reconnect.backoff.ms": "20", "reconnect.backoff.max.ms": "200", "message.timeout.ms": "3000"], logger: logger)
    }

    // MARK: Processes

    func startBroker() throws {
        broker = try start("Kafka", ["local", "--dc", "\(datacenter)=\(bootstrap)", "--data", directory.appending(path: "kafka").path])
    }

    /// Copies the other datacenter's topics into this one's cluster.
    func startMirror() throws {
        mirror = try start(
            "mirror",
            [
                "mirror", "--from", "\(other)=127.0.0.1:\(otherPort)", "--to", "\(datacenter)=\(bootstrap)", "--lag",
                String(Double(configuration.lag.components.attoseconds) / 1e18 + Double(configuration.lag.components.seconds)),
            ])
    }

    func startWorker(store: String, sink: Int) throws {
        let file = directory.appending(path: "worker.yaml")
        try Data(workerConfiguration(store: store, sink: sink).utf8).write(to: file)
        worker = try start("worker", ["worker", "--config", file.path])
    }

    private func start(_ name: String, _ arguments: [String]) throws -> LeashedProcess {
        try LeashedProcess("\(datacenter)'s \(name)", configuration.executable, arguments, log: directory.appending(path: "\(name.lowercased()).log"))
    }

    /// `kill -9` of all of it at once.
    func kill() {
        for process in [worker, mirror, broker] { process?.kill() }
        (worker, mirror, broker) = (nil, nil, nil)
    }

    /// Asks the worker to drain.
    func terminateWorker() { worker?.terminate() }

    /// Waits for the worker's end, then ends the rest.
    nonisolated(nonsending) func stop() async {
        let deadline = ContinuousClock.now + .seconds(8)
        while worker?.isRunning == true, ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(20)) }
        kill()
    }

    /// Throws when a process that should run has ended.
    func check() throws {
        for process in [broker, mirror, worker].compactMap(\.self) where !process.isRunning {
            throw DemoFailure("\(process.name) ended by itself; its log, \(process.log.path), ends with:\n\(process.lastWords())")
        }
    }

    /// The worker.yaml of this datacenter: identical in both but for the first lines.
    private func workerConfiguration(store: String, sink: Int) -> String {
        let (eqiad, codfw) = datacenter < other ? (otherPort, port) : (port, otherPort)
        return """
            service: demo
            datacenter: \(datacenter)
            datacenters:
              eqiad: {bootstrap: "127.0.0.1:\(eqiad)"}
              codfw: {bootstrap: "127.0.0.1:\(codfw)"}
            store:
            \(store)
            identity: json:meta.id
            instance: \(datacenter)-1
            lease: 2s
            session_timeout: 30s
            drain_timeout: 5s
            checkpoints: {interval: 500ms, commit_interval: 200ms}
            rules:
              propagate:
                topic: \(DemoConfiguration.stream)
                match_not: {type: categorize}
                concurrency: 16
                exec:
                  method: post
                  uri: 'http://127.0.0.1:\(sink)/propagate/\(datacenter)/{message.meta.id}'
                  body: '{{globals.message}}'

            """
    }
}
