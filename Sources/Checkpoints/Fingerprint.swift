import CXXHash
import KafkaLog

/// The 64-bit identity of a record that survives mirroring, the same in every process, datacenter and version: the
/// algorithm is part of the checkpoint format (Docs/Checkpoint-Format.md, "Fingerprints").
public struct Fingerprint: Hashable, Sendable, CustomStringConvertible {
    public let bits: UInt64
    public init(bits: UInt64) { self.bits = bits }

    public var description: String {
        let hex = String(bits, radix: 16)
        return String(repeating: "0", count: 16 - hex.count) + hex
    }

    private static let recordSeed: UInt64 = 0x5342_4631  // "SBF1"
    private static let identitySeed: UInt64 = 0x5342_4931  // "SBI1"

    /// Over key, value and time. Null (`nil`) and empty are different. `timestamp` is nil where the record has none and
    /// for LogAppendTime records, whose time is another one in the mirror. Three chained XXH3-64: key seeded with "SBF1"
    /// plus presence bits in bits 32 to 34, then value seeded with that, then the time (8 bytes, little endian).
    public static func ofRecord(
        key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, timestamp: MillisecondTimestamp?
    ) -> Fingerprint {
        let present: UInt64 = (key == nil ? 0 : 1) | (value == nil ? 0 : 2) | (timestamp == nil ? 0 : 4)
        var hash = XXH3_64bits_withSeed(key?.baseAddress, key?.count ?? 0, recordSeed | present << 32)
        hash = XXH3_64bits_withSeed(value?.baseAddress, value?.count ?? 0, hash)
        if let timestamp {
            var time = timestamp.milliseconds.littleEndian
            hash = XXH3_64bits_withSeed(&time, 8, hash)
        }
        return Fingerprint(bits: hash)
    }

    /// Over a record as it was read. LogAppendTime is another one in the mirror, so it is no part of what a record is.
    public static func ofRecord(_ record: borrowing RecordView) -> Fingerprint {
        let timestamp = record.timestampType == .createTime ? record.timestamp : nil
        return record.withKey { key in record.withValue { ofRecord(key: key, value: $0, timestamp: timestamp) } }
    }

    /// Over a configured identity of the record (a header's value, or a JSON field such as `meta.id`): XXH3-64 of its
    /// bytes seeded with "SBI1".
    public static func ofIdentity(_ identity: UnsafeRawBufferPointer) -> Fingerprint {
        Fingerprint(bits: XXH3_64bits_withSeed(identity.baseAddress, identity.count, identitySeed))
    }

    /// The same over a string's UTF-8.
    public static func ofIdentity(_ identity: String) -> Fingerprint {
        var identity = identity
        return identity.withUTF8 { ofIdentity(UnsafeRawBufferPointer($0)) }
    }

    /// XXH3-64 without a seed: the checksum at the end of an encoded checkpoint.
    static func checksum(_ bytes: some Collection<UInt8>) -> UInt64 {
        Array(bytes).withUnsafeBytes { XXH3_64bits($0.baseAddress, $0.count) }
    }
}
