/// What is rehearsed. The words of the command line and of plan files.
public enum DrillScenario: String, Codable, Sendable, CaseIterable {
    /// A planned switchover while events flow, and back.
    case planned
    /// Everything in a datacenter is killed; another one takes its work over; it comes back and takes its work home.
    case datacenterLoss = "dc-loss"
    /// The leader of the store's etcd is killed while a planned switchover is under way.
    case storeLeader = "store-leader"
    /// The mirror stands still before a planned switchover: the new side has to wait for it.
    case mirrorLag = "mirror-lag"
    /// The worker stands still past its lease while its work is given away, and then goes on.
    case zombie

    /// One line, for lists and the report's head.
    public var summary: String {
        switch self {
        case .planned: "planned switchover, and back"
        case .datacenterLoss: "loss of a datacenter (kill -9), with its return"
        case .storeLeader: "the store's leader is lost during a planned switchover"
        case .mirrorLag: "planned switchover while the mirror is behind"
        case .zombie: "a worker stands still past its lease, and wakes up after its work was given away"
        }
    }

    /// Whether the old side is given up instead of drained.
    public var isForced: Bool { self == .datacenterLoss || self == .zombie }

    /// Whether it can be rehearsed without touching anything but canaries of its own. What else it takes, a real cluster's operators would
    /// have to break by hand.
    public var runsLive: Bool { self == .planned || self == .zombie || self == .datacenterLoss }
}

/// A drill's phases, in their order.
public enum DrillPhase: String, Codable, Sendable, CaseIterable, Comparable {
    case preflight, canaries, cut, drain, fence
    case switchOver = "switch"
    case verify, soak, home
    case verifyHome = "verify-home"

    public static func < (a: DrillPhase, b: DrillPhase) -> Bool { a.number < b.number }

    /// From 0.
    var number: Int { Self.allCases.firstIndex(of: self) ?? 0 }

    var next: DrillPhase? { number + 1 < Self.allCases.count ? Self.allCases[number + 1] : nil }

    /// As people read it; what happens in `cut` and `drain` depends on the scenario.
    public func title(_ scenario: DrillScenario) -> String {
        switch self {
        case .preflight: "Preflight"
        case .canaries: "Canaries"
        case .cut: scenario.isForced ? "Cut" : "Quiesce"
        case .drain: scenario.isForced ? "Declare un-drainable" : "Drain"
        case .fence: "Fence"
        case .switchOver: "Switch"
        case .verify: "Verify"
        case .soak: "Soak"
        case .home: "Home again"
        case .verifyHome: "Verify"
        }
    }
}
