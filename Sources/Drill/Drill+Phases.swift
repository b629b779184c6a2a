import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// What each phase does. All can be begun again after an interruption: they look into the store and the journal for what was done already.
extension Drill {
    /// After the last event was acted on, for repeats that come later.
    private static let lateRepeats = 1.5

    /// Seconds after which what has not moved is taken for missing: for now, and for good.
    private static let stall = 10.0, lastStall = 20.0
    /// Of canaries, before the first look at the clusters.
    private static let firstLook = 1.5

    private var checkpoints: CheckpointStore { CheckpointStore(sites.store) }
    private var assignments: AssignmentStore { AssignmentStore(sites.store) }

    private func assignment() async throws -> Assignment {
        guard let assignment = try await assignments.load(sites.key)?.assignment else { throw HandoverRefusal.unknown(sites.key) }
        return assignment
    }

    private var controller: HandoverController {
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        let name = setting.operatorName, reason = "drill \(setting.id)" + (plan.reason.isEmpty ? "" : ": \(plan.reason)")
        return HandoverController(store: sites.store, interval: .milliseconds(50), patience: .ofDrills, logger: logger) {
            Assignment.Author(name: name, reason: reason, now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
        }
    }

    // MARK: Before

    func preflight() async throws -> String {
        // Canaries flow from here on: without a record there is little to look at.
        if setting.mode != .liveGroup {
            try startLoad()
            try await watch(Self.firstLook)
        }
        var checks: [DrillReport.Check] = []
        // Workers that have just started may not have said everything yet.
        let deadline = ContinuousClock.now + .seconds(min(20, plan.times.patience))
        repeat {
            checks = await Preflight(sites: sites, versions: Self.versions(setting)).run()
            if checks.allSatisfy({ $0.light == .green }) { break }
            try check()
            try await Task.sleep(for: .milliseconds(300))
        } while ContinuousClock.now < deadline
        try write(.checks) { $0.checks = checks }
        let red = checks.filter { $0.light == .red }
        for check in checks { note("\(check.light == .green ? "green" : "RED")  \(check.name): \(check.detail)") }
        guard red.isEmpty else { throw DrillFailure("preflight is red: \(red.map { "\($0.name): \($0.detail)" }.joined(separator: "; "))") }
        return "\(checks.count) checks, all green"
    }

    func canaries() async throws -> String {
        try startLoad()
        try await watch(plan.times.canaries)
        let partitions = Set(0..<plan.load.partitions)
        try await waitFor("a canary of every partition to be acted on by \(home)") {
            let places = Dictionary(produced.all.map { ($0.id, $0.partition) }) { $1 }
            return Set(target.calls.compactMap { $0.datacenter == home.name ? places[$0.id] : nil }) == partitions
        }
        return "\(produced.count) canaries, \(target.count) acted on, in each of \(partitions.count) partitions"
    }

    func cut() async throws -> String {
        if plan.scenario == .mirrorLag, state.marks[.cut] == nil {
            sites.freezeMirror()
            isBroken = true
            note("the mirror into \(away) stands still")
            try await watch(plan.times.fault)
        }
        if state.snapshot.isEmpty, setting.mode != .liveGroup {
            let stored = try await checkpoints.load(group: sites.key.group, topic: sites.topic)
            let snapshot = stored.compactMap { partition, stored -> DrillSnapshot? in
                guard let checkpoint = try? stored.checkpoint.get() else { return nil }
                return DrillSnapshot(
                    partition: partition.partition, offset: checkpoint.position.offset, cluster: checkpoint.position.cluster.id,
                    beyond: checkpoint.beyond.map(\.bits))
            }
            try write(.snapshot) { $0.snapshot = snapshot.sorted { $0.partition < $1.partition } }
        }
        if plan.scenario == .datacenterLoss {
            try await sites.cutOff()
            load?.kill()
            load = nil
        }
        try mark(.cut)
        switch plan.scenario {
        case .datacenterLoss:
            return "kill -9 of everything in \(home): Kafka, mirror, worker, producers"
        case .zombie:
            sites.freezeWorker()
            isBroken = true
            return "\(home)'s worker stands still (SIGSTOP)"
        case .mirrorLag: return "the mirror into \(away) has stood still for \(DrillWords.seconds(plan.times.fault))"
        case .planned, .storeLeader: return "events go on to flow; the order to move follows"
        }
    }

    // MARK: The move

    func declareUndrainable() async throws -> String {
        let cutAt = state.marks[.cut] ?? clock.now
        try await waitFor("\(home) to fall silent") {
            let silent = max(target.last ?? cutAt, cutAt)
            return clock.now - silent >= plan.times.detect
        }
        try mark(.detected)
        note("\(home) has not acted for \(DrillWords.seconds(plan.times.detect)): it can't be drained")
        if plan.times.decide > 0 { try await watch(plan.times.decide) }
        let places = Dictionary(state.snapshot.map { ($0.partition, $0.offset) }) { $1 }
        let past = produced.all.count { $0.offset >= places[$0.partition] ?? 0 }
        var text = "un-drainable: \(past) events are past the stored checkpoints"
        if plan.scenario == .datacenterLoss {
            let here = try await DrillLog.keys(sites.client(away, "drill"), topic: sites.topic, partitions: plan.load.partitions)
            let stranded = produced.all.count { !here.contains($0.id) }
            try write(.stranded) { $0.count = stranded }
            text += "; \(stranded) had not reached \(away)"
        }
        return text
    }

    func drain() async throws -> String {
        try await drain(to: away, asked: .asked, sealed: .sealed, raised: .raised) {
            if plan.scenario == .storeLeader, state.marks[.faultOver] == nil {
                let killed = try await sites.killStoreLeader()
                isBroken = true
                note("kill -9 of the store's leader, \(killed), while eqiad drains".replacing("eqiad", with: home.name))
            }
        }
    }

    /// A planned handover up to the raised epoch.
    private func drain(
        to target: Datacenter, asked: DrillMark, sealed: DrillMark, raised: DrillMark, meanwhile: () async throws -> Void = {}
    ) async throws -> String {
        var now = try await assignment()
        if now.owner != target, state.marks[raised] == nil {
            try mark(asked)
            if case .draining = now.phase {} else { try await controller.beginSwitchover(sites.key, to: target) }
            try await meanwhile()
        }
        try await waitForStore("\(sites.key) to be drained") {
            _ = try await controller.finishDrain(sites.key)
            now = try await assignment()
            if case .draining = now.phase { return false }
            return true
        }
        guard now.owner == target else { throw DrillFailure("\(now.owner) owns it, not \(target): somebody cancelled the handover ('handover history' says who)") }
        // The epoch goes up right after the last seal, by the worker that wrote it: its own time says when.
        let up = min(clock.now, max(clock.seconds(now.since.milliseconds), state.marks[asked] ?? 0))
        try mark(sealed, at: up)
        try mark(raised, at: up)
        return "every partition is sealed"
    }

    func fence() async throws -> String {
        guard plan.scenario.isForced else { return "epoch \(try await assignment().epoch): \(away) owns it; after a drain nobody has to be waited for" }
        var now = try await assignment()
        try mark(.asked)
        if now.owner != away { now = try await controller.failover(sites.key, to: away).assignment }
        try mark(.raised)
        let wait = Double(now.fenceMilliseconds) / 1000
        let over = (state.marks[.raised] ?? clock.now) + wait
        try await watch(max(0, over - clock.now))
        try mark(.leaseOver, at: over)
        return "epoch \(now.epoch): \(home) is fenced, and its lease of \(DrillWords.seconds(wait)) has run out"
    }

    func switchOver() async throws -> String {
        if plan.scenario == .mirrorLag, isBroken {
            try await watch(max(0, (state.marks[.asked] ?? 0) + plan.times.fault - clock.now))
            sites.thawMirror()
            isBroken = false
            try mark(.faultOver)
            note("the mirror goes on")
        }
        try await settle(.switchOver, on: away, resolved: .resolved, stable: .stable)
        if plan.scenario == .storeLeader {
            try await sites.restoreStore()
            isBroken = false
            try mark(.faultOver)
            note("the store's member is back")
        }
        if plan.scenario == .zombie, isBroken {
            let asleep = clock.now - (state.marks[.cut] ?? 0)
            try await watch(max(0, max(plan.times.fault, 2 * plan.embedded.lease) - asleep))
            sites.thawWorker()
            isBroken = false
            try mark(.faultOver)
            note("the zombie wakes up")
        }
        return "\(away) acts on \(home)'s topics, \(state.resumes[.switchOver]?.count ?? 0) partitions resumed"
    }

    /// Waits until the new owner has resumed everything, and writes down how.
    private func settle(_ move: DrillReport.MoveName, on owner: Datacenter, resolved: DrillMark, stable: DrillMark) async throws {
        var now = try await assignment()
        try await waitForStore("\(owner) to resume every partition") {
            now = try await assignment()
            return now.phase == .stable
        }
        try mark(stable)
        var found: [DrillReport.Resumption] = []
        var last: Int64 = 0
        let isGroup = setting.mode == .liveGroup
        let partitions = isGroup ? now.reported.sorted() : (0..<plan.load.partitions).map { TopicPartition(topic: sites.topic, partition: $0) }
        // Reports are written beside the work: the last one may come a moment later.
        let deadline = ContinuousClock.now + .seconds(5)
        repeat {
            found = []
            for partition in partitions {
                guard let report = try await ResumeReport.load(from: sites.store, group: sites.key.group, partition), report.epoch == now.epoch else { continue }
                last = max(last, report.at)
                found.append(
                    .init(
                        partition: partition.partition, topic: isGroup ? partition.topic : nil, checkpointOffset: report.checkpointOffset,
                        resumedOffset: report.offset, method: report.method))
            }
            if found.count == partitions.count { break }
            try await Task.sleep(for: .milliseconds(50))
        } while ContinuousClock.now < deadline
        if last > 0 { try mark(resolved, at: clock.seconds(last)) }
        try write(.resumes) { ($0.move, $0.resumes, $0.epoch) = (move, found, now.epoch) }
    }

    // MARK: After

    func verify() async throws -> String {
        if setting.mode == .liveGroup { return try groupVerdict(.switchOver) }
        let now = clock.now
        var wanted = produced.all.filter { ($0.due ?? 0) < now }
        var waiting = 0
        if isHomeLost {
            // What is in the lost datacenter alone waits there, and so do retries whose records had not been mirrored.
            let here = try await DrillLog.keys(sites.client(away, "drill"), topic: sites.topic, partitions: plan.load.partitions)
            let known = Set(state.snapshot.map(\.partition))
            let tried = Set(target.calls.map(\.id))
            let parked = wanted.filter { ($0.due != nil || tried.contains($0.id)) && !target.isAccepted($0.id) && known.contains($0.partition) }
            waiting = wanted.count { !here.contains($0.id) } + parked.count { here.contains($0.id) }
            let left = Set(parked.map(\.id))
            wanted = wanted.filter { here.contains($0.id) && !left.contains($0.id) }
        }
        let ids = wanted.map(\.id)
        let missing = try await missing(of: ids, stall: Self.stall)
        if !missing.isEmpty {
            // They may be lost, which only the end can tell: the rest of the drill goes on.
            return "\(missing.count) of \(ids.count) events that \(away) holds have not been acted on, such as \(missing.prefix(3).joined(separator: ", "))"
        }
        return "all \(ids.count) events that \(away) could act on are done" + (waiting > 0 ? "; \(waiting) wait for \(home)" : "")
    }

    func soak() async throws -> String {
        let before = target.count
        try await watch(plan.times.soak)
        return DrillWords.seconds(plan.times.soak) + (setting.mode == .liveGroup ? "" : ", \(target.count - before) events acted on")
    }

    func goHome() async throws -> String {
        if plan.scenario == .datacenterLoss {
            if isHomeLost {
                try await sites.bringBack()
                try mark(.homeBack)
                note("\(home) is back, and stands by")
            }
            try startLoad()
            try await catchUp()
        }
        try await waitForWork(of: away)
        let text = try await drain(to: home, asked: .homeAsked, sealed: .homeSealed, raised: .homeRaised)
        try await settle(.home, on: home, resolved: .homeResolved, stable: .homeStable)
        return "\(text); \(home) acts on its own topics again"
    }

    /// Without an action of the old side right before a planned move its pause could not be measured.
    private func waitForWork(of datacenter: Datacenter) async throws {
        guard state.marks[.homeAsked] == nil, setting.mode != .liveGroup else { return }
        let since = clock.now
        let partitions = Set(0..<plan.load.partitions)
        try await waitFor("\(datacenter) to act in every partition") {
            let places = Dictionary(produced.all.filter { $0.at >= since }.map { ($0.id, $0.partition) }) { $1 }
            return Set(target.calls.compactMap { $0.datacenter == datacenter.name ? places[$0.id] : nil }) == partitions
        }
    }

    /// What waited in the lost datacenter is acted on before it takes its work home, so that the report can tell whose repeats are whose.
    private func catchUp() async throws {
        let back = state.marks[.homeBack] ?? clock.now
        let missing = try await missing(of: produced.all.filter { $0.at <= back }.map(\.id), stall: Self.stall)
        if missing.isEmpty { note("everything that had waited in \(home) has been acted on, by \(away)") } else {
            note("\(missing.count) events have not been acted on, such as \(missing.prefix(3).joined(separator: ", "))")
        }
    }

    /// What the new side's workers wrote of a real group.
    private func groupVerdict(_ move: DrillReport.MoveName) throws -> String {
        let all = state.resumes[move] ?? []
        let odd = all.filter { !["tail", "same cluster"].contains($0.method) }
        guard let first = odd.first else { return "all \(all.count) partitions were resumed where their sealed checkpoints end" }
        return "\(odd.count) of \(all.count) partitions were not resumed where their checkpoints end, such as \(first.topic ?? "")/\(first.partition) by \(first.method)"
    }

    private func noteGaps() async throws {
        let gaps = try await sites.store.list(under: StoreKey("gaps", sites.key.group)).entries.sorted { $0.key < $1.key }.compactMap { key, value -> String? in
            let report = try? JSONDecoder().decode(GapReport.self, from: Data(value.bytes))
            // Those from before the drill are not its own.
            if let report, report.at < setting.beganAt { return nil }
            return "\(key.segments.dropFirst(2).joined(separator: "/")): \(report?.reason ?? "?"), \(report?.records.map { "\($0) records" } ?? "records unknown")"
        }
        try write(.gaps) { $0.gaps = gaps }
    }

    func verifyHome() async throws -> String {
        if setting.mode == .liveGroup {
            try await watch(plan.times.settle)
            try mark(.loadEnded)
            try await noteGaps()
            return try groupVerdict(.home)
        }
        if state.marks[.loadEnded] == nil { try await watch(plan.times.settle) }
        await load?.stop()
        load = nil
        try mark(.loadEnded)
        let ids = produced.all.map(\.id)
        let missing = try await missing(of: ids, stall: Self.lastStall)
        try await watch(Self.lateRepeats)
        try await noteGaps()
        return missing.isEmpty ? "all \(ids.count) events were acted on" : "\(missing.count) of \(ids.count) events were lost"
    }
}
