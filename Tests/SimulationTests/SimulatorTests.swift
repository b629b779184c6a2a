import TestSupport
import Testing

/// The simulator as CI runs it: short, from fresh seeds, in a process of its own (it takes over the whole Swift runtime).
@Suite("The simulator", .serialized)
struct SimulatorTests {
    private func simulate(_ arguments: String..., deadline: Duration = .seconds(600)) async throws -> ChildProcess.Output {
        try await ChildProcess.run(try Executable.beside("Simulate"), arguments, deadline: deadline)
    }

    @Test("Nothing that must hold is broken in worlds from a fresh seed")
    func holds() async throws {
        let seed = Seed.fresh("the simulator")
        let result = try await simulate("--seed", String(seed), "--runs", "100")
        print(result.output)
        #expect(result.status == 0, "\(result.output) \(result.errors)")
    }

    @Test("Worlds in which an earlier worker, planner or check went wrong", arguments: [
        // Never planned to its end; waited for ever for an interrupted event; sealed in the wrong epoch; wrote over a seal; a gap that nobody told
        // of; forgot what a former holder had finished; blamed for what no mirror had; sealed by a member that had
        // been stopped.
        794_654_865, 794_645_282, 762_749_082, 748_068_171, 558_725_484, 1_001_389_166, 233_886_567, 1_031_174_090, 369_641_470, 266_751_535,
    ])
    func known(_ seed: Int) async throws {
        let result = try await simulate("--seed", String(seed), "--runs", "1")
        #expect(result.status == 0, "\(result.output) \(result.errors)")
    }

    @Test("The same seed gives the same trace, whatever ran before it")
    func repeatable() async throws {
        let seed = Seed.fresh("the simulator's trace")
        let all = try await simulate("--seed", String(seed), "--runs", "6", "--hashes")
        let last = try await simulate("--seed", String(seed + 3), "--runs", "3", "--hashes")
        func hashes(_ text: String) -> [Substring] { text.split(separator: "\n").filter { $0.contains(" trace ") } }
        #expect(all.status == 0 && last.status == 0)
        #expect(hashes(all.output).count == 6)
        #expect(hashes(all.output).suffix(3) == hashes(last.output)[...])
    }

    @Test("Every mutant of the protocol is found within its number of seeds")
    func mutants() async throws {
        let seed = Seed.fresh("the mutants")
        let result = try await simulate("--mutants", "--seed", String(seed))
        print(result.output)
        #expect(result.status == 0, "\(result.output) \(result.errors)")
    }

    @Test("A failing seed ends with the seed, a shorter run of it, and what happened before in words")
    func report() async throws {
        let result = try await simulate("--mutant", "off-by-one", "--seed", "1", "--trace")
        #expect(result.output.contains("which is not finished"))
        #expect(result.output.contains("the last of what happened there:"))
        #expect(result.output.contains("VIOLATION"))
        #expect(result.output.contains("repeat: Simulate --seed "))
    }

    @Test("Wrong arguments are named", arguments: [
        (["--runs", "0"], "--runs is 0"), (["--jobs", "100"], "--jobs is 100"), (["--mutant", "none"], "no such mutant"),
    ])
    func wrong(_ arguments: [String], _ says: String) async throws {
        let result = try await ChildProcess.run(try Executable.beside("Simulate"), arguments)
        #expect(result.status != 0)
        #expect(result.errors.contains(says))
    }
}
