import Foundation

/// What one row of the benchmark measured: the table on stdout, the report and the verdict are all made of it.
struct RowResult: Codable, Sendable {
    /// One of the things that were measured side by side.
    struct Side: Codable, Sendable {
        let name: String
        /// Records (events, requests) per second.
        var rate: Double?
        var megabytesPerSecond: Double?
        /// Microseconds of CPU per record.
        var cpu: Double?
        /// MiB of resident memory.
        var peak: Double?
        var steady: Double?
    }

    /// A measured value and what it must reach, or must not exceed. Without a bound it is only told.
    struct Goal: Codable, Sendable {
        let what: String
        let value: Double
        var atLeast: Double?
        var atMost: Double?
        /// Written after the value, such as " MiB".
        var unit = ""

        var isMet: Bool { value >= atLeast ?? -.infinity && value <= atMost ?? .infinity }
        var bound: String {
            if let atLeast { return "at least \(Self.number(atLeast))\(unit)" }
            if let atMost { return "at most \(Self.number(atMost))\(unit)" }
            return ""
        }
        var text: String { "\(Self.number(value))\(unit)" }

        private static func number(_ value: Double) -> String { String(format: value == value.rounded() && abs(value) < 1e15 ? "%.0f" : abs(value) >= 1000 ? "%.0f" : abs(value) >= 20 ? "%.1f" : "%.3f", value) }
    }

    /// `e`, `g`, …: the letter of the row.
    let row: String
    let name: String
    /// What was done: how many records, of what size, how often.
    let load: String
    var sides: [Side] = []
    var goals: [Goal] = []
    /// What a reader must know to take the figures for what they are.
    var remark: String?

    var isMet: Bool { goals.allSatisfy(\.isMet) }

    /// For stdout.
    var table: String {
        var lines = ["(\(row)) \(name): \(load)"]
        for side in sides {
            var line = "  " + side.name.padding(toLength: max(34, side.name.count), withPad: " ", startingAt: 0)
            if let rate = side.rate { line += String(format: " %10.0f/s", rate) }
            if let speed = side.megabytesPerSecond { line += String(format: " %7.0f MB/s", speed) }
            if let cpu = side.cpu { line += String(format: " %8.3f us CPU each", cpu) }
            if let peak = side.peak { line += String(format: "  peak %.0f MiB", peak) }
            if let steady = side.steady { line += String(format: "  steady %.0f MiB", steady) }
            lines.append(line)
        }
        for goal in goals {
            lines.append("  \(goal.what): \(goal.text)" + (goal.bound.isEmpty ? "" : "  (\(goal.bound): \(goal.isMet ? "met" : "NOT MET"))"))
        }
        if let remark { lines.append("  \(remark)") }
        return lines.joined(separator: "\n")
    }
}
