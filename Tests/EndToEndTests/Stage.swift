import Checkpoints
import Foundation
import Handover
import KafkaLog
import TestSupport

@testable import Demo

/// Two datacenters as processes around a real etcd, for one test; ended whatever comes of it.
enum Stage {
    /// Starts clusters, mirrors, workers and the producer, and waits until eqiad acts.
    /// - Parameters:
    ///   - members: of etcd; `arguments` are further ones of each.
    ///   - workers: variables of the workers' environment.
    static func run(
        _ purpose: String, members: Int = 1, arguments: [String] = [], workers: [Datacenter: [String: String]] = [:],
        _ change: (inout TwoSites.Settings) -> Void = { _ in }, _ body: (TwoSites, EtcdServer) async throws -> Void
    ) async throws {
        let directory = try TemporaryDirectory()
        let etcd = try await EtcdServer.start(members: members, arguments: arguments)
        var settings = TwoSites.Settings(
            executable: try Executable.switchback(), directory: directory.url, seed: Seed.fresh(purpose), etcd: etcd.ports)
        settings.launch = { try TestSupport.launch($0) }
        settings.patience = .seconds(40)
        change(&settings)
        let sites = try await TwoSites(settings)
        do {
            try await sites.startClusters()
            try await sites.startWorkers(workers)
            try sites.start(.producer)
            try await sites.waitFor("the first actions") { sites.callCount > 20 }
            try await body(sites, etcd)
        } catch {
            for part in [TwoSites.Part.worker(TwoSites.home), .worker(TwoSites.away), .producer] {
                let text = (try? String(contentsOf: sites.log(part), encoding: .utf8)) ?? ""
                print("\(part) ended its log with:\n" + text.split(separator: "\n").suffix(15).joined(separator: "\n"))
            }
            await sites.tearDown()
            throw error
        }
        await sites.tearDown()
    }
}

/// What became of the events while something went wrong.
struct Account {
    /// Acknowledged, and never acted on.
    var lost: [String] = []
    /// Calls beyond the first of an event.
    var repeats: [TwoSites.Call] = []
    /// Of the repeats: events that a checkpoint named as done when it stood in the store before the repeat.
    var known: [TwoSites.Call] = []

    /// - Parameters:
    ///   - from: the first call that counts as a repeat, by its number.
    ///   - stored: what stood in the store at `at`; nil: nothing is known.
    static func of(
        _ sites: TwoSites, from: Int, produced: [String], stored: [Int32: Checkpoint] = [:], at: ContinuousClock.Instant? = nil
    ) async throws -> Account {
        var account = Account()
        account.lost = sites.missing(of: produced)
        let calls = sites.calls()
        var seen = Set(calls.prefix(from).map(\.id))
        for call in calls.dropFirst(from) where !seen.insert(call.id).inserted { account.repeats.append(call) }
        guard !account.repeats.isEmpty, !stored.isEmpty else { return account }
        var places: [ClusterID: [String: [TwoSites.Place]]] = [:]
        for datacenter in [TwoSites.home, TwoSites.away] {
            places[try await sites.clusterID(datacenter)] = try await sites.places(in: datacenter)
        }
        for call in account.repeats where at.map({ call.at > $0 }) ?? true {
            let isKnown = stored.contains { partition, checkpoint in
                let found = places[checkpoint.position.cluster]?[call.id] ?? []
                guard found.contains(where: { $0.partition == partition }) else { return false }
                return found.contains { $0.offset < checkpoint.position.offset } || checkpoint.beyond.contains(Fingerprint.ofIdentity(call.id))
            }
            if isKnown { account.known.append(call) }
        }
        return account
    }
}
