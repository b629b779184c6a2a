import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Logging

/// Two datacenters of the drill's own: brokers, mirrors and workers as processes around a store.
final class EmbeddedSites: DrillSites {
    let store: any SharedStore
    let key = TwoSites.key
    let target = TwoSites.away
    let topic = TwoSites.topic
    private let sites: TwoSites
    private let etcd: EtcdMembers?
    private let lag: Duration

    /// Ports of the two brokers, then two for each member of the store's etcd.
    static func ports(store: String, scenario: DrillScenario) throws -> [Int] { try FreePorts.take(2 + (store == "etcd" ? 2 * members(scenario) : 0)) }

    private static func members(_ scenario: DrillScenario) -> Int { scenario == .storeLeader ? 3 : 1 }

    /// Starts the store and the target, nothing else.
    init(_ setting: DrillSetting, executable: String, directory: URL, work: @escaping @Sendable (String, Datacenter) async throws -> Void) async throws {
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let plan = setting.plan
        lag = .seconds(plan.embedded.mirrorLag)
        var storePorts: [Int] = []
        if setting.store == "etcd" {
            guard let program = setting.etcd else { throw DrillFailure("this drill's store is etcd, which is not installed any more: 'make deps' installs it") }
            let members = EtcdMembers(program, ports: Array(setting.ports.dropFirst(2)), directory: directory)
            try await members.start()
            etcd = members
            storePorts = members.clientPorts
        } else { etcd = nil }
        var settings = TwoSites.Settings(executable: executable, directory: directory, seed: setting.seed, etcd: storePorts)
        if setting.store == "sqlite" {
            let path = directory.appending(path: "store.db").path
            settings.storeLines = "  sqlite: '\(path.replacing("'", with: "''"))'"
            settings.storeAddress = "sqlite:\(path)"
        }
        settings.partitions = plan.load.partitions
        settings.lag = lag
        settings.lease = .seconds(plan.embedded.lease)
        settings.hold = .seconds(plan.embedded.hold)
        settings.checkpointInterval = .seconds(plan.embedded.checkpointInterval)
        // A frozen worker must be stopped by its lease and the fence alone; its group must not take its partitions away first.
        settings.sessionTimeout = .seconds(30)
        settings.patience = .seconds(plan.times.patience)
        settings.rule = DrillRule.lines
        settings.brokerPorts = Array(setting.ports.prefix(2))
        settings.work = work
        sites = try await TwoSites(settings)
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        store = PatientStore(sites.store, patience: .ofDrills, logger: logger)
    }

    func client(_ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration { sites.client(datacenter, name) }

    func begin(isNew: Bool, homeIsUp: Bool) async throws {
        if isNew {
            try await sites.startClusters()
            return try await sites.startWorkers()
        }
        for datacenter in homeIsUp ? [TwoSites.home, TwoSites.away] : [TwoSites.away] {
            try await sites.startBroker(datacenter)
            try sites.start(.mirror(datacenter))
            try sites.start(.worker(datacenter))
        }
    }

    /// The mirror stops reading a moment earlier: some events are in the lost datacenter alone, as after any real loss.
    func cutOff() async throws {
        sites.freeze(.mirror(TwoSites.away))
        try await Task.sleep(for: lag)
        defer { sites.thaw(.mirror(TwoSites.away)) }
        for part in [TwoSites.Part.worker(TwoSites.home), .mirror(TwoSites.home), .broker(TwoSites.home)] { sites.kill(part) }
    }

    func bringBack() async throws {
        try await sites.startBroker(TwoSites.home)
        try sites.start(.mirror(TwoSites.home))
        try sites.start(.worker(TwoSites.home))
    }

    func freezeWorker() { sites.freeze(.worker(TwoSites.home)) }
    func thawWorker() { sites.thaw(.worker(TwoSites.home)) }
    func freezeMirror() { sites.freeze(.mirror(TwoSites.away)) }
    func thawMirror() { sites.thaw(.mirror(TwoSites.away)) }

    func killStoreLeader() async throws -> String {
        guard let etcd else { throw DrillFailure("this scenario needs etcd as the store; run it with --store etcd", code: 2) }
        return try await etcd.killLeader()
    }

    func restoreStore() async throws { try await etcd?.start() }

    func check() throws {
        do { try sites.check() } catch let error as DemoFailure { throw DrillFailure(error.description) }
    }

    func end() async {
        await sites.tearDown()
        etcd?.end()
    }

    func cleanUp() async throws {}
}

/// The rule that canaries are acted on by: with retries, and with events that are not due yet.
enum DrillRule {
    static let lines = [
        "retry_limit: 8", "retry_delay: 1500ms", "retry_factor: 1", "timeout: 5s", "delay_until: '{{message.due}}'", "on_failure: dead_letter",
    ]
}
