import ArgumentParser
import ChangePropagation
import Checkpoints
import Logging

#if canImport(Glibc)
// stdout and stderr are global variables of C; this process never assigns them.
@preconcurrency import Glibc
#endif

/// The `switchback` command: what it can do, and how its errors reach the operator.
@main
struct SwitchbackCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "switchback",
        abstract: "Reads datacenter-prefixed topics, acts on them by rules, and goes on in another datacenter where it stopped.",
        discussion: """
            Exit status: 0 done, 1 it failed (one line on stderr says why and what to do), 2 wrong use or wrong configuration.
            """,
        version: Worker.version,
        subcommands: [
            WorkerCommand.self, HandoverCommand.self, OffsetsCommand.self, DrillCommand.self, RulesCommand.self, ProduceCommand.self, LocalCommand.self,
            MirrorCommand.self, DemoCommand.self, ManualCommand.self,
        ])

    static func main() async {
        setvbuf(stdout, nil, _IOLBF, 0)
        // A reader that went away is an error of that write, not the end of the process.
        signal(SIGPIPE, SIG_IGN)
        // Whoever starts this may have left them blocked, and a worker that can't hear SIGTERM can't drain.
        var stops = sigset_t()
        sigemptyset(&stops)
        for number in [SIGTERM, SIGINT] { sigaddset(&stops, number) }
        pthread_sigmask(SIG_UNBLOCK, &stops, nil)
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand { try await asynchronous.run() } else { try command.run() }
            if let why = Console.lostOutput { throw Failure("stdout: \(why): the output is not whole; write it to another place") }
        } catch {
            exit(withFailure: error)
        }
    }

    private static func exit(withFailure error: any Error) -> Never {
        if let error = error as? Failure {
            complain(error.message)
            leave(error.code)
        }
        let code = exitCode(for: error)
        if code == .validationFailure {
            complain(message(for: error), hint: "see 'switchback --help', or --help of the subcommand")
            leave(2)
        }
        if code.isSuccess || error is ExitCode || error is CleanExit { exit(withError: error) }
        if error is ConfigurationError {
            complain("\(error)")
            leave(2)
        }
        if let error = error as? StoreError, error.kind == .misconfigured {
            complain("\(error)")
            leave(2)
        }
        complain("\(error)")
        leave(1)
    }

    private static func complain(_ message: String, hint: String? = nil) {
        let lines = message.split(separator: "\n").map { $0.hasPrefix("error:") || $0.hasPrefix("switchback:") ? String($0) : "switchback: \($0)" }
        let text = (lines + (hint.map { ["switchback: \($0)"] } ?? [])).joined(separator: "\n") + "\n"
        fputs(text, stderr)
    }
}

/// A failure that a command has put into words already.
struct Failure: Error {
    let message: String
    /// 1: it failed. 2: wrong use or configuration.
    let code: Int32
    init(_ message: String, code: Int32 = 1) {
        self.message = message
        self.code = code
    }
}

private func leave(_ code: Int32) -> Never {
    fflush(stdout)
    exit(code)
}
