import KafkaLog

/// What the demonstration says while it runs.
public enum DemoMessage: Sendable {
    /// A new part begins.
    case step(String)
    /// Something happened.
    case note(String)
    /// How things stand; comes a few times a second.
    case status(DemoStatus)
}

/// How things stand.
public struct DemoStatus: Sendable, Hashable {
    public struct Side: Sendable, Hashable {
        public let datacenter: Datacenter
        public var isUp: Bool
        /// Acknowledged events of this origin.
        public var produced: Int
        public var acted: Int
        /// Acknowledged, wanted, not acted on yet.
        public var waiting: Int
        /// Who acts on them.
        public var owner: Datacenter?
    }

    public var sides: [Side]
    /// 0 to 1.
    public var done: Double
}

/// A message and when it came, in seconds since the run began.
public struct DemoLine: Sendable {
    public let at: Double
    public let message: DemoMessage
}
