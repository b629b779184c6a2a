import ArgumentParser
import Foundation
import KafkaLog
import Offsets
import Rainbow

#if canImport(Glibc)
import Glibc
#endif

/// How a command says what it found: for people, for programs, for spreadsheets.
enum OutputForm: String, ExpressibleByArgument, CaseIterable { case table, json, csv }

struct OutputOptions: ParsableArguments {
    @Option(help: "table, json or csv: only the result on stdout, whatever else there is to say on stderr.")
    var output: OutputForm = .table

    @Flag(help: "Show every column of the table, however narrow the terminal is.")
    var wide = false

    func say(json: some Encodable, sheet: @autoclosure () -> Sheet, csv: @autoclosure () -> [[String]]) throws {
        switch output {
        case .json: try sayJSON(json)
        case .csv: Console.line(csv().map(CSV.line).joined(separator: "\n"))
        case .table: sayTable(sheet())
        }
    }

    func sayJSON(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        Console.line(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    func sayTable(_ sheet: Sheet) { Self.sayTable(sheet, wide: wide, hint: "--wide shows them") }

    /// For commands that have no `--wide`.
    static func sayTable(_ sheet: Sheet, wide: Bool = false, hint: String = "a pipe or COLUMNS=200 shows them") {
        let (text, leftOut) = tableText(sheet, wide: wide)
        Console.line(text)
        if !leftOut.isEmpty { Console.note("narrow terminal: without \(leftOut.joined(separator: ", ")) (\(hint))") }
    }

    func tableText(_ sheet: Sheet) -> (text: String, leftOut: [String]) { Self.tableText(sheet, wide: wide) }

    private static func tableText(_ sheet: Sheet, wide: Bool) -> (text: String, leftOut: [String]) {
        let paint: ((String, Sheet.Tone) -> String)? = Terminal.hasColours ? { Terminal.paint($0, $1) } : nil
        let laidOut = sheet.laidOut(width: wide ? nil : Terminal.width, paint: paint)
        return (laidOut.lines.joined(separator: "\n"), laidOut.leftOut.filter { !$0.isEmpty })
    }
}

/// What stdout is connected to.
enum Terminal {
    static var isOutput: Bool { isatty(STDOUT_FILENO) == 1 }
    static var isInput: Bool { isatty(STDIN_FILENO) == 1 }

    /// In lines; nil: stdout is no terminal.
    static var height: Int? {
        var size = winsize()
        guard isOutput, ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0 else { return nil }
        return Int(size.ws_row)
    }

    /// In characters; nil: stdout is no terminal, and nobody said. `COLUMNS` counts where it is given.
    static var width: Int? {
        if let text = ProcessInfo.processInfo.environment["COLUMNS"], let columns = Int(text), columns > 0 { return columns }
        var size = winsize()
        guard isOutput, ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }

    /// https://no-color.org: any value but an empty one.
    static var hasColours: Bool { isOutput && wantsColours }

    /// Whether colours are wanted where there is a terminal.
    static var wantsColours: Bool {
        let environment = ProcessInfo.processInfo.environment
        return environment["NO_COLOR", default: ""].isEmpty && environment["TERM"] != "dumb"
    }

    static func paint(_ text: String, _ tone: Sheet.Tone) -> String {
        switch tone {
        case .good: text.green
        case .warning: text.yellow
        case .bad: text.red
        case .dim: text.dim
        }
    }
}
