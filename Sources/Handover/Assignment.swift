import Checkpoints
import KafkaLog

/// Which assignment: one per (group, origin).
public struct AssignmentKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let group: String
    public let origin: Datacenter
    public init(group: String, origin: Datacenter) {
        self.group = group
        self.origin = origin
    }

    public var storeKey: StoreKey { StoreKey("assignments", group, origin.name) }
    public var description: String { "\(group), origin \(origin)" }
    public static func < (a: AssignmentKey, b: AssignmentKey) -> Bool { (a.group, a.origin) < (b.group, b.origin) }
}

/// Which DC processes an origin's topics for a group, and where a handover stands (Docs/Design.md section 4).
///
/// Partitions may be placed elsewhere than at the owner, so that load moves in slices. There is one epoch and one handover at a time
/// all the same: each change of owner, of whatever slice, raises the epoch of the whole origin, and those partitions that keep their
/// owner go on under the new one.
///
/// Every change is a pure function from one assignment to the next; who stores it does so by compare-and-swap.
public struct Assignment: Hashable, Sendable {
    public enum Phase: Hashable, Sendable {
        /// Owners act.
        case stable
        /// Who owns partitions of the scope finishes what it fetched of them and seals; then it is the target's turn. The epoch is
        /// still the old one. What is not in the scope goes on.
        case draining(target: Datacenter, scope: HandoverScope)
        /// The epoch went up. Who owns partitions of the scope resumes them from what `from` left; it may act on them from
        /// `fenceMilliseconds` after its first sight of this on. What is not in the scope goes on.
        case resuming(from: Datacenter, scope: HandoverScope)

        /// What the handover under way is about; nil: there is none.
        public var scope: HandoverScope? {
            switch self {
            case .stable: nil
            case .draining(_, let scope), .resuming(_, let scope): scope
            }
        }
    }

    /// Why the last handover was made. The words of the CLI.
    public enum Kind: String, Hashable, Sendable, Codable {
        case initial, switchover, failover, switchback
        /// A drain that was taken back.
        case cancelled
        /// An operator set positions anew: nothing changed hands.
        case rewind
    }

    /// Grows by one at every change of owner, of any partition. 1 or more.
    public var epoch: Int64
    /// Owns what is not in `placed`, and what appears later.
    public var owner: Datacenter
    /// The partitions that other datacenters own. None is named twice, no set is empty, and `owner` is no key.
    public internal(set) var placed: [Datacenter: PartitionSet]
    public var phase: Phase
    public var kind: Kind
    /// How long, in milliseconds, a worker may act on a confirmation of its epoch before it has to confirm it again.
    public var leaseMilliseconds: Int64
    /// In phase `resuming`: how long, in milliseconds from its own first sight of this epoch, the owner has to wait before it
    /// acts, so that leases of the epoch before have run out. 0 after a drain, or when told `--now`.
    public var fenceMilliseconds: Int64
    /// Partition counts of the origin's topics as the owner knows them, for those who have to know what must be sealed.
    public var partitions: [String: Int32]
    /// Who made the last change: a worker's or an operator's name.
    public var by: String
    /// Who began the last handover.
    public var begunBy: String
    public var reason: String
    /// When it was made, by the clock of who made it. For people; no decision rests on it.
    public var since: MillisecondTimestamp

    public init(
        epoch: Int64 = 1, owner: Datacenter, phase: Phase = .stable, kind: Kind = .initial, leaseMilliseconds: Int64,
        fenceMilliseconds: Int64 = 0, partitions: [String: Int32] = [:], by: String, reason: String = "", since: MillisecondTimestamp
    ) {
        self.epoch = epoch
        self.owner = owner
        placed = [:]
        begunBy = by
        self.phase = phase
        self.kind = kind
        self.leaseMilliseconds = leaseMilliseconds
        self.fenceMilliseconds = fenceMilliseconds
        self.partitions = partitions
        self.by = by
        self.reason = reason
        self.since = since
    }

    // MARK: Changes

    /// Who asks for a change, why, and when by its own clock.
    public struct Author: Hashable, Sendable {
        public let name: String
        public let reason: String
        public let now: MillisecondTimestamp
        public init(name: String, reason: String = "", now: MillisecondTimestamp) {
            self.name = name
            self.reason = reason
            self.now = now
        }
    }

    private func changed(by author: Author, _ change: (inout Assignment) -> Void) -> Assignment {
        var next = self
        next.by = author.name
        next.reason = author.reason
        next.since = author.now
        change(&next)
        return next
    }

    /// Begins a planned handover: who owns partitions of `slice` is to drain them.
    public func draining(
        to target: Datacenter, origin: Datacenter, slice: Slice = .all, _ author: Author
    ) throws(HandoverRefusal) -> Assignment {
        if case .draining = phase { throw underway }
        let scope = try scope(of: slice, to: target, origin: origin)
        // One that can't be finished (a partition that the new owner refuses) can be moved on, or back, all of it: a part that was left
        // out would be forgotten, with the wait that it may still have before it.
        if let resuming = phase.scope, !scope.covers(resuming) { throw underway }
        return changed(by: author) {
            $0.phase = .draining(target: target, scope: scope)
            $0.kind = target == origin ? .switchback : .switchover
            $0.begunBy = author.name
        }
    }

