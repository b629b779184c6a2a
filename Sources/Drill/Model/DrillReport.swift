/// What a drill came to: the JSON of `report.json` (Docs/Drill.md, "The report"). Times are seconds since the drill began unless a name says
/// otherwise.
public struct DrillReport: Codable, Sendable, Hashable {
    public static let currentSchema = 1

    public enum PhaseOutcome: String, Codable, Sendable { case done, failed, skipped, aborted }
    public enum MoveName: String, Codable, Sendable, Hashable { case switchOver = "switch", home }

    public struct Objective: Codable, Sendable, Hashable {
        public var name: String
        public var wanted: Double
        /// nil: it could not be measured, and is not met.
        public var measured: Double?
        /// `s` or `events`.
        public var unit: String
        public var met: Bool
    }

    public struct Verdict: Codable, Sendable, Hashable {
        public var met: Bool
        public var objectives: [Objective]
        /// What is wrong beside the objectives, a line each.
        public var complaints: [String]
    }

    public struct Check: Codable, Sendable, Hashable {
        public enum Light: String, Codable, Sendable { case green, red }
        public var name: String
        public var light: Light
        public var detail: String
        public init(_ name: String, _ light: Light, _ detail: String) { (self.name, self.light, self.detail) = (name, light, detail) }
    }

    public struct Phase: Codable, Sendable, Hashable {
        public var name: String
        public var title: String
        public var start: Double
        public var end: Double?
        /// nil: it was under way when the report was written.
        public var outcome: PhaseOutcome?
        public var detail: String
        /// How often it was begun again after an interruption.
        public var restarts: Int
    }

    public struct Interval: Codable, Sendable, Hashable {
        /// `detect`, `decide`, `drain`, `fence`, `resolve`, `first action`, `caught up`.
        public var name: String
        public var start: Double
        public var end: Double
        public var seconds: Double { end - start }
        public init(_ name: String, _ start: Double, _ end: Double) { (self.name, self.start, self.end) = (name, start, max(start, end)) }

        enum CodingKeys: CodingKey { case name, start, end, seconds }
        public init(from decoder: any Decoder) throws {
            let values = try decoder.container(keyedBy: CodingKeys.self)
            self.init(try values.decode(String.self, forKey: .name), try values.decode(Double.self, forKey: .start), try values.decode(Double.self, forKey: .end))
        }
        public func encode(to encoder: any Encoder) throws {
            var values = encoder.container(keyedBy: CodingKeys.self)
            try values.encode(name, forKey: .name)
            try values.encode(start, forKey: .start)
            try values.encode(end, forKey: .end)
            try values.encode(seconds, forKey: .seconds)
        }
    }

    /// How one partition was gone on with.
    public struct Resumption: Codable, Sendable, Hashable {
        public var partition: Int32
        /// Of a real group, which may have several; else nil.
        public var topic: String?
        /// Where the checkpoint stood, in the cluster where it was measured; nil: there was none.
        public var checkpointOffset: Int64?
        public var resumedOffset: Int64
        /// `same cluster`, `tail`, `anchor`, `time` or `log start`.
        public var method: String
    }

    public struct PartitionMove: Codable, Sendable, Hashable {
        public var partition: Int32
        /// What people read: the topic too, where a real group has several.
        public var label: String { resumption?.topic.map { "\($0)/\(partition)" } ?? "\(partition)" }
        public var resumption: Resumption?
        /// Seconds in which nobody acted on it; nil: one of the two sides never did.
        public var pause: Double?
        /// From where to where that was.
        public var pauseStart: Double?
        public var pauseEnd: Double?
        public var repeats: Int
        /// Between the production of the first and of the last event that was repeated.
        public var repeatSeconds: Double
    }

    public struct Move: Codable, Sendable, Hashable {
        public var name: MoveName
        /// `failover`, `switchover` or `switchback`.
        public var kind: String
        public var from: String
        public var to: String
        public var epoch: Int64?
        /// In the slowest partition; nil: it could not be measured.
        public var withoutOwner: Double?
        public var intervals: [Interval]
        public var partitions: [PartitionMove]
    }

    public struct Sample: Codable, Sendable, Hashable {
        public var id: String
        public var partition: Int32
        /// In the origin's cluster.
        public var offset: Int64
        public var producedAt: Double
        /// Who acted, and when: `eqiad at 5.120`.
        public var actions: [String]
    }

    public struct Repeats: Codable, Sendable, Hashable {
        /// Before anything happened.
        public var before = 0
        public var bySwitch = 0
        public var byHome = 0
        /// By an interruption of the drill itself, which kills the embedded workers.
        public var byInterruption = 0
        /// Of those by the switch: such as the stored checkpoint named as done.
        public var known = 0
        public var total: Int { before + bySwitch + byHome + byInterruption }
        public var byMoves: Int { before + bySwitch + byHome }
    }

    public struct Counts: Codable, Sendable, Hashable {
        public var produced = 0
        public var acted = 0
        public var lost = 0
        public var lostSamples: [Sample] = []
        public var repeats = Repeats()
        public var repeatSamples: [Sample] = []
        /// Acknowledged in the lost datacenter and not mirrored when it was cut off, acted on or not.
        public var stranded = 0
        /// Calls for ids that nobody produced.
        public var strangers = 0
        /// Actions that the old side began after it was fenced.
        public var fencedActions = 0
        public var gaps: [String] = []
        /// How all this was counted.
        public var method = ""
    }

    /// Retries and delayed events that were pending at the cut.
    public struct Moved: Codable, Sendable, Hashable {
        public var pending = 0
        /// Then acted on by the new side, before the way home.
        public var byNewSide = 0
        /// Afterwards.
        public var afterHome = 0
        public var lost = 0
    }

    public struct Interruption: Codable, Sendable, Hashable {
        public var phase: String
        public var stopped: Double
        public var resumed: Double
    }

    public struct Note: Codable, Sendable, Hashable {
        public var at: Double
        public var text: String
    }

    /// Who acted when, for the drawing.
    public struct Timeline: Codable, Sendable, Hashable {
        public struct Lane: Codable, Sendable, Hashable {
            public var partition: Int32
            /// Events produced in each bucket.
            public var produced: [Int]
            /// Actions begun in each bucket, by datacenter.
            public var actions: [String: [Int]]
            /// When events were acted on again.
            public var repeats: [Double]
            /// When retries and delayed events were acted on that had been pending at the cut.
            public var moved: [Double]
            /// When lost events were produced.
            public var lost: [Double]
        }
        /// Seconds of a bucket.
        public var bucket = 0.25
        public var end = 0.0
        public var lanes: [Lane] = []
    }

    public var schema = Self.currentSchema
    public var id: String
    public var name: String
    public var scenario: DrillScenario
    public var mode: DrillSetting.Mode
    /// ISO 8601 with a zone.
    public var began: String
    public var ended: String
    public var seconds: Double
    public var operatorName: String
    public var reason: String
    /// `switchback`, `librdkafka`, `store`, each with its version.
    public var versions: [String: String]
    public var configHash: String
    public var seed: UInt64
    public var group: String
    public var origin: String
    public var target: String
    public var verdict: Verdict
    public var preflight: [Check]
    public var phases: [Phase]
    public var moves: [Move]
    public var counts: Counts
    public var retries: Moved
    public var delayed: Moved
    public var interruptions: [Interruption]
    public var notes: [Note]
    public var marks: [String: Double]
    public var timeline: Timeline
}
