import Foundation
import Synchronization

/// Starts processes one at a time: Foundation's `Process.run` on many threads at once has ended this process with a bad pointer.
public func launch(_ process: Process) throws { try launching.withLock { _ in try process.run() } }

private let launching = Mutex(())

/// Another program, run by a test.
public enum ChildProcess {
    public struct Output: Sendable {
        public var status: Int32
        public var output: String
        public var errors: String
    }

    /// Runs `executable` with `input` on its standard input until it ends. Kills it and throws `TestTimeout` after
    /// `deadline`.
    public static func run(
        _ executable: String, _ arguments: [String], input: String = "", deadline: Duration = .seconds(20)
    ) async throws -> Output {
        let directory = try TemporaryDirectory()
        let (inputFile, outputFile, errorFile) = (directory.file("in"), directory.file("out"), directory.file("err"))
        try Data(input.utf8).write(to: inputFile)
        for file in [outputFile, errorFile] { try Data().write(to: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.standardInput = try FileHandle(forReadingFrom: inputFile)
        process.standardOutput = try FileHandle(forWritingTo: outputFile)
        process.standardError = try FileHandle(forWritingTo: errorFile)
        let ended = Mutex(false)
        process.terminationHandler = { _ in ended.withLock { $0 = true } }
        try launch(process)
        do {
            try await eventually("\(executable) \(arguments.joined(separator: " ")) ends", timeout: deadline) {
                ended.withLock { $0 }
            }
        } catch {
            kill(process.processIdentifier, SIGKILL)
            let said = (try? String(contentsOf: errorFile, encoding: .utf8)) ?? ""
            throw TestTimeout("\(error): \(said.suffix(2000))")
        }
        return Output(
            status: process.terminationStatus, output: String(decoding: try Data(contentsOf: outputFile), as: UTF8.self),
            errors: String(decoding: try Data(contentsOf: errorFile), as: UTF8.self))
    }
}