    /// All is sealed: the epoch goes up and the target owns it.
    public func handedOver(_ author: Author) throws(HandoverRefusal) -> Assignment {
        guard case .draining(let target, let scope) = phase else { throw .notDraining(epoch: epoch) }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: source(of: scope, to: target), scope: scope)
            if kind != .rewind { $0.move(scope, to: target) }
            // The wait that a forced handover asked for, where the one before had not come to its end; else 0.
        }
    }

    /// Takes a drain back: the owner goes on, in a new epoch, since some of its partitions may be sealed in this one.
    public func cancelled(_ author: Author) throws(HandoverRefusal) -> Assignment {
        guard case .draining(let target, let scope) = phase else { throw .notDraining(epoch: epoch) }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: source(of: scope, to: target), scope: scope)
            $0.kind = .cancelled
            $0.begunBy = author.name
            $0.fenceMilliseconds = leaseMilliseconds
        }
    }

    /// Forced: the epoch goes up at once, whatever the phase, which fences the old owner. Unless `now`, the new one waits
    /// until the old one's lease has surely run out.
    ///
    /// A handover of other partitions that was under way becomes part of this one: those stay with whoever owns them, which resumes
    /// them in the new epoch (a drain is taken back by that), and a wait that they had before them still counts.
    public func failedOver(
        to target: Datacenter, origin: Datacenter, slice: Slice = .all, now: Bool, _ author: Author
    ) throws(HandoverRefusal) -> Assignment {
        let scope = try scope(of: slice, to: target, origin: origin)
        let sources = sources(of: scope, to: target)
        // To fence a datacenter that lives costs it repeats: with more than one it has to be said which is gone.
        if slice.from == nil, sources.count > 1 { throw .severalOwners(sources.sorted()) }
        let under = phase.scope.flatMap { scope.covers($0) ? nil : $0 }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: source(of: scope, to: target), scope: under.map(scope.union) ?? scope)
            $0.move(scope, to: target)
            $0.kind = .failover
            $0.begunBy = author.name
            $0.fenceMilliseconds = max(now ? 0 : leaseMilliseconds, under == nil ? 0 : fenceMilliseconds)
        }
    }

    /// Begins an operator's rewind: nobody acts on these partitions any more, and no write of the epoch before lands, until their new checkpoints
    /// are written, sealed under this epoch, and `handedOver` raises it once more. Commits of the epochs before are older than those checkpoints,
    /// in every cluster. Whoever owns a partition goes on owning it, after a wait for leases of the epoch before.
    ///
    /// A resume that was under way becomes part of it; a drain is refused, but that of a rewind that nobody finished.
    public func rewinding(_ partitions: PartitionSet, _ author: Author) throws(HandoverRefusal) -> Assignment {
        if case .draining = phase, kind != .rewind { throw underway }
        let scope = phase.scope.map(HandoverScope.only(partitions).union) ?? .only(partitions)
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .draining(target: owner, scope: scope)
            $0.kind = .rewind
            $0.begunBy = author.name
            $0.fenceMilliseconds = max(leaseMilliseconds, phase == .stable ? 0 : fenceMilliseconds)
        }
    }

    /// Every partition of the scope has been resumed.
    public func settled(_ author: Author) -> Assignment {
        changed(by: author) {
            $0.phase = .stable
            $0.reason = reason
            $0.fenceMilliseconds = 0
        }
    }

    private mutating func move(_ scope: HandoverScope, to target: Datacenter) {
        switch scope {
        case .all:
            // What it leaves out is named in `placed`.
            owner = target
            placed[target] = nil
            for (datacenter, partitions) in placed { set(datacenter, partitions.filter { !scope.contains($0) }) }
        case .only(let partitions):
            for (datacenter, there) in placed { set(datacenter, there.subtracting(partitions)) }
            if target != owner { placed[target, default: PartitionSet()].formUnion(partitions) }
        }
    }

    private mutating func set(_ datacenter: Datacenter, _ partitions: PartitionSet) {
        placed[datacenter] = partitions.isEmpty ? nil : partitions
    }

    private var underway: HandoverRefusal { .underway(epoch: epoch, description: handoverDescription, by: begunBy) }
}

// MARK: Who owns what

extension Assignment {
    /// The one datacenter that the partition belongs to in this epoch.
    public func owner(of partition: TopicPartition) -> Datacenter { placed.first { $0.value.contains(partition) }?.key ?? owner }

    /// Whether any partition belongs to `datacenter`, be it such as nobody has reported yet.
    public func ownsAny(_ datacenter: Datacenter) -> Bool { owner == datacenter || placed[datacenter] != nil }

