import Checkpoints
import KafkaLog
@testable import Offsets
import TestSupport
import Testing

@Suite("Comparing a log with its mirror")
struct LogComparisonTests {
    private func marks(_ ids: [Int]) -> [RecordMark] {
        ids.enumerated().map { RecordMark(offset: Int64($0), timestamp: nil, timestampType: .none, fingerprint: Fingerprint(bits: UInt64($1))) }
    }

    /// Feeds both in pieces of `piece` records, as they are wanted.
    private func compare(_ first: [Int], _ second: [Int], trimmed: Bool = false, window: Int = 8, piece: Int = 3) -> LogComparison {
        var comparison = LogComparison(isMirrorTrimmed: trimmed, window: window)
        var left = (first: marks(first)[...], second: marks(second)[...])
        while let side = comparison.wants {
            let part = side == .first ? left.first.prefix(piece) : left.second.prefix(piece)
            if side == .first { left.first = left.first.dropFirst(piece) } else { left.second = left.second.dropFirst(piece) }
            comparison.feed(Array(part), to: side, isLast: side == .first ? left.first.isEmpty : left.second.isEmpty)
        }
        return comparison
    }

    private func counts(
        same: Int64 = 0, missing: Int64 = 0, repeated: Int64 = 0, reordered: Int64 = 0, extra: Int64 = 0, trimmed: Int64 = 0, behind: Int64 = 0
    ) -> LogComparison.Counts {
        var counts = LogComparison.Counts()
        (counts.same, counts.missing, counts.repeated, counts.reordered) = (same, missing, repeated, reordered)
        (counts.extra, counts.trimmed, counts.behind) = (extra, trimmed, behind)
        return counts
    }

    @Test("Each kind of difference is counted as what it is, whatever the pieces", arguments: [1, 2, 3, 100])
    func kinds(_ piece: Int) {
        let all = Array(1...10)
        #expect(compare(all, all, piece: piece).counts == counts(same: 10))
        #expect(compare([], [], piece: piece).counts == counts())
        #expect(compare(all, [1, 2, 3, 5, 6, 7, 8, 9, 10], piece: piece).counts == counts(same: 9, missing: 1))
        #expect(compare(all, [1, 2, 3], piece: piece).counts == counts(same: 3, behind: 7))
        #expect(compare(all, [], piece: piece).counts == counts(behind: 10))
        #expect(compare(all, [1, 2, 3, 2, 3, 4, 5, 6, 7, 8, 9, 10], piece: piece).counts == counts(same: 10, repeated: 2))
        #expect(compare(all, [1, 3, 2, 4, 5, 6, 7, 8, 9, 10], piece: piece).counts == counts(same: 9, reordered: 1))
        #expect(compare(all, [1, 2, 77, 3, 4, 5, 6, 7, 8, 9, 10], piece: piece).counts == counts(same: 10, extra: 1))
        #expect(compare(all, [4, 5, 6, 7, 8, 9, 10], trimmed: true, piece: piece).counts == counts(same: 7, trimmed: 3))
        #expect(compare(all, [4, 5, 6, 7, 8, 9, 10], piece: piece).counts == counts(same: 7, missing: 3))
        #expect(compare([4, 5], [1, 2, 3, 4, 5], piece: piece).counts == counts(same: 2, extra: 3))
    }

    @Test("Records of the same contents are counted as often as they stand there")
    func alike() {
        #expect(compare([5, 5, 5, 6], [5, 5, 5, 6]).counts == counts(same: 4))
        #expect(compare([5, 5, 5, 6], [5, 5, 6]).counts == counts(same: 3, missing: 1))
        #expect(compare([5, 6], [5, 5, 6]).counts == counts(same: 2, repeated: 1))
    }

    @Test("Samples say where, and no more than a few")
    func samples() {
        let found = compare(Array(1...40), [1, 2] + Array(20...40), window: 64)
        #expect(found.counts.missing == 17 && found.samples.count == LogComparison.sampleLimit)
        #expect(found.samples.first == LogComparison.Sample(kind: .missing, offset: 2, time: nil, fingerprint: "0000000000000003"))
    }

    @Test("Random logs: nothing that is missing goes uncounted, and an exact mirror with repeats of runs loses nothing")
    func random() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<300 {
            let count = Int.random(in: 1...60, using: &random)
            let first = Array(1...count)
            var second: [Int] = []
            var lost: Set<Int> = []
            for id in first {
                if Int.random(in: 0..<15, using: &random) == 0 { lost.insert(id) } else { second.append(id) }
                if Int.random(in: 0..<12, using: &random) == 0 { second += second.suffix(Int.random(in: 0...4, using: &random)) }
            }
            let last = second.max() ?? 0
            let found = compare(first, second, window: 16, piece: Int.random(in: 1...7, using: &random)).counts
            let expected = Int64(lost.count { $0 < last })
            #expect(found.missing == expected && found.behind == Int64(count - last), "\(first) against \(second): \(found)")
            #expect(found.same + found.reordered == Int64(count - lost.count))
        }
    }
}
