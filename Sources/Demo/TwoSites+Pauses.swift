import KafkaLog

/// How long nobody acted at a move of eqiad's events.
extension TwoSites {
    /// One pause for each partition that was acted on before and after a move, in seconds: from the start of the old side's last action to
    /// the start of the new side's first one, less what would have been idle anyway (by how much later the second of these two events was
    /// produced). A negative one counts as 0.
    /// - Parameters:
    ///   - before: calls before the move began; `calls`: those from there until the next move's beginning.
    ///   - places: of eqiad's events in eqiad.
    package static func pauses(
        from old: Datacenter, before: some Sequence<Call>, _ calls: some Sequence<Call>, _ places: [String: [Place]]
    ) -> [Int32: Double] {
        var last: [Int32: (at: ContinuousClock.Instant, produced: Int64)] = [:]
        var first: [Int32: (at: ContinuousClock.Instant, produced: Int64)] = [:]
        for call in before {
            if call.datacenter == old, let place = places[call.id]?.first { last[place.partition] = (call.at, place.timestamp) }
        }
        for call in calls {
            guard let place = places[call.id]?.first else { continue }
            if call.datacenter == old { last[place.partition] = (call.at, place.timestamp) } else if first[place.partition] == nil {
                first[place.partition] = (call.at, place.timestamp)
            }
        }
        var pauses: [Int32: Double] = [:]
        for (partition, first) in first {
            guard let last = last[partition] else { continue }
            // After a kill the first actions may be repeats of older events: then nothing would have been idle.
            let idle = Double(max(0, first.produced - last.produced)) / 1000
            pauses[partition] = max(0, last.at.duration(to: first.at) / .seconds(1) - idle)
        }
        return pauses
    }
}
