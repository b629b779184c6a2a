import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

/// F48, F49: the old side stands still for longer than its lease while its work is given away, and then goes on.
@Suite("A worker that was stopped wakes up after its origin was given away", .serialized)
struct ZombieTests {
    /// Holds the sink's answers to one datacenter back.
    private final class Hold: Sendable {
        private let state = Mutex<(isClosed: Bool, held: Int)>((false, 0))
        var held: Int { state.withLock { $0.held } }
        func close() { state.withLock { $0.isClosed = true } }
        func open() { state.withLock { $0.isClosed = false } }

        func pass() async throws {
            state.withLock { $0.held += 1 }
            defer { state.withLock { $0.held -= 1 } }
            while state.withLock({ $0.isClosed }) { try await Task.sleep(for: .milliseconds(5)) }
        }
    }

    @Test("SIGSTOP for longer than the lease, failover, SIGCONT: the zombie writes nothing and starts no action")
    func zombie() async throws {
        let hold = Hold()
        let zombie = TwoSites.Part.worker(TwoSites.home)
        try await Stage.run("zombie", {
            $0.rate = 150
            // Its group must not be what stops it: only the lease and the fence are.
            $0.sessionTimeout = .seconds(60)
            $0.work = { _, datacenter in if datacenter == TwoSites.home { try await hold.pass() } }
        }) { sites, etcd in
            // Every slot waits for an answer, and more is waiting for a slot: what it will do when it wakes up is certain, and no request is
            // on its way out of the process when it stops.
            hold.close()
            try await sites.waitFor("full slots") { hold.held == sites.settings.concurrency }
            try await sites.waitFor("a queue") { sites.missing(of: try sites.produced()).count > 100 }
            let stored = try await sites.checkpoints()
            sites.freeze(zombie)
            let stopped = ContinuousClock.now
            let from = sites.callCount

            let command = try sites.handover("failover", ["--to", TwoSites.away.name])
            try await sites.waitForStable(TwoSites.away, epoch: 2)
            try await sites.waitFor("the command's end") { !command.isRunning }
            hold.open()
            // The answers reach a process that stands still, for twice the lease.
            let asleep = stopped.duration(to: .now)
            if asleep < sites.settings.lease * 2 { try await Task.sleep(for: sites.settings.lease * 2 - asleep) }
            let thawed = ContinuousClock.now
            sites.thaw(zombie)
            try await sites.waitFor("the zombie to hear of it") {
                try String(contentsOf: sites.log(zombie), encoding: .utf8).contains("owner=codfw")
            }
            try await Task.sleep(for: .seconds(1))
            let produced = try await sites.waitForAll()
            try sites.check()

            let calls = sites.calls(from: from)
            let first = try #require(calls.first { $0.datacenter == TwoSites.away })
            let late = calls.filter { $0.datacenter == TwoSites.home }
            #expect(late.isEmpty, "the zombie started actions: \(late.map { thawed.duration(to: $0.at) })")
            #expect(stopped.duration(to: first.at) >= sites.settings.lease, "the new side waits for the old lease")
            let account = try await Account.of(sites, from: 0, produced: produced, stored: stored, at: stopped)
            #expect(account.lost == [] && account.known.isEmpty)
            try await Self.expectFence(etcd)
            print(
                "zombie: stopped for \(stopped.duration(to: thawed)), \(account.lost.count) lost, \(account.repeats.count) repeated (the "
                    + "\(sites.settings.concurrency) that ran, and what was done after the last checkpoint), \(late.count) actions after it woke up")
        }
    }

    /// From the epoch's rise on, the store's history holds no checkpoint of an older epoch.
    private static func expectFence(_ etcd: EtcdServer) async throws {
        let changes = try await etcd.history(under: "/switchback/")
        var epoch: Int64 = 0
        var writes = 0
        for change in changes {
            if change.key == "/switchback/assignments/\(TwoSites.group)/\(TwoSites.home)" {
                let next = try Assignment(decoding: change.value).epoch
                #expect(next >= epoch, "an epoch went back")
                epoch = next
            }
            guard change.key.hasPrefix("/switchback/checkpoints/\(TwoSites.group)/\(TwoSites.topic)/") else { continue }
            writes += 1
            #expect(try CheckpointCodec.decode(change.value).epoch == epoch, "revision \(change.revision): a checkpoint of another epoch")
        }
        #expect(epoch == 2 && writes > 0)
        print("zombie: \(changes.count) changes in the store's history, \(writes) of them checkpoints, none of an epoch that was over")
    }
}
