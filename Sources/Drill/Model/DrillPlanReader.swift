import ChangePropagation
import Foundation

extension DrillPlan {
    /// Reads a plan file (Docs/Drill.md, "The plan"): YAML, checked as a whole before anything is touched.
    ///
    /// - Throws: `ConfigurationError`, a line a mistake with file, line and what would be right; `DrillFailure` when the file can't be read.
    public static func load(path: String) throws -> DrillPlan {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw DrillFailure("--plan \(path): the file can't be read; a file as in Docs/Drill.md would be right", code: 2)
        }
        return try parse(text, file: path)
    }

    /// - Parameter file: the name that messages use.
    public static func parse(_ text: String, file: String) throws(ConfigurationError) -> DrillPlan {
        let node = try YAMLDocument.parse(text, file: file)
        var plan: DrillPlan?
        if let map = ConfigurationMap(node, name: "") { plan = read(map) }
        try node.document.finish()
        guard let plan else { throw ConfigurationError(problems: [.init(file: file, line: 1, column: 1, message: "no plan can be read from this")]) }
        return plan
    }

    private static func read(_ map: ConfigurationMap) -> DrillPlan? {
        map.reportMissing("scenario", "one of \(DrillScenario.allCases.map(\.rawValue).joined(separator: ", ")) would be right")
        let scenario = map.choice("scenario", DrillScenario.allCases.map { ($0.rawValue, $0) })
        var plan = DrillPlan(scenario ?? .planned)
        plan.name = map.string("name") ?? plan.name
        plan.reason = map.string("reason") ?? plan.reason
        if let objectives = map.map("objectives") { plan.objectives = read(objectives, over: plan.objectives) }
        if let load = map.map("load") { plan.load = read(load, over: plan.load) }
        if let times = map.map("times") { plan.times = read(times, over: plan.times) }
        if let embedded = map.map("embedded") { plan.embedded = read(embedded, over: plan.embedded) }
        if plan.scenario == .zombie, plan.times.fault < 2 * plan.embedded.lease, map.has("times") || map.has("embedded") {
            (map.map("times")?.node("fault") ?? map.node("scenario"))?.report(
                "a zombie has to stand still for twice the lease at least: \"fault\" of \(2 * plan.embedded.lease) s or more would be right")
        }
        map.finish()
        return scenario == nil ? nil : plan
    }

    private static func seconds(_ map: ConfigurationMap, _ key: String, _ range: ClosedRange<Duration>) -> Double? {
        map.duration(key, in: range).map { $0 / .seconds(1) }
    }

    private static func read(_ map: ConfigurationMap, over base: Objectives) -> Objectives {
        var objectives = base
        let times = Duration.milliseconds(1)...Duration.seconds(86_400), counts = 0...1_000_000_000
        objectives.rto = seconds(map, "rto", times) ?? base.rto
        objectives.rtoHome = seconds(map, "rto_home", times) ?? base.rtoHome
        objectives.caughtUp = seconds(map, "caught_up", times) ?? base.caughtUp
        objectives.lost = map.int("lost", in: counts) ?? base.lost
        objectives.repeats = map.int("repeats", in: counts) ?? base.repeats
        objectives.knownRepeats = map.int("known_repeats", in: counts) ?? base.knownRepeats
        objectives.gaps = map.int("gaps", in: counts) ?? base.gaps
        objectives.fencedActions = map.int("fenced_actions", in: counts) ?? base.fencedActions
        map.finish()
        return objectives
    }

    private static func read(_ map: ConfigurationMap, over base: Load) -> Load {
        var load = base
        load.rate = map.number("rate", in: 1...2000) ?? base.rate
        load.partitions = map.int("partitions", in: 1...64).map(Int32.init) ?? base.partitions
        load.failing = map.number("failing", in: 0...0.5) ?? base.failing
        load.delayed = map.number("delayed", in: 0...0.5) ?? base.delayed
        map.finish()
        return load
    }

    private static func read(_ map: ConfigurationMap, over base: Times) -> Times {
        var times = base
        let range = Duration.zero...Duration.seconds(3600)
        times.canaries = seconds(map, "canaries", .seconds(1)...Duration.seconds(3600)) ?? base.canaries
        times.detect = seconds(map, "detect", .milliseconds(100)...Duration.seconds(3600)) ?? base.detect
        times.decide = seconds(map, "decide", range) ?? base.decide
        times.fault = seconds(map, "fault", range) ?? base.fault
        times.soak = seconds(map, "soak", range) ?? base.soak
        times.settle = seconds(map, "settle", range) ?? base.settle
        times.patience = seconds(map, "patience", .seconds(5)...Duration.seconds(3600)) ?? base.patience
        map.finish()
        return times
    }

    private static func read(_ map: ConfigurationMap, over base: Embedded) -> Embedded {
        var embedded = base
        embedded.lease = seconds(map, "lease", .seconds(1)...Duration.seconds(60)) ?? base.lease
        embedded.mirrorLag = seconds(map, "mirror_lag", .zero...Duration.seconds(60)) ?? base.mirrorLag
        embedded.checkpointInterval = seconds(map, "checkpoint_interval", .milliseconds(50)...Duration.seconds(60)) ?? base.checkpointInterval
        embedded.hold = seconds(map, "hold", .zero...Duration.seconds(600)) ?? base.hold
        map.finish()
        return embedded
    }
}
