import Testing

@testable import LocalKafka

@Suite struct GroupMembershipTests {
    @Test func aLoneMemberJoinsLeadsAndGetsItsOwnAssignment() {
        var h = GroupHarness()
        let token = h.join(metadata: [7])
        let joined = h.joins[token]
        #expect(joined?.error == ErrorCode.none)
        #expect(joined?.generation == 1)
        #expect(joined?.leaderID == joined?.memberID)
        #expect(joined?.protocolName == "range")
        #expect(joined?.members.map(\.metadata) == [[7]])
        let id = joined?.memberID ?? ""
        let synced = h.sync(id, 1, [id: [9]])
        #expect(h.syncs[synced] == SyncReply(error: .none, protocolType: "consumer", protocolName: "range", assignment: [9]))
        #expect(h.heartbeat(id, 1) == .none)
    }

    @Test func aDynamicMemberOfVersion4IsGivenAnIdFirst() {
        var h = GroupHarness()
        let first = h.join(known: true)
        let id = h.joins[first]?.memberID ?? ""
        #expect(h.joins[first]?.error == .memberIDRequired)
        #expect(!id.isEmpty)
        #expect(h.group?.members.isEmpty == true)
        let second = h.join(id, known: true)
        #expect(h.joins[second]?.error == ErrorCode.none)
        #expect(h.joins[second]?.memberID == id)
    }

    @Test func aPromisedIdIsForgottenWithItsSession() {
        var h = GroupHarness()
        let id = h.joins[h.join(session: 100, known: true)]?.memberID ?? ""
        h.wait(101)
        #expect(h.joins[h.join(id, known: true)]?.error == .unknownMemberID)
    }

