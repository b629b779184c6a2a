import KafkaLog

/// What a resume is planned from, beside the checkpoint.
extension ResumePlanner {
    public struct Settings: Sendable, Hashable {
        /// Least step back of the lookup, in milliseconds.
        public var slack: Int64 = 1_000
        /// The most that disorder adds to that step, in milliseconds: one producer with a clock an hour ahead must not make every
        /// resume read an hour. When to give up goes by the whole disorder.
        public var disorderBound: Int64 = 60_000
        /// How long to hold at the log's end for a tail that does not come, in nanoseconds.
        public var hold: UInt64 = 30_000_000_000
        /// A tail that will come (a sealed checkpoint's) is waited for without end, unless something speaks against it:
        /// retention may have eaten the place, or what was read last is newer than the place can be.
        public var waitsForTail = false
        /// LogAppendTime topics: how far back the lookup goes beside the slack, in milliseconds. Step 5.
        public var appendTimeBound: Int64 = 600_000
        /// LogAppendTime topics: how much later than here the records were stamped where the checkpoint was measured, as a standby saw it, in
        /// milliseconds. The first lookup goes back by this; only when the tail confirms no place there, a second one by the bound. nil: not
        /// measured, the bound at once.
        public var appendTimeLag: Int64?
        public init() {}
    }

    /// What is known of the partition in this cluster before planning.
    public struct Log: Sendable, Hashable {
        public var cluster: ClusterID
        public var topicID: String?
        public var partitionCount: Int32
        /// Offset of the first record that is still there.
        public var start: Int64
        /// One past the last record, read before any lookup by time.
        public var highWatermark: Int64
        public init(cluster: ClusterID, topicID: String? = nil, partitionCount: Int32, start: Int64, highWatermark: Int64) {
            self.cluster = cluster
            self.topicID = topicID
            self.partitionCount = partitionCount
            self.start = start
            self.highWatermark = highWatermark
        }
    }

    /// A position that this group committed in this cluster's Kafka (the frequent local tier), with what its metadata says.
    public struct Committed: Sendable, Hashable {
        public var offset: Int64
        public var epoch: Int64
        /// Of the last record before `offset`. nil: the prefix was empty.
        public var last: Fingerprint?
        public init(offset: Int64, epoch: Int64, last: Fingerprint?) {
            self.offset = offset
            self.epoch = epoch
            self.last = last
        }
    }

    /// Where a warm standby of this cluster last found a checkpoint's place: everything before it is finished. Docs/Design.md section 3.
    public struct Anchor: Sendable, Hashable {
        /// The place: one past the record that ended the tail, in this cluster.
        public var place: Position
        /// Of that record. An anchor is believed only where it still lies right before the place.
        public var last: Fingerprint
        /// Of the checkpoint whose tail it was: its position, in the cluster where it was measured, and its epoch.
        public var checkpoint: Position
        public var epoch: Int64
        public init(place: Position, last: Fingerprint, checkpoint: Position, epoch: Int64) {
            self.place = place
            self.last = last
            self.checkpoint = checkpoint
            self.epoch = epoch
        }

        /// Whether what was finished at its checkpoint surely is at `newer` too.
        func isOf(_ newer: Checkpoint) -> Bool {
            guard let distance = checkpoint.distance(to: newer.position) else { return false }
            return distance >= 0 && epoch <= newer.epoch
        }
    }
}
