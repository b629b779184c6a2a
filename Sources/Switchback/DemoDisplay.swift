import Demo
import Foundation
import Rainbow
import Synchronization

/// Shows what happens in the demonstration: on a terminal with a bar that stays at the bottom, otherwise as plain lines.
final class DemoDisplay: Sendable {
    enum Stream: Int32, Sendable {
        case standardOutput = 1
        case standardError = 2
    }

    private struct State {
        var hasBar = false
        var lastPlainStatus = -10.0
        var last: DemoStatus?
    }

    private let descriptor: Int32
    private let isTerminal: Bool
    private let hasColor: Bool
    private let state = Mutex(State())

    /// Between two lines of status where there is no terminal, in seconds.
    private static let plainInterval = 2.0
    private static let barWidth = 12

    init(stream: Stream) {
        descriptor = stream.rawValue
        isTerminal = isatty(stream.rawValue) == 1
        hasColor = isTerminal && Terminal.wantsColours
    }

    func show(_ line: DemoLine) {
        let at = String(format: "%5.1f s  ", line.at)
        state.withLock { state in
            switch line.message {
            case .step(let text): write(paint(at, .lightBlack) + paint(text, .bold), &state)
            case .note(let text): write(paint(at, .lightBlack) + "   " + text, &state)
            case .status(let status):
                if isTerminal {
                    state.last = status
                    drawBar(&state)
                } else if line.at - state.lastPlainStatus >= Self.plainInterval, status.sides.contains(where: { $0.produced > 0 }),
                    state.last?.sides != status.sides
                {
                    (state.lastPlainStatus, state.last) = (line.at, status)
                    write(at + "   " + status.sides.map(Self.words).joined(separator: "; "), &state)
                }
            }
        }
    }

    /// Takes the bar away.
    func finish() {
        state.withLock { state in
            clear(&state)
            state.last = nil
        }
    }

    private static func words(_ side: DemoStatus.Side) -> String {
        let who = side.isUp ? "" : ", \(side.datacenter) is down"
        let owner = side.owner.map { ", \($0) acts" } ?? ""
        return "\(side.datacenter).*: \(side.produced) produced, \(side.acted) acted on, \(side.waiting) waiting\(owner)\(who)"
    }

    // MARK: Terminals

    private func write(_ text: String, _ state: inout State) {
        clear(&state)
        put(text + "\n")
        drawBar(&state)
    }

    private func clear(_ state: inout State) {
        if state.hasBar { put("\r\u{1B}[K") }
        state.hasBar = false
    }

    private func drawBar(_ state: inout State) {
        guard isTerminal, let status = state.last else { return }
        let filled = Int((status.done * Double(Self.barWidth)).rounded())
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: Self.barWidth - filled)
        let sides = status.sides.map { side in
            "\(side.isUp ? "●" : "✗") \(side.datacenter).* \(side.produced)→\(side.acted), \(side.waiting) waiting"
        }
        let line = "\(bar) " + sides.joined(separator: "  ")
        clear(&state)
        // A line that wraps can't be taken back.
        put(paint(String(line.prefix(max(10, width() - 1))), status.sides.allSatisfy(\.isUp) ? .green : .yellow))
        state.hasBar = true
    }

    private func width() -> Int {
        var size = winsize()
        return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    private enum Paint { case bold, lightBlack, green, yellow }

    private func paint(_ text: String, _ paint: Paint) -> String {
        guard hasColor else { return text }
        let segment =
            switch paint {
            case .bold: Rainbow.Segment(text: text, styles: [.bold])
            case .lightBlack: Rainbow.Segment(text: text, color: .named(.lightBlack))
            case .green: Rainbow.Segment(text: text, color: .named(.green))
            case .yellow: Rainbow.Segment(text: text, color: .named(.yellow))
            }
        return Rainbow.generateString(for: Rainbow.Entry(segments: [segment]))
    }

    private func put(_ text: String) { Console.write(text, to: descriptor) }
}
