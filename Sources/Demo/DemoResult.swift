import KafkaLog

/// What a run came to.
public struct DemoResult: Sendable {
    /// How one partition of eqiad's topic was gone on with.
    public struct Resumption: Sendable, Hashable {
        public let partition: TopicPartition
        /// Where the checkpoint stood, in the cluster where it was measured. nil: there was none.
        public let checkpoint: Int64?
        public let resumedAt: Int64
        /// The words of `ResumePlanner.Method`.
        public let found: String
    }

    public var home: Ledger.Account
    public var away: Ledger.Account
    /// Seconds from the kill until eqiad's events were acted on again, by codfw.
    public var idleAfterFailover: Double
    /// Seconds between codfw's last action on eqiad's events and eqiad's first.
    public var idleAtSwitchback: Double
    /// Acknowledged events that were in eqiad only, when it died.
    public var stranded: Int
    /// In codfw after the failover; in eqiad after the switchback.
    public var failover: [Resumption]
    public var switchback: [Resumption]
    /// Gap events in the store.
    public var gaps: Int
    /// Ids that the sink was called with and nobody sent.
    public var strangers: Int
    public var seconds: Double

    public var lost: Int { home.lost + away.lost }
    /// Repeats that nothing excuses: before the kill, around the planned switchback, of what a checkpoint named as done,
    /// and codfw's own.
    public var avoidableRepeats: Int {
        home.repeatsBefore + home.repeatsAfterSwitchback + home.repeatsKnown + away.repeatsBefore + away.repeatsAfterFailover
            + away.repeatsAfterSwitchback
    }

    /// What went wrong, a line each; empty when all is well.
    public var complaints: [String] {
        var lines: [String] = []
        func complain(_ count: Int, _ what: String) { if count > 0 { lines.append("\(count) \(what)") } }
        complain(lost, "events lost")
        complain(home.repeatsBefore, "events repeated before anything happened")
        complain(home.repeatsAfterSwitchback, "events repeated by the planned switchback")
        complain(home.repeatsKnown, "events repeated that a stored checkpoint named as done")
        complain(away.repeatsBefore + away.repeatsAfterFailover + away.repeatsAfterSwitchback, "of codfw's own events repeated")
        complain(home.unwanted + away.unwanted, "events acted on that no rule wants")
        complain(strangers, "calls with ids that nobody sent")
        complain(gaps, "gap events")
        if home.acted == 0 || away.acted == 0 { lines.append("no event was acted on") }
        return lines
    }
}
