import Foundation
import NIOCore
import Testing

@testable import LocalKafka

@Suite struct GroupOffsetLogTests {
    static func set(_ group: String, _ partition: Int32, _ offset: Int64?) -> OffsetLog.Entry {
        .set(
            group: group,
            [
                GroupPartition(topic: "t", partition: partition): offset.map {
                    CommittedOffset(offset: $0, leaderEpoch: 2, metadata: "m\($0)")
                }
            ])
    }

    private func withFile(_ body: (URL) throws -> Void) rethrows {
        let url = FileManager.default.temporaryDirectory.appendingPathComponent("offsets-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: url) }
        try body(url)
    }

    @Test func entriesComeBackInOrder() throws {
        try withFile { url in
            let entries = [Self.set("g", 0, 1), Self.set("g", 1, 7), Self.set("g", 0, nil), .deleteGroup("h")]
            var (log, found) = try OffsetLog.open(url)
            #expect(found.entries.isEmpty)
            for entry in entries { try log.append(entry) }
            let again = try OffsetLog.open(url).recovered
            #expect(again.entries == entries)
            #expect(again.bytesDropped == 0)
        }
    }

    /// Whatever part of the last write reached the file, what was acknowledged before is there.
    @Test func aTornEndIsCutOffAndWritingGoesOn() throws {
        try withFile { url in
            var (log, _) = try OffsetLog.open(url)
            try log.append(Self.set("g", 0, 1))
            let good = try Data(contentsOf: url)
            try log.append(Self.set("g", 0, 2))
            let whole = try Data(contentsOf: url)
            for length in good.count..<whole.count {
                try whole.prefix(length).write(to: url)
                var (torn, found) = try OffsetLog.open(url)
                #expect(found.entries == [Self.set("g", 0, 1)])
                #expect(found.bytesDropped == Int64(length - good.count))
                try torn.append(Self.set("g", 0, 3))
                #expect(try OffsetLog.open(url).recovered.entries == [Self.set("g", 0, 1), Self.set("g", 0, 3)])
            }
        }
    }

    @Test func aFlippedBitIsNeverReadAsAnOffset() throws {
        try withFile { url in
            var (log, _) = try OffsetLog.open(url)
            try log.append(Self.set("g", 0, 1))
            let whole = try Data(contentsOf: url)
            for index in OffsetLog.magic.count..<whole.count {
                var broken = whole
                broken[index] ^= 0x10
                try broken.write(to: url)
                #expect(try OffsetLog.open(url).recovered.entries.isEmpty)
            }
        }
    }

    @Test func anotherKindOfFileIsLeftAlone() throws {
        try withFile { url in
            for text in ["not an offset log", "no"] {
                try Data(text.utf8).write(to: url)
                #expect(throws: LocalKafkaError.self) { try OffsetLog.open(url) }
                #expect(try Data(contentsOf: url) == Data(text.utf8))
            }
        }
    }

    @Test func aCompactFileHoldsWhatIsAlive() throws {
        try withFile { url in
            var (log, _) = try OffsetLog.open(url)
            for offset in 0..<1_000 { try log.append(Self.set("g", 0, Int64(offset))) }
            let before = try Data(contentsOf: url).count
            try log.compact([Self.set("g", 0, 999)])
            try log.append(Self.set("g", 1, 5))
            #expect(try OffsetLog.open(url).recovered.entries == [Self.set("g", 0, 999), Self.set("g", 1, 5)])
            #expect(try Data(contentsOf: url).count < before / 100)
        }
    }
}
