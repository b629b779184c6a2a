import ChangePropagation
import Foundation
import KafkaLog

/// What one run of the demonstration is made of.
public struct DemoConfiguration: Sendable {
    /// The shared store that the run uses.
    public enum StoreKind: String, Sendable, CaseIterable {
        /// A real etcd, started for the run.
        case etcd
        /// One file that all processes open.
        case sqlite
    }

    /// How long each part of the run lasts.
    public struct Times: Sendable {
        public var steady = Duration.seconds(7)
        /// From the kill until the operator forces the failover.
        public var notice = Duration.seconds(1)
        public var outage = Duration.seconds(6)
        /// From eqiad's return until it takes its work home.
        public var returned = Duration.seconds(5)
        public var after = Duration.seconds(5)
        public init() {}

        /// About how long a whole run takes: these, starting, and the handovers themselves.
        var total: Duration { steady + notice + outage + returned + after + .seconds(10) }
    }

    public var store: StoreKind
    /// The `switchback` executable that the processes of the datacenters run.
    public var executable: String
    /// Where etcd is, when `store` asks for it.
    public var etcd: String
    /// Recorded events; load is made of them with fresh ids.
    public var events: [EventTemplate]
    /// Holds everything that the run writes; made when it is not there.
    public var directory: URL
    /// Decides ids, offsets and the sink's delays.
    public var seed: UInt64
    /// Events per second in eqiad and in codfw.
    public var rates: (home: Double, away: Double) = (160, 60)
    /// How far the mirrors are behind at least.
    public var lag = Duration.milliseconds(700)
    public var partitions: Int32 = 4
    public var times = Times()
    /// How long anything that should happen soon may take before the run is given up.
    public var patience = Duration.seconds(30)

    public init(store: StoreKind, executable: String, etcd: String, events: [EventTemplate], directory: URL, seed: UInt64) {
        self.store = store
        self.executable = executable
        self.etcd = etcd
        self.events = events
        self.directory = directory
        self.seed = seed
    }

    /// The datacenter that is lost and comes back.
    public static let home = Datacenter("eqiad")!
    /// The one that goes on.
    public static let away = Datacenter("codfw")!
    public static let stream = "mediawiki.recentchange"
    public static let group = "demo-propagate"

    /// Where Debian and others put etcd; nil: none of them has it.
    public static func installedEtcd() -> String? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
        return path.split(separator: ":").map { "\($0)/etcd" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    /// Whether the demo's rule acts on an event: it leaves out categorizations (`match_not` in its worker.yaml).
    static func isWanted(_ event: JSONValue) -> Bool { event["type"]?.string != "categorize" }
}

/// Why the demonstration could not be carried through.
public struct DemoFailure: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
