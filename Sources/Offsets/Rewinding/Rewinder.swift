import ChangePropagation
import Checkpoints
import Handover
import KafkaLog

/// Carries a planned rewind out. It is one change of epoch for each origin: the assignment says that nobody acts any more, the new checkpoints
/// are written under it by compare-and-swap and sealed, and the epoch goes up once more. So commits and writes of before are older in every
/// cluster, and whoever starts next begins from what was set here.
public struct Rewinder: Sendable {
    /// Why nothing was rewound; each says the next step.
    public enum Refusal: Error, Sendable, Hashable, CustomStringConvertible {
        case active(Datacenter, group: String, members: [String])
        case unknownActivity(Datacenter, String)
        case nothingToDo
        case remembered(rules: [String])
        case changed(AssignmentKey)

        public var description: String {
            switch self {
            case .active(let datacenter, let group, let members):
                let shown = members.prefix(3).joined(separator: ", ") + (members.count > 3 ? " and \(members.count - 3) more" : "")
                return "the group is active: \(group) has \(members.count) member\(members.count == 1 ? "" : "s") in \(datacenter) (\(shown)); stop these workers, then try again"
            case .unknownActivity(let datacenter, let why):
                return "whether the group is active in \(datacenter) can't be told (\(why)); when its workers surely stand still, say --stopped \(datacenter)"
            case .nothingToDo: return "nothing to do: no partition's position would change"
            case .remembered(let rules):
                return "\(rules.joined(separator: ", ")) remember what was done (dedupe) and would leave repeats out: "
                    + "say --forget-claims to have them done again, or --keep-claims to leave out what is remembered"
            case .changed(let key): return "the assignment of \(key) was changed by somebody else meanwhile: look again, then try again"
            }
        }
    }

    public enum Claims: Sendable, Hashable { case notSaid, forget, keep }

    private let reader: SnapshotReader
    private let group: String
    /// Datacenters whose workers the operator vouches for.
    private let stopped: Set<Datacenter>
    private let claims: Claims

    public init(_ reader: SnapshotReader, group: String, stopped: Set<Datacenter>, claims: Claims) {
        self.reader = reader
        self.group = group
        self.stopped = stopped
        self.claims = claims
    }

    /// Refuses while a member of the group may be at work anywhere, or where it is not said what becomes of what rules remember.
    public func check(_ plan: RewindPlan) async throws {
        guard plan.toDo > 0 else { throw Refusal.nothingToDo }
        let remembering = reader.configuration.rules.filter { $0.group == group && $0.dedupe != nil }.map(\.name)
        if claims == .notSaid, !remembering.isEmpty { throw Refusal.remembered(rules: remembering) }
        try await checkInactive()
    }

    /// Throws `Refusal.active`, and `Refusal.unknownActivity` where a cluster can't be asked.
    public func checkInactive() async throws {
        let logs = try reader.clusterLogs()
        defer { for log in logs.values { Task.detached { await log.close() } } }
        for (datacenter, log) in logs.sorted(by: { $0.key < $1.key }) where !stopped.contains(datacenter) {
            let limit = min(reader.timeout, .seconds(5))
            let described: [String: Result<GroupDescription, KafkaLogError>]
            do {
                try await log.admin.clusterID(timeout: limit)
                described = try await log.admin.describeGroups([group, RetryTopics.kafkaGroup(of: group)], timeout: limit)
            } catch { throw Refusal.unknownActivity(datacenter, "\(error)") }
            for (name, result) in described.sorted(by: { $0.key < $1.key }) {
                let description: GroupDescription
                do { description = try result.get() } catch { throw Refusal.unknownActivity(datacenter, "\(error)") }
                guard !description.members.isEmpty || !["Empty", "Dead"].contains(description.state) else { continue }
                throw Refusal.active(datacenter, group: name, members: description.members.map { "\($0.clientID)@\($0.host)" })
            }
        }
    }

    /// Each line's outcome, told as it comes.
    ///
    /// - Throws: `Refusal`, `HandoverRefusal` and `StoreError` before anything was written; `HalfWay`.
    public func carryOut(
        _ plan: RewindPlan, author: Assignment.Author, progress: @Sendable (_ done: Int, _ of: Int) -> Void = { _, _ in }
    ) async throws -> RewindPlan {
        try await check(plan)
        var plan = plan
        let found = try await AssignmentStore(reader.store).load(group: group)
        var done = 0
        for origin in Set(plan.lines.map(\.origin)).sorted() {
            let indices = plan.lines.indices.filter { plan.lines[$0].origin == origin && plan.lines[$0].outcome == .planned }
            guard let datacenter = Datacenter(origin), let stored = found[datacenter], !indices.isEmpty else { continue }
            let key = AssignmentKey(group: group, origin: datacenter)
            do { try await carryOut(&plan, indices, key, stored, author) } catch {
                // What was done for another origin has to be told all the same.
                guard done > 0, !(error is HalfWay) else { throw error }
                for index in indices { (plan.lines[index].outcome, plan.lines[index].problem) = (.failed, "\(error)") }
            }
            done += indices.count
            progress(done, plan.lines.count)
        }
        return plan
    }

