import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

#if canImport(Glibc)
import Glibc
#endif

/// The worker process: one `GroupWorker` per consumer group of the configuration, over one store and one HTTP client.
public struct Worker: Sendable {
    public static let version = "0.1.0"
    /// How long a start waits for the cluster and the store to answer before the process gives up with an error.
    public static let startLimit = Duration.seconds(300)
    /// Between two tries of that.
    static let startPause = Duration.seconds(2)

    let configuration: WorkerConfiguration
    let logger: Logger

    public init(_ configuration: WorkerConfiguration, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
    }

    /// What keeps a worker from starting. One line each, with the next step.
    public struct StartFailure: Error, CustomStringConvertible {
        public let description: String
    }

    /// Reads the configuration again when `signals` fires (SIGHUP).
    public struct Reloading: Sendable {
        let signals: AsyncStream<Void>
        let load: @Sendable () throws -> WorkerConfiguration

        public init(on signals: AsyncStream<Void>, load: @escaping @Sendable () throws -> WorkerConfiguration) {
            self.signals = signals
            self.load = load
        }
    }

    /// Works until `stopSignal` fires, then drains within the drain timeout. Throws what keeps it from starting or going on.
    ///
    /// - Parameter reloading: where new rules come from; nil: from nowhere.
    public func run(until stopSignal: AsyncStream<Void>, reloading: Reloading? = nil) async throws {
        guard let cluster = configuration.datacenters[configuration.datacenter] else {
            throw StartFailure(description: "no cluster is configured for \(configuration.datacenter)")
        }
        let store = try await configuration.store.configuration().open(logger: logger)
        let stopping = StopSwitch()
        let http = HTTPAction(
            settings: httpSettings, version: Self.version,
            connections: Self.connections(of: configuration.rules))
        let sender = ActionSender(http: http, events: try eventProducer(cluster))
        let action = RuleAction(send: { request, rule in await sender.send(request, for: rule) }, limiters: Limiters(configuration.limiters))
        let result: Result<Void, any Error>
        let main = Task { try await self.work(cluster, store: store, action: action, http, stopping, reloading) }
        let listener = Task {
            for await _ in stopSignal {
                // Before anything runs there is nothing to drain.
                if await !stopping.stop() { main.cancel() }
            }
        }
        do {
            try await main.value
            result = .success(())
        } catch is CancellationError { result = .success(()) } catch { result = .failure(error) }
        listener.cancel()
        await sender.close()
        await store.close()
        try result.get()
    }

    /// So many actions of these rules may run at once.
    private static func connections(of rules: [Rule]) -> Int { rules.reduce(0) { $0 + $1.concurrency * ($1.usesRetryTopics ? 2 : 1) } }

    /// A connection is made within a third of the lease, or not at all: a request must not leave after the lease has run out.
    private var httpSettings: WorkerConfiguration.HTTPSettings {
        var settings = configuration.http
        settings.connectTimeout = min(settings.connectTimeout, configuration.lease / 3)
        return settings
    }

    /// Writes the events that rules produce. Rules that do may come with a reload.
    private func eventProducer(_ cluster: WorkerConfiguration.ClusterSettings) throws -> OriginProducer {
        var client = clientConfiguration(cluster)
        // An action is done when all replicas have its events, whatever the cluster's own settings say. What waits for a broker is given up
        // within the time in which a request must have left: later, another datacenter may own the partition.
        let limit = max(100, httpSettings.connectTimeout.nanoseconds / 1_000_000)
        for name in ["request.required.acks", "delivery.timeout.ms"] { client.settings[name] = nil }
        client.settings.merge(["acks": "all", "enable.idempotence": "true", "message.timeout.ms": String(limit)]) { _, own in own }
        return OriginProducer(
            datacenter: configuration.datacenter, known: Set(configuration.datacenters.keys), producer: try KafkaProducer(client))
    }

