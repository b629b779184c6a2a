/// When records came to a log, told from moments at which its end was looked at. Pure; bounded.
struct ArrivalTimes: Sendable {
    private struct Sample {
        /// The log's end (the next record's offset) as it was at `time`.
        let end: Int64
        let time: ContinuousClock.Instant
    }
    /// Ends and times both rising.
    private var samples: [Sample] = []

    /// Notes that the log ended at `end` at `time`. Ends that are not new tell nothing and are not kept.
    mutating func note(end: Int64, at time: ContinuousClock.Instant) {
        guard end > samples.last?.end ?? -1 else { return }
        if samples.count >= MirrorLimits.arrivalSamples {
            // Half of them, the newest among them: old moments become coarse, and late rather than early.
            samples = samples.enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
        }
        samples.append(Sample(end: end, time: time))
    }

    /// The earliest moment at which the record at `offset` is known to have been there; nil: not seen yet.
    func arrival(of offset: Int64) -> ContinuousClock.Instant? {
        var low = 0
        var high = samples.count
        while low < high {
            let middle = (low + high) / 2
            if samples[middle].end > offset { high = middle } else { low = middle + 1 }
        }
        return low < samples.count ? samples[low].time : nil
    }

    /// Forgets what concerns records below `offset` only.
    mutating func forget(below offset: Int64) {
        let old = samples.prefix { $0.end <= offset }.count
        // The last end stays: it tells whether the next one is new.
        if old > 1 { samples.removeFirst(min(old, samples.count - 1)) }
    }
}
