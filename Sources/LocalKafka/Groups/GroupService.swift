import Foundation
import Logging
import NIOCore
import Synchronization

/// The group coordinator of a cluster at work: gives the state machine its clock, member ids and timer, lets requests wait,
/// and writes committed offsets down before they are acknowledged. Safe to use from any thread.
final class GroupService: Sendable {
    private enum Waiter {
        case join(CheckedContinuation<JoinReply, any Error>)
        case sync(CheckedContinuation<SyncReply, any Error>)
    }

    /// Everything is guarded by `state`; continuations are resumed after it is let go.
    private struct State {
        var coordinator: GroupCoordinator
        var log: OffsetLog
        var waiting: [ReplyToken: Waiter] = [:]
        var nextToken: UInt64 = 0
        var timer: Scheduled<Void>?
        var timerDue: GroupInstant?
        /// Groups whose coordinator a test has moved.
        var moved: [String: Int32] = [:]
        var stopped = false
        /// nil until `start`.
        var eventLoop: (any EventLoop)?
    }

    private let state: Mutex<State>
    private let logger: Logger

    /// Opens `offsets.log` in `directory`, which exists. Throws `LocalKafkaError.storage`.
    init(directory: URL, limits: GroupLimits, logger: Logger) throws {
        var (log, recovered) = try OffsetLog.open(directory.appendingPathComponent("offsets.log"))
        if recovered.bytesDropped > 0 {
            logger.warning(
                "the end of the file of committed offsets was not whole and was cut off: groups may repeat records",
                metadata: ["file": "\(log.url.path)", "bytes": "\(recovered.bytesDropped)"])
        }
        var coordinator = GroupCoordinator(limits: limits)
        for entry in recovered.entries {
            switch entry {
            case .set(let group, let changes): coordinator.store(groupID: group, changes)
            case .deleteGroup(let group): coordinator.delete(group)
            }
        }
        if log.isLarge { try log.compact(Self.live(coordinator)) }
        state = Mutex(State(coordinator: coordinator, log: log))
        self.logger = logger
    }

    /// Lets time pass: sessions end and waits are answered from now on, by a timer on `eventLoop`.
    func start(on eventLoop: any EventLoop) {
        perform { state in
            state.eventLoop = eventLoop
            return ((), [])
        }
    }

    /// Answers everyone who waits and makes the offsets durable. Requests that come later are refused.
    func stop() {
        perform { state in
            state.stopped = true
            state.timer?.cancel()
            do { try state.log.sync() } catch {
                logger.error("committed offsets could not be made durable", metadata: ["error": "\(error)"])
            }
            return ((), state.coordinator.release(.notCoordinator))
        }
    }

    // MARK: Membership

    /// Returns when the group's next generation begins, or at once with an error. Throws `CancellationError` when the
    /// calling task is cancelled; the member then keeps its place until its session ends, as in Kafka.
    func join(_ request: JoinRequest) async throws -> JoinReply {
        try await wait(Waiter.join) { state, token, now in
            state.stopped
                ? [.answerJoin(token, .failed(.coordinatorNotAvailable, memberID: request.memberID))]
                : state.coordinator.join(request, token: token, now: now)
        }
    }

    /// Returns when the leader has sent its assignment, or at once with an error. Throws as `join` does.
    func sync(_ request: SyncRequest) async throws -> SyncReply {
        try await wait(Waiter.sync) { state, token, now in
            state.stopped
                ? [.answerSync(token, .failed(.coordinatorNotAvailable))]
                : state.coordinator.sync(request, token: token, now: now)
        }
    }

    func heartbeat(_ claim: MemberClaim) -> ErrorCode {
        perform { state in state.coordinator.heartbeat(claim, now: Self.now) }
    }

    func leave(groupID: String, _ members: [LeavingMember]) -> (error: ErrorCode, members: [ErrorCode]) {
        perform { state in
            let result = state.coordinator.leave(groupID: groupID, members, now: Self.now)
            return ((result.error, result.members), result.actions)
        }
    }

    // MARK: Offsets

