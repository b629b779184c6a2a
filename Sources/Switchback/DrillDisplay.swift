import Drill
import Foundation
import Rainbow
import Synchronization

/// Shows what happens in a drill: on a terminal with a line that stays at the bottom, otherwise as plain lines.
final class DrillDisplay: Sendable {
    private struct State {
        var hasBar = false
        var last: String?
        var lastPlain = -10.0
    }

    private let descriptor: Int32
    private let isTerminal: Bool
    private let hasColor: Bool
    private let state = Mutex(State())

    private static let plainInterval = 5.0

    init(_ stream: DemoDisplay.Stream) {
        descriptor = stream.rawValue
        isTerminal = isatty(stream.rawValue) == 1
        hasColor = isTerminal && Terminal.wantsColours
    }

    func show(_ line: DrillLine) {
        let at = String(format: "%6.1f s  ", line.at)
        state.withLock { state in
            switch line.message {
            case .phase(_, let title): write(at + paint(title, .bold), &state)
            case .phaseEnded(_, .done, let detail): write(at + "  " + paint("✓ ", .green) + detail, &state)
            case .phaseEnded(_, .skipped, let detail): write(at + "  - skipped: " + detail, &state)
            case .phaseEnded(_, let outcome, let detail): write(at + "  " + paint("✗ \(outcome.rawValue): ", .red) + detail, &state)
            case .note(let text): write(at + "  " + text, &state)
            case .status(let produced, let acted, let waiting, let phase, let total):
                let text = "\(produced) produced, \(acted) acted on, \(waiting) waiting"
                if isTerminal {
                    let bar = String(repeating: "█", count: phase) + String(repeating: "░", count: max(0, total - phase))
                    state.last = "\(bar) \(String(format: "%.0f s", line.at))  \(text)"
                    draw(&state)
                } else if produced > 0, line.at - state.lastPlain >= Self.plainInterval {
                    state.lastPlain = line.at
                    write(at + "  " + text, &state)
                }
            }
        }
    }

    /// Takes the line at the bottom away.
    func finish() {
        state.withLock { state in
            clear(&state)
            state.last = nil
        }
    }

    private func write(_ text: String, _ state: inout State) {
        clear(&state)
        Console.write(text + "\n", to: descriptor)
        draw(&state)
    }

    private func clear(_ state: inout State) {
        if state.hasBar { Console.write("\r\u{1B}[K", to: descriptor) }
        state.hasBar = false
    }

    private func draw(_ state: inout State) {
        guard isTerminal, let last = state.last else { return }
        clear(&state)
        // A line that wraps can't be taken back.
        Console.write(String(last.prefix(max(10, width() - 1))), to: descriptor)
        state.hasBar = true
    }

    private func width() -> Int {
        var size = winsize()
        return ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 80
    }

    private enum Paint { case bold, green, red }

    private func paint(_ text: String, _ paint: Paint) -> String {
        guard hasColor else { return text }
        let segment =
            switch paint {
            case .bold: Rainbow.Segment(text: text, styles: [.bold])
            case .green: Rainbow.Segment(text: text, color: .named(.green))
            case .red: Rainbow.Segment(text: text, color: .named(.red))
            }
        return Rainbow.generateString(for: Rainbow.Entry(segments: [segment]))
    }
}
