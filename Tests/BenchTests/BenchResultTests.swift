import Demo
import Foundation
import Testing

@testable import Bench

@Suite("What the benchmarks make of their figures")
struct BenchResultTests {
    private static let worker = TwoSites.Part.worker(TwoSites.home)

    /// A process that is killed half way, and whose memory is `memory(seconds)`.
    private static func samples(_ memory: (Double) -> Double, _ descriptors: (Double) -> Double = { _ in 40 }) -> SoakSamples {
        let samples = SoakSamples()
        for second in 0..<600 {
            let at = Double(second)
            samples.add(.init(part: worker, pid: second < 300 ? 1 : 2, at: at, resident: memory(at), descriptors: descriptors(at)))
        }
        return samples
    }

    @Test("a process that grows only while it warms up is flat, one that goes on growing is not")
    func flatness() {
        let flat = SoakVerdict(Self.samples { 60 + min(30, $0.truncatingRemainder(dividingBy: 300) / 2) }, parts: [Self.worker])
        #expect(flat.complaints.isEmpty)
        #expect(flat.lines.count == 2)
        let leaking = SoakVerdict(Self.samples { 60 + $0 / 5 }, parts: [Self.worker])
        #expect(leaking.complaints.count == 2)
        let leaky = SoakVerdict(Self.samples({ _ in 60 }, { 40 + $0 / 10 }), parts: [Self.worker])
        #expect(leaky.complaints.allSatisfy { $0.contains("descriptors grow") })
        #expect(leaky.complaints.count == 2)
        // Its rules' connections: open while it acts, which it does more and more often.
        let busy = SoakVerdict(Self.samples({ _ in 60 }, { Int($0 / 15) % 4 < Int($0 / 100) % 3 + 1 ? 105 : 51 }), parts: [Self.worker])
        #expect(busy.complaints.isEmpty, "\(busy.complaints)")
        // Without the work for a while early, and with it all the time late.
        let away = SoakVerdict(Self.samples({ _ in 60 }, { (110..<130).contains($0.truncatingRemainder(dividingBy: 300)) ? 51 : 105 }), parts: [Self.worker])
        #expect(away.complaints == [] && away.lines.first?.contains("51 to 105 -> 105 to 105") == true, "\(away.lines)")
        let both = SoakVerdict(Self.samples({ _ in 60 }, { (Int($0 / 15) % 2 == 0 ? 105 : 51) + $0 / 4 }), parts: [Self.worker])
        #expect(both.complaints.count == 2)
    }

    @Test("a run in which no process lived long enough is not called flat")
    func tooShort() {
        let samples = SoakSamples()
        for second in 0..<60 { samples.add(.init(part: Self.worker, pid: 1, at: Double(second), resident: 1, descriptors: 1)) }
        #expect(!SoakVerdict(samples, parts: [Self.worker]).complaints.isEmpty)
    }

    @Test("the plot is well-formed, with a line for each life")
    func plot() throws {
        let svg = SoakPlot(samples: Self.samples { 50 + $0 / 100 }, parts: [Self.worker], title: "a <soak> & more").svg
        #expect(svg.components(separatedBy: "<polyline").count - 1 == 4)
        #expect(svg.contains("a &lt;soak> &amp; more"))
        #expect(!svg.contains("nan") && !svg.contains("inf"))
    }

    @Test("a goal that is missed, and a row that failed, stand in the report")
    func report() throws {
        var row = RowResult(row: "x", name: "example", load: "nothing")
        row.goals = [
            .init(what: "ratio", value: 0.5, atLeast: 0.6), .init(what: "memory", value: 64, atMost: 64, unit: " MiB"), .init(what: "told", value: 2.5),
        ]
        row.sides = [.init(name: "side", rate: 1000, cpu: 0.25)]
        #expect(!row.isMet)
        let copy = try JSONDecoder().decode(RowResult.self, from: JSONEncoder().encode(row))
        #expect(copy.table == row.table)
        let text = BenchReport(results: [copy], failed: ["mirror"], runs: 3).markdown
        #expect(text.contains("| (x) example | ratio | 0.500 | at least 0.600 | **no** |"))
        #expect(text.contains("| (x) example | memory | 64 MiB | at most 64 MiB | yes |"))
        #expect(text.contains("| mirror | failed in this run: no figures |"))
        #expect(text.contains("- (x) example, ratio: 0.500; at least 0.600 is the goal."))
    }

    @Test("What holds a row back is where the report says that it is")
    func linksLead() throws {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Docs/Performance.md")
        // As a heading becomes an anchor: lower case, spaces to dashes, nothing but letters, digits and dashes.
        let headings = try String(contentsOf: page, encoding: .utf8).split(separator: "\n").filter { $0.hasPrefix("## ") }
        let anchors = headings.map { heading -> String in
            let dashed = heading.dropFirst(3).lowercased().replacing(" ", with: "-")
            return "Performance.md#" + String(dashed.filter { $0.isLetter || $0.isNumber || $0 == "-" })
        }
        for (row, link) in BenchReport.explained { #expect(anchors.contains(link), "row \(row)") }
    }
}