    /// Stores what `claim` may commit, and answers once it is written down: one error per offset, in their order.
    /// Entries of `refused` (by index) are not stored; the error is theirs.
    func commit(
        _ claim: MemberClaim, _ offsets: [(GroupPartition, CommittedOffset)], refused: [Int: ErrorCode]
    ) -> [ErrorCode] {
        perform { state in
            guard !state.stopped else { return (offsets.map { _ in .coordinatorNotAvailable }, []) }
            let (error, actions) = state.coordinator.checkCommit(claim, now: Self.now)
            guard error == .none else { return (offsets.indices.map { refused[$0] ?? error }, actions) }
            var results: [ErrorCode] = []
            var changes: OffsetLog.Changes = [:]
            for (index, (partition, offset)) in offsets.enumerated() {
                let refusal = refused[index] ?? state.coordinator.refusal(ofMetadata: offset.metadata)
                results.append(refusal ?? .none)
                if refusal == nil { changes[partition] = offset }
            }
            let failure = store(claim.groupID, changes, in: &state)
            return (failure == .none ? results : results.map { $0 == .none ? failure : $0 }, actions)
        }
    }

    /// nil: nothing committed there.
    func committed(groupID: String, _ partition: GroupPartition) -> CommittedOffset? {
        state.withLock { $0.coordinator.committed(groupID: groupID, partition) }
    }

    /// All that the group has committed, sorted by partition.
    func committed(groupID: String) -> [(GroupPartition, CommittedOffset)] {
        state.withLock { $0.coordinator.committed(groupID: groupID) }
    }

    func deleteOffsets(groupID: String, _ partitions: [GroupPartition]) -> (ErrorCode, [GroupPartition: ErrorCode]) {
        perform { state in
            var (error, results) = state.coordinator.checkOffsetDelete(groupID: groupID, partitions)
            guard error == .none else { return ((error, [:]), []) }
            var changes: OffsetLog.Changes = [:]
            for (partition, result) in results where result == .none {
                if state.coordinator.committed(groupID: groupID, partition) != nil { changes.updateValue(nil, forKey: partition) }
            }
            let failure = store(groupID, changes, in: &state)
            if failure != .none { for partition in changes.keys { results[partition] = failure } }
            error = .none
            return ((error, results), [])
        }
    }

    /// Forgets the offsets of a topic that is gone: a new topic of its name starts anew.
    func topicDeleted(_ topic: String) {
        perform { state in
            for (group, partitions) in state.coordinator.offsets(ofTopic: topic) {
                let changes = OffsetLog.Changes(uniqueKeysWithValues: partitions.map { ($0, nil) })
                _ = store(group, changes, in: &state)
            }
            return ((), [])
        }
    }

    /// Writes changes down, then makes them visible.
    private func store(_ groupID: String, _ changes: OffsetLog.Changes, in state: inout State) -> ErrorCode {
        guard !changes.isEmpty else { return .none }
        guard write(.set(group: groupID, changes), in: &state) else { return .kafkaStorageError }
        state.coordinator.store(groupID: groupID, changes)
        compactIfLarge(&state)
        return .none
    }

    private func write(_ entry: OffsetLog.Entry, in state: inout State) -> Bool {
        do {
            try state.log.append(entry)
            return true
        } catch {
            logger.error("committed offsets could not be written", metadata: ["error": "\(error)"])
            return false
        }
    }

    private func compactIfLarge(_ state: inout State) {
        guard state.log.isLarge else { return }
        do { try state.log.compact(Self.live(state.coordinator)) } catch {
            logger.warning(
                "the file of committed offsets could not be replaced by a smaller one; it goes on growing",
                metadata: ["error": "\(error)"])
        }
    }

    private static func live(_ coordinator: GroupCoordinator) -> [OffsetLog.Entry] {
        coordinator.list().compactMap { listing in
            let offsets = coordinator.committed(groupID: listing.groupID)
            guard !offsets.isEmpty else { return nil }
            return .set(group: listing.groupID, OffsetLog.Changes(uniqueKeysWithValues: offsets.map { ($0.0, $0.1) }))
        }
    }

    // MARK: Looking, and removing

    func list() -> [GroupListing] { state.withLock { $0.coordinator.list() } }

    /// The generation of a group; 0 when there is no such group.
    func generation(_ groupID: String) -> Int32 { state.withLock { $0.coordinator.group(groupID)?.generation ?? 0 } }

