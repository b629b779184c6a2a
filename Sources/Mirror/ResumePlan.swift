import KafkaLog

/// The ends of one partition's log in one cluster.
struct LogEnds: Hashable, Sendable {
    var low: Int64
    var high: Int64
}

/// Where a mirror that starts goes on with a partition: decided from what is committed and from both logs. Pure.
///
/// The target's records from the committed end on are the run that was written after the last commit, because nobody else
/// writes there. If they are the source's next records, they are not written again.
struct ResumePlan: Hashable, Sendable {
    enum Reason: String, Sendable {
        /// The target ends where it was committed: nothing to compare.
        case committed
        /// Nothing was ever copied.
        case fresh
        /// Written after the last commit; to be compared.
        case unfinished
        /// Nothing is committed, yet the target has records; they are compared from the start.
        case uncommitted
        /// The committed place is of another source cluster.
        case otherSource
        /// The source ends before the committed place: it was truncated, or the topic was made anew.
        case sourceTruncated
        /// The target ends before the committed place: copies are gone, so both logs are compared from their starts.
        case targetTruncated
        /// The target's retention took a part of the run.
        case targetTrimmed
    }

    var reason: Reason
    /// Where to go on when there is nothing to compare, or the comparison fails: at-least-once from there.
    var start: Int64
    /// The target's records to compare with the source's from `compareSource` on; nil: none.
    var run: Range<Int64>?
    var compareSource: Int64
    /// Records at the run's beginning whose originals the source no longer has.
    var skipsInRun: Int64 = 0
    /// Source offsets that retention took before they were copied, unless the run holds their copies.
    var lost: Range<Int64>?

    static func make(
        committed: CommittedProgress?, sourceCluster: ClusterID, source: LogEnds, target: LogEnds
    ) -> ResumePlan {
        guard let committed, committed.source.cluster == sourceCluster, committed.source.offset <= source.high,
            committed.targetEnd <= target.high
        else {
            return ResumePlan(
                reason: reasonToDistrust(committed, sourceCluster, source, target), start: source.low, run: run(from: target.low, target), compareSource: source.low)
        }
        let next = committed.source.offset
        let start = max(next, source.low)
        let trimmed = start - next
        let lost = trimmed > 0 ? next..<start : nil
        if target.low > committed.targetEnd {
            return ResumePlan(reason: .targetTrimmed, start: start, run: nil, compareSource: start, lost: lost)
        }
        guard let run = run(from: committed.targetEnd, target) else {
            return ResumePlan(reason: .committed, start: start, run: nil, compareSource: start, lost: lost)
        }
        return ResumePlan(
            reason: .unfinished, start: start, run: run, compareSource: start, skipsInRun: trimmed, lost: lost)
    }

    private static func reasonToDistrust(
        _ committed: CommittedProgress?, _ sourceCluster: ClusterID, _ source: LogEnds, _ target: LogEnds
    ) -> Reason {
        guard let committed else { return target.high == 0 ? .fresh : .uncommitted }
        if committed.source.cluster != sourceCluster { return .otherSource }
        return committed.source.offset > source.high ? .sourceTruncated : .targetTruncated
    }

    private static func run(from start: Int64, _ target: LogEnds) -> Range<Int64>? {
        start < target.high ? start..<target.high : nil
    }

    /// Whether this is what an operator should hear about even if the comparison succeeds.
    var isUnusual: Bool {
        switch reason {
        case .committed, .fresh, .unfinished: false
        case .uncommitted, .otherSource, .sourceTruncated, .targetTruncated, .targetTrimmed: true
        }
    }
}

/// What of a record is compared between source and target.
struct RecordPrint: Hashable, Sendable {
    /// Of key and value, null and empty told apart.
    var content: UInt64
    /// Milliseconds; -1: none; nil: the broker's own (LogAppendTime), which the mirror can't keep.
    var timestamp: Int64?

    /// Whether `self`, in the target, is the copy of `original`.
    func isCopy(of original: RecordPrint) -> Bool {
        guard content == original.content else { return false }
        guard let timestamp, let time = original.timestamp else { return true }
        return timestamp == time
    }
}
