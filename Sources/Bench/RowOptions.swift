import ArgumentParser
import Foundation

/// What the command of a row with two sides takes.
struct RowOptions: ParsableArguments {
    @Option(help: "Runs of each side; the median counts (at least 1).") var runs: Int = 3
    @OptionGroup var verdict: VerdictOptions

    func validate() throws {
        guard runs > 0 else { throw ValidationError("runs must be at least 1") }
    }

    func finish(_ result: RowResult) throws { try verdict.finish(result) }

    /// A new directory for what a run writes, removed when `body` is done.
    static func withDirectory<Result>(_ body: (URL) async throws -> Result) async throws -> Result {
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        return try await body(directory)
    }
}

/// What every row's command takes.
struct VerdictOptions: ParsableArguments {
    @Flag(help: "Exit with status 1 when a goal is not met.") var check = false
    @Option(help: ArgumentHelp("Put the results at the end of this file, too, one JSON object a line.", visibility: .hidden)) var results: String?

    /// Prints the row, hands it on to who asked for it, and judges it.
    func finish(_ result: RowResult) throws {
        print(result.table)
        if let results { try Self.append(result, to: results) }
        if check, !result.isMet { throw ExitCode(1) }
    }

    static func append(_ result: RowResult, to file: String) throws {
        if !FileManager.default.fileExists(atPath: file) { try Data().write(to: URL(filePath: file)) }
        let handle = try FileHandle(forWritingTo: URL(filePath: file))
        defer { try? handle.close() }
        try handle.seekToEnd()
        try handle.write(contentsOf: JSONEncoder().encode(result) + Data("\n".utf8))
    }
}
