import Foundation
import Synchronization

/// Another program that can't outlive this one: a shell holds it, and kills it when this process ends in whatever way,
/// since the shell's standard input ends then.
package final class LeashedProcess: Sendable {
    let name: String
    package let log: URL
    package let pid: pid_t
    private let leash: FileHandle
    private let isKilled = Mutex(false)

    /// Starts `executable`; its output goes to the end of `log`. Blocks for some milliseconds.
    /// - Parameters:
    ///   - environment: variables that it has beside this process's own.
    ///   - launch: starts the shell; tests start one process at a time.
    package init(
        _ name: String, _ executable: String, _ arguments: [String], log: URL, environment: [String: String] = [:],
        launch: (Process) throws -> Void = { try $0.run() }
    ) throws {
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
        if !environment.isEmpty { process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 } }
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        do { try launch(process) } catch { throw DemoFailure("\(name) can't be started: \(error.localizedDescription)") }
        let line = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        guard let pid = pid_t(line.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw DemoFailure("\(name) can't be started: the shell said '\(line)'")
        }
        self.pid = pid
        leash = input.fileHandleForWriting
    }

    deinit { kill() }

    /// SIGKILL, and gone when this returns to whoever asks for its ports.
    package func kill() {
        let first = isKilled.withLock { killed in
            defer { killed = true }
            return !killed
        }
        guard first else { return }
        Foundation.kill(pid, SIGKILL)
        try? leash.close()
    }

    /// SIGTERM, to end in order.
    package func terminate() { Foundation.kill(pid, SIGTERM) }

    /// SIGHUP, to read its configuration again.
    package func hangUp() { Foundation.kill(pid, SIGHUP) }

    /// SIGSTOP: it stands still, its connections stay open.
    package func freeze() { Foundation.kill(pid, SIGSTOP) }

    /// SIGCONT.
    package func thaw() { Foundation.kill(pid, SIGCONT) }

    /// Whether it still does anything; a process that ended and was not waited for does not.
    package var isRunning: Bool {
        guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8), let end = stat.lastIndex(of: ")") else { return false }
        return stat[stat.index(after: end)...].first { $0 != " " } != "Z"
    }

    /// The last lines that it wrote.
    package func lastWords(_ count: Int = 5) -> String {
        let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").suffix(count).joined(separator: "\n")
    }
}
