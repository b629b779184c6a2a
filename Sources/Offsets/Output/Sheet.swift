/// A table of text that fits its terminal: less important columns are left out where it is narrow, and then long texts are cut. Colours
/// are put on after everything has its width.
public struct Sheet: Sendable {
    /// What a cell's contents mean, for terminals with colours.
    public enum Tone: Sendable, Hashable { case good, warning, bad, dim }

    public struct Cell: Sendable, Hashable {
        public var text: String
        public var tone: Tone?
        public init(_ text: String, _ tone: Tone? = nil) {
            self.text = text
            self.tone = tone
        }
    }

    public struct Column: Sendable, Hashable {
        public var title: String
        public var isNumber: Bool
        /// 0: always shown. Higher ones are left out first where the terminal is narrow.
        public var rank: Int
        /// Its text may be cut to this width where the terminal is narrow; nil: never.
        public var shrinksTo: Int?
        public init(_ title: String, isNumber: Bool = false, rank: Int = 0, shrinksTo: Int? = nil) {
            self.title = title
            self.isNumber = isNumber
            self.rank = rank
            self.shrinksTo = shrinksTo
        }
    }

    public var columns: [Column]
    public var rows: [[Cell]]

    public init(_ columns: [Column], rows: [[Cell]]) {
        self.columns = columns
        self.rows = rows
    }

    /// - Parameters:
    ///   - width: of the terminal in characters; nil: everything is shown.
    ///   - paint: puts a tone on a text; nil: no colours.
    /// - Returns: the lines, and the titles of columns that had no room.
    public func laidOut(width: Int?, paint: ((String, Tone) -> String)? = nil) -> (lines: [String], leftOut: [String]) {
        var widths = columns.indices.map { index in
            rows.reduce(columns[index].title.count) { max($0, index < $1.count ? $1[index].text.count : 0) }
        }
        var shown = Array(columns.indices)
        func total() -> Int { shown.reduce(0) { $0 + widths[$1] } + Self.gap * max(0, shown.count - 1) }
        if let width {
            while total() > width, let drop = shown.filter({ columns[$0].rank > 0 }).max(by: { columns[$0].rank < columns[$1].rank }) {
                // What matters most is not left out where cutting alone is enough.
                let spare = shown.reduce(0) { $0 + max(0, widths[$1] - (columns[$1].shrinksTo ?? widths[$1])) }
                if columns[drop].rank <= Self.cutBefore, total() - spare <= width { break }
                shown.removeAll { $0 == drop }
            }
            while total() > width,
                let cut = shown.filter({ widths[$0] > columns[$0].shrinksTo ?? .max }).max(by: { widths[$0] < widths[$1] })
            { widths[cut] -= 1 }
        }
        let leftOut = columns.indices.filter { !shown.contains($0) }.map { columns[$0].title }
        var lines = [line(shown.map { (Cell(columns[$0].title), $0) }, widths, nil)]
        for row in rows {
            lines.append(line(shown.map { ($0 < row.count ? row[$0] : Cell(""), $0) }, widths, paint))
        }
        return (lines, leftOut)
    }

    /// Columns up to this rank are worth a cut text.
    private static let cutBefore = 2
    /// Between columns.
    private static let gap = 2

    /// In the middle: topics differ in their prefix and in their end.
    static func cut(_ text: String, to width: Int) -> String {
        let head = max(0, (width - 1) * 2 / 5)
        return text.prefix(head) + "…" + text.suffix(max(0, width - 1 - head))
    }

    private func line(_ cells: [(Cell, Int)], _ widths: [Int], _ paint: ((String, Tone) -> String)?) -> String {
        var text = ""
        for (position, (cell, index)) in cells.enumerated() {
            if position > 0 { text += String(repeating: " ", count: Self.gap) }
            let isLast = position == cells.count - 1
            let count = cell.text.count
            let shown = count <= widths[index] ? cell.text : Self.cut(cell.text, to: widths[index])
            let padding = String(repeating: " ", count: max(0, widths[index] - min(count, widths[index])))
            let painted = cell.tone.flatMap { tone in paint.map { $0(shown, tone) } } ?? shown
            text += columns[index].isNumber ? padding + painted : isLast ? painted : painted + padding
        }
        while text.last == " " { text.removeLast() }
        return text
    }
}
