import KafkaLog

/// A range of records that may be lost, or a start that could not be confirmed: counted, logged, and shown. Never silent.
public struct GapEvent: Hashable, Sendable {
    public enum Reason: String, Sendable, Codable {
        /// The log was trimmed past the place.
        case retention
        /// The cluster holds other records where the checkpoint was measured.
        case diverged
        /// A LogAppendTime topic whose tail was not found: acting again from the configured bound.
        case unconfirmedAppendTime
    }

    public let reason: Reason
    /// Where the checkpoint stood, in the cluster where it was measured.
    public let from: Position?
    /// Where acting begins, in this cluster.
    public let to: Position
    /// How many records are missing; nil: can't be known across clusters.
    public let records: Int64?
    /// The checkpoint's witness.
    public let since: MillisecondTimestamp?
    /// The time of the first record acted on, when it has one.
    public var until: MillisecondTimestamp?

    public init(reason: Reason, from: Position?, to: Position, records: Int64?, since: MillisecondTimestamp?, until: MillisecondTimestamp?) {
        self.reason = reason
        self.from = from
        self.to = to
        self.records = records
        self.since = since
        self.until = until
    }
}

/// Why a partition is not resumed at all (Docs/Design.md section 3, step 6). Each names the next step.
public enum ResumeRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case identityChanged(stored: String, here: String)
    case partitionCount(stored: Int32, here: Int32)
    case topicRecreated(stored: String, here: String)
    case aboveHighWatermark(stored: Int64, highWatermark: Int64)
    case format(CheckpointFormatError)

    public var description: String {
        switch self {
        case .identityChanged(let stored, let here):
            "the checkpoint's fingerprints are over '\(stored)', this worker's over '\(here)': set identity back to '\(stored)', or rewind the group ('offsets reset')"
        case .partitionCount(let stored, let here):
            "the topic had \(stored) partitions when the checkpoint was written and has \(here) here: mirror it with the same count, or rewind the group ('offsets reset')"
        case .topicRecreated(let stored, let here):
            "the topic was deleted and made again (id \(stored), now \(here)): rewind the group ('offsets reset') when its new records are wanted"
        case .aboveHighWatermark(let stored, let highWatermark):
            "the checkpoint is at offset \(stored), above the log's end \(highWatermark): the topic was made again or its log was cut; compare it with another datacenter's, then rewind the group ('offsets reset')"
        case .format(let error): error.description
        }
    }
}