    @Test func aRebalanceWaitsForAPromisedMember() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        let id = h.joins[h.join(known: true)]?.memberID ?? ""
        #expect(h.heartbeat(leader, 2) == .none, "a promise alone does not disturb a stable group")
        let back = h.join(leader, metadata: [3])
        let other = h.join(follower)
        #expect(h.joins[back] == nil, "waits for the promised member")
        let late = h.join(id, known: true)
        #expect(h.joins[late]?.generation == 3)
        #expect(h.joins[back]?.members.count == 3)
        #expect(h.joins[other]?.members == [])
    }

    @Test func theInitialDelayGathersMembersThatComeTogether() {
        var h = GroupHarness(initialDelayMs: 20)
        let first = h.join()
        h.wait(15)
        let second = h.join()
        h.wait(15)
        #expect(h.joins[first] == nil, "the second member prolonged the delay")
        h.wait(10)
        #expect(h.joins[first]?.generation == 1)
        #expect(h.joins[second]?.generation == 1)
        #expect(h.joins[first]?.members.count == 2)
        #expect(h.joins[second]?.leaderID == h.joins[first]?.memberID)
    }

    @Test func newcomersCanNotProlongTheInitialDelayPastTheRebalanceTimeout() {
        var h = GroupHarness(initialDelayMs: 20)
        let first = h.join(rebalance: 100)
        for _ in 0..<20 where h.joins[first] == nil {
            _ = h.join(rebalance: 100)
            h.wait(10)
        }
        #expect(h.joins[first] != nil)
        #expect(h.nowMs <= 1_000 + 110)
    }

    @Test func aNewMemberMakesTheOthersRejoin() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        let token = h.join()
        #expect(h.heartbeat(leader, 2) == .rebalanceInProgress)
        #expect(h.joins[token] == nil)
        _ = h.join(leader)
        _ = h.join(follower)
        #expect(h.joins[token]?.generation == 3)
    }

    @Test func whoDoesNotRejoinInTimeIsLeftOut() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(session: 60_000)
        let token = h.join(rebalance: 30_000)
        let back = h.join(leader)
        h.wait(29_999)
        #expect(h.joins[token] == nil)
        h.wait(1)
        #expect(h.joins[token]?.generation == 3)
        #expect(h.joins[back]?.members.count == 2)
        #expect(h.heartbeat(follower, 2) == .unknownMemberID)
    }

    @Test func aSilentMembersSessionEndsAndTheOthersRebalance() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(session: 1_000)
        h.wait(900)
        #expect(h.heartbeat(leader, 2) == .none)
        h.wait(101)
        #expect(h.group?.members[follower] == nil)
        #expect(h.heartbeat(leader, 2) == .rebalanceInProgress)
        #expect(h.heartbeat(follower, 2) == .unknownMemberID)
        let token = h.join(leader)
        #expect(h.joins[token]?.members.map(\.memberID) == [leader])
    }

    @Test func aLateHeartbeatDoesNotReviveAnEndedSession() {
        var h = GroupHarness()
        let (leader, _) = h.stablePair(session: 1_000)
        h.nowMs += 1_001
        #expect(h.heartbeat(leader, 2) == .unknownMemberID)
        #expect(h.group?.state == .empty)
    }

    @Test func staleClaimsAreRefused() {
        var h = GroupHarness()
        let (leader, _) = h.stablePair()
        #expect(h.heartbeat(leader, 1) == .illegalGeneration)
        #expect(h.heartbeat("nobody", 2) == .unknownMemberID)
        #expect(h.syncs[h.sync(leader, 1)]?.error == .illegalGeneration)
        #expect(h.syncs[h.sync("nobody", 2)]?.error == .unknownMemberID)
        #expect(h.joins[h.join("nobody")]?.error == .unknownMemberID)
        #expect(h.joins[h.join("nobody", group: "other")]?.error == .unknownMemberID)
        #expect(h.coordinator.group("other") == nil)
    }

    @Test func followersWaitForTheLeadersAssignment() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        _ = h.join(leader)
        _ = h.join(follower)
        let waiting = h.sync(follower, 3)
        #expect(h.syncs[waiting] == nil)
        let led = h.sync(leader, 3, [leader: [5], follower: [6], "stranger": [7]])
        #expect(h.syncs[waiting]?.assignment == [6])
        #expect(h.syncs[led]?.assignment == [5])
        #expect(h.syncs[h.sync(follower, 3)]?.assignment == [6], "asked again, answered again")
    }

    @Test func aFollowersAssignmentsCountForNothing() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        _ = h.join(leader)
        _ = h.join(follower)
        let waiting = h.sync(follower, 3, [leader: [66], follower: [66]])
        #expect(h.syncs[waiting] == nil)
        _ = h.sync(leader, 3, [follower: [6]])
        #expect(h.syncs[waiting]?.assignment == [6])
    }

    @Test func aNewMemberBreaksOffAWaitingSync() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        _ = h.join(leader)
        _ = h.join(follower)
        let waiting = h.sync(follower, 3)
        _ = h.join()
        #expect(h.syncs[waiting]?.error == .rebalanceInProgress)
        #expect(h.syncs[h.sync(leader, 3)]?.error == .rebalanceInProgress)
    }

    @Test func aLeaderThatNeverAssignsIsRemoved() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(session: 600_000)
        _ = h.join(leader, session: 600_000)
        _ = h.join(follower, session: 600_000)
        let waiting = h.sync(follower, 3)
        h.wait(30_000)
        #expect(h.syncs[waiting]?.error == .rebalanceInProgress)
        #expect(h.group?.members[leader] == nil)
        let token = h.join(follower)
        #expect(h.joins[token]?.leaderID == follower)
    }

    @Test func leavingHandsThePartitionsOnAtOnce() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        #expect(h.leave(LeavingMember(memberID: leader)) == [.none])
        #expect(h.heartbeat(follower, 2) == .rebalanceInProgress)
        let token = h.join(follower)
        #expect(h.joins[token]?.leaderID == follower)
        #expect(h.joins[token]?.members.count == 1)
        #expect(h.leave(LeavingMember(memberID: leader), LeavingMember(memberID: follower)) == [.unknownMemberID, .none])
        #expect(h.group?.state == .empty)
        #expect(h.coordinator.leave(groupID: "none", [LeavingMember(memberID: "x")], now: h.now).members == [.unknownMemberID])
    }

    @Test func aLostJoinAnswerIsGivenAgain() {
        var h = GroupHarness()
        let token = h.join(metadata: [1])
        let id = h.joins[token]?.memberID ?? ""
        let again = h.join(id, metadata: [1])
        #expect(h.joins[again] == h.joins[token])
        let changed = h.join(id, metadata: [2])
        #expect(h.joins[changed]?.generation == 2)
    }

    @Test func aFollowerThatRejoinsUnchangedDisturbsNobody() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        let token = h.join(follower)
        #expect(h.joins[token]?.generation == 2)
        #expect(h.joins[token]?.leaderID == leader)
        #expect(h.heartbeat(leader, 2) == .none)
    }

    @Test func aSecondJoinOfTheSameMemberAnswersTheFirst() {
        var h = GroupHarness()
        let (leader, _) = h.stablePair()
        let first = h.join(leader)
        let second = h.join(leader)
        #expect(h.joins[first]?.error == .rebalanceInProgress)
        #expect(h.joins[second] == nil)
    }

    @Test(arguments: [
        (["range", "roundrobin"], ["roundrobin", "range"], "range"),
        (["range", "roundrobin"], ["roundrobin"], "roundrobin"),
        (["cooperative-sticky", "range"], ["cooperative-sticky", "range"], "cooperative-sticky"),
        (["cooperative-sticky", "range"], ["range"], "range"),
    ])
    func theAssignorThatAllHaveWins(first: [String], second: [String], expected: String) {
        var h = GroupHarness(initialDelayMs: 10)
        let token = h.join(candidates: first)
        _ = h.join(candidates: second)
        h.wait(50)
        #expect(h.joins[token]?.protocolName == expected)
    }

    @Test func noCommonAssignorOrOtherTypeIsRefused() {
        var h = GroupHarness()
        _ = h.join(candidates: ["range"])
        #expect(h.joins[h.join(candidates: ["sticky"])]?.error == .inconsistentGroupProtocol)
        #expect(h.joins[h.join(type: "connect")]?.error == .inconsistentGroupProtocol)
        #expect(h.joins[h.join(candidates: [])]?.error == .inconsistentGroupProtocol)
        #expect(h.joins[h.join(type: "", group: "x")]?.error == .inconsistentGroupProtocol)
    }

    @Test func syncsOfAnotherProtocolAreRefused() {
        var h = GroupHarness()
        let id = h.joins[h.join()]?.memberID ?? ""
        #expect(h.syncs[h.sync(id, 1, type: "consumer", name: "sticky")]?.error == .inconsistentGroupProtocol)
        #expect(h.syncs[h.sync(id, 1, type: "consumer", name: "range")]?.error == ErrorCode.none)
    }

    @Test func limitsHold() {
        var h = GroupHarness { $0.maxMembers = 2; $0.maxGroups = 2 }
        #expect(h.joins[h.join(session: 1)]?.error == .invalidSessionTimeout)
        #expect(h.joins[h.join(session: .max)]?.error == .invalidSessionTimeout)
        #expect(h.joins[h.join(group: "")]?.error == .invalidGroupID)
        _ = h.join()
        _ = h.join(known: true)
        #expect(h.joins[h.join()]?.error == .groupMaxSizeReached)
        _ = h.join(group: "h")
        #expect(h.joins[h.join(group: "i")]?.error == .coordinatorNotAvailable)
    }

    @Test func stoppingAnswersEveryoneWhoWaits() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        let joining = h.join(leader)
        h.take(h.coordinator.release(.notCoordinator))
        #expect(h.joins[joining]?.error == .notCoordinator)
        _ = h.join(leader)
        _ = h.join(follower)
        let syncing = h.sync(follower, 3)
        h.take(h.coordinator.release(.notCoordinator))
        #expect(h.syncs[syncing]?.error == .notCoordinator)
    }
}

