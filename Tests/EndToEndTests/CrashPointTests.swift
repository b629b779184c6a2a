import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

/// F59: SIGKILL at every numbered point of a handover, of each process that has a part in it.
@Suite("A process dies at each step of a handover", .serialized)
struct CrashPointTests {
    /// One death: where, and what must have come of it.
    private struct Death {
        let point: CrashPoint
        /// nil: bounded by the last stored checkpoint. 0: nothing at all may be repeated, since everything that was done is sealed, or
        /// nobody who acts has died.
        var mayRepeat: Int? = 0
        /// An owner that died and is not started again before the controller's turn has come: nobody else carries the drain through.
        var ownerDiesToo = false
    }

    /// Each death happens in a handover of its own, to and fro.
    private static let deaths: [Death] = [
        Death(point: .beforeSeal, mayRepeat: nil), Death(point: .sealWritten, mayRepeat: nil), Death(point: .betweenSeals, mayRepeat: nil),
        Death(point: .allSealed), Death(point: .raisedByOwner),
        Death(point: .epochSeen), Death(point: .planned), Death(point: .firstAction, mayRepeat: nil),
        Death(point: .firstCheckpoint, mayRepeat: nil), Death(point: .settled, mayRepeat: nil),
        Death(point: .markedDraining), Death(point: .waiting), Death(point: .seenSealed, ownerDiesToo: true),
        Death(point: .raised, ownerDiesToo: true),
    ]

    @Test("Every numbered point of a handover is tried")
    func complete() { #expect(Set(Self.deaths.map(\.point)) == Set(CrashPoint.allCases.filter(\.isOfHandover))) }

    @Test("Wherever a process dies, the handover ends, nothing is lost, and nothing is repeated that a checkpoint names")
    func everyPoint() async throws {
        let hold = Hold()
        let change: (inout TwoSites.Settings) -> Void = { settings in
            settings.rate = 120
            settings.work = { id, _ in try await hold.work(id) }
        }
        try await Stage.run("crash points", change) { sites, _ in
            var owner = TwoSites.home
            print("  point                 lost repeated  of these known  seconds")
            for death in Self.deaths {
                let result = try await Self.die(death, sites, owner: owner, hold)
                owner = TwoSites.other(owner)
                print(
                    "  " + "\(death.point.rawValue) \(death.point)".padding(toLength: 22, withPad: " ", startingAt: 0)
                        + String(format: "%4d %8d %15d %8.1f", result.account.lost.count, result.account.repeats.count, result.account.known.count, result.seconds))
                #expect(result.account.lost == [], "lost at \(death.point)")
                #expect(result.account.known.map(\.id) == [], "repeated at \(death.point) although a checkpoint names them as done")
                if let most = death.mayRepeat { #expect(result.account.repeats.count <= most, "repeated at \(death.point)") }
                try sites.check()
            }
            try await sites.end(.producer)
            try await sites.waitForAll()
            #expect(try await sites.gaps() == 0)
            let history = try await AssignmentStore(sites.store).history(TwoSites.key)
            #expect(history.map(\.epoch).max() == Int64(Self.deaths.count) + 1, "one epoch a handover")
        }
    }

    /// One handover with one death (or two) in it.
    private static func die(
        _ death: Death, _ sites: TwoSites, owner: Datacenter, _ hold: Hold
    ) async throws -> (account: Account, seconds: Double) {
        let target = TwoSites.other(owner)
        let epoch = try #require(try await sites.assignment()).epoch
        let from = sites.callCount
        let crash = [CrashPoints.variable: "\(death.point.rawValue)"]
        let number = death.point.rawValue
        let isWorker = number < 20
        let victim = TwoSites.Part.worker(number < 10 ? owner : target)
        if isWorker { try await restart(victim, crash, sites) }
        if death.ownerDiesToo { try await restart(.worker(owner), [CrashPoints.variable: "\(CrashPoint.allSealed.rawValue)"], sites) }
        try await flow(owner, sites)
        if death.point == .betweenSeals {
            // One call that takes longer keeps its partition open while the others are sealed; without it one write may seal all.
            hold.one()
            try await sites.waitFor("a call to be held") { hold.isHolding }
        }
        defer { hold.release() }

        let began = ContinuousClock.now
        let toTarget = ["--to", target.name]
        var died: ContinuousClock.Instant
        if isWorker {
            // A controller that only begins it: what follows is the workers' own doing.
            let command = try sites.handover("switchover", toTarget + ["--timeout", "0"])
            try await sites.waitFor("the death of \(victim) at \(death.point)") { !sites.isRunning(victim) }
            died = .now
            hold.release()
            command.kill()
        } else if death.ownerDiesToo {
            let first = try sites.handover("switchover", toTarget + ["--timeout", "0"])
            try await sites.waitFor("the death of \(owner)'s worker when all is sealed") { !sites.isRunning(.worker(owner)) }
            first.kill()
            let second = try sites.handover("resume", environment: crash)
            try await sites.waitFor("the controller's death at \(death.point)") { !second.isRunning }
            died = .now
            try expectDeath(second.log, death.point)
        } else {
            let command = try sites.handover("switchover", toTarget, environment: crash)
            try await sites.waitFor("the controller's death at \(death.point)") { !command.isRunning }
            died = .now
            try expectDeath(command.log, death.point)
        }
        let stored = try await sites.checkpoints()
        if isWorker { try expectDeath(sites.log(victim), death.point) }
        for part in [victim, .worker(owner)] where !sites.isRunning(part) {
            sites.kill(part)
            try sites.start(part)
        }
        let last = isWorker ? nil : try sites.handover("resume")
        try await sites.waitForStable(target, epoch: epoch + 1)
        let seconds = began.duration(to: .now) / .seconds(1)
        last?.kill()
        try await sites.waitForAll()
        // A repeat comes after the first time: wait for what may still come.
        try await Task.sleep(for: .milliseconds(300))
        let produced = try await sites.waitForAll()
        died = max(died, began)
        return (try await Account.of(sites, from: from, produced: produced, stored: stored, at: died), seconds)
    }

    /// What the sink does for each call: some milliseconds, but for one that is held.
    private final class Hold: Sendable {
        private enum State { case open, wanted, holding }
        private let state = Mutex(State.open)

        var isHolding: Bool { state.withLock { $0 == .holding } }
        /// The next call is held until `release`.
        func one() { state.withLock { $0 = .wanted } }
        func release() { state.withLock { $0 = .open } }

        func work(_ id: String) async throws {
            let isHeld = state.withLock { state in
                guard state == .wanted else { return false }
                state = .holding
                return true
            }
            try await Task.sleep(for: .milliseconds(2 + Int(id.utf8.last ?? 0) % 15))
            while isHeld, isHolding { try await Task.sleep(for: .milliseconds(5)) }
        }
    }

    private static func expectDeath(_ log: URL, _ point: CrashPoint) throws {
        let text = try String(contentsOf: log, encoding: .utf8)
        #expect(text.contains("crash point \(point.rawValue), \(point)"), "it died of something else: \(text.suffix(500))")
    }

    /// Ends a worker in order and starts it with a point to die at.
    private static func restart(_ part: TwoSites.Part, _ environment: [String: String], _ sites: TwoSites) async throws {
        try await sites.end(part)
        try sites.start(part, environment: environment)
    }

    /// Waits until `owner` acts on what is produced now.
    private static func flow(_ owner: Datacenter, _ sites: TwoSites) async throws {
        let from = sites.callCount
        try await sites.waitFor("\(owner) to act") { sites.calls(from: from).count { $0.datacenter == owner } >= 20 }
    }
}