    private func work(
        _ cluster: WorkerConfiguration.ClusterSettings, store: any SharedStore, action: RuleAction, _ http: HTTPAction, _ stopping: StopSwitch,
        _ reloading: Reloading?
    ) async throws {
        try await waitFor(store.name) { _ = try await store.get(StoreKey("assignments")) }
        let lookups = try KafkaAdmin(clientConfiguration(cluster))
        defer { Task { await lookups.close() } }
        try await waitFor("Kafka at \(cluster.bootstrap)") { _ = try await lookups.clusterID(timeout: .seconds(5)) }
        let keeper = TopicKeeper(configuration, admin: lookups, logger: logger)
        try await keeper.makeAtStart()
        let producer = RenewingProducer(logger: logger) {
            try KafkaProducer(producerConfiguration(cluster))
        } close: { old in
            try? await (old as? KafkaProducer)?.close(within: .seconds(1))
        }
        defer { Task { await producer.end() } }
        let parking = self.parking(producer)
        let claims = try await openClaims()
        defer { if let claims { Task { await claims.close() } } }
        let fleet = WorkerFleet(logger: logger) { key, rules, groups in
            try groupWorker(
                key.group, rules, role: key.role, among: groups, cluster, lookups: lookups, store: store, action: action, parking: parking, claims: claims)
        }
        logger.info(
            "Working", metadata: [
                "datacenter": "\(configuration.datacenter)", "kafka": "\(cluster.bootstrap)", "store": "\(store.name)",
                "groups": "\(Set(configuration.rules.map(\.group)).sorted())",
            ])
        guard await stopping.begin(fleet) else { return }
        let heartbeat = try startHeartbeat(cluster)
        defer { heartbeat?.cancel() }
        let beside = [Task { await keeper.run() }, serveStatus(of: fleet), reload(reloading, fleet, keeper, http)]
        defer { for task in beside { task.cancel() } }
        try await fleet.run(configuration.rules)
    }

    /// nil: claims stand in the store. One that can't be reached keeps nothing from starting but the rules that need it.
    private func openClaims() async throws -> (any TransactionStore)? {
        guard let settings = configuration.claims else { return nil }
        let claims = RedisClaims(settings) { ClaimRecord($0).map { $0.expires + Claim.startAllowance } }
        do throws(StoreError) {
            if let complaint = try await claims.complaint() { logger.warning("\(complaint)", metadata: ["claims": "\(claims.name)"]) }
        } catch {
            await claims.close()
            guard error.isRetriable else { throw StartFailure(description: "claims can't be kept in \(claims.name): \(error.message)") }
            logger.warning("Claims can't be made yet; trying on", metadata: ["error": "\(error)"])
        }
        return claims
    }

    /// Takes up new rules as they come. Whatever is wrong with them, the old ones stay.
    private func reload(_ reloading: Reloading?, _ fleet: WorkerFleet, _ keeper: TopicKeeper, _ http: HTTPAction) -> Task<Void, Never> {
        Task {
            guard let reloading else { return }
            for await _ in reloading.signals {
                do {
                    let new = try reloading.load()
                    let others = configuration.differences(from: new)
                    guard others.isDisjoint(with: ["service", "datacenter", "datacenters"]) else {
                        throw WorkerFleet.Refusal(description: "\(others.sorted().joined(separator: ", ")) changed; that takes a restart")
                    }
                    try await keeper.take(new)
                    http.allow(connections: Self.connections(of: new.rules))
                    try await fleet.replace(new.rules)
                    if !others.isEmpty {
                        logger.warning("Only rules are reloaded; other changes take a restart", metadata: ["changed": "\(others.sorted())"])
                    }
                    logger.notice("The rules were reloaded", metadata: ["rules": "\(new.rules.map(\.name))"])
                } catch {
                    logger.error("The new rules are refused as a whole; the old ones stay", metadata: ["error": "\(error)"])
                }
            }
        }
    }

