import Checkpoints
import KafkaLog

/// What can be proven about one partition of an origin: that everything that is in the processing cluster has been done, and
/// what the origin still holds that the mirror has not brought.
public struct DrainProof: Sendable, Hashable, Codable {
    /// Whether all that is in the processing cluster has been done.
    public enum Done: Sendable, Hashable, Codable {
        /// Every record below the log's end is finished.
        case all
        /// At most so many records are not (holes in the log count).
        case open(Int64)
        /// It can't be said; why.
        case unknown(String)
    }

    /// What the origin holds that has not come.
    public enum Unmirrored: Sendable, Hashable, Codable {
        /// The processing cluster is the origin's own, or the mirror has brought everything.
        case none
        /// At most so many records (holes in the log count).
        case records(Int64)
        /// The origin can't be asked. What it had up to this time is here: the time of the last heartbeat, or of the newest record,
        /// in milliseconds since 1970; nil: nothing of it is here, or the owner can't be asked either.
        case unknownSince(Int64?)
        /// The origin holds other records at that place than the mirror brought.
        case differs(String)
    }

    public var topic: String
    public var partition: Int32
    /// The DC whose cluster was asked: the partition's owner.
    public var datacenter: String
    public var done: Done
    public var unmirrored: Unmirrored
    /// No worker of the checkpoint's epoch will act on it again.
    public var isSealed: Bool

    var topicPartition: TopicPartition { TopicPartition(topic: topic, partition: partition) }

    /// Nothing of this partition is left to do anywhere.
    public var isProven: Bool { done == .all && unmirrored == .none }

    /// How far a checkpoint goes in the cluster that processes, whose log ends at `end`.
    static func done(_ checkpoint: Checkpoint?, start: Int64, end: Position) -> Done {
        guard let checkpoint else {
            return start == end.offset ? .all : .unknown("there is no checkpoint")
        }
        guard let left = checkpoint.position.distance(to: end) else {
            if start == end.offset { return .all }
            return .unknown("the last checkpoint was written in \(checkpoint.position.cluster): nobody has acted here since")
        }
        if left < 0 { return .unknown("the checkpoint is above the log's end") }
        return left == 0 ? .all : .open(left)
    }
}

/// The last record of a log, as far as it takes to find it in another cluster.
struct LastRecord: Sendable, Hashable {
    let offset: Int64
    let fingerprint: Fingerprint
    let timestamp: MillisecondTimestamp?
    var isCreateTime = true
    /// How many records of the same contents and time stand at the log's end, this one among them.
    var occurrence = 1
}

extension DrainProof {
    /// What the origin holds past the last record that the mirror brought.
    /// - Parameters:
    ///   - last: of the processing cluster's log; nil: it is empty.
    ///   - found: where the origin's log has that record; nil: nowhere in it.
    ///   - origin: the ends of the origin's log.
    static func unmirrored(last: LastRecord?, found: Int64?, origin: (start: Int64, end: Int64)) -> Unmirrored {
        guard last != nil else { return origin.start == origin.end ? .none : .records(origin.end - origin.start) }
        guard let found else {
            return .differs("the last record here is not in the origin's log: it was trimmed there, or the logs differ")
        }
        let left = origin.end - found - 1
        return left <= 0 ? .none : .records(left)
    }
}
