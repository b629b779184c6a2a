import Checkpoints
import KafkaLog
import TestSupport
import Testing

@Suite("The checkpoint's bytes")
struct CheckpointCodecTests {
    private func sample(_ random: inout SeededGenerator) -> Checkpoint {
        func prints(_ most: Int) -> [Fingerprint] {
            (0..<Int.random(in: 0...most, using: &random)).map { _ in Fingerprint(bits: random.next()) }
        }
        let done = DonePrefix(
            witness: random.chance(0.5) ? MillisecondTimestamp(Int64.random(in: 0...Int64.max, using: &random)) : nil,
            disorder: Int64.random(in: 0...60_000, using: &random), tail: prints(16), beyond: prints(96),
            beyondSpan: Int64.random(in: 0...500, using: &random),
            position: Position(Int64.random(in: 0...Int64.max, using: &random), in: ClusterID("5L6g3nShT-eMCtK--X86sw")),
            timestampType: random.chance(0.5) ? .createTime : .logAppendTime)
        return Checkpoint(
            done: done, topicID: random.chance(0.5) ? "Zq0k3nShT-eMCtK--X86sw" : nil,
            partitionCount: Int32.random(in: 1...Int32.max, using: &random), identity: "json:meta.id",
            epoch: Int64.random(in: 1...(1 << 53), using: &random), sealed: random.chance(0.5), worker: "eqiad-worker-1/4711",
            caughtUpAt: random.chance(0.5) ? MillisecondTimestamp(clamped: 7) : nil, writtenAt: MillisecondTimestamp(clamped: 8))
    }

    @Test("What is written is read again, and stays within a kilobyte by default")
    func roundTrip() throws {
        let seed = Seed.fresh("checkpoint round trips")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<2000 {
            let checkpoint = sample(&random)
            let bytes = CheckpointCodec.encode(checkpoint)
            #expect(try CheckpointCodec.decode(bytes) == checkpoint)
            #expect(bytes.count <= 1100)
        }
    }

    /// Written by version 1 on the day the format was fixed; must be readable for ever.
    static let version1 = 
        "53424350010f0107060a636f6466772d6d61696e0174fceba5ad01e0ddafdaae2fd00f067265636f72640177010201b9d02c8b696a446d015e82ffaf614341c103ceaea52869731f1a"

    @Test("A checkpoint of version 1 is read and written as on the day the format was fixed")
    func fixture() throws {
        let value = Array("value".utf8), key = Array("key".utf8)
        let print = key.withUnsafeBytes { key in
            value.withUnsafeBytes { Fingerprint.ofRecord(key: key, value: $0, timestamp: MillisecondTimestamp(1_627_445_260_000)) }
        }
        let done = DonePrefix(
            witness: MillisecondTimestamp(1_627_445_260_000), disorder: 2_000, tail: [print],
            beyond: [Fingerprint.ofIdentity("01592c7a-03f1-46cd-9472-3bbe63aff0ec")], beyondSpan: 3,
            position: Position(363_427_324, in: ClusterID("codfw-main")), timestampType: .createTime)
        let checkpoint = Checkpoint(
            done: done, topicID: "t", partitionCount: 6, identity: "record", epoch: 7, sealed: true, worker: "w",
            caughtUpAt: MillisecondTimestamp(1), writtenAt: MillisecondTimestamp(clamped: 2))
        let hex = CheckpointCodec.encode(checkpoint).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(hex == Self.version1)
        let bytes = stride(from: 0, to: hex.count, by: 2).compactMap { UInt8(hex.dropFirst($0).prefix(2), radix: 16) }
        #expect(try CheckpointCodec.decode(bytes) == checkpoint)
    }

    @Test("Damage of any kind is an error, never a trap and never another checkpoint")
    func fuzz() throws {
        let seed = Seed.fresh("checkpoint fuzz")
        var random = SeededGenerator(seed: seed)
        for _ in 0..<20_000 {
            let original = CheckpointCodec.encode(sample(&random))
            var bytes = original
            switch Int.random(in: 0...3, using: &random) {
            case 0: bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0...7, using: &random)
            case 1: bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
            case 2: bytes.append(UInt8.random(in: 0...255, using: &random))
            default: bytes = (0..<Int.random(in: 0...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
            }
            #expect(throws: CheckpointFormatError.self) { try CheckpointCodec.decode(bytes) }
        }
    }

    @Test("A newer version is refused by name")
    func newer() {
        var random = SeededGenerator(seed: 1)
        var bytes = CheckpointCodec.encode(sample(&random))
        bytes[4] = 2
        #expect(throws: CheckpointFormatError.unknownVersion(2)) { try CheckpointCodec.decode(bytes) }
    }

    @Test("Fingerprints tell null, empty and moved bytes apart, and are what they were on the day the format was fixed")
    func fingerprints() {
        func of(_ key: [UInt8]?, _ value: [UInt8]?, _ time: Int64?) -> Fingerprint {
            let time = time.flatMap(MillisecondTimestamp.init)
            switch (key, value) {
            case (nil, nil): return .ofRecord(key: nil, value: nil, timestamp: time)
            case (let key?, nil): return key.withUnsafeBytes { .ofRecord(key: $0, value: nil, timestamp: time) }
            case (nil, let value?): return value.withUnsafeBytes { .ofRecord(key: nil, value: $0, timestamp: time) }
            case (let key?, let value?):
                return key.withUnsafeBytes { key in value.withUnsafeBytes { .ofRecord(key: key, value: $0, timestamp: time) } }
            }
        }
        let all = [
            of(nil, nil, nil), of([], nil, nil), of(nil, [], nil), of([], [], nil), of([1], [], nil), of([], [1], nil),
            of([1], nil, nil), of(nil, [1], nil), of(nil, nil, 0), of(nil, nil, 1), of([1, 2], [3], 1), of([1], [2, 3], 1),
        ]
        #expect(Set(all).count == all.count)
        #expect(Fingerprint.ofIdentity("01592c7a-03f1-46cd-9472-3bbe63aff0ec").description.count == 16)
    }
}