    private func serveStatus(of fleet: WorkerFleet) -> Task<Void, Never> {
        Task {
            guard let listen = configuration.listen else { return }
            let server = StatusServer(
                address: (listen.host, listen.port), readyLag: configuration.readyLag, datacenter: configuration.datacenter,
                datacenters: Set(configuration.datacenters.keys), logger: logger
            ) {
                var statuses: [GroupStatus] = []
                for worker in await fleet.workers { statuses.append(await worker.status()) }
                return statuses
            }
            do { try await server.run() } catch { fleet.fail(error) }
        }
    }

    /// Which workers a group has: rules whose events may be tried again later need one that reads the retry topics.
    static func roles(of rules: [Rule]) -> [GroupWorker.Setup.Role] { rules.contains(where: \.usesRetryTopics) ? [.events, .retries] : [.events] }

    /// Where this configuration's workers park events.
    func parking(_ producer: any RecordProducer) -> Parking {
        Parking(
            service: configuration.service, datacenter: configuration.datacenter, datacenters: Set(configuration.datacenters.keys),
            producer: producer)
    }

    /// Beats until the task is cancelled. nil: none was asked for.
    private func startHeartbeat(_ cluster: WorkerConfiguration.ClusterSettings) throws -> Task<Void, Never>? {
        guard let interval = configuration.heartbeat else { return nil }
        let producer = try KafkaProducer(clientConfiguration(cluster))
        let origin = OriginProducer(datacenter: configuration.datacenter, known: Set(configuration.datacenters.keys), producer: producer)
        let heartbeat = Heartbeat(origin, interval: interval, worker: Self.processName(), logger: logger)
        return Task {
            await heartbeat.run()
            try? await producer.close(within: .seconds(1))
        }
    }

    private func waitFor(_ what: String, _ check: () async throws -> Void) async throws {
        let deadline = ContinuousClock.now + Self.startLimit
        var hasSaid = false
        while true {
            do { return try await check() } catch {
                try Task.checkCancellation()
                guard isRetriable(error), ContinuousClock.now < deadline else {
                    throw StartFailure(description: "\(what) can't be used: \(error)")
                }
                if !hasSaid {
                    logger.warning(
                        "\(what) does not answer; trying again every \(Self.startPause.readable) for \(Self.startLimit.readable), then giving up",
                        metadata: ["error": "\(error)"])
                }
                hasSaid = true
                try await Task.sleep(for: Self.startPause)
            }
        }
    }

    private func isRetriable(_ error: any Error) -> Bool {
        if let error = error as? StoreError { return error.isRetriable }
        if let error = error as? KafkaLogError { return error.isRetriable }
        return false
    }

    /// The worker of one group, which has not touched anything yet. `groups`: so many has this process.
    func groupWorker(
        _ group: String, _ rules: [Rule], role: GroupWorker.Setup.Role = .events, among groups: Int, _ cluster: WorkerConfiguration.ClusterSettings,
        lookups: any ClusterLookups, store: any SharedStore, action: RuleAction, parking: Parking? = nil, claims: (any TransactionStore)? = nil
    ) throws -> GroupWorker {
        var setup = GroupWorker.Setup(configuration, group: group, rules: rules, role: role, workerName: Self.processName())
        setup.startMargin = httpSettings.connectTimeout
        let consumer = try KafkaConsumer(consumerConfiguration(setup.kafkaGroup, cluster, sharers: groups))
        return GroupWorker(
            setup, consumer: consumer, lookups: lookups, store: store, action: action, parking: parking, claims: claims, logger: logger)
    }

    /// For retries and dead letters.
    func producerConfiguration(_ cluster: WorkerConfiguration.ClusterSettings) -> KafkaClientConfiguration {
        var client = clientConfiguration(cluster)
        let timeout = Parking.deliveryTimeout.nanoseconds / 1_000_000
        // The broker decides what is too large: librdkafka's own limit is below it.
        let own = ["delivery.timeout.ms": String(timeout), "message.max.bytes": "20000000", "linger.ms": "2"]
        client.settings.merge(own) { given, _ in given }
        // A retry that is not on all replicas could be lost after its event's position has moved.
        client.settings["acks"] = "all"
        client.settings["enable.idempotence"] = "true"
        return client
    }

