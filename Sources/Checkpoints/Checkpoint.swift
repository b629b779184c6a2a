import KafkaLog

/// The portable position of one (group, origin topic, partition): Docs/Design.md section 3. It says which records the
/// group has finished in a way that every cluster holding the same records understands.
public struct Checkpoint: Hashable, Sendable {
    /// How many of the last finished records the witness is chosen from.
    public static let witnesses = 16

    /// The oldest timestamp among the last 16 finished records of the done prefix that carry one. nil: none carries one.
    public var witness: MillisecondTimestamp?
    /// How far back in time a record was seen to step lately in this partition. Milliseconds, 0 or more.
    public var disorder: Int64
    /// Fingerprints of the last finished records of the done prefix, in log order. Empty: the prefix is empty.
    public var tail: [Fingerprint]
    /// Fingerprints of records that were acted on past the prefix: a multiset, in log order where known.
    public var beyond: [Fingerprint]
    /// How many records past the prefix `beyond` reaches. 0 when `beyond` is empty.
    public var beyondSpan: Int64
    /// One past the offset of the last finished record of the prefix (or, for an empty prefix, where reading began), in
    /// the cluster where it was measured. Usable again only there.
    public var position: Position
    /// The topic's id in that cluster, where the client library can tell. nil: unknown.
    public var topicID: String?
    /// How many partitions the topic had in that cluster. 1 or more.
    public var partitionCount: Int32
    public var timestampType: TimestampType
    /// What fingerprints were computed over: `record`, `header:NAME` or `json:PATH`.
    public var identity: String
    /// The epoch of the assignment under which this was written. 1 or more.
    public var epoch: Int64
    /// No worker of `epoch` will act on this partition again.
    public var sealed: Bool
    /// Who wrote it: unique per worker process.
    public var worker: String
    /// When the writer last had finished everything that its cluster held, by its clock. nil: not yet.
    public var caughtUpAt: MillisecondTimestamp?
    /// When it was written, by the writer's clock. For people; no decision rests on it.
    public var writtenAt: MillisecondTimestamp

    public init(
        done: DonePrefix, topicID: String? = nil, partitionCount: Int32, identity: String, epoch: Int64, sealed: Bool = false,
        worker: String, caughtUpAt: MillisecondTimestamp? = nil, writtenAt: MillisecondTimestamp
    ) {
        witness = done.witness
        disorder = done.disorder
        tail = done.tail
        beyond = done.beyond
        beyondSpan = done.beyondSpan
        position = done.position
        timestampType = done.timestampType
        self.topicID = topicID
        self.partitionCount = partitionCount
        self.identity = identity
        self.epoch = epoch
        self.sealed = sealed
        self.worker = worker
        self.caughtUpAt = caughtUpAt
        self.writtenAt = writtenAt
    }

    /// Just what the tracker knows of it.
    public var done: DonePrefix {
        DonePrefix(
            witness: witness, disorder: disorder, tail: tail, beyond: beyond, beyondSpan: beyondSpan, position: position,
            timestampType: timestampType)
    }
}

/// What the tracker says has been finished: the part of a checkpoint that comes from the records themselves.
public struct DonePrefix: Hashable, Sendable {
    public var witness: MillisecondTimestamp?
    public var disorder: Int64
    public var tail: [Fingerprint]
    public var beyond: [Fingerprint]
    public var beyondSpan: Int64
    public var position: Position
    public var timestampType: TimestampType

    public init(
        witness: MillisecondTimestamp?, disorder: Int64, tail: [Fingerprint], beyond: [Fingerprint], beyondSpan: Int64,
        position: Position, timestampType: TimestampType
    ) {
        self.witness = witness
        self.disorder = disorder
        self.tail = tail
        self.beyond = beyond
        self.beyondSpan = beyondSpan
        self.position = position
        self.timestampType = timestampType
    }
}
