/// What goes into and comes out of the group coordinator: requests as values, answers as values, no bytes and no clock.

/// A moment of a clock that never goes back. Only differences mean something.
struct GroupInstant: Comparable, Hashable, Sendable {
    /// Nanoseconds since an arbitrary start, the same for all instants that one coordinator sees.
    let nanoseconds: Int64

    init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// This moment moved on by `milliseconds` (negative values count as 0), stopping at the end of time.
    func after(milliseconds: Int32) -> GroupInstant {
        let (sum, overflow) = nanoseconds.addingReportingOverflow(Int64(max(0, milliseconds)) * 1_000_000)
        return GroupInstant(nanoseconds: overflow ? .max : sum)
    }

    static func < (a: GroupInstant, b: GroupInstant) -> Bool { a.nanoseconds < b.nanoseconds }
}

/// Names one waiting JoinGroup or SyncGroup request. Each is answered exactly once.
struct ReplyToken: Hashable, Sendable {
    let number: UInt64
}

/// What the shell has to do after an event: answer requests, this one or ones that waited.
enum GroupAction: Sendable, Equatable {
    case answerJoin(ReplyToken, JoinReply)
    case answerSync(ReplyToken, SyncReply)
}

struct JoinRequest: Sendable {
    struct Candidate: Sendable, Hashable {
        /// An assignor's name, such as `range` or `cooperative-sticky`.
        var name: String
        /// The member's subscription: the coordinator passes it to the leader unread.
        var metadata: [UInt8]
    }

    var groupID: String
    /// Empty: a member that has none yet.
    var memberID: String
    /// `group.instance.id` of a static member.
    var instanceID: String?
    var clientID: String
    var clientHost: String
    var sessionTimeoutMs: Int32
    /// How long the others wait for this member to rejoin. Version 0 has none: the session timeout counts.
    var rebalanceTimeoutMs: Int32
    var protocolType: String
    var candidates: [Candidate]
    /// From version 4 on, a dynamic member without an id is given one and told to come again with it.
    var requiresKnownMemberID: Bool
    /// From version 9 on, a returning static leader may be told not to assign anew.
    var canSkipAssignment: Bool
    /// The id to give to the member when it needs one: unique, made by the shell (which owns randomness).
    var freshMemberID: String
}

struct JoinReply: Sendable, Equatable {
    struct Member: Sendable, Equatable {
        var memberID: String
        var instanceID: String?
        var metadata: [UInt8]
    }

    var error: ErrorCode
    /// -1 with an error.
    var generation: Int32
    var protocolType: String?
    var protocolName: String?
    var leaderID: String
    var skipAssignment: Bool
    var memberID: String
    /// Everyone's metadata for the leader, nothing for the others.
    var members: [Member]

    static func failed(_ error: ErrorCode, memberID: String) -> JoinReply {
        JoinReply(
            error: error, generation: -1, protocolType: nil, protocolName: nil, leaderID: "", skipAssignment: false,
            memberID: memberID, members: [])
    }
}

/// Who says it is a member: the fields that heartbeats, syncs and commits share.
struct MemberClaim: Sendable {
    var groupID: String
    var memberID: String
    var instanceID: String?
    /// -1: not a member, commits by itself.
    var generation: Int32
}

struct SyncRequest: Sendable {
    var claim: MemberClaim
    /// nil before version 5, and for clients that leave it open.
    var protocolType: String?
    var protocolName: String?
    /// By member id; only the leader's count.
    var assignments: [String: [UInt8]]
}

struct SyncReply: Sendable, Equatable {
    var error: ErrorCode
    var protocolType: String?
    var protocolName: String?
    var assignment: [UInt8]

    static func failed(_ error: ErrorCode) -> SyncReply {
        SyncReply(error: error, protocolType: nil, protocolName: nil, assignment: [])
    }
}

/// One member to remove: by id, or a static member by its instance id alone (an operator's request).
struct LeavingMember: Sendable, Hashable {
    var memberID: String
    var instanceID: String?
}

/// A partition as group requests name it.
struct GroupPartition: Hashable, Sendable, Comparable {
    var topic: String
    var partition: Int32

    static func < (a: GroupPartition, b: GroupPartition) -> Bool {
        a.topic == b.topic ? a.partition < b.partition : a.topic < b.topic
    }
}

struct CommittedOffset: Hashable, Sendable {
    var offset: Int64
    /// -1: not given.
    var leaderEpoch: Int32
    var metadata: String
}

/// A group's name as it appears in lists.
struct GroupListing: Sendable, Equatable {
    var groupID: String
    var protocolType: String
    var state: GroupState
}

struct GroupDescription: Sendable, Equatable {
    struct Member: Sendable, Equatable {
        var memberID: String
        var instanceID: String?
        var clientID: String
        var clientHost: String
        var metadata: [UInt8]
        var assignment: [UInt8]
    }

    var groupID: String
    var state: GroupState
    var protocolType: String
    var protocolName: String
    var members: [Member]
}

/// Where a group stands. Raw values are the names that clients see.
enum GroupState: String, Sendable, Hashable {
    case empty = "Empty"
    /// Waiting for the members to join.
    case preparingRebalance = "PreparingRebalance"
    /// Joined; waiting for the leader's assignment.
    case completingRebalance = "CompletingRebalance"
    case stable = "Stable"
    /// No such group.
    case dead = "Dead"
}

/// What bounds the groups of one cluster.
struct GroupLimits: Sendable {
    /// How long the first rebalance of an empty group waits for more members; each newcomer prolongs it, up to the
    /// rebalance timeout. Kafka has 3000; a local broker's users rather wait less. 0 answers the first join at once.
    var initialRebalanceDelayMs: Int32 = 20
    /// The same as a duration; negative ones count as 0, those too long for Kafka's milliseconds as the longest.
    var initialRebalanceDelay: Duration {
        get { .milliseconds(initialRebalanceDelayMs) }
        set {
            let (seconds, attoseconds) = newValue.components
            let milliseconds = Int64(clamping: seconds).multipliedReportingOverflow(by: 1_000)
            let whole = milliseconds.overflow ? .max / 2 : milliseconds.partialValue
            initialRebalanceDelayMs = Int32(clamping: max(0, whole + attoseconds / 1_000_000_000_000_000))
        }
    }
    /// Kafka has 6000; tests want sessions to expire sooner.
    var minSessionTimeoutMs: Int32 = 50
    var maxSessionTimeoutMs: Int32 = 1_800_000
    /// How long a member that joins for the first time may wait in one JoinGroup (Kafka has 5 minutes too): its client
    /// may be gone, and nothing else would tell.
    var newMemberJoinTimeoutMs: Int32 = 300_000
    /// Members of one group, those that were only promised an id included.
    var maxMembers: Int = 1_000
    var maxGroups: Int = 10_000
    /// Bytes of a commit's metadata text (Kafka's `offset.metadata.max.bytes`).
    var maxOffsetMetadataBytes: Int = 4_096
}
