import Foundation

/// The drawing of a drill: per partition who acted when, where it was cut, what was repeated. One SVG without scripts or anything from outside;
/// colours come from the page's style.
struct DrillTimeline {
    /// How it is laid out; lengths are the SVG's own units.
    struct Layout {
        var width: Double
        /// Left of the lanes, for their names.
        var gutter: Double
        var lane: Double
        var fontSize: Double
        /// Names of phases and moments that would not fit are left out.
        var hasLongNames: Bool

        static let wide = Layout(width: 1080, gutter: 92, lane: 58, fontSize: 13, hasLongNames: true)
        static let narrow = Layout(width: 420, gutter: 30, lane: 50, fontSize: 12, hasLongNames: false)
    }

    private let report: DrillReport
    private let layout: Layout
    private let top: Double

    private static let right = 12.0
    private static let phaseHeight = 24.0
    private static let gap = 16.0
    /// Names of moments that would lie on each other go below each other.
    private static let momentRows = 3
    /// About a letter's width at font size 1.
    private static let letter = 0.58

    init(_ report: DrillReport, _ layout: Layout) {
        self.report = report
        self.layout = layout
        top = Self.phaseHeight + 34 + 18 * Double(Self.momentRows - 1)
    }

    private var end: Double { max(1, report.timeline.end) }
    private var inner: Double { layout.width - layout.gutter - Self.right }
    private var bottom: Double { top + Double(report.timeline.lanes.count) * (layout.lane + Self.gap) }
    private func x(_ seconds: Double) -> Double { layout.gutter + min(max(0, seconds), end) / end * inner }
    private func n(_ value: Double) -> String { String(format: "%.1f", value) }

    var svg: String {
        let height = bottom + 34
        let parts = [phases, grid] + report.timeline.lanes.enumerated().map { lane($1, number: $0) } + [moments, axis]
        let summary = "Per partition of \(report.origin)'s topics: who acted when, over \(Int(end)) seconds. \(DrillWords.summary(report))"
        return """
            <svg class="timeline" viewBox="0 0 \(n(layout.width)) \(n(height))" role="img" font-size="\(n(layout.fontSize))" aria-label="\(DrillPage.escape(summary))">
            \(parts.joined(separator: "\n"))
            </svg>
            """
    }

    // MARK: Phases

    private var phases: String {
        report.phases.enumerated().map { number, phase in
            let (from, to) = (x(phase.start), x(phase.end ?? end))
            let width = max(0.5, to - from)
            var text = #"<rect class="phase p\#(number % 2)\#(phase.outcome == .failed ? " bad" : "")" x="\#(n(from))" y="0" width="\#(n(width))" height="\#(n(Self.phaseHeight))"><title>"#
            text += DrillPage.escape("\(phase.title): \(DrillWords.moment(phase.start)), \(DrillWords.seconds(phase.end.map { $0 - phase.start }))") + "</title></rect>"
            if Double(phase.title.count) * Self.letter * layout.fontSize + 8 < width {
                text += #"<text class="name" x="\#(n((from + to) / 2))" y="16.5" text-anchor="middle">\#(DrillPage.escape(phase.title))</text>"#
            }
            return text
        }.joined(separator: "\n")
    }

    // MARK: Moments

    private struct Moment {
        let at: Double
        let name: String
        let short: String
        let style: String
    }

    private var moments: String {
        var found: [Moment] = []
        func add(_ mark: DrillMark, _ name: String, _ short: String, _ style: String) {
            if let at = report.marks[mark.rawValue] { found.append(Moment(at: at, name: name, short: short, style: style)) }
        }
        let isForced = report.scenario.isForced
        let fault = report.scenario == .zombie ? "\(report.origin)'s worker stands still" : "\(report.origin) is cut off"
        add(.cut, isForced ? fault : "order to move", isForced ? "cut" : "order", isForced ? "cut" : "order")
        add(.raised, "\(report.target) owns it", report.target, "raised")
        if report.scenario == .datacenterLoss { add(.homeBack, "\(report.origin) is back", "back", "order") }
        if report.scenario == .zombie { add(.faultOver, "the zombie wakes up", "wakes", "order") }
        add(.homeRaised, "\(report.origin) owns it again", report.origin, "raised")
        var rows = Array(repeating: -Double.infinity, count: Self.momentRows)
        let drawn = found.sorted { $0.at < $1.at }.map { moment in
            let name = layout.hasLongNames ? moment.name : moment.short
            let width = Double(name.count) * Self.letter * layout.fontSize
            let isLeft = x(moment.at) + width + 6 > layout.width
            let start = isLeft ? x(moment.at) - width - 6 : x(moment.at)
            let row = rows.firstIndex { $0 < start } ?? rows.indices.min { rows[$0] < rows[$1] } ?? 0
            rows[row] = start + width + 10
            let y = Self.phaseHeight + 20 + Double(row) * 18
            return #"<line class="moment \#(moment.style)" x1="\#(n(x(moment.at)))" x2="\#(n(x(moment.at)))" y1="\#(n(y - 11))" y2="\#(n(bottom - Self.gap + 6))"/>"#
                + #"<text class="moment \#(moment.style)" x="\#(n(x(moment.at) + (isLeft ? -4 : 4)))" y="\#(n(y))"\#(isLeft ? #" text-anchor="end""# : "")>\#(DrillPage.escape(name))</text>"#
        }
        let stops = report.interruptions.map { stop in
            #"<rect class="stopped" x="\#(n(x(stop.stopped)))" y="\#(n(top - 6))" width="\#(n(max(1, x(stop.resumed) - x(stop.stopped))))" height="\#(n(bottom - top))"><title>the drill was interrupted</title></rect>"#
        }
        return (stops + drawn).joined(separator: "\n")
    }

