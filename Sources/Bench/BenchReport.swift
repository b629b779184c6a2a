import Foundation
import KafkaLog

/// `Docs/Benchmarks.md`: nothing in it is written by hand.
struct BenchReport {
    let results: [RowResult]
    let failed: [String]
    let runs: Int

    var markdown: String {
        var lines = [
            "# Benchmarks", "",
            "Written by `make bench-report` from one run; no figure here was written by hand. Every row measures its sides alternately in the same",
            "run, over loopback, with the project's own broker, and takes medians of \(runs) runs. **Only the ratios mean anything",
            "elsewhere**: rates depend on the machine and on what else it does.", "",
            "| | |", "|---|---|",
        ]
        lines += Self.machine().map { "| \($0) | \($1) |" }
        lines += ["", "## Goals", "", "| row | what | measured | goal | met |", "|---|---|---|---|---|"]
        for result in results {
            for goal in result.goals {
                let met = goal.bound.isEmpty ? "" : goal.isMet ? "yes" : "**no**"
                lines.append("| (\(result.row)) \(result.name) | \(goal.what) | \(goal.text) | \(goal.bound) | \(met) |")
            }
        }
        for name in failed { lines.append("| \(name) | failed in this run: no figures | | | **no** |") }
        lines += ["", "## Figures", ""]
        for result in results { lines += figures(of: result) }
        lines += missed()
        return lines.joined(separator: "\n") + "\n"
    }

    private func figures(of result: RowResult) -> [String] {
        var lines = ["### (\(result.row)) \(result.name)", "", "\(result.load).", ""]
        if !result.sides.isEmpty { lines += table(of: result.sides) }
        if let remark = result.remark { lines += [remark, ""] }
        return lines
    }

    private func table(of sides: [RowResult.Side]) -> [String] {
        var lines = [
            "| side | records/s | MB/s | CPU µs per record | peak MiB | steady MiB |", "|---|---:|---:|---:|---:|---:|",
        ]
        for side in sides {
            let cells = [(side.rate, "%.0f"), (side.megabytesPerSecond, "%.0f"), (side.cpu, "%.3f"), (side.peak, "%.0f"), (side.steady, "%.0f")]
            lines.append("| \(side.name) | " + cells.map { value, format in value.map { String(format: format, $0) } ?? "" }.joined(separator: " | ") + " |")
        }
        return lines + [""]
    }

    /// Rows of which Docs/Performance.md says what holds them back.
    static let explained = [
        "a": "Performance.md#a-b-reading", "a, b": "Performance.md#a-b-reading", "b": "Performance.md#a-b-reading", "d": "Performance.md#d-http-actions",
        "e": "Performance.md#e-checkpoints", "g": "Performance.md#g-mirror", "k": "Performance.md#k-many-partitions",
    ]

    private func missed() -> [String] {
        let missed = results.flatMap { result in result.goals.filter { !$0.isMet }.map { (result, $0) } }
        guard !missed.isEmpty else { return [] }
        return ["## Not reached in this run", ""]
            + missed.map { result, goal in
                "- (\(result.row)) \(result.name), \(goal.what): \(goal.text); \(goal.bound) is the goal."
                    + (Self.explained[result.row].map { " [What it would take](\($0))." } ?? "")
            }
    }

    // MARK: Machine

    private static func machine() -> [(String, String)] {
        #if DEBUG
        let build = "**debug: these figures say nothing**"
        #else
        let build = "release"
        #endif
        let cpu = text("/proc/cpuinfo").split(separator: "\n").first { $0.hasPrefix("model name") }?.split(separator: ":", maxSplits: 1).last
        let memory = text("/proc/meminfo").split(separator: "\n").first { $0.hasPrefix("MemTotal") }?
            .split(separator: " ").dropFirst().first.flatMap { Double($0) }
        let format = ISO8601DateFormatter()
        format.formatOptions = [.withFullDate]
        return [
            ("CPU", cpu.map { $0.trimmingCharacters(in: .whitespaces) } ?? "unknown"),
            ("cores", "\(ProcessInfo.processInfo.activeProcessorCount)"),
            ("memory", memory.map { String(format: "%.0f GiB", $0 / 1024 / 1024) } ?? "unknown"),
            ("kernel", text("/proc/sys/kernel/osrelease").trimmingCharacters(in: .whitespacesAndNewlines)),
            ("load average when the report was written", text("/proc/loadavg").split(separator: " ").prefix(3).joined(separator: " ")),
            ("librdkafka", KafkaVersion.text),
            ("Swift", swiftVersion()),
            ("build", build),
            ("date", format.string(from: Date())),
        ]
    }

    private static func text(_ file: String) -> String { (try? String(contentsOfFile: file, encoding: .utf8)) ?? "" }

    /// Of the compiler on the PATH, which `make` builds with.
    private static func swiftVersion() -> String {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["timeout", "20", "swift", "--version"]
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return "unknown" }
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return text.firstMatch(of: /Swift version ([0-9.]+)/).map { String($0.1) } ?? "unknown"
    }
}
