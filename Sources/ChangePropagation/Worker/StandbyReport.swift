import Checkpoints
import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// "If we failed over now": what a warm standby knows of one partition, as it is kept in the store under
/// `standby/<group>/<topic>/<partition>/<dc>` (Docs/Checkpoint-Format.md). No decision rests on it but the anchor's, which a resume verifies.
public struct StandbyReport: Codable, Sendable, Hashable {
    public static let currentFormat = 1

    /// Where the place of a checkpoint was found.
    public struct Anchor: Codable, Sendable, Hashable {
        /// The place, in the report's cluster.
        public var offset: Int64
        /// Of the record before it: 16 hexadecimal digits.
        public var last: String
        public var checkpointCluster: String
        public var checkpointOffset: Int64
        public var checkpointEpoch: Int64
    }

    public var format: Int
    public var datacenter: String
    /// Kafka's id of the datacenter's cluster: all offsets but the checkpoint's are of it.
    public var cluster: String
    /// The newest checkpoint that was looked for.
    public var checkpointCluster: String
    public var checkpointOffset: Int64
    public var checkpointEpoch: Int64
    /// nil: none of this partition's checkpoints was found here yet.
    public var anchor: Anchor?
    /// Where acting would begin, as far as is known. nil: not known yet.
    public var resumeOffset: Int64?
    /// Records from there to the end of this log, less what is not there: all of them may have been acted on since the last checkpoint.
    public var repeatsAtMost: Int64?
    /// Milliseconds between the times of the first and the last record of those that were read.
    public var spanMilliseconds: Int64?
    /// Whether the newest checkpoint's tail is in this cluster.
    public var isTailHere: Bool
    /// How far the cluster is behind the newest checkpoint, at least, in milliseconds. nil: its tail is here, or nothing was read yet.
    public var behindMilliseconds: Int64?
    /// `GapEvent.Reason`: the gap event that a take-over would raise. nil: none.
    public var gap: String?
    /// Records that are gone, where that is known.
    public var gapRecords: Int64?
    /// Why a take-over would be refused. nil: it would not.
    public var refusal: String?
    /// Milliseconds since 1970, by the worker's clock: when this began to be so.
    public var at: Int64

    /// nil: no checkpoint has been seen yet.
    init?(_ follower: StandbyFollower, _ ends: Watermarks, in datacenter: Datacenter, at now: MillisecondTimestamp) {
        guard let checkpoint = follower.target else { return nil }
        format = Self.currentFormat
        self.datacenter = datacenter.name
        cluster = ends.high.cluster.id
        checkpointCluster = checkpoint.position.cluster.id
        checkpointOffset = checkpoint.position.offset
        checkpointEpoch = checkpoint.epoch
        anchor = follower.anchor.map {
            Anchor(
                offset: $0.place.offset, last: $0.last.description, checkpointCluster: $0.checkpoint.cluster.id,
                checkpointOffset: $0.checkpoint.offset, checkpointEpoch: $0.epoch)
        }
        gap = follower.gap?.rawValue
        if let place = follower.place {
            let from = max(place, ends.low.offset)
            resumeOffset = from
            repeatsAtMost = max(0, ends.high.offset - from)
            spanMilliseconds = follower.span
            if from > place {
                gap = GapEvent.Reason.retention.rawValue
                gapRecords = from - place
            }
        }
        isTailHere = follower.isTailHere
        behindMilliseconds = follower.behind
        refusal = follower.refusal?.description
        at = now.milliseconds
    }

    /// Whether it says the same as `other`, whenever that was.
    func says(_ other: StandbyReport?) -> Bool {
        guard var other else { return false }
        other.at = at
        return other == self
    }

    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Array(try encoder.encode(self))
    }

    public static func key(group: String, _ partition: TopicPartition, in datacenter: Datacenter) -> StoreKey {
        StoreKey("standby", group, partition.topic, String(partition.partition), datacenter.name)
    }

    /// Why a stored report can't be shown.
    public struct FormatError: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    /// All reports of `group`, by partition, then by datacenter. Throws `StoreError`; what can't be read is an error of its own.
    public static func load(
        from store: any SharedStore, group: String
    ) async throws(StoreError) -> [TopicPartition: [Datacenter: Result<StandbyReport, FormatError>]] {
        var found: [TopicPartition: [Datacenter: Result<StandbyReport, FormatError>]] = [:]
        for (key, value) in try await store.list(under: StoreKey("standby", group)).entries {
            let segments = key.segments
            guard segments.count == 5, let number = Int32(segments[3]), number >= 0, let datacenter = Datacenter(segments[4]) else { continue }
            found[TopicPartition(topic: segments[2], partition: number), default: [:]][datacenter] = decode(value.bytes)
        }
        return found
    }

    private struct Header: Decodable { let format: Int }

    private static func decode(_ bytes: [UInt8]) -> Result<StandbyReport, FormatError> {
        let data = Data(bytes)
        if let header = try? JSONDecoder().decode(Header.self, from: data), header.format != currentFormat {
            return .failure(FormatError(description: "format \(header.format) is not known to this version"))
        }
        do { return .success(try JSONDecoder().decode(StandbyReport.self, from: data)) } catch {
            return .failure(FormatError(description: "it can't be read"))
        }
    }

    /// The anchors that `datacenter` has published; those that can't be read are left out, which costs a lookup.
    public static func anchors(
        from store: any SharedStore, group: String, datacenter: Datacenter
    ) async throws(StoreError) -> [TopicPartition: ResumePlanner.Anchor] {
        try await load(from: store, group: group).compactMapValues { reports in
            guard let report = try? reports[datacenter]?.get(), let anchor = report.anchor, let last = UInt64(anchor.last, radix: 16),
                anchor.offset >= 0, anchor.checkpointOffset >= 0
            else { return nil }
            return ResumePlanner.Anchor(
                place: Position(anchor.offset, in: ClusterID(report.cluster)), last: Fingerprint(bits: last),
                checkpoint: Position(anchor.checkpointOffset, in: ClusterID(anchor.checkpointCluster)), epoch: anchor.checkpointEpoch)
        }
    }
}
