/// Joining, syncing, leaving and expiring: how a group gets from one generation to the next.
extension ConsumerGroup {
    mutating func join(
        _ request: JoinRequest, token: ReplyToken, now: GroupInstant, _ actions: inout [GroupAction]
    ) {
        func refuse(_ error: ErrorCode, memberID: String? = nil) {
            actions.append(.answerJoin(token, .failed(error, memberID: memberID ?? request.memberID)))
        }
        guard accepts(protocolType: request.protocolType, candidates: request.candidates) else {
            return refuse(.inconsistentGroupProtocol)
        }
        if request.memberID.isEmpty {
            joinUnknown(request, token: token, now: now, &actions)
        } else if promised[request.memberID] != nil, request.instanceID == nil {
            promised[request.memberID] = nil
            add(request, id: request.memberID, token: token, now: now, &actions)
        } else if let error = refusal(
            of: MemberClaim(
                groupID: id, memberID: request.memberID, instanceID: request.instanceID, generation: generation))
        {
            refuse(error)
        } else {
            rejoin(request, token: token, now: now, &actions)
        }
        completeJoinIfAllAreHere(now: now, &actions)
    }

    private mutating func joinUnknown(
        _ request: JoinRequest, token: ReplyToken, now: GroupInstant, _ actions: inout [GroupAction]
    ) {
        let fresh = request.freshMemberID
        if let instanceID = request.instanceID, let old = staticMembers[instanceID] {
            replaceStatic(old, with: fresh, request, token: token, now: now, &actions)
        } else if members.count + promised.count >= limits.maxMembers {
            actions.append(.answerJoin(token, .failed(.groupMaxSizeReached, memberID: "")))
        } else if request.requiresKnownMemberID && request.instanceID == nil {
            promised[fresh] = now.after(milliseconds: request.sessionTimeoutMs)
            actions.append(.answerJoin(token, .failed(.memberIDRequired, memberID: fresh)))
        } else {
            add(request, id: fresh, token: token, now: now, &actions)
        }
    }

    private mutating func add(
        _ request: JoinRequest, id memberID: String, token: ReplyToken, now: GroupInstant,
        _ actions: inout [GroupAction]
    ) {
        if members.isEmpty { protocolType = request.protocolType }
        members[memberID] = Member(
            id: memberID, instanceID: request.instanceID, clientID: request.clientID, clientHost: request.clientHost,
            order: nextOrder, sessionTimeoutMs: request.sessionTimeoutMs,
            rebalanceTimeoutMs: request.rebalanceTimeoutMs, candidates: request.candidates, waitingJoin: token,
            sessionEnd: now.after(milliseconds: limits.newMemberJoinTimeoutMs))
        nextOrder &+= 1
        if let instanceID = request.instanceID { staticMembers[instanceID] = memberID }
        if leaderID == nil { leaderID = memberID }
        if state == .preparingRebalance { initialDelay?.newcomer = true } else { prepareRebalance(now, &actions) }
    }

    private mutating func rejoin(
        _ request: JoinRequest, token: ReplyToken, now: GroupInstant, _ actions: inout [GroupAction]
    ) {
        guard let member = members[request.memberID] else { return }
        let unchanged = member.candidates == request.candidates
        let isLeader = leaderID == member.id
        switch state {
        case .preparingRebalance:
            update(member.id, request, token: token, &actions)
        case .completingRebalance where unchanged, .stable where unchanged && !isLeader:
            // The answer to an earlier join got lost, or a follower only wants to sync again: nothing has changed.
            let asLeader = isLeader && state == .completingRebalance
            actions.append(
                .answerJoin(token, joinReply(for: member, asLeader: asLeader, leaderID: leaderID ?? "")))
            touch(member.id, now: now)
        case .completingRebalance, .stable:
            // A leader joins again when something that its assignment depends on has changed.
            update(member.id, request, token: token, &actions)
            prepareRebalance(now, &actions)
        case .empty, .dead:
            actions.append(.answerJoin(token, .failed(.unknownMemberID, memberID: request.memberID)))
        }
    }

    /// Takes over what the member says of itself now, and lets it wait for the next generation.
    private mutating func update(
        _ memberID: String, _ request: JoinRequest, token: ReplyToken, _ actions: inout [GroupAction]
    ) {
        // A client that lost its connection joins again on another: the first request's answer tells it nothing new.
        answerJoin(memberID, .failed(.rebalanceInProgress, memberID: memberID), &actions)
        members[memberID]?.candidates = request.candidates
        members[memberID]?.sessionTimeoutMs = request.sessionTimeoutMs
        members[memberID]?.rebalanceTimeoutMs = request.rebalanceTimeoutMs
        members[memberID]?.waitingJoin = token
    }

