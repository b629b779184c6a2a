/// All consumer groups of one cluster, as a pure state machine: every event comes with its time, and what is to be done
/// comes back as actions. The shell (`GroupService`) owns clock, randomness, sockets and files.
///
/// Committed offsets change in two steps: `checkCommit` decides, the shell writes them down, `store` makes them visible.
struct GroupCoordinator: Sendable {
    let limits: GroupLimits
    private var groups: [String: ConsumerGroup] = [:]

    init(limits: GroupLimits = GroupLimits()) { self.limits = limits }

    /// When `expire` has something to do next; nil: never, unless an event comes first.
    var nextDeadline: GroupInstant? { groups.values.compactMap(\.nextDeadline).min() }

    /// The group, for tests and for looking at.
    func group(_ id: String) -> ConsumerGroup? { groups[id] }

    /// Runs `body` on the group in place, after what was due before it (a session that has ended is not revived), and then
    /// does what `body` made due at once. nil when there is no such group.
    private mutating func with<Result>(
        _ id: String, now: GroupInstant, _ actions: inout [GroupAction],
        _ body: (inout ConsumerGroup, inout [GroupAction]) -> Result
    ) -> Result? {
        guard let index = groups.index(forKey: id) else { return nil }
        groups.values[index].expire(now: now, &actions)
        let result = body(&groups.values[index], &actions)
        groups.values[index].expire(now: now, &actions)
        return result
    }

    /// Makes room for one more group: groups without members and offsets are only a memory of a generation.
    private mutating func mayCreateGroup() -> Bool {
        if groups.count >= limits.maxGroups {
            groups = groups.filter { $0.value.state != .empty || !$0.value.offsets.isEmpty }
        }
        return groups.count < limits.maxGroups
    }

    // MARK: Membership

    mutating func join(_ request: JoinRequest, token: ReplyToken, now: GroupInstant) -> [GroupAction] {
        func refused(_ error: ErrorCode) -> [GroupAction] {
            [.answerJoin(token, .failed(error, memberID: request.memberID))]
        }
        guard !request.groupID.isEmpty else { return refused(.invalidGroupID) }
        let allowed = limits.minSessionTimeoutMs...max(limits.minSessionTimeoutMs, limits.maxSessionTimeoutMs)
        guard allowed.contains(request.sessionTimeoutMs) else { return refused(.invalidSessionTimeout) }
        if groups[request.groupID] == nil {
            guard request.memberID.isEmpty else { return refused(.unknownMemberID) }
            guard mayCreateGroup() else { return refused(.coordinatorNotAvailable) }
            groups[request.groupID] = ConsumerGroup(id: request.groupID, limits: limits)
        }
        var actions: [GroupAction] = []
        _ = with(request.groupID, now: now, &actions) { group, actions in
            group.join(request, token: token, now: now, &actions)
        }
        return actions
    }

    mutating func sync(_ request: SyncRequest, token: ReplyToken, now: GroupInstant) -> [GroupAction] {
        guard !request.claim.groupID.isEmpty else { return [.answerSync(token, .failed(.invalidGroupID))] }
        var actions: [GroupAction] = []
        let known: Void? = with(request.claim.groupID, now: now, &actions) { group, actions in
            group.sync(request, token: token, now: now, &actions)
        }
        return known == nil ? [.answerSync(token, .failed(.unknownMemberID))] : actions
    }

    mutating func heartbeat(_ claim: MemberClaim, now: GroupInstant) -> (ErrorCode, [GroupAction]) {
        guard !claim.groupID.isEmpty else { return (.invalidGroupID, []) }
        var actions: [GroupAction] = []
        let error = with(claim.groupID, now: now, &actions) { group, _ in group.heartbeat(claim, now: now) }
        return (error ?? .unknownMemberID, actions)
    }

    /// One result per leaving member, in their order.
    mutating func leave(
        groupID: String, _ leaving: [LeavingMember], now: GroupInstant
    ) -> (error: ErrorCode, members: [ErrorCode], actions: [GroupAction]) {
        guard !groupID.isEmpty else { return (.invalidGroupID, [], []) }
        var actions: [GroupAction] = []
        let results = with(groupID, now: now, &actions) { group, actions in
            leaving.map { group.leave($0, now: now, &actions) }
        }
        return (.none, results ?? leaving.map { _ in .unknownMemberID }, actions)
    }

    /// To be called at `nextDeadline`, or later.
    mutating func expire(now: GroupInstant) -> [GroupAction] {
        var actions: [GroupAction] = []
        for index in groups.indices {
            guard let due = groups.values[index].nextDeadline, due <= now else { continue }
            groups.values[index].expire(now: now, &actions)
        }
        return actions
    }