    /// The rewind of an origin was begun, or may have been, and is not known to have ended.
    public struct HalfWay: Error, Sendable, CustomStringConvertible {
        public let key: AssignmentKey
        public let reason: String
        public var description: String {
            "the rewind of \(key) is half-way or may be (\(reason)): while 'handover show' says 'rewinding', run this again, or take it back with 'handover cancel'"
        }
    }

    private func carryOut(
        _ plan: inout RewindPlan, _ indices: [Int], _ key: AssignmentKey, _ stored: StoredAssignment, _ author: Assignment.Author
    ) async throws {
        let wanted = indices.map { plan.lines[$0].topicPartition }
        let next = try stored.assignment.rewinding(PartitionSet(wanted), author)
        let begun: StoredAssignment
        do {
            guard case .done(let changed) = try await AssignmentStore(reader.store).change(key, to: next, expecting: stored.revision) else { throw Refusal.changed(key) }
            begun = changed
        } catch let error as StoreError where error.kind == .ambiguous { throw HalfWay(key: key, reason: "\(error)") }
        let writes = wanted.compactMap { write($0, plan, begun.assignment, author) }
        let results = await CheckpointStore(reader.store).save(group: group, writes, fence: begun.fence(key))
        for index in indices { settle(&plan.lines[index], results[plan.lines[index].topicPartition]) }
        do {
            if claims == .forget { try await forgetClaims() }
            try await end(key, begun.assignment.epoch, author)
        } catch { throw HalfWay(key: key, reason: "\(error)") }
    }

    private static let endAttempts = 10

    /// Raises the epoch once more, unless a worker that has come up has done so already.
    private func end(_ key: AssignmentKey, _ epoch: Int64, _ author: Assignment.Author) async throws {
        let assignments = AssignmentStore(reader.store)
        for _ in 0..<Self.endAttempts {
            guard let now = try await assignments.load(key) else { throw HandoverRefusal.unknown(key) }
            guard now.assignment.epoch == epoch else { return }
            if case .done = try await assignments.change(key, to: try now.assignment.handedOver(author), expecting: now.revision) { return }
        }
        throw HandoverRefusal.busy(key)
    }

    private func write(_ partition: TopicPartition, _ plan: RewindPlan, _ assignment: Assignment, _ author: Assignment.Author) -> CheckpointWrite? {
        guard let draft = plan.drafts[partition] else { return nil }
        // Sealed, so that no worker of this epoch writes over it, and so that a cluster that the mirror has not brought that far waits.
        let checkpoint = Checkpoint(
            done: draft.done, topicID: draft.topicID, partitionCount: draft.partitionCount, identity: reader.configuration.identity.text,
            epoch: assignment.epoch, sealed: true, worker: author.name, writtenAt: author.now)
        let record = RewindRecord(
            by: author.name, reason: author.reason, to: plan.to, epoch: assignment.epoch, fromOffset: draft.prior?.position.offset,
            fromCluster: draft.prior?.position.cluster.id, toOffset: draft.done.position.offset, toCluster: draft.done.position.cluster.id,
            at: author.now.milliseconds)
        let beside = record.encoded.map { [RewindRecord.key(group: group, partition, epoch: assignment.epoch): $0] } ?? [:]
        return CheckpointWrite(partition: partition, checkpoint: checkpoint, expectedRevision: draft.revision, beside: beside)
    }

    private func settle(_ line: inout RewindPlan.Line, _ result: CheckpointWriteResult?) {
        line.outcome = .failed
        switch result {
        case .saved?: line.outcome = .rewound
        case .fenced?: line.problem = "the assignment was changed by somebody else meanwhile: look again, then try again"
        case .superseded?: line.problem = "somebody wrote this checkpoint meanwhile (a worker that has just started?): look again, then try again"
        case .failed(let error)?: line.problem = "not known to be written: \(error); look with 'offsets describe', then try again"
        case nil: line.problem = "its new checkpoint could not be made: try again"
        }
    }

    /// What the group's rules remember to have done, all of it: claims don't say which topic they are of.
    private func forgetClaims() async throws {
        let keys = try await reader.store.list(under: StoreKey("claims", group)).entries.keys.sorted()
        for first in stride(from: 0, to: keys.count, by: reader.store.maximumTransactionSize) {
            let part = keys[first..<min(first + reader.store.maximumTransactionSize, keys.count)]
            _ = try await reader.store.commit(StoreTransaction(writes: Dictionary(uniqueKeysWithValues: part.map { ($0, .delete) })))
        }
    }
}

extension RewindPlan.Line {
    var topicPartition: TopicPartition { TopicPartition(topic: topic, partition: partition) }
}
