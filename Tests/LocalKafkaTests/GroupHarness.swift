@testable import LocalKafka

/// Drives a `GroupCoordinator` with a clock of its own and keeps every answer by its token.
struct GroupHarness {
    var coordinator: GroupCoordinator
    var nowMs: Int64 = 1_000
    var joins: [ReplyToken: JoinReply] = [:]
    var syncs: [ReplyToken: SyncReply] = [:]
    var answeredTwice: [ReplyToken] = []
    private var nextToken: UInt64 = 0
    private var nextID = 0

    init(initialDelayMs: Int32 = 0, _ change: (inout GroupLimits) -> Void = { _ in }) {
        var limits = GroupLimits()
        limits.initialRebalanceDelayMs = initialDelayMs
        change(&limits)
        coordinator = GroupCoordinator(limits: limits)
    }

    var now: GroupInstant { GroupInstant(nanoseconds: nowMs * 1_000_000) }
    var group: ConsumerGroup? { coordinator.group("g") }

    mutating func take(_ actions: [GroupAction]) {
        for action in actions {
            switch action {
            case .answerJoin(let token, let reply):
                if joins.updateValue(reply, forKey: token) != nil { answeredTwice.append(token) }
            case .answerSync(let token, let reply):
                if syncs.updateValue(reply, forKey: token) != nil { answeredTwice.append(token) }
            }
        }
    }

    mutating func join(
        _ memberID: String = "", instance: String? = nil, candidates: [String] = ["range"], metadata: [UInt8] = [1],
        session: Int32 = 10_000, rebalance: Int32 = 30_000, type: String = "consumer", known: Bool = false,
        skip: Bool = false, group: String = "g"
    ) -> ReplyToken {
        nextToken += 1
        nextID += 1
        let token = ReplyToken(number: nextToken)
        let request = JoinRequest(
            groupID: group, memberID: memberID, instanceID: instance, clientID: "c", clientHost: "/127.0.0.1",
            sessionTimeoutMs: session, rebalanceTimeoutMs: rebalance, protocolType: type,
            candidates: candidates.map { .init(name: $0, metadata: metadata) }, requiresKnownMemberID: known,
            canSkipAssignment: skip, freshMemberID: "m\(nextID)")
        take(coordinator.join(request, token: token, now: now))
        return token
    }

    mutating func sync(
        _ memberID: String, _ generation: Int32, instance: String? = nil, _ assignments: [String: [UInt8]] = [:],
        type: String? = nil, name: String? = nil
    ) -> ReplyToken {
        nextToken += 1
        let token = ReplyToken(number: nextToken)
        let request = SyncRequest(
            claim: claim(memberID, generation, instance: instance), protocolType: type, protocolName: name,
            assignments: assignments)
        take(coordinator.sync(request, token: token, now: now))
        return token
    }

    func claim(_ memberID: String, _ generation: Int32, instance: String? = nil, group: String = "g") -> MemberClaim {
        MemberClaim(groupID: group, memberID: memberID, instanceID: instance, generation: generation)
    }

    mutating func heartbeat(_ memberID: String, _ generation: Int32, instance: String? = nil) -> ErrorCode {
        let (error, actions) = coordinator.heartbeat(claim(memberID, generation, instance: instance), now: now)
        take(actions)
        return error
    }

    mutating func leave(_ members: LeavingMember...) -> [ErrorCode] {
        let result = coordinator.leave(groupID: "g", members, now: now)
        take(result.actions)
        return result.members
    }

    mutating func commit(_ memberID: String, _ generation: Int32, instance: String? = nil, group: String = "g") -> ErrorCode {
        let result = coordinator.checkCommit(claim(memberID, generation, instance: instance, group: group), now: now)
        take(result.actions)
        return result.error
    }

    /// Lets time pass, stopping at every deadline on the way as a timer would.
    mutating func wait(_ milliseconds: Int64) {
        let end = nowMs + milliseconds
        while let due = coordinator.nextDeadline, due.nanoseconds <= end * 1_000_000 {
            nowMs = max(nowMs, (due.nanoseconds + 999_999) / 1_000_000)
            take(coordinator.expire(now: now))
        }
        nowMs = end
    }

    /// Two members in a stable group of generation 2: (leader, follower).
    mutating func stablePair(instances: (String?, String?) = (nil, nil), session: Int32 = 10_000) -> (String, String) {
        let first = join(instance: instances.0, session: session)
        let leader = joins[first]?.memberID ?? "?"
        _ = sync(leader, 1, instance: instances.0, [leader: [0]])
        let second = join(instance: instances.1, session: session)
        _ = join(leader, instance: instances.0, session: session)
        let follower = joins[second]?.memberID ?? "?"
        _ = sync(follower, 2, instance: instances.1)
        _ = sync(leader, 2, instance: instances.0, [leader: [1], follower: [2]])
        return (leader, follower)
    }
}
