import ArgumentParser
import Foundation

/// Every row, one after the other, each in a process of its own; and the report of them.
struct AllCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "all", abstract: "Runs all rows one after the other, and writes a report of them.")

    @Option(help: "Write the report to this file, in Markdown.") var write: String?
    @Option(help: "Runs of each side in each row (at least 1).") var runs: Int = 5
    @Option(parsing: .upToNextOption, help: "Only these rows, by their commands.") var only: [String] = []
    @Option(help: "Minutes that one row may take (at least 1).") var minutes: Int = 20
    @Flag(help: "Exit with status 1 when a goal is not met, or a row failed.") var check = false

    /// Commands that write a `RowResult`, in the order of the report.
    static let rows = ["run", "peers", "distance", "work", "rules", "actions", "checkpoints", "produce", "mirror", "plan", "handover", "memory", "growth"]
    /// Those with one side, which is measured once.
    private static let once: Set<String> = ["plan", "handover"]

    func validate() throws {
        guard runs > 0, minutes > 0 else { throw ValidationError("runs and minutes must be at least 1") }
        for name in only where !Self.rows.contains(name) {
            throw ValidationError("'\(name)' is no row; \(Self.rows.joined(separator: ", ")) are")
        }
    }

    func run() async throws {
        let rows = only.isEmpty ? Self.rows : Self.rows.filter(only.contains)
        let outcome = try await RowOptions.withDirectory { directory in try measure(rows, directory.appending(path: "results").path) }
        if let write {
            try BenchReport(results: outcome.results, failed: outcome.failed, runs: runs).markdown.write(toFile: write, atomically: true, encoding: .utf8)
            Figures.note("the report is in \(write)")
        }
        for name in outcome.failed { print("row '\(name)' failed: no figures") }
        let unmet = outcome.results.filter { !$0.isMet }
        if !unmet.isEmpty { print("goals not met in rows \(unmet.map(\.row).joined(separator: ", "))") }
        if check, !unmet.isEmpty || !outcome.failed.isEmpty { throw ExitCode(1) }
    }

    private func measure(_ rows: [String], _ file: String) throws -> (results: [RowResult], failed: [String]) {
        var results: [RowResult] = [], failed: [String] = []
        for name in rows {
            Figures.note("row '\(name)'")
            try? FileManager.default.removeItem(atPath: file)
            let status = try runRow(name, file)
            let lines = ((try? String(contentsOfFile: file, encoding: .utf8)) ?? "").split(separator: "\n")
            let found = lines.compactMap { try? JSONDecoder().decode(RowResult.self, from: Data($0.utf8)) }
            results += found
            if status != 0 || found.isEmpty { failed.append(name) }
        }
        return (results, failed)
    }

    private func runRow(_ name: String, _ file: String) throws -> Int32 {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = [name, "--results", file] + (Self.once.contains(name) ? [] : ["--runs", "\(runs)"])
        try process.run()
        let child = process.processIdentifier
        let watchdog = DispatchWorkItem { kill(child, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + Double(minutes) * 60, execute: watchdog)
        process.waitUntilExit()
        watchdog.cancel()
        return process.terminationStatus
    }
}