    func describe(_ groupID: String) -> GroupDescription { state.withLock { $0.coordinator.describe(groupID) } }

    func delete(_ groupID: String) -> ErrorCode {
        perform { state in
            let refusal = state.coordinator.checkDelete(groupID)
            guard refusal == .none else { return (refusal, []) }
            if !state.coordinator.committed(groupID: groupID).isEmpty {
                guard write(.deleteGroup(groupID), in: &state) else { return (.kafkaStorageError, []) }
            }
            state.coordinator.delete(groupID)
            return (.none, [])
        }
    }

    // MARK: Which broker coordinates

    /// The broker that coordinates `groupID` when `running` (ascending) are up: by the group's hash, so that groups
    /// spread and stay. nil when none is up.
    func coordinator(of groupID: String, running: [Int32]) -> Int32? {
        if let moved = state.withLock({ $0.moved[groupID] }), running.contains(moved) { return moved }
        guard !running.isEmpty else { return nil }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325  // FNV-1a
        for byte in groupID.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return running[Int(hash % UInt64(running.count))]
    }

    /// Moves a group to a broker (nil: back to where its hash puts it). Those who wait are answered NOT_COORDINATOR;
    /// members, generation and offsets stay.
    func moveCoordinator(of groupID: String, to brokerID: Int32?) {
        perform { state in
            state.moved[groupID] = brokerID
            return ((), state.coordinator.release(.notCoordinator, groupID: groupID))
        }
    }

    // MARK: Waiting

    private static var now: GroupInstant {
        GroupInstant(nanoseconds: Int64(clamping: NIODeadline.now().uptimeNanoseconds))
    }

    private func wait<Reply: Sendable>(
        _ waiter: @escaping (CheckedContinuation<Reply, any Error>) -> Waiter,
        _ event: (inout State, ReplyToken, GroupInstant) -> [GroupAction]
    ) async throws -> Reply {
        let token = state.withLock { state in
            state.nextToken += 1
            return ReplyToken(number: state.nextToken)
        }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                perform { state in
                    state.waiting[token] = waiter(continuation)
                    return ((), event(&state, token, Self.now))
                }
                // A cancellation before the line above found nothing to give up.
                if Task.isCancelled { abandon(token) }
            }
        } onCancel: {
            abandon(token)
        }
    }

    private func abandon(_ token: ReplyToken) {
        switch state.withLock({ $0.waiting.removeValue(forKey: token) }) {
        case .join(let continuation): continuation.resume(throwing: CancellationError())
        case .sync(let continuation): continuation.resume(throwing: CancellationError())
        case nil: break
        }
    }

    /// One event: runs it, sets the timer for what is due next, and answers those whose wait has ended.
    @discardableResult
    private func perform<Result>(_ event: (inout State) -> (Result, [GroupAction])) -> Result {
        var answers: [() -> Void] = []
        let result = state.withLock { state in
            let (result, actions) = event(&state)
            for action in actions {
                switch action {
                case .answerJoin(let token, let reply):
                    if case .join(let waiting) = state.waiting.removeValue(forKey: token) {
                        answers.append { waiting.resume(returning: reply) }
                    }
                case .answerSync(let token, let reply):
                    if case .sync(let waiting) = state.waiting.removeValue(forKey: token) {
                        answers.append { waiting.resume(returning: reply) }
                    }
                }
            }
            setTimer(&state)
            return result
        }
        for answer in answers { answer() }
        return result
    }

    private func setTimer(_ state: inout State) {
        guard !state.stopped, let eventLoop = state.eventLoop, let due = state.coordinator.nextDeadline else { return }
        // A timer that comes too early only looks, and sets the next one.
        if let set = state.timerDue, set <= due { return }
        state.timer?.cancel()
        state.timerDue = due
        let deadline = NIODeadline.uptimeNanoseconds(UInt64(clamping: due.nanoseconds))
        state.timer = eventLoop.scheduleTask(deadline: deadline) { [weak self] in self?.timerFired() }
    }

    private func timerFired() {
        perform { state in
            state.timerDue = nil
            state.timer = nil
            return ((), state.stopped ? [] : state.coordinator.expire(now: Self.now))
        }
    }
}
