import Demo
import Foundation

/// Two panels over the same time: memory above, descriptors below; a line per process, broken where it was killed.
struct SoakPlot {
    let samples: SoakSamples
    let parts: [TwoSites.Part]
    let title: String

    private static let colors = ["#0b62a4", "#d1495b", "#2e8b57", "#8a5fbf"]
    private static let (width, panel, left, right, top, gap) = (960.0, 240.0, 64.0, 24.0, 92.0, 56.0)
    /// Points of a line: more can't be told apart.
    private static let mostPoints = 800

    private var end: Double { max(1, samples.all.map(\.at).max() ?? 1) }

    var svg: String {
        let height = Self.top + 2 * Self.panel + Self.gap + 48
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(Int(Self.width)) \(Int(height))\" font-family=\"sans-serif\" font-size=\"13\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
            Self.text(Self.left, 26, title, "font-size=\"17\" font-weight=\"600\""),
        ]
        lines += legend()
        lines += marks(height)
        lines += panel(at: Self.top, "memory, MiB", \.resident)
        lines += panel(at: Self.top + Self.panel + Self.gap, "open file descriptors", \.descriptors)
        lines += times(below: Self.top + 2 * Self.panel + Self.gap)
        return (lines + ["</svg>"]).joined(separator: "\n") + "\n"
    }

    private func x(_ at: Double) -> Double { Self.left + at / end * (Self.width - Self.left - Self.right) }

    private static func n(_ value: Double) -> String { String(format: "%.1f", value) }

    private static func text(_ x: Double, _ y: Double, _ text: String, _ more: String = "") -> String {
        let safe = text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
        return "<text x=\"\(n(x))\" y=\"\(n(y))\" fill=\"#222\" \(more)>\(safe)</text>"
    }

    private func legend() -> [String] {
        var lines: [String] = []
        var at = Self.left
        for (index, name) in (parts.map(\.description) + ["handover", "kill -9"]).enumerated() {
            let color = index < parts.count ? Self.colors[index % Self.colors.count] : index == parts.count ? "#9a9a9a" : "#e07b00"
            let dash = index < parts.count ? "" : "stroke-dasharray=\"\(index == parts.count ? "2 3" : "6 3")\""
            lines.append("<line x1=\"\(Self.n(at))\" x2=\"\(Self.n(at + 22))\" y1=\"48\" y2=\"48\" stroke=\"\(color)\" stroke-width=\"2\" \(dash)/>")
            lines.append(Self.text(at + 28, 52, name))
            at += 28 + Double(name.count) * 7.4 + 22
        }
        return lines
    }

    private func marks(_ height: Double) -> [String] {
        samples.marks.map { mark in
            let at = Self.n(x(min(mark.at, end)))
            return "<line x1=\"\(at)\" x2=\"\(at)\" y1=\"\(Self.n(Self.top))\" y2=\"\(Self.n(height - 48))\" stroke=\"\(mark.isKill ? "#e07b00" : "#b5b5b5")\" "
                + "stroke-width=\"1\" stroke-dasharray=\"\(mark.isKill ? "6 3" : "2 3")\"/>"
        }
    }

    private func panel(at top: Double, _ name: String, _ value: (SoakSamples.Sample) -> Double) -> [String] {
        let step = Self.step((samples.all.map(value).max() ?? 1) * 1.05, ticks: 5)
        let most = step * ((samples.all.map(value).max() ?? 1) * 1.05 / step).rounded(.up)
        func y(_ value: Double) -> Double { top + Self.panel * (1 - value / most) }
        var lines = [Self.text(Self.left, top - 8, name, "font-weight=\"600\"")]
        for tick in stride(from: 0, through: most, by: step) {
            lines.append(
                "<line x1=\"\(Self.n(Self.left))\" x2=\"\(Self.n(Self.width - Self.right))\" y1=\"\(Self.n(y(tick)))\" y2=\"\(Self.n(y(tick)))\" stroke=\"#e4e4e4\"/>")
            lines.append(Self.text(Self.left - 8, y(tick) + 4, String(format: step < 1 ? "%.1f" : "%.0f", tick), "text-anchor=\"end\""))
        }
        for (index, part) in parts.enumerated() {
            for life in samples.lives(of: part) {
                let every = max(1, life.samples.count / Self.mostPoints)
                let points = life.samples.enumerated().filter { $0.offset % every == 0 }.map { "\(Self.n(x($0.element.at))),\(Self.n(y(value($0.element))))" }
                lines.append(
                    "<polyline fill=\"none\" stroke=\"\(Self.colors[index % Self.colors.count])\" stroke-width=\"1.6\" points=\"\(points.joined(separator: " "))\"/>")
            }
        }
        return lines
    }

    private func times(below y: Double) -> [String] {
        let minutes = end / 60
        let step = Self.step(minutes, ticks: 8)
        return stride(from: 0, through: minutes, by: step).map {
            Self.text(x($0 * 60), y + 18, String(format: step < 1 ? "%.1f" : "%.0f", $0), "text-anchor=\"middle\"")
        } + [Self.text((Self.left + Self.width - Self.right) / 2, y + 38, "minutes", "text-anchor=\"middle\"")]
    }

    /// 1, 2 or 5 times a power of ten, so that there are about so many ticks.
    private static func step(_ range: Double, ticks: Double) -> Double {
        let rough = max(range, 0.001) / ticks
        let power = pow(10, floor(log10(rough)))
        return ([1, 2, 5, 10].first { $0 * power >= rough } ?? 10) * power
    }
}
