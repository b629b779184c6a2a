import Checkpoints
import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

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
/// Every change is a pure function from one assignment to the next; who stores it does so by compare-and-swap.
public struct Assignment: Hashable, Sendable {
    public enum Phase: Hashable, Sendable {
        /// The owner acts.
        case stable
        /// The owner finishes what it fetched and seals; then it is the target's turn. The epoch is still the owner's.
        case draining(target: Datacenter)
        /// The epoch went up. The owner resumes from what `from` left; it may act from `notBefore` its seeing this on.
        case resuming(from: Datacenter)
    }

    /// Why the last handover was made. The words of the CLI.
    public enum Kind: String, Hashable, Sendable, Codable {
        case initial, switchover, failover, switchback
        /// A drain that was taken back.
        case cancelled
    }

    /// Grows by one at every change of owner. 1 or more.
    public var epoch: Int64
    public var owner: Datacenter
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
    public var reason: String
    /// When it was made, by the clock of who made it. For people; no decision rests on it.
    public var since: MillisecondTimestamp

    public init(
        epoch: Int64 = 1, owner: Datacenter, phase: Phase = .stable, kind: Kind = .initial, leaseMilliseconds: Int64,
        fenceMilliseconds: Int64 = 0, partitions: [String: Int32] = [:], by: String, reason: String = "", since: MillisecondTimestamp
    ) {
        self.epoch = epoch
        self.owner = owner
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

    /// Begins a planned handover: the owner is to drain.
    public func draining(to target: Datacenter, origin: Datacenter, _ author: Author) throws(HandoverRefusal) -> Assignment {
        switch phase {
        // One that can't be finished (a partition that the new owner refuses) can be moved on, or back, all the same.
        case .stable, .resuming: break
        case .draining(let other): throw .underway(epoch: epoch, description: "draining from \(owner) to \(other)", by: by)
        }
        guard target != owner else { throw .alreadyThere(owner) }
        return changed(by: author) {
            $0.phase = .draining(target: target)
            $0.kind = target == origin ? .switchback : .switchover
        }
    }

    /// All is sealed: the epoch goes up and the target owns it.
    public func handedOver(_ author: Author) throws(HandoverRefusal) -> Assignment {
        guard case .draining(let target) = phase else { throw .notDraining(epoch: epoch) }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: owner)
            $0.owner = target
            // The wait that a forced handover asked for, where the one before had not come to its end; else 0.
        }
    }

    /// Takes a drain back: the owner goes on, in a new epoch, since some of its partitions may be sealed in this one.
    public func cancelled(_ author: Author) throws(HandoverRefusal) -> Assignment {
        guard case .draining = phase else { throw .notDraining(epoch: epoch) }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: owner)
            $0.kind = .cancelled
            $0.fenceMilliseconds = leaseMilliseconds
        }
    }

    /// Forced: the epoch goes up at once, whatever the phase, which fences the old owner. Unless `now`, the new one waits
    /// until the old one's lease has surely run out.
    public func failedOver(to target: Datacenter, now: Bool, _ author: Author) throws(HandoverRefusal) -> Assignment {
        guard target != owner else { throw .alreadyThere(owner) }
        return changed(by: author) {
            $0.epoch += 1
            $0.phase = .resuming(from: owner)
            $0.owner = target
            $0.kind = .failover
            $0.fenceMilliseconds = now ? 0 : leaseMilliseconds
        }
    }

    /// The owner has resumed every partition.
    public func settled(_ author: Author) -> Assignment {
        changed(by: author) {
            $0.phase = .stable
            $0.reason = reason
            $0.fenceMilliseconds = 0
        }
    }

    /// Whether a worker in `datacenter` may act on the origin's partitions (given its lease): it owns it and is not draining.
    public func mayAct(in datacenter: Datacenter) -> Bool {
        if case .draining = phase { return false }
        return owner == datacenter
    }
}

