import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// The demonstration: two datacenters at work; one is killed, the other goes on where it stopped; the first comes back and
/// takes its work home again. Real processes, real sockets, and every event accounted for.
///
/// Used once: make it, `run` it.
public actor Demo {
    let configuration: DemoConfiguration
    let say: @Sendable (DemoLine) -> Void
    let book = Book()
    let store: any SharedStore
    let storeText: String
    let etcd: LeashedProcess?
    let sink: Sink
    let home: Site
    let away: Site
    let key = AssignmentKey(group: DemoConfiguration.group, origin: DemoConfiguration.home)
    var homeLoad: Load?
    var awayLoad: Load?
    var random: SeededRandom
    /// Who acts on eqiad's events, as far as the demonstration knows.
    var owner: Datacenter?
    var isHomeUp = true

    /// Starts the sink and the store. Throws `DemoFailure`.
    /// - Parameter say: hears what happens, on any thread.
    public init(_ configuration: DemoConfiguration, say: @escaping @Sendable (DemoLine) -> Void) async throws {
        self.configuration = configuration
        self.say = say
        random = SeededRandom(seed: configuration.seed)
        try FileManager.default.createDirectory(at: configuration.directory, withIntermediateDirectories: true)
        sink = try await Sink(seed: random.next()) { [book] id, datacenter in book.note { $0.called(id, by: datacenter, at: $1) } }
        let ports = try FreePorts.take(4)
        (home, away) = (
            try Site(DemoConfiguration.home, port: ports[0], other: DemoConfiguration.away, otherPort: ports[1], configuration),
            try Site(DemoConfiguration.away, port: ports[1], other: DemoConfiguration.home, otherPort: ports[0], configuration)
        )
        (etcd, store, storeText) = try await Self.openStore(configuration, ports: (ports[2], ports[3]))
    }

    private static func openStore(
        _ configuration: DemoConfiguration, ports: (client: Int, peer: Int)
    ) async throws -> (LeashedProcess?, any SharedStore, String) {
        switch configuration.store {
        case .sqlite:
            let path = configuration.directory.appending(path: "store.db").path
            return (nil, try await StoreConfiguration.sqlite(path: path).open(), "  sqlite: \(path)")
        case .etcd:
            let client = "http://127.0.0.1:\(ports.client)"
            let process = try Self.startEtcd(configuration.etcd, in: configuration.directory, ports: ports)
            var logger = Logger(label: "switchback.demo.store")
            logger.logLevel = .critical
            let store = try await StoreConfiguration(parsing: "etcd://127.0.0.1:\(ports.client)/switchback/").open(logger: logger)
            return (process, store, "  etcd: {endpoints: [\"\(client)\"], prefix: /switchback}")
        }
    }

    /// Starts a lone etcd on two ports of 127.0.0.1, with its data and its log in `directory`.
    package static func startEtcd(_ executable: String, in directory: URL, ports: (client: Int, peer: Int)) throws -> LeashedProcess {
        let client = "http://127.0.0.1:\(ports.client)", peer = "http://127.0.0.1:\(ports.peer)"
        return try LeashedProcess(
            "etcd", executable,
            [
                "--data-dir", directory.appending(path: "etcd").path, "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", "default=\(peer)",
            ], log: directory.appending(path: "etcd.log"))
    }

    // MARK: The run

    public func run() async throws -> DemoResult {
        let statuses = Task {
            while !Task.isCancelled {
                status()
                try? await Task.sleep(for: .milliseconds(250))
            }
        }
        do {
            let result = try await scenes()
            statuses.cancel()
            await end()
            return result
        } catch {
            statuses.cancel()
            await end()
            throw error
        }
    }

    private func end() async {
        await homeLoad?.stop()
        await awayLoad?.stop()
        home.terminateWorker()
        away.terminateWorker()
        await home.stop()
        await away.stop()
        await sink.stop()
        await store.close()
        etcd?.kill()
    }

    func scenes() async throws -> DemoResult {
        try await setUp()
        step("1. Both datacenters at work: eqiad acts on eqiad.*, codfw on codfw.*")
        try startLoad(home: true)
        try startLoad(home: false)
        try await watch(configuration.times.steady)

        step("2. kill -9 of everything in eqiad: Kafka, mirror, worker, producers")
        let killed = book.now
        homeLoad?.kill()
        homeLoad = nil
        home.kill()
        isHomeUp = false
        let stored = try await checkpoints()
        let stranded = try await strandedCount()
        note("\(stranded) events had not reached codfw: they wait on eqiad's disks")
        try await watch(configuration.times.notice)

        step("3. The operator forces the failover: codfw takes eqiad.* over")
        try await carry { controller, key in try await controller.failover(key, to: DemoConfiguration.away) }
        let taken = try await firstCall(by: away.datacenter, from: killed)
        note(String(format: "codfw acts on eqiad.*: nobody had for %.1f s", taken - killed))
        let failover = try await resumptions(DemoConfiguration.away)
        try await watch(configuration.times.outage)

        step("4. eqiad is back; its worker stands by, codfw still acts on eqiad.*")
        try await startHome()
        try startLoad(home: true)
        let back = book.now
        try await waitFor("codfw to act on what had waited in eqiad") { $0.waiting(DemoConfiguration.home, upTo: back) == 0 }
        note("everything that had waited in eqiad has been acted on, by codfw")
        try await watch(configuration.times.returned)

        step("5. Planned switchback, while events flow: drain, seal, hand over")
        let planned = book.now
        try await carry { controller, key in try await controller.beginSwitchover(key, to: DemoConfiguration.home) }
        let homeAgain = try await firstCall(by: home.datacenter, from: planned)
        let lastAway = book.note { ledger, _ in ledger.lastCall(DemoConfiguration.home, by: DemoConfiguration.away, upTo: homeAgain) }
        let idle = homeAgain - (lastAway ?? planned)
        note(String(format: "eqiad acts on eqiad.* again: nobody had for %.1f s", idle))
        let switchback = try await resumptions(DemoConfiguration.home)
        try await watch(configuration.times.after)

        step("6. The producers stop; what is on its way is finished")
        await homeLoad?.stop()
        await awayLoad?.stop()
        try await finish()
        let accounts = book.note { ledger, _ in
            (
                ledger.account(DemoConfiguration.home, failover: killed, switchback: planned, checkpoints: stored),
                ledger.account(DemoConfiguration.away, failover: killed, switchback: planned, checkpoints: [:]), ledger.strangers
            )
        }
        return DemoResult(
            home: accounts.0, away: accounts.1, idleAfterFailover: taken - killed, idleAtSwitchback: idle, stranded: stranded,
            failover: failover, switchback: switchback,
            gaps: try await store.list(under: StoreKey("gaps", DemoConfiguration.group)).entries.count, strangers: accounts.2,
            seconds: book.now)
    }

    /// Waits for the last events, and then a little longer: a repeat comes after the first time.
    private func finish() async throws {
        do {
            try await waitFor("the last events to be acted on") {
                $0.waiting(DemoConfiguration.home) == 0 && $0.waiting(DemoConfiguration.away) == 0
            }
        } catch is DemoFailure {
            // What is missing now is lost, and the result says so.
            note("some events are still missing")
        }
        try await watch(.milliseconds(1500))
    }
}