@Suite struct GroupStaticMemberTests {
    @Test func aRestartedStaticMemberTakesItsPlaceBackWithoutARebalance() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(instances: ("a", "b"))
        let token = h.join(instance: "b")
        let fresh = h.joins[token]?.memberID ?? ""
        #expect(h.joins[token]?.generation == 2)
        #expect(fresh != follower)
        #expect(h.heartbeat(leader, 2, instance: "a") == .none)
        #expect(h.syncs[h.sync(fresh, 2, instance: "b")]?.assignment == [2])
        #expect(h.heartbeat(follower, 2, instance: "b") == .fencedInstanceID)
        #expect(h.syncs[h.sync(follower, 2, instance: "b")]?.error == .fencedInstanceID)
        #expect(h.commit(follower, 2, instance: "b") == .fencedInstanceID)
        #expect(h.joins[h.join(follower, instance: "b")]?.error == .fencedInstanceID)
        #expect(h.leave(LeavingMember(memberID: follower, instanceID: "b")) == [.fencedInstanceID])
    }

    @Test(arguments: [false, true])
    func aRestartedStaticLeaderDoesNotAssign(skip: Bool) {
        var h = GroupHarness()
        let (leader, _) = h.stablePair(instances: ("a", "b"))
        let token = h.join(instance: "a", skip: skip)
        let reply = h.joins[token]
        #expect(reply?.generation == 2)
        #expect(reply?.skipAssignment == skip)
        #expect(reply?.leaderID == (skip ? reply?.memberID : leader))
        #expect(reply?.members.count == (skip ? 2 : 0))
        #expect(h.group?.leaderID == reply?.memberID)
        #expect(h.syncs[h.sync(reply?.memberID ?? "", 2, instance: "a")]?.assignment == [1])
    }

    @Test func aStaticMemberThatReturnsBeforeTheAssignmentStartsANewRebalance() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(instances: ("a", "b"))
        _ = h.join(leader, instance: "a")
        _ = h.join(follower, instance: "b")
        #expect(h.group?.state == .completingRebalance)
        let waiting = h.sync(follower, 3, instance: "b")
        let token = h.join(instance: "b")
        #expect(h.syncs[waiting]?.error == .fencedInstanceID)
        _ = h.join(leader, instance: "a")
        #expect(h.joins[token]?.generation == 4)
    }

    @Test func aWaitingDuplicateIsFenced() {
        var h = GroupHarness()
        let (leader, _) = h.stablePair(instances: ("a", "b"))
        let old = h.join(leader, instance: "a")
        let new = h.join(instance: "a")
        #expect(h.joins[old]?.error == .fencedInstanceID)
        #expect(h.joins[new] == nil)
    }

    @Test func aStaticMemberKeepsItsPlaceUntilItsSessionEnds() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair(instances: ("a", "b"), session: 60_000)
        _ = h.join(leader, instance: "a", metadata: [9], session: 60_000)
        h.wait(30_000)
        #expect(h.group?.state == .completingRebalance)
        #expect(h.group?.members[follower] != nil)
        _ = h.sync(leader, 3, instance: "a", [follower: [4]])
        let back = h.join(instance: "b")
        #expect(h.syncs[h.sync(h.joins[back]?.memberID ?? "", 3, instance: "b")]?.assignment == [4])
    }

    @Test func anOperatorRemovesAStaticMemberByItsInstance() {
        var h = GroupHarness()
        let (_, follower) = h.stablePair(instances: ("a", "b"))
        #expect(h.leave(LeavingMember(memberID: "", instanceID: "b"), LeavingMember(memberID: "", instanceID: "x")) == [.none, .unknownMemberID])
        #expect(h.group?.members[follower] == nil)
    }
}

