import Testing

@testable import LocalKafka

/// Repeats a run from its seed (SplitMix64).
struct GroupSeed: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Clients that do anything at any time: right, wrong, late, twice.
@Suite struct GroupPropertyTests {
    /// The longest that anything may wait: a first rebalance with its delay, a rebalance, a sync.
    static let maxTimeoutMs: Int32 = 2_000

    @Test(arguments: 0..<8)
    func nothingWaitsForEverAndGenerationsOnlyGrow(index: Int) async {
        let seed = UInt64.random(in: 0 ... .max)
        for run in 0..<15 {
            await Task.yield()  // the brokers of other tests share these threads
            var failures: [String] = []
            simulate(seed: seed &+ UInt64(run), &failures)
            #expect(failures.isEmpty, "seed \(seed &+ UInt64(run)): \(failures.prefix(3))")
            if !failures.isEmpty { return }
        }
    }

    private func simulate(seed: UInt64, _ failures: inout [String]) {
        var rng = GroupSeed(state: seed)
        var h = GroupHarness(initialDelayMs: Int32.random(in: 0...30, using: &rng)) { $0.newMemberJoinTimeoutMs = 4_000 }
        var ids: [String] = []
        var joinSent: [ReplyToken: Int64] = [:]
        var syncSent: [ReplyToken: Int64] = [:]
        /// Assignments as the leader of each generation sent them.
        var ledBy: [Int32: String] = [:]
        var sentByLeader: [Int32: [String: [UInt8]]] = [:]
        var syncOf: [ReplyToken: (member: String, generation: Int32)] = [:]
        var instanceOfJoin: [ReplyToken: String] = [:]
        var instanceOf: [String: String] = [:]
        var lastGeneration: Int32 = 0

        func check() {
            let generation = h.group?.generation ?? lastGeneration
            if generation < lastGeneration { failures.append("generation fell from \(lastGeneration) to \(generation)") }
            lastGeneration = generation
            if !h.answeredTwice.isEmpty { failures.append("answered twice: \(h.answeredTwice)") }
            for (token, sent) in joinSent {
                guard let reply = h.joins[token] else {
                    if h.nowMs - sent > 4 * Int64(Self.maxTimeoutMs) { failures.append("join \(token) waits since \(sent)") }
                    continue
                }
                joinSent[token] = nil
                guard reply.error == .none || reply.error == .memberIDRequired else { continue }
                instanceOf[reply.memberID] = instanceOfJoin[token] ?? instanceOf[reply.memberID]
                if !ids.contains(where: { $0 == reply.memberID }) { ids.append(reply.memberID) }
                guard reply.error == .none, reply.leaderID == reply.memberID, !reply.members.isEmpty else { continue }
                if let other = ledBy[reply.generation], other != reply.memberID, h.group?.members[other] != nil {
                    failures.append("generation \(reply.generation) has two leaders")
                }
                ledBy[reply.generation] = reply.memberID
            }
            for (token, sent) in syncSent {
                guard let reply = h.syncs[token] else {
                    if h.nowMs - sent > 2 * Int64(Self.maxTimeoutMs) { failures.append("sync \(token) waits since \(sent)") }
                    continue
                }
                syncSent[token] = nil
                guard reply.error == .none, let (member, generation) = syncOf[token], !reply.assignment.isEmpty else { continue }
                // A static member that came back gets what was assigned to its former id.
                let owner = sentByLeader[generation]?.first { $0.value == reply.assignment }?.key
                if owner == nil || (owner != member && instanceOf[owner ?? ""] != (instanceOf[member] ?? "none")) {
                    failures.append("\(member) got an assignment of generation \(generation) that its leader did not send")
                }
            }
            if let group = h.group {
                if let leader = group.leaderID, group.members[leader] == nil { failures.append("the leader is no member") }
                if group.state == .empty, !group.members.isEmpty { failures.append("an empty group has members") }
            }
        }

        for _ in 0..<120 {
            let known = ids.randomElement(using: &rng)
            switch Int.random(in: 0..<12, using: &rng) {
            case 0, 1:
                let instance = Bool.random(using: &rng) ? nil : ["a", "b"].randomElement(using: &rng)
                let token = h.join(
                    instance: instance, candidates: [["range", "sticky"], ["sticky", "range"]].randomElement(using: &rng) ?? [],
                    session: .random(in: 50...Self.maxTimeoutMs, using: &rng),
                    rebalance: .random(in: 0...Self.maxTimeoutMs, using: &rng), known: Bool.random(using: &rng),
                    skip: Bool.random(using: &rng))
                joinSent[token] = h.nowMs
                instanceOfJoin[token] = instance
            case 2, 3, 4:
                guard let known else { continue }
                let token = h.join(
                    known, instance: h.group?.members[known]?.instanceID, candidates: ["range", "sticky"],
                    metadata: [.random(in: 0...1, using: &rng)],
                    session: .random(in: 50...Self.maxTimeoutMs, using: &rng),
                    rebalance: .random(in: 0...Self.maxTimeoutMs, using: &rng), known: true)
                joinSent[token] = h.nowMs
            case 5, 6, 7:
                guard let known, let group = h.group else { continue }
                let generation = Int.random(in: 0..<10, using: &rng) == 0 ? group.generation - 1 : group.generation
                let mine: [UInt8] = (0..<4).map { _ in .random(in: 0...255, using: &rng) }
                var assignments: [String: [UInt8]] = [:]
                for member in group.members.keys { assignments[member] = mine + Array(member.utf8) }
                let accepted = group.state == .completingRebalance && generation == group.generation
                if accepted, group.leaderID == known { sentByLeader[generation] = assignments }
                let token = h.sync(known, generation, instance: group.members[known]?.instanceID, assignments)
                syncSent[token] = h.nowMs
                syncOf[token] = (known, generation)
            case 8:
                guard let known else { continue }
                _ = h.heartbeat(known, h.group?.generation ?? 0)
            case 9:
                guard let known, Int.random(in: 0..<3, using: &rng) == 0 else { continue }
                _ = h.leave(LeavingMember(memberID: known, instanceID: nil))
            case 10:
                guard let known else { continue }
                _ = h.commit(known, h.group?.generation ?? -1)
            default:
                h.wait(.random(in: 0...300, using: &rng))
            }
            check()
        }
        // Everyone falls silent: all that still waits is answered, and the group empties.
        h.wait(60_000)
        check()
        if !joinSent.isEmpty || !syncSent.isEmpty { failures.append("unanswered at the end: \(joinSent) \(syncSent)") }
        if let group = h.group, group.state != .empty { failures.append("still \(group.state) at the end") }
    }
}
