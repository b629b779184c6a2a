import Testing
import TestSupport

@testable import LocalKafka

struct WireTests {
    @Test(arguments: [false, true]) func whatIsWrittenIsRead(flexible: Bool) throws {
        var writer = WireWriter(flexible: flexible)
        let numbers: [Int64] = [0, 1, -1, 63, 64, -64, -65, 8191, 1 << 31, -(1 << 31), .max, .min]
        for number in numbers { writer.varlong(number) }
        for number in [0, 127, 128, 16383, 16384, .max] as [UInt32] { writer.unsignedVarint(number) }
        writer.nullableString(nil)
        writer.string("")
        writer.string("h\u{e9}")
        writer.nullArray()
        writer.array([1, 2] as [Int32]) { $0.int32($1) }
        writer.bytesLength(nil)
        writer.bytesLength(0)
        writer.uuid(KafkaUUID(high: 1, low: .max))
        writer.noTaggedFields()
        var reader = WireReader(bytes: writer.bytes, flexible: flexible)
        for number in numbers { #expect(try reader.varlong() == number) }
        for number in [0, 127, 128, 16383, 16384, .max] as [UInt32] { #expect(try reader.unsignedVarint() == number) }
        #expect(try reader.nullableString() == nil)
        #expect(try reader.string() == "")
        #expect(try reader.string() == "h\u{e9}")
        #expect(try reader.nullableArrayCount() == nil)
        #expect(try reader.array { try $0.int32() } == [1, 2])
        #expect(try reader.nullableBytes() == nil)
        #expect(try reader.bytes().readableBytes == 0)
        #expect(try reader.uuid() == KafkaUUID(high: 1, low: .max))
        try reader.skipTaggedFields()
        #expect(reader.remaining == 0)
    }

    @Test func varintsThatNeverEndAreRefused() {
        let endless = [UInt8](repeating: 0xff, count: 20)
        #expect(throws: WireError.varintTooLong) { var reader = WireReader(bytes: endless); _ = try reader.unsignedVarint() }
        #expect(throws: WireError.varintTooLong) { var reader = WireReader(bytes: endless); _ = try reader.varlong() }
        #expect(throws: WireError.truncated(field: "varint")) {
            var reader = WireReader(bytes: [0x80, 0x80])
            _ = try reader.unsignedVarint()
        }
    }

    /// The check value of CRC-32C (Castagnoli), and the test vectors of RFC 3720 B.4.
    @Test func checksumsAreCastagnolis() {
        func checksum(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { CRC32C.checksum($0) } }
        #expect(checksum(Array("123456789".utf8)) == 0xe306_9283)
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        #expect(checksum([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
        #expect(checksum((0..<32).map { UInt8($0) }) == 0x46dd_794e)
        let whole = (0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let continued = whole[700...].withUnsafeBytes { CRC32C.checksum($0, after: checksum(Array(whole[..<700]))) }
        #expect(continued == checksum(whole))
    }

    /// The processor's instruction sums three stretches side by side; the tables know nothing of that.
    @Test func checksumsAreTheSameByInstructionAndByTables() {
        var random = SeededGenerator(seed: Seed.fresh("checksumsAreTheSameByInstructionAndByTables"))
        let bytes = (0..<20_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        bytes.withUnsafeBytes { memory in
            for _ in 0..<500 {
                let start = Int.random(in: 0..<16, using: &random)
                let end = Int.random(in: start...memory.count, using: &random)
                let part = UnsafeRawBufferPointer(rebasing: memory[start..<end])
                let previous = random.chance(0.5) ? 0 : UInt32.random(in: 0...(.max), using: &random)
                #expect(CRC32C.checksum(part, after: previous) == CRC32C.checksumByTables(part, after: previous))
            }
        }
    }

    /// java.util.UUID 00010203-0405-0607-0809-0a0b0c0d0e0f in Kafka's text form.
    @Test func topicIDsAreWrittenAsKafkaDoes() {
        #expect(KafkaUUID(high: 0x0001_0203_0405_0607, low: 0x0809_0a0b_0c0d_0e0f).description == "AAECAwQFBgcICQoLDA0ODw")
        #expect(KafkaUUID(high: .max, low: .max).description == "_____________________w")
        #expect(KafkaUUID.zero.description == "AAAAAAAAAAAAAAAAAAAAAA")
    }
}
