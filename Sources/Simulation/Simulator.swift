import KafkaLog

/// Runs scenarios, and looks for a shorter one where one fails.
public enum Simulator {
    /// How one run ended.
    public struct Outcome: Sendable {
        public let seed: UInt64
        /// Empty: all that must hold did.
        public let violations: [String]
        /// Same seed, same code: same hash.
        public let traceHash: UInt64
        public let counts: SimulationCounts
        /// The last things that happened, in words. Empty unless asked for.
        public let lines: [String]
        /// What went wrong in that world, in words and order.
        public let faults: [String]
    }

    /// Call `JobQueue.install` first.
    public static func run(seed: UInt64, mutant: Mutant? = nil, keepsWords: Bool = false) throws -> Outcome {
        try run(Scenario(seed: seed, favouring: mutant), mutant: mutant, keepsWords: keepsWords)
    }

    private static func run(_ scenario: Scenario, mutant: Mutant?, keepsWords: Bool) throws -> Outcome {
        let world = try World(scenario, mutant: mutant, keepsWords: keepsWords)
        world.run()
        let faults = scenario.faults.map { "at \(Double($0.at / 10_000_000) / 100) s \($0.fault.words(scenario))" }
        return Outcome(
            seed: scenario.seed, violations: world.checker.violations, traceHash: world.trace.hash, counts: world.counts,
            lines: world.trace.lines, faults: faults)
    }

    /// Most runs that looking for a shorter scenario may take.
    static let shrinkLimit = 200

    /// Takes faults and load out of a failing seed's scenario as long as it goes on failing.
    /// - Returns: the shortest failing run that was found, with its trace in words.
    public static func shrink(seed: UInt64, mutant: Mutant? = nil) throws -> Outcome {
        var best = Scenario(seed: seed, favouring: mutant)
        var left = shrinkLimit
        func fails(_ scenario: Scenario) throws -> Bool {
            guard left > 0 else { return false }
            left -= 1
            return try !run(scenario, mutant: mutant, keepsWords: false).violations.isEmpty
        }
        var hasShrunk = true
        while hasShrunk, left > 0 {
            hasShrunk = false
            for index in best.faults.indices.reversed() {
                var candidate = best
                candidate.faults.remove(at: index)
                if try fails(candidate) {
                    best = candidate
                    hasShrunk = true
                }
            }
            for simpler in simplifications(best) where try fails(simpler) {
                best = simpler
                hasShrunk = true
            }
        }
        return try run(best, mutant: mutant, keepsWords: true)
    }

    /// Each a little simpler than `scenario`, in one way.
    private static func simplifications(_ scenario: Scenario) -> [Scenario] {
        var all: [Scenario] = []
        func add(_ isSimpler: Bool, _ change: (inout Scenario) -> Void) {
            guard isSimpler else { return }
            var candidate = scenario
            change(&candidate)
            all.append(candidate)
        }
        add(scenario.partitions > 1) { $0.partitions = 1 }
        add(scenario.workersPerDatacenter > 1) { $0.workersPerDatacenter = 1 }
        add(scenario.hasWildTimes) { $0.hasWildTimes = false }
        add(scenario.disorder > 0) { $0.disorder = 0 }
        add(scenario.failingActions > 0) { $0.failingActions = 0 }
        add(scenario.eventsPerSecond > 5) { $0.eventsPerSecond /= 2 }
        add(scenario.load > .seconds(3)) { $0.load = $0.load / 4 * 3 }
        return all
    }
}
