import Demo
import Foundation
import Handover
import KafkaLog
import TestSupport
import Testing

/// F46, F51, F53 against real etcds. F50 (a lease that etcd revokes, or keeps alive although it is gone) has nothing to test: Switchback
/// keeps no lease object in etcd. A right to act is a linearizable read that still shows the epoch, and `etcdctl lease revoke` finds
/// nothing to revoke.
@Suite("etcd fails while handovers go on", .serialized)
struct EtcdFaultTests {
    @Test("Three members: the leader is killed, each is stopped in turn, the leader hangs, history is compacted away")
    func threeMembers() async throws {
        try await Stage.run("three etcds", members: 3, { $0.rate = 100 }) { sites, etcd in
            print("  what                              lost repeated  seconds")
            var owner = TwoSites.home
            try await Self.row("leader killed in a handover", sites, owner: &owner) {
                let leader = try await etcd.leader()
                etcd.kill(leader)
                return { try await etcd.restart(leader) }
            }
            for member in etcd.ports.indices {
                try await Self.row("member \(member) down in a handover", sites, owner: &owner) {
                    etcd.kill(member)
                    return { try await etcd.restart(member) }
                }
            }
            try await Self.row("leader hangs in a handover", sites, owner: &owner) {
                let leader = try await etcd.leader()
                etcd.freeze(leader)
                return { etcd.thaw(leader) }
            }
            try await Self.row("compaction in a handover", sites, owner: &owner) {
                let compacting = Task {
                    while !Task.isCancelled {
                        try await etcd.compact()
                        try await Task.sleep(for: .milliseconds(30))
                    }
                }
                return {
                    compacting.cancel()
                    // What went wrong with it, but for its having been cancelled.
                    do { try await compacting.value } catch is CancellationError {}
                }
            }
            #expect(try await sites.gaps() == 0)
        }
    }

    /// One handover with something wrong from its beginning to its end.
    /// - Parameter wrong: makes it so; what it returns mends it.
    private static func row(
        _ name: String, _ sites: TwoSites, owner: inout Datacenter, wrong: () async throws -> () async throws -> Void
    ) async throws {
        let target = TwoSites.other(owner)
        let epoch = try #require(try await sites.assignment()).epoch
        let from = sites.callCount
        let began = ContinuousClock.now
        var command = try sites.handover("switchover", ["--to", target.name])
        let mend = try await wrong()
        try await sites.waitFor("\(target) to own \(TwoSites.home).* in spite of it") {
            if let now = try? await sites.assignment(), now.owner == target, now.epoch == epoch + 1, now.phase == .stable { return true }
            // A command that could not even begin says so and ends: the operator gives it again.
            if !command.isRunning {
                try await Task.sleep(for: .milliseconds(500))
                command = try sites.handover("switchover", ["--to", target.name])
            }
            return false
        }
        let seconds = began.duration(to: .now) / .seconds(1)
        try await mend()
        command.kill()
        try await sites.waitForAll()
        // A repeat comes after the first time: wait for what may still come.
        try await Task.sleep(for: .milliseconds(300))
        let produced = try await sites.waitForAll()
        let account = try await Account.of(sites, from: from, produced: produced)
        print("  " + name.padding(toLength: 32, withPad: " ", startingAt: 0) + String(format: "%6d %8d %8.1f", account.lost.count, account.repeats.count, seconds))
        #expect(account.lost == [] && account.repeats.isEmpty, "\(name): nobody who acts has died, so nothing is repeated")
        try sites.check()
        owner = target
    }

    @Test("No space: work stops when what is done can't be stored, the error says what to do, and all is caught up when it is done")
    func noSpace() async throws {
        try await Stage.run("etcd without space", arguments: ["--quota-backend-bytes", "4194304"], { $0.rate = 60 }) { sites, etcd in
            var junk: [String] = []
            repeat { junk.append("/junk/\(junk.count)") } while try await etcd.fill(junk[junk.count - 1], bytes: 200_000)
            let full = sites.callCount
            // No write of a checkpoint gets through any more: acting goes on until the lease runs out, and no further.
            var last = (count: -1, since: ContinuousClock.now)
            try await sites.waitFor("the work to stop") {
                if sites.callCount != last.count { last = (sites.callCount, .now) }
                return last.since.duration(to: .now) > .seconds(2)
            }
            let done = sites.callCount - full
            let waiting = sites.missing(of: try sites.produced()).count
            #expect(waiting > 0)
            let log = try String(contentsOf: sites.log(.worker(TwoSites.home)), encoding: .utf8)
            #expect(log.contains("alarm disarm"), "the worker's log says the next step")
            let command = try sites.handover("switchover", ["--to", TwoSites.away.name])
            try await sites.waitFor("the command to give up") { !command.isRunning }
            #expect(command.lastWords().contains("alarm disarm"), "so does the command: \(command.lastWords())")

            for key in junk { try await etcd.delete(key) }
            try await etcd.compact()
            try await etcd.defragmentAndDisarm()
            let from = sites.callCount
            try await sites.waitForAll()
            let again = try sites.handover("switchover", ["--to", TwoSites.away.name])
            try await sites.waitForStable(TwoSites.away, epoch: 2)
            again.kill()
            let account = try await Account.of(sites, from: 0, produced: try await sites.waitForAll())
            #expect(account.lost == [] && account.repeats.isEmpty)
            print(
                "no space: \(done) actions from then until work stopped, \(waiting) events waited, \(sites.callCount - from) actions since; "
                    + "\(account.lost.count) lost, \(account.repeats.count) repeated")
        }
    }
}