    /// Whether a worker in `datacenter` may act on the partition (given its lease): it owns it and is not draining it.
    public func mayAct(on partition: TopicPartition, in datacenter: Datacenter) -> Bool {
        owner(of: partition) == datacenter && !isDraining(partition)
    }

    public func isDraining(_ partition: TopicPartition) -> Bool {
        guard case .draining(_, let scope) = phase else { return false }
        return scope.contains(partition)
    }

    /// Whether partitions came to `datacenter` with this epoch and are not all resumed yet.
    public func isTakenOver(by datacenter: Datacenter) -> Bool {
        guard case .resuming(let from, _) = phase else { return false }
        return from != datacenter && ownsAny(datacenter)
    }

    public func isResuming(_ partition: TopicPartition) -> Bool {
        guard case .resuming(_, let scope) = phase else { return false }
        return scope.contains(partition)
    }

    /// The partitions that owners have reported.
    public var reported: Set<TopicPartition> {
        Set(
            partitions.flatMap { topic, count in
                (0..<max(0, count)).map { TopicPartition(topic: topic, partition: $0) }
            })
    }

    /// How many of the reported partitions each datacenter owns; the base owner is always named.
    public var shares: [Datacenter: Int] { reported.reduce(into: [owner: 0]) { $0[owner(of: $1), default: 0] += 1 } }

    /// Whether `target` owns every reported partition of `scope`, and, where the scope is all of the origin, what appears later.
    public func hasArrived(_ scope: HandoverScope, at target: Datacenter) -> Bool {
        if case .all = scope, owner != target { return false }
        return reported.allSatisfy { !scope.contains($0) || owner(of: $0) == target }
    }

    /// What has to move so that `slice` is at `target`: partitions that are there already are left alone.
    public func scope(of slice: Slice, to target: Datacenter, origin: Datacenter) throws(HandoverRefusal) -> HandoverScope {
        if slice.topics.isEmpty, slice.share == nil { return try scopeOfAll(from: slice.from, to: target) }
        let moving = try slice.partitions(of: partitions, origin: origin).filter { partition in
            let now = owner(of: partition)
            return now != target && (slice.from == nil || now == slice.from)
        }
        guard !moving.isEmpty else { throw .nothingToMove(target: target, from: slice.from) }
        // The last of an origin takes along what may appear later: else that would have to change hands without having been drained.
        let isTheRest = reported.allSatisfy { moving.contains($0) || owner(of: $0) == target }
        return target != owner && isTheRest ? .all(except: placed[target] ?? PartitionSet()) : .only(moving)
    }

    private func scopeOfAll(from: Datacenter?, to target: Datacenter) throws(HandoverRefusal) -> HandoverScope {
        let elsewhere = placed.values.reduce(PartitionSet()) { $0.union($1) }
        switch from {
        case nil where target != owner: return .all(except: placed[target] ?? PartitionSet())
        case nil where elsewhere.isEmpty: throw .alreadyThere(owner)
        case nil: return .only(elsewhere)
        case target?: throw .alreadyThere(target)
        case owner?: return .all(except: elsewhere)
        case let from?:
            guard let partitions = placed[from] else { throw .nothingToMove(target: target, from: from) }
            return .only(partitions)
        }
    }

    /// Who owns partitions of `scope` now, the target aside.
    private func sources(of scope: HandoverScope, to target: Datacenter) -> Set<Datacenter> {
        var sources = Set(reported.filter(scope.contains).map(owner(of:)))
        if case .all = scope { sources.insert(owner) }
        return sources.subtracting([target])
    }

    /// Who is named as the one that partitions come from; where there are several, the base owner or the first by name.
    private func source(of scope: HandoverScope, to target: Datacenter) -> Datacenter {
        let sources = sources(of: scope, to: target)
        return sources.contains(owner) ? owner : sources.min() ?? owner
    }

    /// The handover under way in a few words; empty: there is none.
    public var handoverDescription: String {
        switch phase {
        case .stable: ""
        case .draining(_, let scope) where kind == .rewind: "\(describe(scope)) are being rewound"
        case .draining(let target, let scope): "draining \(describe(scope)) from \(source(of: scope, to: target)) to \(target)"
        case .resuming(let from, let scope): "\(describe(scope)) from \(from) are being resumed"
        }
    }

    private static let longestList = 60

    /// Such as `all`, or `3 of 30 partitions (eqiad.edits 0-2)`; long lists are cut.
    private func describe(_ scope: HandoverScope) -> String {
        switch scope {
        case .all(let others) where others.isEmpty: return "all partitions"
        case .all(let others): return "all but \(others.count) partitions"
        case .only(let partitions):
            let list = partitions.description
            return "\(partitions.count) of \(reported.count) partitions "
                + "(\(list.count > Self.longestList ? list.prefix(Self.longestList) + "…" : list))"
        }
    }
}