    func clientConfiguration(_ cluster: WorkerConfiguration.ClusterSettings) -> KafkaClientConfiguration {
        KafkaClientConfiguration(
            bootstrapServers: cluster.bootstrap.split(separator: ",").map { $0.trimmingPrefix(while: \.isWhitespace) }.map(String.init),
            clientID: "switchback-\(configuration.service)", settings: cluster.kafka, logger: logger)
    }

    private func consumerConfiguration(_ group: String, _ cluster: WorkerConfiguration.ClusterSettings, sharers: Int) -> KafkaConsumerConfiguration {
        var client = clientConfiguration(cluster)
        let session = configuration.sessionTimeout.nanoseconds / 1_000_000
        // Members hear of a rebalance with their next heartbeat: at librdkafka's 3 s every change of members would take as long.
        var own = ["session.timeout.ms": String(session), "heartbeat.interval.ms": String(max(1, min(1_000, session / 3)))]
        // Partitions that begin to be read wait for the running fetch of idle ones.
        own["fetch.wait.max.ms"] = "100"
        client.settings.merge(own) { given, _ in given }
        return KafkaConsumerConfiguration(
            client: client, groupID: group, groupInstanceID: configuration.instance.map { "\($0)-\(group)" }, sharers: sharers)
    }

    /// Unique per process, so that a checkpoint says who wrote it.
    static func processName() -> String {
        var buffer = [CChar](repeating: 0, count: 256)
        let host = gethostname(&buffer, 255) == 0 ? String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : "unknown"
        return "\(host)/\(getpid())/\(String(UInt32.random(in: 0...UInt32.max), radix: 36))"
    }
}

/// Knows what has to be stopped, from the first moment on.
private actor StopSwitch {
    private var fleet: WorkerFleet?
    private var isStopped = false

    /// False: it was stopped before anything began.
    func begin(_ fleet: WorkerFleet) -> Bool {
        guard !isStopped else { return false }
        self.fleet = fleet
        return true
    }

    /// Stops what runs; false when nothing does yet.
    func stop() -> Bool {
        isStopped = true
        fleet?.stop()
        return fleet != nil
    }
}

extension WorkerConfiguration.StoreSettings {
    /// The store as its own room names it. Throws what is wrong with it, such as a password file that can't be read.
    public func configuration() throws(StoreError) -> StoreConfiguration {
        switch self {
        case .sqlite(let path): return .sqlite(path: path)
        case .etcd(let settings):
            var options: [(String, String)] = [("timeout-ms", String(max(1, settings.timeout.nanoseconds / 1_000_000)))]
            let usesTLS = settings.endpoints.contains { $0.lowercased().hasPrefix("https://") }
            if usesTLS { options.append(("tls", "true")) }
            for (name, value) in [
                ("ca", settings.caFile), ("cert", settings.certFile), ("key", settings.keyFile), ("user", settings.username),
                ("password-file", settings.passwordFile),
            ] { if let value { options.append((name, Self.percentEncoded(value))) } }
            let hosts = settings.endpoints.map { endpoint in
                let rest = endpoint.range(of: "://").map { endpoint[$0.upperBound...] } ?? endpoint[...]
                return String(rest.prefix { $0 != "/" })
            }
            let query = options.map { "\($0)=\($1)" }.joined(separator: "&")
            return try StoreConfiguration(parsing: "etcd://\(hosts.joined(separator: ","))\(settings.prefix)?\(query)")
        }
    }

    private static func percentEncoded(_ text: String) -> String {
        text.utf8.map { byte in
            let character = Character(UnicodeScalar(byte))
            if byte < 0x80, character.isLetter || character.isNumber || "-._~/".contains(character) { return String(character) }
            return "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }.joined()
    }
}

extension Duration {
    /// `2s`, `5m`, `1m 30s`, `500ms`: as configuration files and messages write it.
    public var readable: String {
        formatted(.units(allowed: [.hours, .minutes, .seconds, .milliseconds], width: .narrow).locale(Locale(identifier: "en_US_POSIX")))
    }
}
