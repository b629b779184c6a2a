import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// The stored form (Docs/Checkpoint-Format.md, "What stands beside it in the store").
extension Assignment {
    /// JSON, since operators read it with etcdctl: the fields by name. `format` is 2 where partitions are placed elsewhere than at the
    /// owner or a handover has a scope, 3 where the last change was a rewind, else 1: workers that know nothing of slices go on until somebody makes one, and then
    /// refuse the assignment instead of acting on partitions that are not theirs.
    private struct Stored: Codable {
        var format: Int
        var epoch: Int64
        var owner: String
        var phase: String
        var other: String?
        var kind: Kind
        var leaseMilliseconds: Int64
        var fenceMilliseconds: Int64
        var partitions: [String: Int32]
        var by: String
        var begunBy: String?
        var reason: String
        var since: Int64
        /// Format 2, as the two after it: by datacenter and topic, numbers and ranges such as `0-2,7`.
        var placed: [String: [String: String]]?
        var scope: [String: String]?
        var except: [String: String]?
    }

    public func encoded() -> [UInt8] {
        let (name, other): (String, Datacenter?) =
            switch phase {
            case .stable: ("stable", nil)
            case .draining(let target, _): ("draining", target)
            case .resuming(let from, _): ("resuming", from)
            }
        var stored = Stored(
            format: 1, epoch: epoch, owner: owner.name, phase: name, other: other?.name, kind: kind, leaseMilliseconds: leaseMilliseconds,
            fenceMilliseconds: fenceMilliseconds, partitions: partitions, by: by, begunBy: begunBy == by ? nil : begunBy, reason: reason,
            since: since.milliseconds)
        if !placed.isEmpty { stored.placed = Dictionary(uniqueKeysWithValues: placed.map { ($0.key.name, $0.value.ranges) }) }
        switch phase.scope {
        case .only(let partitions)?: stored.scope = partitions.ranges
        case .all(let others)? where !others.isEmpty: stored.except = others.ranges
        default: break
        }
        if stored.placed != nil || stored.scope != nil || stored.except != nil { stored.format = 2 }
        // Who knows no rewinds would go on from what it has in memory.
        if kind == .rewind { stored.format = 3 }
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
        guard (1...3).contains(stored.format) else { throw .format("format \(stored.format)") }
        guard let owner = Datacenter(stored.owner), (1...Self.largestEpoch).contains(stored.epoch) else { throw .format("owner or epoch") }
        guard stored.partitions.values.allSatisfy({ (0...Self.largestPartitionCount).contains($0) }) else { throw .format("partitions") }
        let scope = try Self.scope(stored)
        let other = stored.other.flatMap { Datacenter($0) }
        switch (stored.phase, other) {
        case ("stable", _): phase = .stable
        case ("draining", let target?): phase = .draining(target: target, scope: scope)
        case ("resuming", let from?): phase = .resuming(from: from, scope: scope)
        default: throw .format("phase '\(stored.phase)'")
        }
        epoch = stored.epoch
        self.owner = owner
        placed = try Self.placed(stored, owner: owner)
        kind = stored.kind
        leaseMilliseconds = max(0, stored.leaseMilliseconds)
        fenceMilliseconds = max(0, stored.fenceMilliseconds)
        partitions = stored.partitions
        by = stored.by
        begunBy = stored.begunBy ?? stored.by
        reason = stored.reason
        since = MillisecondTimestamp(clamped: stored.since)
    }

    private static func set(_ ranges: [String: String], _ field: String) throws(HandoverRefusal) -> PartitionSet {
        guard let set = PartitionSet(ranges: ranges, largest: largestPartitionCount) else { throw .format(field) }
        return set
    }

    private static func scope(_ stored: Stored) throws(HandoverRefusal) -> HandoverScope {
        switch (stored.scope, stored.except) {
        case (nil, nil): return .everything
        case (let scope?, nil): return .only(try set(scope, "scope"))
        case (nil, let except?): return .all(except: try set(except, "except"))
        case (_?, _?): throw .format("both scope and except")
        }
    }

    /// A partition must have one owner: what names one twice, or names the base owner, is refused.
    private static func placed(_ stored: Stored, owner: Datacenter) throws(HandoverRefusal) -> [Datacenter: PartitionSet] {
        var placed: [Datacenter: PartitionSet] = [:]
        var all = PartitionSet()
        for (name, ranges) in stored.placed ?? [:] {
            let partitions = try set(ranges, "placed")
            guard let datacenter = Datacenter(name), datacenter != owner, !partitions.isEmpty, partitions.isDisjoint(with: all) else {
                throw .format("placed")
            }
            placed[datacenter] = partitions
            all.formUnion(partitions)
        }
        return placed
    }
}
