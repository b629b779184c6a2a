import Foundation

/// What a child measured of itself.
struct ChildResult: Codable {
    var records: Int64
    var bytes: Int64
    var seconds: Double
    var cpuSeconds: Double
    /// MiB; 0: not known.
    var peak: Double
    var steady: Double
    /// The librdkafka that it ran on, where that may be another than this program's.
    var library: String?
    /// Seconds of CPU before what was measured.
    var startCPUSeconds: Double?

    var rate: Double { Double(records) / seconds }
    /// Microseconds of CPU per record.
    var cpu: Double { cpuSeconds / Double(records) * 1e6 }

    private static func known(_ memory: Double) -> Double? { memory > 0 ? memory : nil }

    /// The medians of several runs.
    static func side(_ name: String, _ runs: [ChildResult]) -> RowResult.Side {
        RowResult.Side(
            name: name, rate: Figures.median(runs.map(\.rate)),
            megabytesPerSecond: runs.allSatisfy({ $0.bytes > 0 }) ? Figures.median(runs.map { Double($0.bytes) / $0.seconds / 1e6 }) : nil,
            cpu: Figures.median(runs.map(\.cpu)), peak: known(Figures.median(runs.map(\.peak))), steady: known(Figures.median(runs.map(\.steady))))
    }
}

/// This program again, doing one thing whose memory and CPU time are then its own.
enum ChildRun {
    struct Failure: Error, CustomStringConvertible { let description: String }

    /// Runs `arguments` to their end, and reads the result that they write to stdout.
    /// - Parameters:
    ///   - program: nil: this one.
    ///   - environment: variables that it has beside this process's own.
    static func run(
        _ arguments: [String], program: URL? = nil, environment: [String: String] = [:], within limit: Duration = .seconds(300)
    ) throws -> ChildResult {
        let child = try Child(arguments, program: program, environment: environment, within: limit)
        return try child.result(child.output.readDataToEndOfFile())
    }

    /// The same, for a child that asks for more once, by a line (`askForMore`): it stands still while `more` is called, so that it finds all of it there.
    static func run(_ arguments: [String], within limit: Duration = .seconds(300), more: () async throws -> Void) async throws -> ChildResult {
        let child = try Child(arguments, within: limit)
        var data = Data()
        var hasAsked = false
        while true {
            let next = child.output.availableData
            guard !next.isEmpty else { break }
            data += next
            guard !hasAsked, let end = data.firstIndex(of: UInt8(ascii: "\n")) else { continue }
            hasAsked = true
            data = Data(data[(end + 1)...])
            kill(child.process.processIdentifier, SIGSTOP)
            do { try await more() } catch {
                child.end()
                throw error
            }
            kill(child.process.processIdentifier, SIGCONT)
        }
        return try child.result(data)
    }

    /// In the child, once.
    static func askForMore() { FileHandle.standardOutput.write(Data("more\n".utf8)) }

    /// A run under way.
    private struct Child {
        let process = Process()
        let input = Pipe(), pipe = Pipe()
        let watchdog: DispatchWorkItem
        let name: String
        let limit: Duration
        var output: FileHandle { pipe.fileHandleForReading }

        init(_ arguments: [String], program: URL? = nil, environment: [String: String] = [:], within limit: Duration) throws {
            (name, self.limit) = (arguments.first ?? "", limit)
            process.executableURL = program ?? URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            process.arguments = arguments
            if !environment.isEmpty { process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 } }
            process.standardInput = input
            process.standardOutput = pipe
            try process.run()
            let child = process.processIdentifier
            watchdog = DispatchWorkItem { kill(child, SIGKILL) }
            DispatchQueue.global().asyncAfter(deadline: .now() + limit / .seconds(1), execute: watchdog)
        }

        func end() {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            watchdog.cancel()
        }

        /// After the end of its output, which ended in `data`.
        func result(_ data: Data) throws -> ChildResult {
            watchdog.cancel()
            process.waitUntilExit()
            try? input.fileHandleForWriting.close()
            guard process.terminationStatus == 0, let result = try? JSONDecoder().decode(ChildResult.self, from: data) else {
                throw Failure(description: "'\(name)' failed in its process (status \(process.terminationStatus)), or took longer than \(limit)")
            }
            return result
        }
    }

    /// In the child: ends it when the parent has ended, in whatever way.
    static func endWithParent() {
        Thread.detachNewThread {
            while !FileHandle.standardInput.availableData.isEmpty {}
            _exit(1)
        }
    }

    static func answer(_ result: ChildResult) throws {
        FileHandle.standardOutput.write(try JSONEncoder().encode(result))
    }
}
