import Checkpoints
import TestSupport
import Testing

@testable import ChangePropagation

@Suite("The last identities of a partition")
struct RecentIdentitiesTests {
    @Test("It knows just the last so many, whatever comes", arguments: [0, 1, 2, 7, 64])
    func property(_ limit: Int) {
        var random = SeededGenerator.forTest("the last \(limit) identities")
        for _ in 0..<20 {
            var recent = RecentIdentities(limit: limit)
            var model: [UInt64] = []
            // Few values, many with the same home: runs of them wrap around the table's end.
            let values = (0..<UInt64(max(4, 2 * limit))).map { $0 % 3 == 0 ? $0 << 32 | 15 : $0 &* 0x9E37_79B9_7F4A_7C15 }
            for step in 0..<2_000 {
                if step % 701 == 700 {
                    recent.removeAll()
                    model = []
                }
                let value = values.randomElement(using: &random) ?? 0
                // 0 and 1 are kept as one: a repeat too many is dropped in one of 2^63 pairs.
                let kept = max(1, value)
                let isNew = !model.contains(kept)
                #expect(recent.insert(Fingerprint(bits: value)) == isNew)
                if isNew, limit > 0 {
                    model.append(kept)
                    if model.count > limit { model.removeFirst() }
                }
            }
        }
    }
}
