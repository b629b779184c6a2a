import Foundation
import KafkaLog
@testable import Offsets
import Testing

/// The outputs of the commands that are not a group's snapshot, letter by letter.
@Suite("What rewinds, translations, peeks and comparisons look like")
struct OutputTests {
    static var rewind: RewindPlan {
        func line(_ partition: Int32, _ prior: Int64?, _ new: Int64?, _ outcome: RewindPlan.Outcome) -> RewindPlan.Line {
            var line = RewindPlan.Line(origin: "eqiad", topic: "eqiad.page.change", partition: partition, owner: "eqiad", datacenter: "eqiad", outcome: outcome)
            line.priorOffset = prior
            line.newOffset = new
            line.records = prior.flatMap { prior in new.map { prior - $0 } }
            return line
        }
        var back = line(0, 100, 60, .planned)
        (back.priorTime, back.newTime, back.milliseconds) = (1_772_330_584_000, 1_772_330_184_500, 399_500)
        var over = line(1, 60, 100, .planned)
        (over.newTime, over.milliseconds) = (1_772_330_585_000, -90_000)
        var refused = line(3, 5, nil, .refused)
        refused.problem = "offset 500 is not in eqiad's log: 0 to 100 would be right"
        var unchanged = line(2, 7, 7, .unchanged)
        unchanged.milliseconds = 0
        return RewindPlan(group: "demo-purge", to: "offset 60", at: 1_772_330_590_000, lines: [back, over, unchanged, refused, line(4, nil, 3, .planned)])
    }

    static let translations = [
        Translation(
            topic: "eqiad.page.change", partition: 0, from: "eqiad", fromOffset: 60, time: 1_772_330_584_000, to: "codfw", toOffset: 63, method: "tail", isConfirmed: true),
        Translation(topic: "eqiad.page.change", partition: 1, from: "eqiad", fromOffset: 60, to: "codfw", toOffset: 40, method: "time", isConfirmed: false, problem: "the mirror has not brought it yet"),
        Translation(topic: "eqiad.page.change", partition: 2, from: "eqiad", fromOffset: 600, to: "codfw", isConfirmed: false, problem: "not in eqiad's log (0 to 100 would be right)"),
    ]

    static let peeked = [
        PeekedRecord(
            topic: "eqiad.page.change", partition: 0, datacenter: "eqiad", offset: 59, isNext: false, time: 1_772_330_583_000, timestampType: "createTime",
            fingerprint: "00000000000000aa", key: "page/7", value: "{\"a\":\"\u{7}[31m and a value that is too long for a narrow terminal\"}", valueSize: 57),
        PeekedRecord(
            topic: "eqiad.page.change", partition: 0, datacenter: "eqiad", offset: 60, isNext: true, timestampType: "none", fingerprint: "00000000000000ab"),
    ]

    static var difference: LogDifference {
        var bad = LogComparison.Counts()
        (bad.same, bad.missing, bad.repeated, bad.reordered, bad.extra, bad.trimmed, bad.behind) = (90, 2, 3, 1, 4, 10, 5)
        var good = LogComparison.Counts()
        good.same = 1000
        return LogDifference(
            first: "eqiad", second: "codfw",
            partitions: [
                .init(topic: "eqiad.page.change", partition: 0, counts: good, samples: [], problem: nil),
                .init(
                    topic: "eqiad.page.change", partition: 1, counts: bad,
                    samples: [.init(kind: .missing, offset: 12, time: 1_772_330_584_000, fingerprint: "00000000000000aa")], problem: nil),
                .init(topic: "eqiad.page.change", partition: 2, counts: .init(), samples: [], problem: "codfw does not have it"),
            ])
    }

    static var texts: [String: String] {
        func table(_ sheet: Sheet, _ width: Int?) -> String { sheet.laidOut(width: width).lines.joined(separator: "\n") }
        func csv(_ rows: [[String]]) -> String { rows.map(CSV.line).joined(separator: "\n") }
        func json(_ value: some Encodable) -> String {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return (try? encoder.encode(value)).map { String(decoding: $0, as: UTF8.self) } ?? ""
        }
        var streams = GroupStream(group: "demo-purge", origin: "eqiad", stream: "page.change", topic: "eqiad.page.change", partitions: 4, owners: ["eqiad", "codfw"], epoch: 3, phase: "draining")
        streams.partitions = 4
        var narrow = difference
        narrow.partitions.removeLast(2)
        return [
            "rewind80": table(rewind.sheet(isDone: false), 80), "rewindWide": table(rewind.sheet(isDone: true), nil), "rewindCSV": csv(rewind.csv), "rewindJSON": json(rewind),
            "rewindSummary": rewind.summary, "translateWide": table(Translation.sheet(translations), nil), "translate80": table(Translation.sheet(translations), 80),
            "translateCSV": csv(Translation.csv(translations)), "translateJSON": json(translations), "peek80": table(PeekedRecord.sheet(peeked), 80),
            "peekWide": table(PeekedRecord.sheet(peeked), nil), "peekJSON": json(peeked), "peekCSV": csv(PeekedRecord.csv(peeked)), "diff80": table(difference.sheet, 80),
            "diff60": table(difference.sheet, 60), "diffCSV": csv(difference.csv), "diffJSON": json(narrow), "diffSummary": difference.summary,
            "diffRemarks": difference.remarks.joined(separator: "\n"), "list80": table(GroupStream.sheet([streams]), 80), "listCSV": csv(GroupStream.csv([streams])), "listJSON": json([streams]),
        ]
    }

    @Test("Every output is what it was", arguments: Golden.outputs.keys.sorted())
    func same(_ name: String) { #expect(Self.texts[name] == Golden.outputs[name]) }

    @Test("Where nothing could be compared, nothing is said to be there")
    func notCompared() {
        let lines = (0..<2).map { LogDifference.Line(topic: "eqiad.page", partition: $0, counts: .init(), samples: [], problem: "codfw does not have it") }
        let difference = LogDifference(first: "eqiad", second: "codfw", partitions: lines)
        #expect(!difference.isGood)
        #expect(difference.summary.hasPrefix("2 partitions, 0 records the same: not one could be compared to its end; "))
    }

    @Test("No output is left out; tables fit their width; verdicts")
    func whole() {
        #expect(Set(Self.texts.keys) == Set(Golden.outputs.keys))
        for (name, text) in Self.texts where name.hasSuffix("80") || name.hasSuffix("60") {
            let width = Int(name.suffix(2)) ?? 0
            #expect(text.split(separator: "\n").allSatisfy { $0.count <= width }, "\(name)")
        }
        #expect(!Self.difference.isGood && Self.rewind.toDo == 3 && Self.rewind.refused.count == 1)
        #expect(Self.texts["peekWide"]?.contains("\u{7}") == false, "a record must not steer the terminal")
    }
}
