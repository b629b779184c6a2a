@testable import Offsets
import Testing

@Suite("Tables and CSV")
struct SheetTests {
    private static let sheet = Sheet(
        [.init("TOPIC", shrinksTo: 8), .init("LAG", isNumber: true), .init("STATE"), .init("MORE", rank: 1), .init("MOST", rank: 9)],
        rows: [
            [.init("eqiad.mediawiki.recentchange"), .init("12"), .init("idle", .good), .init("a longer text"), .init("x")],
            [.init("codfw.y"), .init("-"), .init("stuck", .bad), .init(""), .init("y")],
        ])

    @Test("Everything where there is room")
    func wide() {
        let (lines, leftOut) = Self.sheet.laidOut(width: nil)
        #expect(leftOut.isEmpty)
        #expect(
            lines == [
                "TOPIC                         LAG  STATE  MORE           MOST",
                "eqiad.mediawiki.recentchange   12  idle   a longer text  x",
                "codfw.y                         -  stuck                 y",
            ])
    }

    @Test("Less important columns go first, then long texts are cut, names in their middle")
    func narrow() {
        let (lines, leftOut) = Self.sheet.laidOut(width: 40)
        #expect(leftOut == ["MOST"])
        #expect(lines.allSatisfy { $0.count <= 40 } && lines[1].contains("…"), "\(lines)")
        let (least, gone) = Self.sheet.laidOut(width: 22)
        #expect(gone == ["MORE", "MOST"] && least.allSatisfy { $0.count <= 22 } && least[1].contains("…"), "\(least)")
    }

    @Test("Colours change no width")
    func colours() {
        let (plain, _) = Self.sheet.laidOut(width: nil)
        let (painted, _) = Self.sheet.laidOut(width: nil) { "<\($1)>\($0)</>" }
        #expect(painted[1].contains("<good>idle</>") && painted[2].contains("<bad>stuck</>"))
        #expect(painted.map { $0.replacing(/<[^>]*>/, with: "") } == plain)
    }

    @Test("CSV is read as it is written, whatever is in it", arguments: [["a", "b,c", "d\"e", ""], ["", ""], ["line\nbreak", "é"], [""]])
    func roundTrip(_ fields: [String]) throws {
        let read = try CSV.records("h\r\n" + CSV.line(fields) + "\n")
        #expect(read.first?.fields == ["h"])
        #expect(fields == [""] ? read.count == 1 : read.last?.fields == fields && read.last?.line == 2)
    }

    @Test("What is no CSV says where")
    func wrong() {
        #expect(throws: CSV.Wrong(line: 2, what: "a field in quotes does not end")) { try CSV.records("a\n\"b") }
        #expect(throws: CSV.Wrong.self) { try CSV.records("a\"b") }
    }
}
