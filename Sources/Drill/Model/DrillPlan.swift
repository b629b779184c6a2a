import Checkpoints
import Foundation

/// What a drill does and what it must come to. Times are seconds.
public struct DrillPlan: Codable, Sendable, Hashable {
    /// What must hold for the drill to have been met; nil: not asked for.
    public struct Objectives: Codable, Sendable, Hashable {
        /// Longest time without an owner, in seconds: from the cut (of a planned move: from the old side's last action) to the new side's first
        /// action, in the slowest partition, at the switch.
        public var rto: Double?
        /// The same on the way home.
        public var rtoHome: Double?
        /// From the cut (or the order to move) until everything that waited was acted on, in seconds.
        public var caughtUp: Double?
        /// Events lost, at most.
        public var lost: Int?
        /// Events acted on again by either move, at most.
        public var repeats: Int?
        /// Of these, such as a stored checkpoint already named as done, in partitions where the new side had found that checkpoint's end.
        public var knownRepeats: Int?
        /// Gap events, at most.
        public var gaps: Int?
        /// Actions that the old side began after it was fenced, at most.
        public var fencedActions: Int?

        public init(
            rto: Double? = nil, rtoHome: Double? = nil, caughtUp: Double? = nil, lost: Int? = nil, repeats: Int? = nil, knownRepeats: Int? = nil,
            gaps: Int? = nil, fencedActions: Int? = nil
        ) {
            (self.rto, self.rtoHome, self.caughtUp) = (rto, rtoHome, caughtUp)
            (self.lost, self.repeats, self.knownRepeats, self.gaps, self.fencedActions) = (lost, repeats, knownRepeats, gaps, fencedActions)
        }
    }

    /// The canaries: made-up events, each with an id of its own.
    public struct Load: Codable, Sendable, Hashable {
        /// Events per second, 1 to 2000.
        public var rate = 100.0
        /// 1 to 64.
        public var partitions: Int32 = 4
        /// The share of events that the target refuses at first, so that they go through the retry topic; 0 to 0.5.
        public var failing = 0.04
        /// The share of events that are not due yet when they are produced; 0 to 0.5.
        public var delayed = 0.04
    }

    public struct Times: Codable, Sendable, Hashable {
        /// Of undisturbed work before anything happens.
        public var canaries = 5.0
        /// Without an action while events wait, after which the loss counts as detected.
        public var detect = 1.0
        /// From the detection until the order to move is given: the operator's time.
        public var decide = 0.0
        /// How long the mirror stands still (scenario mirror-lag), or the worker (zombie; at least twice the lease).
        public var fault = 4.0
        /// Of undisturbed work after the switch.
        public var soak = 5.0
        /// Of undisturbed work after the way home.
        public var settle = 3.0
        /// Longest wait for anything that should happen soon.
        public var patience = 60.0
    }

    /// The datacenters that the drill brings with it.
    public struct Embedded: Codable, Sendable, Hashable {
        public var lease = 2.0
        /// How far the mirrors are behind at least.
        public var mirrorLag = 0.3
        public var checkpointInterval = 1.0
        /// How long a resume waits for the mirror to bring the checkpoint's end.
        public var hold = 5.0
    }

    public var name: String
    public var scenario: DrillScenario
    /// Why, for the report and the handovers' history.
    public var reason = ""
    public var objectives: Objectives
    public var load = Load()
    public var times = Times()
    public var embedded = Embedded()

    /// The built-in plan of a scenario.
    public init(_ scenario: DrillScenario) {
        self.scenario = scenario
        name = scenario.rawValue
        objectives =
            switch scenario {
            case .planned: Objectives(rto: 10, rtoHome: 10, lost: 0, repeats: 0, gaps: 0)
            case .datacenterLoss: Objectives(rto: 15, rtoHome: 10, caughtUp: 30, lost: 0, knownRepeats: 0, gaps: 0)
            case .storeLeader: Objectives(rto: 20, rtoHome: 10, lost: 0, repeats: 0, gaps: 0)
            case .mirrorLag: Objectives(rto: 20, rtoHome: 10, lost: 0, repeats: 0, gaps: 0)
            case .zombie: Objectives(rto: 15, rtoHome: 10, lost: 0, knownRepeats: 0, gaps: 0, fencedActions: 0)
            }
    }

    /// Changes whenever the plan does: 16 hexadecimal digits (XXH3-64 of it as JSON with sorted keys).
    public var hash: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let text = (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        return Fingerprint.ofIdentity(text).description
    }
}