@Suite struct GroupOffsetTests {
    static let p0 = GroupPartition(topic: "t", partition: 0)

    @Test func aSimpleConsumerCommitsOnlyWhileTheGroupIsEmpty() {
        var h = GroupHarness()
        #expect(h.commit("", -1) == .none)
        let (leader, _) = h.stablePair()
        #expect(h.commit("", -1) == .unknownMemberID)
        #expect(h.commit(leader, -1) == .illegalGeneration)
        #expect(h.commit(leader, 1) == .illegalGeneration)
        #expect(h.commit("nobody", 2) == .unknownMemberID)
        #expect(h.commit(leader, 2) == .none)
        #expect(h.commit("x", 3, group: "other") == .illegalGeneration)
    }

    @Test func commitsAreLetInDuringAJoinButNotBeforeTheAssignment() {
        var h = GroupHarness()
        let (leader, follower) = h.stablePair()
        _ = h.join()
        #expect(h.commit(leader, 2) == .none)
        _ = h.join(leader)
        _ = h.join(follower)
        #expect(h.commit(leader, 3) == .rebalanceInProgress)
    }

    @Test func storedOffsetsComeBackWithEpochAndMetadata() {
        var h = GroupHarness()
        let stored = CommittedOffset(offset: 7, leaderEpoch: 3, metadata: "m")
        h.coordinator.store(groupID: "g", [Self.p0: stored])
        #expect(h.coordinator.committed(groupID: "g", Self.p0) == stored)
        #expect(h.coordinator.committed(groupID: "g", GroupPartition(topic: "t", partition: 1)) == nil)
        #expect(h.coordinator.committed(groupID: "g").count == 1)
        h.coordinator.store(groupID: "g", [Self.p0: nil])
        #expect(h.coordinator.committed(groupID: "g").isEmpty)
    }

