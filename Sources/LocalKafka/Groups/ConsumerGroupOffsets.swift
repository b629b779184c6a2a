/// Committed offsets of one group, and which commits it lets in.
extension ConsumerGroup {
    /// Why a commit is refused as a whole, or nil. A commit from a member counts as a sign of life.
    mutating func refusalOfCommit(from claim: MemberClaim, now: GroupInstant) -> ErrorCode? {
        if claim.generation < 0, state == .empty { return nil }
        guard claim.generation >= 0 || !claim.memberID.isEmpty || claim.instanceID != nil else { return .unknownMemberID }
        if let error = refusal(of: claim) { return error }
        guard claim.generation == generation else { return .illegalGeneration }
        switch state {
        case .stable, .preparingRebalance:
            // Allowed while others rejoin: this is how a member saves its work before it gives partitions up.
            if members[claim.memberID]?.isNew == false { touch(claim.memberID, now: now) }
            return nil
        case .completingRebalance: return .rebalanceInProgress
        case .empty, .dead: return .unknownMemberID
        }
    }

    /// Why the offsets of a partition can't be deleted now, or nil.
    func refusalOfOffsetDelete(topic: String) -> ErrorCode? {
        switch state {
        case .empty, .dead: return nil
        case .preparingRebalance, .completingRebalance, .stable:
            guard protocolType == "consumer" else { return .nonEmptyGroup }
            let subscribed = members.values.contains { member in
                member.candidates.contains { candidate in
                    // What can't be read may well name the topic.
                    ConsumerSubscription.topics(in: candidate.metadata)?.contains(topic) ?? true
                }
            }
            return subscribed ? .groupSubscribedToTopic : nil
        }
    }
}

/// The topics in the metadata that members of protocol type `consumer` join with (Kafka's ConsumerProtocolSubscription).
enum ConsumerSubscription {
    /// nil when `metadata` is not such a subscription.
    static func topics(in metadata: [UInt8]) -> Set<String>? {
        var rest = metadata[...]
        func integer(_ size: Int) -> Int? {
            guard rest.count >= size else { return nil }
            defer { rest = rest.dropFirst(size) }
            return rest.prefix(size).reduce(0) { $0 << 8 | Int($1) }
        }
        guard integer(2) != nil, let count = integer(4), count <= rest.count / 2 else { return nil }
        var topics: Set<String> = []
        for _ in 0..<count {
            guard let length = integer(2), length <= rest.count,
                let topic = String(validating: rest.prefix(length), as: UTF8.self)
            else { return nil }
            topics.insert(topic)
            rest = rest.dropFirst(length)
        }
        return topics
    }
}
