import Foundation
import Synchronization

/// Another program that can't outlive this one: a shell holds it, and kills it when this process ends in whatever way,
/// since the shell's standard input ends then.
final class LeashedProcess: Sendable {
    let name: String
    let log: URL
    private let pid: pid_t
    private let leash: FileHandle
    private let isKilled = Mutex(false)

    /// Starts `executable`; its output goes to the end of `log`. Blocks for some milliseconds.
    init(_ name: String, _ executable: String, _ arguments: [String], log: URL) throws {
        self.name = name
        self.log = log
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        // Ctrl-C at a terminal reaches the shells too: they must outlive this process, to kill what they hold.
        let script = """
            trap '' INT TERM HUP
            log=$1; shift
            "$@" >>"$log" 2>&1 </dev/null &
            echo $!
            exec >/dev/null 2>&1
            read -r word
            kill -9 $!
            """
        process.arguments = ["-c", script, "sh", log.path, executable] + arguments
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        do { try process.run() } catch { throw DemoFailure("\(name) can't be started: \(error.localizedDescription)") }
        let line = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        guard let pid = pid_t(line.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw DemoFailure("\(name) can't be started: the shell said '\(line)'")
        }
        self.pid = pid
        leash = input.fileHandleForWriting
    }

    deinit { kill() }

    /// SIGKILL, and gone when this returns to whoever asks for its ports.
    func kill() {
        let first = isKilled.withLock { killed in
            defer { killed = true }
            return !killed
        }
        guard first else { return }
        Foundation.kill(pid, SIGKILL)
        try? leash.close()
    }

    /// SIGTERM, to end in order.
    func terminate() { Foundation.kill(pid, SIGTERM) }

    /// Whether it still does anything; a process that ended and was not waited for does not.
    var isRunning: Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else { return false }
        return stat[stat.index(after: end)...].first { $0 != " " } != "Z"
    }

    /// The last lines that it wrote.
    func lastWords(_ count: Int = 5) -> String {
        let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(count).joined(separator: "\n")
    }
}