    // MARK: Lanes

    private var most: Double {
        let counts = report.timeline.lanes.flatMap { lane in lane.actions.values.flatMap(\.self) }.filter { $0 > 0 }.sorted()
        // The highest bursts would make everything else invisible.
        return Double(max(4, counts.isEmpty ? 4 : counts[min(counts.count - 1, counts.count * 92 / 100)]))
    }

    private func lane(_ lane: DrillReport.Timeline.Lane, number: Int) -> String {
        let y = top + Double(number) * (layout.lane + Self.gap)
        let base = y + layout.lane
        let name = layout.hasLongNames ? "partition \(lane.partition)" : "\(lane.partition)"
        var text = [
            #"<text class="lane" x="\#(layout.hasLongNames ? "0" : "8")" y="\#(n(y + layout.lane / 2 + 5))">\#(name)</text>"#,
            #"<rect class="ground" x="\#(n(layout.gutter))" y="\#(n(y))" width="\#(n(inner))" height="\#(n(layout.lane))"/>"#,
        ]
        for move in report.moves {
            guard let partition = move.partitions.first(where: { $0.partition == lane.partition }), let from = partition.pauseStart, let to = partition.pauseEnd,
                to > from
            else { continue }
            let what = "nobody acted for \(DrillWords.seconds(partition.pause))"
            text.append(
                #"<rect class="nobody" x="\#(n(x(from)))" y="\#(n(y))" width="\#(n(max(1.5, x(to) - x(from))))" height="\#(n(layout.lane))"><title>\#(what)</title></rect>"#)
            let label = DrillWords.seconds(partition.pause)
            if Double(label.count) * Self.letter * layout.fontSize + 6 < x(to) - x(from) {
                text.append(#"<text class="nobody" x="\#(n((x(from) + x(to)) / 2))" y="\#(n(y + 16))" text-anchor="middle">\#(label)</text>"#)
            }
        }
        text.append(outline(lane.produced, base: base))
        // The origin's own datacenter is always drawn in the first colour.
        for (index, datacenter) in [report.origin, report.target].enumerated() {
            if let counts = lane.actions[datacenter] { text.append(bars(counts, of: "dc\(index)", lane: lane, datacenter, base: base)) }
        }
        text.append(ticks(lane.repeats, "repeat", y1: base + 1, y2: base + 9, "acted on again"))
        text.append(ticks(lane.moved, "moved", y1: y - 7, y2: y, "a retry or delayed event that was pending at the cut"))
        text.append(ticks(lane.lost, "lost", y1: y, y2: base + 9, "lost: produced here, never acted on"))
        return text.joined(separator: "\n")
    }

    /// One path for all bars of a datacenter: hundreds of elements would make a phone slow.
    private func bars(_ counts: [Int], of style: String, lane: DrillReport.Timeline.Lane, _ datacenter: String, base: Double) -> String {
        let width = max(0.8, report.timeline.bucket / end * inner - 0.6)
        var path = ""
        for (index, count) in counts.enumerated() where count > 0 {
            // Where both acted in one bucket the second is drawn on top of the first.
            var floor = base
            if datacenter == report.target, let below = lane.actions[report.origin], index < below.count { floor -= height(below[index]) }
            let height = min(height(count), max(2, floor - (base - layout.lane)))
            path += "M\(n(x(Double(index) * report.timeline.bucket))) \(n(floor))v-\(n(height))h\(n(width))v\(n(height))z"
        }
        return #"<path class="\#(style)" d="\#(path)"><title>actions of \#(DrillPage.escape(datacenter))</title></path>"#
    }

    /// What was produced, as steps behind the bars: where nothing was, nobody had to act.
    private func outline(_ counts: [Int], base: Double) -> String {
        guard counts.contains(where: { $0 > 0 }) else { return "" }
        var path = "M\(n(layout.gutter)) \(n(base))"
        var last = 0
        for (index, count) in (counts + [0]).enumerated() where count != last {
            path += "H\(n(x(Double(index) * report.timeline.bucket)))V\(n(base - height(count)))"
            last = count
        }
        return #"<path class="produced" d="\#(path)"><title>events produced</title></path>"#
    }

    private func height(_ count: Int) -> Double {
        count == 0 ? 0 : max(3, min(1, Double(count) / most) * (layout.lane - 4))
    }

    private func ticks(_ times: [Double], _ style: String, y1: Double, y2: Double, _ title: String) -> String {
        guard !times.isEmpty else { return "" }
        // Ticks that would fall on each other are drawn once.
        let places = Set(times.map { (x($0) * 2).rounded() / 2 }).sorted()
        let path = places.map { "M\(n($0)) \(n(y1))V\(n(y2))" }.joined()
        return #"<path class="\#(style)" d="\#(path)"><title>\#(times.count) × \#(title)</title></path>"#
    }

    // MARK: The axis

    private var step: Double {
        let wanted = end / (layout.hasLongNames ? 12 : 5)
        return [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].first { $0 >= wanted } ?? 7200
    }

    private var grid: String {
        stride(from: 0, through: end, by: step).map {
            #"<line class="grid" x1="\#(n(x($0)))" x2="\#(n(x($0)))" y1="\#(n(top - 6))" y2="\#(n(bottom - Self.gap + 6))"/>"#
        }.joined(separator: "\n")
    }

    private var axis: String {
        stride(from: 0, through: end, by: step).map {
            let isLast = x($0) > layout.width - 30
            return #"<text class="axis" x="\#(n(x($0)))" y="\#(n(bottom + 16))" text-anchor="\#(isLast ? "end" : "middle")">\#(Int($0)) s</text>"#
        }.joined(separator: "\n")
    }
}
