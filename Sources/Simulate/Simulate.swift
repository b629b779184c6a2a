import ArgumentParser
import Foundation
import Rainbow
import Simulation

#if canImport(Glibc)
import Glibc
#endif

/// `make sim`: whole failovers in one thread, from seeds.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "Simulate",
        abstract: "Simulates failovers from seeds, and looks for one in which something that must hold does not.",
        discussion: """
            Example:
              Simulate --runs 1000
              Simulate --seed 42 --runs 1 --trace
              Simulate --mutants
            """)

    @Option(help: "The first seed; a fresh one unless given.")
    var seed: UInt64?

    @Option(help: "How many seeds, one after the other.")
    var runs = 200

    @Option(help: "Only this mutant: it has to be found within its number of seeds.")
    var mutant: String?

    @Flag(help: "Every mutant: each has to be found within its number of seeds.")
    var mutants = false

    @Flag(help: "Print what happened, in words.")
    var trace = false

    @Flag(help: "Print each seed's trace hash.")
    var hashes = false

    @Option(help: "Processes to share the seeds among.")
    var jobs = 1

    func validate() throws {
        guard (1...10_000_000).contains(runs) else { throw ValidationError("--runs is \(runs); 1 to 10000000 would be right") }
        guard (1...64).contains(jobs) else { throw ValidationError("--jobs is \(jobs); 1 to 64 would be right") }
        if let mutant, Mutant(rawValue: mutant) == nil {
            throw ValidationError("--mutant \(mutant): no such mutant; \(Mutant.allCases.map(\.rawValue).joined(separator: ", ")) would be right")
        }
    }

    func run() throws {
        try Self.beDeterministic()
        guard JobQueue.install() else {
            FileHandle.standardError.write(Data("this Swift runtime has no hook to run tasks on one thread\n".utf8))
            throw ExitCode(2)
        }
        let first = seed ?? UInt64.random(in: 1...999_999_999)
        if mutants || mutant != nil { return try hunt(from: first) }
        if jobs > 1 { return try share(from: first) }
        try simulate(from: first)
    }

    /// Dictionaries must go through their contents in one order: the process starts itself again with Swift's own setting for it.
    private static func beDeterministic() throws {
        guard getenv("SWIFT_DETERMINISTIC_HASHING") == nil else { return }
        setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1)
        var arguments = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        execv("/proc/self/exe", &arguments)
        throw ValidationError("could not start again with SWIFT_DETERMINISTIC_HASHING=1 (errno \(errno))")
    }

    private func say(_ text: String) {
        FileHandle.standardOutput.write(Data((text + "\n").utf8))
    }

    // MARK: Seeds

    private func simulate(from first: UInt64) throws {
        say("seeds \(first) to \(first + UInt64(runs) - 1)")
        var total = SimulationCounts()
        let started = ContinuousClock.now
        var said = started
        for run in 0..<UInt64(runs) {
            let outcome = try Simulator.run(seed: first + run, keepsWords: trace)
            total.add(outcome.counts)
            if trace { for line in outcome.lines { say(line) } }
            if hashes { say("seed \(outcome.seed) trace \(String(outcome.traceHash, radix: 16))") }
            guard outcome.violations.isEmpty else {
                report(outcome)
                throw ExitCode(1)
            }
            if started.duration(to: .now) > .seconds(1), said.duration(to: .now) > .seconds(5) {
                said = .now
                say("\(run + 1) of \(runs), \(total.handovers) handovers, \(total.faults) faults")
            }
        }
        say(total.line(runs: runs, seconds: started.duration(to: .now) / .seconds(1)))
    }

    private func report(_ outcome: Simulator.Outcome, mutant: Mutant? = nil) {
        say("seed \(outcome.seed) fails:".red)
        for violation in outcome.violations { say("  \(violation)") }
        say("looking for a shorter run of it")
        guard let short = try? Simulator.shrink(seed: outcome.seed, mutant: mutant), !short.violations.isEmpty else {
            return say("no shorter one was found: 'Simulate --seed \(outcome.seed) --runs 1 --trace' shows it")
        }
        say("what goes wrong in the shortest that was found:")
        for fault in short.faults { say("  \(fault)") }
        say("the last of what happened there:")
        for line in short.lines.suffix(80) { say("  \(line)") }
        for violation in short.violations { say("  \(violation)".red) }
        say("repeat: Simulate --seed \(outcome.seed) --runs 1 --trace\(mutant.map { " --mutant \($0.rawValue)" } ?? "")")
    }

    // MARK: Mutants

    private func hunt(from first: UInt64) throws {
        let wanted = mutant.flatMap { Mutant(rawValue: $0) }.map { [$0] } ?? Mutant.allCases
        say("seeds from \(first)")
        var missed = 0
        for mutant in wanted {
            var found: (tries: UInt64, outcome: Simulator.Outcome)?
            for run in 0..<UInt64(mutant.seeds) {
                let outcome = try Simulator.run(seed: first + run, mutant: mutant)
                guard !outcome.violations.isEmpty else { continue }
                found = (run + 1, outcome)
                break
            }
            guard let found else {
                missed += 1
                if trace { for line in try Simulator.run(seed: first, mutant: mutant, keepsWords: true).lines { say(line) } }
                say("\(mutant.rawValue): NOT FOUND in \(mutant.seeds) seeds".red)
                continue
            }
            say("\(mutant.rawValue): found after \(found.tries) of \(mutant.seeds) seeds: \(found.outcome.violations[0])")
            if trace { report(found.outcome, mutant: mutant) }
        }
        if missed > 0 { throw ExitCode(1) }
    }

    // MARK: Processes

    /// Shares the seeds among processes: a simulation itself is one thread.
    private func share(from first: UInt64) throws {
        var children: [Process] = []
        let each = (runs + jobs - 1) / jobs
        for job in 0..<jobs {
            let count = min(each, runs - job * each)
            guard count > 0 else { continue }
            let child = Process()
            child.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
            child.arguments = ["--seed", String(first + UInt64(job * each)), "--runs", String(count)] + (hashes ? ["--hashes"] : [])
            try child.run()
            children.append(child)
        }
        var status: Int32 = 0
        for child in children {
            child.waitUntilExit()
            status = max(status, child.terminationStatus)
        }
        if status != 0 { throw ExitCode(status) }
    }
}

extension SimulationCounts {
    fileprivate mutating func add(_ other: SimulationCounts) {
        events += other.events
        records += other.records
        faults += other.faults
        handovers += other.handovers
        repeats += other.repeats
        gaps += other.gaps
        checkpoints += other.checkpoints
        seconds += other.seconds
    }

    fileprivate func line(runs: Int, seconds spent: Double) -> String {
        let hours = String(format: "%.1f", seconds / 3600)
        let took = String(format: "%.1f", spent)
        return "\(runs) worlds, \(handovers) handovers, \(faults) faults, \(events) events, \(records) records moved, \(checkpoints) checkpoints, "
            + "\(repeats) repeats, \(gaps) partitions with a gap event; \(hours) simulated hours in \(took) s; nothing lost"
    }
}