    /// Answers everyone who waits (in one group, or in all) with `error`: the coordinator stops or moves away. Members stay.
    mutating func release(_ error: ErrorCode, groupID: String? = nil) -> [GroupAction] {
        var actions: [GroupAction] = []
        for index in groups.indices where groupID == nil || groupID == groups[index].key {
            groups.values[index].release(error, &actions)
        }
        return actions
    }

    // MARK: Offsets

    /// Whether this commit may be stored. Answers `.none`, or the error for all its partitions.
    mutating func checkCommit(_ claim: MemberClaim, now: GroupInstant) -> (error: ErrorCode, actions: [GroupAction]) {
        if groups[claim.groupID] == nil {
            guard claim.generation < 0 else { return (.illegalGeneration, []) }
            guard mayCreateGroup() else { return (.coordinatorNotAvailable, []) }
            groups[claim.groupID] = ConsumerGroup(id: claim.groupID, limits: limits)
        }
        var actions: [GroupAction] = []
        let refusal = with(claim.groupID, now: now, &actions) { group, _ in
            group.refusalOfCommit(from: claim, now: now)
        }
        return ((refusal ?? nil) ?? .none, actions)
    }

    /// The error for one partition of an allowed commit, or nil.
    func refusal(ofMetadata metadata: String) -> ErrorCode? {
        metadata.utf8.count > limits.maxOffsetMetadataBytes ? .offsetMetadataTooLarge : nil
    }

    /// Makes offsets visible that are written down (or were found at start). A nil offset takes the partition's away.
    mutating func store(groupID: String, _ offsets: [GroupPartition: CommittedOffset?]) {
        for (partition, offset) in offsets {
            groups[groupID, default: ConsumerGroup(id: groupID, limits: limits)].offsets[partition] = offset
        }
    }

    /// nil: nothing committed there.
    func committed(groupID: String, _ partition: GroupPartition) -> CommittedOffset? {
        groups[groupID]?.offsets[partition]
    }

    /// All that a group has committed, sorted.
    func committed(groupID: String) -> [(GroupPartition, CommittedOffset)] {
        (groups[groupID]?.offsets ?? [:]).sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Which groups have offsets of a topic, to be forgotten with it.
    func offsets(ofTopic topic: String) -> [String: [GroupPartition]] {
        groups.mapValues { $0.offsets.keys.filter { $0.topic == topic } }.filter { !$0.value.isEmpty }
    }

    /// Per partition `.none` when its offset may be deleted, or why not.
    func checkOffsetDelete(groupID: String, _ partitions: [GroupPartition]) -> (ErrorCode, [GroupPartition: ErrorCode]) {
        guard let group = groups[groupID] else { return (.groupIDNotFound, [:]) }
        if group.state != .empty, group.protocolType != "consumer" { return (.nonEmptyGroup, [:]) }
        var results: [GroupPartition: ErrorCode] = [:]
        for partition in partitions { results[partition] = group.refusalOfOffsetDelete(topic: partition.topic) ?? ErrorCode.none }
        return (.none, results)
    }

    // MARK: Looking, and removing

    /// Sorted by id.
    func list() -> [GroupListing] {
        groups.values.map { GroupListing(groupID: $0.id, protocolType: $0.protocolType ?? "", state: $0.state) }
            .sorted { $0.groupID < $1.groupID }
    }

    /// A group that is not there is described as dead, without an error, as Kafka does.
    func describe(_ groupID: String) -> GroupDescription {
        guard let group = groups[groupID] else {
            return GroupDescription(groupID: groupID, state: .dead, protocolType: "", protocolName: "", members: [])
        }
        let stable = group.state == .stable
        return GroupDescription(
            groupID: groupID, state: group.state, protocolType: group.protocolType ?? "",
            protocolName: stable ? group.protocolName ?? "" : "",
            members: group.ordered.map { member in
                GroupDescription.Member(
                    memberID: member.id, instanceID: member.instanceID, clientID: member.clientID,
                    clientHost: member.clientHost,
                    metadata: stable ? member.metadata(for: group.protocolName ?? "") : [],
                    assignment: stable ? member.assignment : [])
            })
    }

    /// `.none` when the group may be deleted with its offsets, or why not.
    func checkDelete(_ groupID: String) -> ErrorCode {
        guard let group = groups[groupID] else { return .groupIDNotFound }
        return group.state == .empty ? .none : .nonEmptyGroup
    }

    mutating func delete(_ groupID: String) { groups[groupID] = nil }
}
