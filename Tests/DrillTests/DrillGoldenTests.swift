import Foundation
import Testing

@testable import Drill

/// Outputs of the fixed drill, letter by letter. `SWITCHBACK_GOLDEN=write` writes them anew, to be looked at before they are committed.
@Suite("A drill's report, as it is written")
struct DrillGoldenTests {
    private func expect(_ text: String, is name: String, from file: String = #filePath) throws {
        let golden = URL(fileURLWithPath: file).deletingLastPathComponent().appending(path: "Golden/\(name)")
        if ProcessInfo.processInfo.environment["SWITCHBACK_GOLDEN"] == "write" { try Data(text.utf8).write(to: golden) }
        let wanted = try String(contentsOf: golden, encoding: .utf8)
        guard text != wanted else { return }
        let (a, b) = (wanted.split(separator: "\n", omittingEmptySubsequences: false), text.split(separator: "\n", omittingEmptySubsequences: false))
        let line = zip(a, b).enumerated().first { $1.0 != $1.1 }?.offset ?? min(a.count, b.count)
        Issue.record("\(name):\(line + 1) is '\(b.indices.contains(line) ? b[line] : "")', not '\(a.indices.contains(line) ? a[line] : "")'")
    }

    @Test("JSON") func json() throws { try expect(try DrillJSON(try FixedDrill.report()).text, is: "report.json") }
    @Test("Markdown") func markdown() throws { try expect(DrillMarkdown(try FixedDrill.report()).text, is: "report.md") }
    @Test("The drawing, wide") func wide() throws { try expect(DrillTimeline(try FixedDrill.report(), .wide).svg + "\n", is: "timeline-wide.svg") }
    @Test("The drawing, narrow") func narrow() throws { try expect(DrillTimeline(try FixedDrill.report(), .narrow).svg + "\n", is: "timeline-narrow.svg") }
    @Test("The summary at the end") func summary() throws { try expect(DrillSummary(try FixedDrill.report()).text + "\n", is: "summary.txt") }

    @Test("The page needs nothing from outside, runs nothing, and takes no text for markup")
    func page() throws {
        let html = DrillPage(try FixedDrill.report()).html
        for word in ["<script", "http://", "https://", "@import", "url("] { #expect(!html.contains(word), "\(word)") }
        #expect(html.contains("monthly &lt;rehearsal&gt; &amp; test") && !html.contains("<rehearsal>"))
        #expect(html.contains("e15"), "the lost id is named")
    }

    @Test("JSON reads back as what was written")
    func roundTrip() throws {
        let report = try FixedDrill.report()
        #expect(try JSONDecoder().decode(DrillReport.self, from: Data(DrillJSON(report).text.utf8)) == report)
    }
}
