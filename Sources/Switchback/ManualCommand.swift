import ArgumentParser
import ChangePropagation
import Foundation

/// `switchback manual`: the help of every command as manual pages. Hidden: `make man` runs it.
struct ManualCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual", abstract: "Write a manual page for each command into a directory.",
        discussion: "Example:\n  switchback manual --directory /tmp/man", shouldDisplay: false)

    @Option(help: "Where to; made when it is not there.") var directory: String

    func run() throws {
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try write(SwitchbackCommand.self, ["switchback"])
        } catch let error as CocoaError { throw Failure("\(directory) can't be written: \(error.localizedDescription)", code: 2) }
    }

    private func write(_ command: any ParsableCommand.Type, _ path: [String]) throws {
        let name = path.joined(separator: "-")
        let page = Self.page(name, abstract: command.configuration.abstract, help: SwitchbackCommand.helpMessage(for: command, columns: 100))
        try Data(page.utf8).write(to: URL(fileURLWithPath: directory).appendingPathComponent("\(name).1"))
        for next in command.configuration.subcommands where next.configuration.shouldDisplay {
            try write(next, path + [next.configuration.commandName ?? "\(next)".lowercased()])
        }
    }

    /// The help as it is, in the format that `man` reads.
    static func page(_ name: String, abstract: String, help: String) -> String {
        func line(_ text: Substring) -> String {
            let escaped = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
            // A dot or a quote that begins a line would be a command.
            return escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" + escaped : String(escaped)
        }
        let lines = help.split(separator: "\n", omittingEmptySubsequences: false).map(line)
        return """
            .TH \(name.uppercased()) 1 "" "switchback \(Worker.version)" "Switchback"
            .SH NAME
            \(line(name[...])) \\- \(line(abstract[...]))
            .SH DESCRIPTION
            .nf
            \(lines.joined(separator: "\n"))
            .fi

            """
    }
}
