/// One consumer group: who is in it, which generation it is in, and who waits for an answer. Pure: events come in with the
/// time, actions go out. The rules are those of Kafka's classic group coordinator.
struct ConsumerGroup: Sendable {
    struct Member: Sendable {
        var id: String
        let instanceID: String?
        let clientID: String
        let clientHost: String
        /// Members are listed, and leaders chosen, in the order in which they came.
        let order: UInt64
        var sessionTimeoutMs: Int32
        var rebalanceTimeoutMs: Int32
        var candidates: [JoinRequest.Candidate]
        var assignment: [UInt8] = []
        var waitingJoin: ReplyToken?
        var waitingSync: ReplyToken?
        /// Joined for the first time and not answered yet.
        var isNew = true
        var sessionEnd: GroupInstant

        /// nil while a request of a known member waits here: it can't send heartbeats meanwhile.
        var expiry: GroupInstant? {
            !isNew && (waitingJoin != nil || waitingSync != nil) ? nil : sessionEnd
        }

        func metadata(for name: String) -> [UInt8] { candidates.first { $0.name == name }?.metadata ?? [] }
        func supports(_ name: String) -> Bool { candidates.contains { $0.name == name } }
    }

    /// The first rebalance of an empty group waits for company.
    struct InitialDelay: Sendable {
        let latest: GroupInstant
        var newcomer = false
    }

    /// A client may ask for a rebalance timeout of 0; a rebalance that nobody joined is tried again after at least this long.
    static let minRebalanceRetryMs: Int32 = 100

    let id: String
    let limits: GroupLimits
    var state: GroupState = .empty
    /// 0 before the first rebalance.
    var generation: Int32 = 0
    var protocolType: String?
    var protocolName: String?
    var leaderID: String?
    var members: [String: Member] = [:]
    /// Instance id to member id.
    var staticMembers: [String: String] = [:]
    /// Ids given out with MEMBER_ID_REQUIRED that have not come back yet, and until when they may.
    var promised: [String: GroupInstant] = [:]
    /// Members of this generation whose SyncGroup has not come yet.
    var unsynced: Set<String> = []
    var joinDeadline: GroupInstant?
    var initialDelay: InitialDelay?
    var syncDeadline: GroupInstant?
    var nextOrder: UInt64 = 0
    var offsets: [GroupPartition: CommittedOffset] = [:]

    init(id: String, limits: GroupLimits) {
        self.id = id
        self.limits = limits
    }

    var ordered: [Member] { members.values.sorted { $0.order < $1.order } }

    var rebalanceTimeoutMs: Int32 { members.values.reduce(0) { max($0, $1.rebalanceTimeoutMs) } }

    /// When `expire` has something to do next; nil: never, unless an event comes first.
    var nextDeadline: GroupInstant? {
        var next = [joinDeadline, syncDeadline].compactMap { $0 }.min()
        func consider(_ instant: GroupInstant?) {
            if let instant, instant < (next ?? GroupInstant(nanoseconds: .max)) { next = instant }
        }
        for member in members.values { consider(member.expiry) }
        for instant in promised.values { consider(instant) }
        return next
    }

    /// Why a claim to be a member does not hold, or nil when it does. Generations are checked apart.
    func refusal(of claim: MemberClaim) -> ErrorCode? {
        if let instanceID = claim.instanceID {
            guard let holder = staticMembers[instanceID] else { return .unknownMemberID }
            if holder != claim.memberID { return .fencedInstanceID }
        }
        return members[claim.memberID] == nil ? .unknownMemberID : nil
    }

    /// Whether a joiner speaks the group's protocol type and at least one assignor that every member has.
    func accepts(protocolType: String, candidates: [JoinRequest.Candidate]) -> Bool {
        guard !protocolType.isEmpty, !candidates.isEmpty else { return false }
        guard !members.isEmpty else { return true }
        return protocolType == self.protocolType
            && candidates.contains { candidate in members.values.allSatisfy { $0.supports(candidate.name) } }
    }

    /// The assignor that most members like best among those that all have; ties go to the leader's order.
    var electedProtocol: String? {
        let everyone = ordered
        guard let leader = leaderID.flatMap({ members[$0] }) ?? everyone.first else { return nil }
        var votes: [String: Int] = [:]
        let common = Set(leader.candidates.map(\.name).filter { name in everyone.allSatisfy { $0.supports(name) } })
        for member in everyone {
            if let favourite = member.candidates.first(where: { common.contains($0.name) }) {
                votes[favourite.name, default: 0] += 1
            }
        }
        let most = votes.values.max() ?? 0
        return leader.candidates.first { votes[$0.name] == most && most > 0 }?.name
    }

    func joinReply(for member: Member, asLeader: Bool, leaderID: String, skipAssignment: Bool = false) -> JoinReply {
        let listed: [JoinReply.Member] = asLeader
            ? ordered.map {
                JoinReply.Member(
                    memberID: $0.id, instanceID: $0.instanceID, metadata: $0.metadata(for: protocolName ?? ""))
            } : []
        return JoinReply(
            error: .none, generation: generation, protocolType: protocolType, protocolName: protocolName,
            leaderID: leaderID, skipAssignment: skipAssignment, memberID: member.id, members: listed)
    }

    func syncReply(for member: Member) -> SyncReply {
        SyncReply(error: .none, protocolType: protocolType, protocolName: protocolName, assignment: member.assignment)
    }

    /// Puts off the end of a member's session.
    mutating func touch(_ memberID: String, now: GroupInstant) {
        guard let timeout = members[memberID]?.sessionTimeoutMs else { return }
        members[memberID]?.sessionEnd = now.after(milliseconds: timeout)
    }

    mutating func answerJoin(_ memberID: String, _ reply: JoinReply, _ actions: inout [GroupAction]) {
        guard let token = members[memberID]?.waitingJoin else { return }
        members[memberID]?.waitingJoin = nil
        actions.append(.answerJoin(token, reply))
    }

    mutating func answerSync(_ memberID: String, _ reply: SyncReply, _ actions: inout [GroupAction]) {
        guard let token = members[memberID]?.waitingSync else { return }
        members[memberID]?.waitingSync = nil
        actions.append(.answerSync(token, reply))
    }

    /// Takes a member out of the tables, after answering what it waits for. Leaves the state alone.
    mutating func drop(_ memberID: String, answering error: ErrorCode, _ actions: inout [GroupAction]) {
        answerJoin(memberID, .failed(error, memberID: ""), &actions)
        answerSync(memberID, .failed(error), &actions)
        guard let member = members.removeValue(forKey: memberID) else { return }
        if let instanceID = member.instanceID, staticMembers[instanceID] == memberID { staticMembers[instanceID] = nil }
        unsynced.remove(memberID)
        if leaderID == memberID { leaderID = ordered.first?.id }
    }

    /// Answers everyone who waits: the coordinator goes away.
    mutating func release(_ error: ErrorCode, _ actions: inout [GroupAction]) {
        for member in ordered {
            answerJoin(member.id, .failed(error, memberID: member.id), &actions)
            answerSync(member.id, .failed(error), &actions)
        }
    }
}