    /// A static member came back without its id (its process restarted): it takes its old place, and the old id is fenced.
    private mutating func replaceStatic(
        _ old: String, with fresh: String, _ request: JoinRequest, token: ReplyToken, now: GroupInstant,
        _ actions: inout [GroupAction]
    ) {
        let formerLeader = leaderID ?? ""
        answerJoin(old, .failed(.fencedInstanceID, memberID: old), &actions)
        answerSync(old, .failed(.fencedInstanceID), &actions)
        guard var member = members.removeValue(forKey: old) else { return }
        member.id = fresh
        members[fresh] = member
        if let instanceID = request.instanceID { staticMembers[instanceID] = fresh }
        if leaderID == old { leaderID = fresh }
        if unsynced.remove(old) != nil { unsynced.insert(fresh) }
        update(fresh, request, token: token, &actions)
        if !member.isNew { touch(fresh, now: now) }

        switch state {
        case .stable where electedProtocol == protocolName:
            guard let member = members[fresh] else { return }
            // Without skipAssignment the former id is named as leader, so that nobody assigns: a stable group would not
            // pass a new assignment on.
            let leads = request.canSkipAssignment && leaderID == fresh
            let named = request.canSkipAssignment ? leaderID ?? "" : formerLeader
            answerJoin(
                fresh, joinReply(for: member, asLeader: leads, leaderID: named, skipAssignment: leads), &actions)
        case .stable, .completingRebalance:
            // The leader may have been given the old id to assign to.
            prepareRebalance(now, &actions)
        case .preparingRebalance, .empty, .dead:
            break
        }
    }

    mutating func prepareRebalance(_ now: GroupInstant, _ actions: inout [GroupAction]) {
        if state == .completingRebalance {
            for member in ordered {
                members[member.id]?.assignment = []
                if member.waitingSync != nil {
                    answerSync(member.id, .failed(.rebalanceInProgress), &actions)
                    touch(member.id, now: now)
                }
            }
        }
        unsynced = []
        syncDeadline = nil
        let timeout = rebalanceTimeoutMs
        if state == .empty {
            let delay = max(0, limits.initialRebalanceDelayMs)
            joinDeadline = now.after(milliseconds: delay)
            initialDelay = InitialDelay(latest: now.after(milliseconds: max(delay, timeout)))
        } else {
            joinDeadline = now.after(milliseconds: timeout)
            initialDelay = nil
        }
        state = .preparingRebalance
        completeJoinIfAllAreHere(now: now, &actions)
    }

    mutating func completeJoinIfAllAreHere(now: GroupInstant, _ actions: inout [GroupAction]) {
        guard state == .preparingRebalance, initialDelay == nil, promised.isEmpty,
            members.values.allSatisfy({ $0.waitingJoin != nil })
        else { return }
        completeJoin(now: now, &actions)
    }

    /// Starts the next generation with those who are here.
    private mutating func completeJoin(now: GroupInstant, _ actions: inout [GroupAction]) {
        // Static members that are not back yet keep their place until their session ends.
        for member in ordered where member.waitingJoin == nil && member.instanceID == nil {
            drop(member.id, answering: .unknownMemberID, &actions)
        }
        initialDelay = nil
        let here = ordered.filter { $0.waitingJoin != nil }
        if !members.isEmpty {
            guard let first = here.first else {
                joinDeadline = now.after(milliseconds: max(rebalanceTimeoutMs, Self.minRebalanceRetryMs))
                return
            }
            if !here.contains(where: { $0.id == leaderID }) { leaderID = first.id }
        }
        joinDeadline = nil
        generation = generation == .max ? 1 : generation + 1
        guard !members.isEmpty else {
            state = .empty
            protocolName = nil
            leaderID = nil
            return
        }
        protocolName = electedProtocol
        state = .completingRebalance
        unsynced = Set(members.keys)
        syncDeadline = now.after(milliseconds: max(rebalanceTimeoutMs, Self.minRebalanceRetryMs))
        for member in ordered {
            let isLeader = member.id == leaderID
            answerJoin(member.id, joinReply(for: member, asLeader: isLeader, leaderID: leaderID ?? ""), &actions)
            members[member.id]?.isNew = false
            touch(member.id, now: now)
        }
    }

