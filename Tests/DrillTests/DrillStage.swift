import Demo
import Foundation
import TestSupport
import Testing

@testable import Drill

/// Runs `switchback drill …` as an operator would.
enum DrillStage {
    /// A short drill: about fifteen seconds of its own.
    static func plan(_ scenario: DrillScenario, _ more: String = "") -> String {
        """
        name: test-\(scenario.rawValue)
        scenario: \(scenario.rawValue)
        reason: a test
        \(more)
        load: {rate: 60, partitions: 2, failing: 0.05, delayed: 0.05}
        times: {canaries: 3s, detect: 500ms, fault: 3s, soak: 1s, settle: 1500ms, patience: 90s}
        embedded: {lease: 1s, hold: 3s}

        """
    }

    static func drill(_ arguments: [String], environment: [String: String] = [:], deadline: Duration = .seconds(240)) async throws -> ChildProcess.Output {
        let variables = environment.map { "\($0)=\($1)" }
        return try await ChildProcess.run("/usr/bin/env", variables + [try Executable.switchback(), "drill"] + arguments, deadline: deadline)
    }

    static func report(_ directory: URL) throws -> DrillReport {
        try JSONDecoder().decode(DrillReport.self, from: Data(contentsOf: directory.appending(path: "report.json")))
    }

    /// Runs a drill with a plan in `directory/run`; prints its end where it did not go as wanted.
    static func run(
        _ scenario: DrillScenario, _ directory: TemporaryDirectory, more: String = "", arguments: [String] = [], environment: [String: String] = [:],
        status: Int32 = 0
    ) async throws -> DrillReport {
        let file = directory.file("plan.yaml")
        try Data(plan(scenario, more).utf8).write(to: file)
        let seed = Seed.fresh("drill \(scenario.rawValue)")
        let output = try await drill(
            ["run", "--plan", file.path, "--out", directory.file("run").path, "--seed", String(seed)] + arguments, environment: environment)
        if output.status != status { print(output.output.suffix(4000), output.errors.suffix(2000)) }
        #expect(output.status == status)
        return try report(directory.file("run"))
    }

    /// Waits until the journal in `directory` says that a phase has begun; nil: that the drill has.
    static func reach(_ phase: DrillPhase?, in directory: URL, _ process: LeashedProcess) async throws {
        let what = phase?.rawValue ?? "none"
        try await eventually("phase \(what)", timeout: .seconds(120)) {
            guard process.isRunning else { throw TestTimeout("the drill ended before phase \(what): \(process.lastWords(10))") }
            guard let state = try? DrillJournal.load(directory) else { return false }
            return phase.map { state.phases[$0] != nil } ?? true
        }
    }
}