    @Test func metadataHasALimit() {
        let coordinator = GroupCoordinator()
        #expect(coordinator.refusal(ofMetadata: String(repeating: "x", count: 4_096)) == nil)
        #expect(coordinator.refusal(ofMetadata: String(repeating: "x", count: 4_097)) == .offsetMetadataTooLarge)
    }

    @Test func groupsAreListedDescribedAndDeletedByState() {
        var h = GroupHarness()
        #expect(h.coordinator.describe("g").state == .dead)
        #expect(h.coordinator.checkDelete("g") == .groupIDNotFound)
        let (leader, follower) = h.stablePair()
        let description = h.coordinator.describe("g")
        #expect(description.state == .stable)
        #expect(description.members.map(\.memberID) == [leader, follower])
        #expect(description.members.map(\.assignment) == [[1], [2]])
        #expect(h.coordinator.list() == [GroupListing(groupID: "g", protocolType: "consumer", state: .stable)])
        #expect(h.coordinator.checkDelete("g") == .nonEmptyGroup)
        _ = h.leave(LeavingMember(memberID: leader), LeavingMember(memberID: follower))
        #expect(h.coordinator.list().map(\.state) == [.empty])
        #expect(h.coordinator.checkDelete("g") == .none)
        h.coordinator.delete("g")
        #expect(h.coordinator.list().isEmpty)
    }

    @Test func offsetsOfSubscribedTopicsCanNotBeDeleted() {
        var h = GroupHarness()
        // Subscription version 0, one topic "t", no user data.
        let subscription: [UInt8] = [0, 0, 0, 0, 0, 1, 0, 1, 0x74, 0xff, 0xff, 0xff, 0xff]
        #expect(ConsumerSubscription.topics(in: subscription) == ["t"])
        for length in 0..<9 { #expect(ConsumerSubscription.topics(in: Array(subscription.prefix(length))) == nil) }
        _ = h.join(metadata: subscription)
        let other = GroupPartition(topic: "u", partition: 0)
        let (error, results) = h.coordinator.checkOffsetDelete(groupID: "g", [Self.p0, other])
        #expect(error == .none)
        #expect(results == [Self.p0: .groupSubscribedToTopic, other: .none])
    }
}
