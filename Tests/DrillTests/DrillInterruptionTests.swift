import Demo
import Foundation
import TestSupport
import Testing

@testable import Drill

/// A drill that is stopped in the middle, and what 'resume' and 'abort' make of it.
@Suite("A drill that is interrupted", .serialized)
struct DrillInterruptionTests {
    private func begin(_ scenario: DrillScenario, _ directory: TemporaryDirectory) throws -> LeashedProcess {
        let file = directory.file("plan.yaml")
        try Data(DrillStage.plan(scenario).utf8).write(to: file)
        // The shell that holds it ignores SIGHUP, which its children would inherit.
        return try LeashedProcess(
            "drill", "/usr/bin/env",
            ["--default-signal=HUP", try Executable.switchback(), "drill", "run", "--plan", file.path, "--out", directory.file("run").path, "--seed", String(Seed.fresh("interrupted drill"))],
            log: directory.file("log"), launch: { try TestSupport.launch($0) })
    }

    /// Nothing of the drill runs any more: its processes hold paths inside the directory on their command lines.
    private func expectNothingRuns(_ directory: URL) async throws {
        func left() -> [String] {
            let pids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc"))?.filter { Int($0) != nil } ?? []
            return pids.compactMap { pid in
                guard let line = try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8), line.contains(directory.path + "/data") else { return nil }
                // The shell that holds a process ends a moment later than it.
                return line.hasPrefix("/bin/sh") ? nil : line.replacing("\0", with: " ")
            }
        }
        try await eventually("every process of the drill ends", timeout: .seconds(20)) { left().isEmpty }
    }

    @Test("SIGKILL in any phase, then resume: the rest is carried through, and nothing is lost",
        arguments: [(DrillScenario.datacenterLoss, DrillPhase?.some(.fence)), (.datacenterLoss, .soak), (.planned, .home), (.zombie, .drain), (.planned, nil)])
    func resume(_ scenario: DrillScenario, _ phase: DrillPhase?) async throws {
        let directory = try TemporaryDirectory(), run = directory.file("run")
        let process = try begin(scenario, directory)
        try await DrillStage.reach(phase, in: run, process)
        // A lost terminal, or worse.
        if phase == .soak { process.hangUp() } else { process.kill() }
        try await eventually("the drill ends", timeout: .seconds(20)) { !process.isRunning }
        try await expectNothingRuns(run)

        let output = try await DrillStage.drill(["resume", run.path, "--output", "json"])
        try #require(output.output.hasPrefix("{"), "\(output.status): \(output.errors.suffix(3000))")
        let report = try JSONDecoder().decode(DrillReport.self, from: Data(output.output.utf8))
        #expect(report.counts.lost == 0 && report.counts.gaps.isEmpty && report.counts.produced > 100, "\(output.errors.suffix(3000))")
        #expect(report.phases.count == DrillPhase.allCases.count && report.phases.allSatisfy { $0.outcome == .done })
        #expect(report.interruptions.count == 1)
        #expect(output.status == (report.verdict.met ? 0 : 1))
        #expect(report.moves.last?.kind == "switchback" && report.marks["homeStable"] != nil, "the work is home again")
        try await expectNothingRuns(run)
        let again = try await DrillStage.drill(["resume", run.path])
        #expect(again.status == 2 && again.errors.contains("is over (done)"))
    }

    @Test("A line that a crash cut off is left out, and what is appended stays readable")
    func tornLine() throws {
        let directory = try TemporaryDirectory(), file = directory.file("calls.jsonl")
        for torn in ["", "{\"a\":1}\n{\"a\"", "{\"a\"", "{\"a\":1}\n"] {
            try Data(torn.utf8).write(to: file)
            let handle = try DrillLines.appending(file)
            try DrillLines.write([["a": 2]], to: handle)
            try handle.close()
            let whole = torn.hasPrefix("{\"a\":1}") ? [["a": 1]] : []
            #expect(try DrillLines.load([String: Int].self, file) == whole + [["a": 2]])
        }
        let journal = directory.file(DrillJournal.name)
        try Data("{\"at\":1,\"kind\":\"no".utf8).write(to: journal)
        try DrillJournal(directory.url).write(DrillEntry(at: 2, .note))
        #expect(try String(contentsOf: journal, encoding: .utf8) == "{\"at\":2,\"kind\":\"note\"}\n")
    }

    @Test("SIGKILL, then abort: nothing runs, the report says so, and there is nothing to resume")
    func abort() async throws {
        let directory = try TemporaryDirectory(), run = directory.file("run")
        let process = try begin(.datacenterLoss, directory)
        try await DrillStage.reach(.switchOver, in: run, process)
        process.kill()
        try await expectNothingRuns(run)
        let partial = try await DrillStage.drill(["report", run.path])
        #expect(partial.status == 1 && partial.output.contains("was interrupted"))
        let output = try await DrillStage.drill(["abort", run.path])
        #expect(output.status == 0 && output.output.contains("ABORTED"), "\(output)")
        let report = try DrillStage.report(run)
        #expect(!report.verdict.met && report.verdict.complaints.contains("the drill was aborted"))
        #expect(!FileManager.default.fileExists(atPath: run.appending(path: "data").path))
        for verb in ["resume", "abort"] {
            let again = try await DrillStage.drill([verb, run.path])
            #expect(again.status == 2 && again.errors.contains("is over (aborted)"), "\(again)")
        }
    }

    @Test("Ctrl-C says how to go on; while a drill runs nobody else goes on with it")
    func control() async throws {
        let directory = try TemporaryDirectory(), run = directory.file("run")
        let process = try begin(.planned, directory)
        try await DrillStage.reach(.canaries, in: run, process)
        for verb in ["resume", "abort"] {
            let other = try await DrillStage.drill([verb, run.path])
            #expect(other.status == 2 && other.errors.contains("is running"), "\(other)")
        }
        process.terminate()
        try await eventually("the drill ends", timeout: .seconds(20)) { !process.isRunning }
        let words = process.lastWords(3)
        #expect(words.contains("drill resume") && words.contains("drill abort"), "\(words)")
        try await expectNothingRuns(run)
        let output = try await DrillStage.drill(["abort", run.path])
        #expect(output.status == 0)
    }
}