    mutating func sync(_ request: SyncRequest, token: ReplyToken, now: GroupInstant, _ actions: inout [GroupAction]) {
        func refuse(_ error: ErrorCode) { actions.append(.answerSync(token, .failed(error))) }
        let memberID = request.claim.memberID
        if let error = refusal(of: request.claim) { return refuse(error) }
        guard request.claim.generation == generation else { return refuse(.illegalGeneration) }
        if let type = request.protocolType, type != protocolType { return refuse(.inconsistentGroupProtocol) }
        if let name = request.protocolName, name != protocolName { return refuse(.inconsistentGroupProtocol) }
        switch state {
        case .empty, .dead:
            refuse(.unknownMemberID)
        case .preparingRebalance:
            refuse(.rebalanceInProgress)
        case .completingRebalance:
            answerSync(memberID, .failed(.rebalanceInProgress), &actions)
            members[memberID]?.waitingSync = token
            synced(memberID)
            if memberID == leaderID { assign(request.assignments, now: now, &actions) }
        case .stable:
            guard let member = members[memberID] else { return refuse(.unknownMemberID) }
            synced(memberID)
            actions.append(.answerSync(token, syncReply(for: member)))
            touch(memberID, now: now)
        }
    }

    private mutating func synced(_ memberID: String) {
        unsynced.remove(memberID)
        if unsynced.isEmpty { syncDeadline = nil }
    }

    private mutating func assign(
        _ assignments: [String: [UInt8]], now: GroupInstant, _ actions: inout [GroupAction]
    ) {
        state = .stable
        for member in ordered {
            members[member.id]?.assignment = assignments[member.id] ?? []
            guard member.waitingSync != nil, let assigned = members[member.id] else { continue }
            answerSync(member.id, syncReply(for: assigned), &actions)
            touch(member.id, now: now)
        }
    }

    mutating func heartbeat(_ claim: MemberClaim, now: GroupInstant) -> ErrorCode {
        if let error = refusal(of: claim) { return error }
        guard claim.generation == generation else { return .illegalGeneration }
        switch state {
        case .empty, .dead: return .unknownMemberID
        case .preparingRebalance:
            if members[claim.memberID]?.isNew == false { touch(claim.memberID, now: now) }
            return .rebalanceInProgress
        case .completingRebalance, .stable:
            touch(claim.memberID, now: now)
            return .none
        }
    }

    mutating func leave(
        _ leaving: LeavingMember, now: GroupInstant, _ actions: inout [GroupAction]
    ) -> ErrorCode {
        if leaving.instanceID == nil, promised.removeValue(forKey: leaving.memberID) != nil {
            completeJoinIfAllAreHere(now: now, &actions)
            return .none
        }
        var memberID = leaving.memberID
        if let instanceID = leaving.instanceID {
            guard let holder = staticMembers[instanceID] else { return .unknownMemberID }
            if !memberID.isEmpty && holder != memberID { return .fencedInstanceID }
            memberID = holder
        }
        guard members[memberID] != nil else { return .unknownMemberID }
        remove(memberID, now: now, &actions)
        return .none
    }

    /// A member is gone for good: the others share its partitions.
    private mutating func remove(
        _ memberID: String, now: GroupInstant, _ actions: inout [GroupAction]
    ) {
        drop(memberID, answering: .unknownMemberID, &actions)
        switch state {
        case .stable, .completingRebalance: prepareRebalance(now, &actions)
        case .preparingRebalance: completeJoinIfAllAreHere(now: now, &actions)
        case .empty, .dead: break
        }
    }

    /// Does what is due: ends sessions, forgets promised ids, ends waits.
    mutating func expire(now: GroupInstant, _ actions: inout [GroupAction]) {
        let forgotten = promised.filter { $0.value <= now }.map(\.key)
        for memberID in forgotten { promised[memberID] = nil }
        if !forgotten.isEmpty { completeJoinIfAllAreHere(now: now, &actions) }
        // By id and looked at again: what removing one member does may answer another.
        for candidate in ordered.map(\.id) {
            if let end = members[candidate]?.expiry, end <= now { remove(candidate, now: now, &actions) }
        }
        if let due = syncDeadline, due <= now {
            syncDeadline = nil
            let late = ordered.filter { unsynced.contains($0.id) }
            for member in late { drop(member.id, answering: .unknownMemberID, &actions) }
            if !late.isEmpty { prepareRebalance(now, &actions) }
        }
        if state == .preparingRebalance, let due = joinDeadline, due <= now {
            if let delay = initialDelay, delay.newcomer, now < delay.latest {
                initialDelay?.newcomer = false
                joinDeadline = min(now.after(milliseconds: max(1, limits.initialRebalanceDelayMs)), delay.latest)
            } else {
                completeJoin(now: now, &actions)
            }
        }
    }
}