/// Why a handover is not begun. Each says the next step.
public enum HandoverRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case underway(epoch: Int64, description: String, by: String)
    case alreadyThere(Datacenter)
    case notDraining(epoch: Int64)
    /// Nobody has worked on this group and origin yet.
    case unknown(AssignmentKey)
    /// The owner has not said yet which partitions it holds, so nobody could know what must be sealed.
    case notReported(AssignmentKey, owner: Datacenter)
    /// Others changed the assignment again and again meanwhile.
    case busy(AssignmentKey)
    /// The store answered for another format than this version knows.
    case format(String)

    public var description: String {
        switch self {
        case .underway(let epoch, let description, let by):
            "a handover is under way (epoch \(epoch): \(description), begun by \(by)); wait for it, cancel it, or force a failover"
        case .alreadyThere(let owner): "\(owner) owns it already"
        case .notDraining(let epoch): "no drain is under way in epoch \(epoch)"
        case .unknown(let key): "the store knows no assignment of \(key): start a worker of that group first, or check the names"
        case .notReported(let key, let owner):
            "\(owner) has not reported the partitions of \(key) yet: wait until its workers have joined, or force a failover"
        case .busy(let key): "the assignment of \(key) kept changing: try again"
        case .format(let what): "the stored assignment can't be read (\(what)): it was written by another version"
        }
    }
}

// MARK: The stored form

extension Assignment {
    /// JSON, since operators read it with etcdctl: the fields by name, `format` 1.
    private struct Stored: Codable {
        var format = 1
        var epoch: Int64
        var owner: String
        var phase: String
        var other: String?
        var kind: Kind
        var leaseMilliseconds: Int64
        var fenceMilliseconds: Int64
        var partitions: [String: Int32]
        var by: String
        var reason: String
        var since: Int64
    }

    public func encoded() -> [UInt8] {
        let (name, other): (String, Datacenter?) =
            switch phase {
            case .stable: ("stable", nil)
            case .draining(let target): ("draining", target)
            case .resuming(let from): ("resuming", from)
            }
        let stored = Stored(
            epoch: epoch, owner: owner.name, phase: name, other: other?.name, kind: kind, leaseMilliseconds: leaseMilliseconds,
            fenceMilliseconds: fenceMilliseconds, partitions: partitions, by: by, reason: reason, since: since.milliseconds)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and integers always encode.
        return (try? encoder.encode(stored)).map(Array.init) ?? []
    }

    /// Beyond any real use; a damaged value must not overflow what counts on from it.
    private static let largestEpoch: Int64 = 1 << 53
    private static let largestPartitionCount: Int32 = 1_000_000

    public init(decoding bytes: [UInt8]) throws(HandoverRefusal) {
        let stored: Stored
        do { stored = try JSONDecoder().decode(Stored.self, from: Data(bytes)) } catch { throw .format("not an assignment's JSON") }
        guard stored.format == 1 else { throw .format("format \(stored.format)") }
        guard let owner = Datacenter(stored.owner), (1...Self.largestEpoch).contains(stored.epoch) else { throw .format("owner or epoch") }
        guard stored.partitions.values.allSatisfy({ (0...Self.largestPartitionCount).contains($0) }) else { throw .format("partitions") }
        let other = stored.other.flatMap { Datacenter($0) }
        switch (stored.phase, other) {
        case ("stable", _): phase = .stable
        case ("draining", let target?): phase = .draining(target: target)
        case ("resuming", let from?): phase = .resuming(from: from)
        default: throw .format("phase '\(stored.phase)'")
        }
        epoch = stored.epoch
        self.owner = owner
        kind = stored.kind
        leaseMilliseconds = max(0, stored.leaseMilliseconds)
        fenceMilliseconds = max(0, stored.fenceMilliseconds)
        partitions = stored.partitions
        by = stored.by
        reason = stored.reason
        since = MillisecondTimestamp(clamped: stored.since)
    }
}
