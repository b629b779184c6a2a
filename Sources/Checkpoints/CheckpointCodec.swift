import KafkaLog

/// Reads and writes a checkpoint's bytes: format version 1, byte for byte as in Docs/Checkpoint-Format.md.
public enum CheckpointCodec {
    public static let magic: [UInt8] = Array("SBCP".utf8)
    public static let version: UInt8 = 1
    /// Longest text field (cluster, topic id, identity, worker), in bytes.
    public static let maximumText = 1024
    /// Most fingerprints in `tail` or in `beyond`.
    public static let maximumFingerprints = 65_536

    private struct Flags: OptionSet {
        let rawValue: UInt8
        static let sealed = Flags(rawValue: 1)
        static let witness = Flags(rawValue: 2)
        static let topicID = Flags(rawValue: 4)
        static let caughtUpAt = Flags(rawValue: 8)
        static let known: Flags = [.sealed, .witness, .topicID, .caughtUpAt]
    }

    public static func encode(_ checkpoint: Checkpoint) -> [UInt8] {
        var flags: Flags = []
        if checkpoint.sealed { flags.insert(.sealed) }
        if checkpoint.witness != nil { flags.insert(.witness) }
        if checkpoint.topicID != nil { flags.insert(.topicID) }
        if checkpoint.caughtUpAt != nil { flags.insert(.caughtUpAt) }
        var out = ByteWriter()
        out.bytes += magic
        out.bytes += [version, flags.rawValue, checkpoint.timestampType.rawValue]
        out.varint(checkpoint.epoch)
        out.varint(Int64(checkpoint.partitionCount))
        out.text(checkpoint.position.cluster.id)
        if let topicID = checkpoint.topicID { out.text(topicID) }
        out.varint(checkpoint.position.offset)
        if let witness = checkpoint.witness { out.varint(witness.milliseconds) }
        out.varint(checkpoint.disorder)
        out.text(checkpoint.identity)
        out.text(checkpoint.worker)
        if let caughtUpAt = checkpoint.caughtUpAt { out.varint(caughtUpAt.milliseconds) }
        out.varint(checkpoint.writtenAt.milliseconds)
        out.fingerprints(checkpoint.tail)
        out.fingerprints(checkpoint.beyond)
        out.varint(checkpoint.beyondSpan)
        out.fixed(Fingerprint.checksum(out.bytes))
        return out.bytes
    }

    /// Never traps and never allocates more than a small multiple of `bytes`, whatever they hold.
    public static func decode(_ bytes: [UInt8]) throws(CheckpointFormatError) -> Checkpoint {
        guard bytes.starts(with: magic) else { throw .notACheckpoint }
        guard bytes.count > magic.count else { throw .truncated }
        guard bytes[magic.count] == version else { throw .unknownVersion(bytes[magic.count]) }
        guard bytes.count >= magic.count + 3 + 8 else { throw .truncated }
        var end = ByteReader(bytes: bytes, at: bytes.count - 8, end: bytes.count)
        guard try end.fixed() == Fingerprint.checksum(bytes.dropLast(8)) else { throw .checksum }
        var input = ByteReader(bytes: bytes, at: magic.count + 1, end: bytes.count - 8)
        let flags = Flags(rawValue: try input.byte())
        guard Flags.known.isSuperset(of: flags) else { throw .malformed("flags") }
        guard let type = TimestampType(rawValue: try input.byte()) else { throw .malformed("timestamp type") }
        let epoch = try input.varint()
        guard let partitionCount = Int32(exactly: try input.varint()) else { throw .malformed("partition count") }
        let cluster = ClusterID(try input.text("cluster"))
        let topicID = flags.contains(.topicID) ? try input.text("topic id") : nil
        let position = Position(try input.varint(), in: cluster)
        let witness = flags.contains(.witness) ? MillisecondTimestamp(clamped: try input.varint()) : nil
        let disorder = try input.varint()
        let identity = try input.text("identity")
        let worker = try input.text("worker")
        let caughtUpAt = flags.contains(.caughtUpAt) ? MillisecondTimestamp(clamped: try input.varint()) : nil
        let writtenAt = MillisecondTimestamp(clamped: try input.varint())
        let tail = try input.fingerprints("tail")
        let beyond = try input.fingerprints("beyond")
        let beyondSpan = try input.varint()
        guard input.isAtEnd else { throw .malformed("bytes after the last field") }
        // Beyond any real value; sums with them must not overflow.
        guard [epoch, disorder, beyondSpan].allSatisfy({ (0...(1 << 53)).contains($0) }), position.offset >= 0 else { throw .malformed("range") }
        let done = DonePrefix(
            witness: witness, disorder: disorder, tail: tail, beyond: beyond, beyondSpan: beyondSpan, position: position,
            timestampType: type)
        return Checkpoint(
            done: done, topicID: topicID, partitionCount: partitionCount, identity: identity, epoch: epoch,
            sealed: flags.contains(.sealed), worker: worker, caughtUpAt: caughtUpAt, writtenAt: writtenAt)
    }
}

/// Why bytes are not a checkpoint that this version can use. The partition is refused; there is no default start.
public enum CheckpointFormatError: Error, Hashable, Sendable, CustomStringConvertible {
    case notACheckpoint
    /// Written by a newer version of Switchback.
    case unknownVersion(UInt8)
    case truncated
    case checksum
    /// The named field holds something that no version wrote.
    case malformed(String)

    public var description: String {
        switch self {
        case .notACheckpoint: "these bytes are no checkpoint (they don't begin with SBCP)"
        case .unknownVersion(let version):
            "checkpoint format version \(version) is unknown here (this build knows \(CheckpointCodec.version)): upgrade this worker"
        case .truncated: "the checkpoint ends too early"
        case .checksum: "the checkpoint's checksum is wrong: it was damaged"
        case .malformed(let field): "the checkpoint is malformed: \(field)"
        }
    }
}

private struct ByteWriter {
    var bytes: [UInt8] = []

    /// Unsigned LEB128 of a value that is never negative; a negative one (our own bug) is written as 0.
    mutating func varint(_ value: Int64) {
        var rest = UInt64(max(0, value))
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    mutating func text(_ text: String) {
        // Cut at a character's boundary, so that what is written can always be read again.
        var text = text
        while text.utf8.count > CheckpointCodec.maximumText { text.removeLast() }
        varint(Int64(text.utf8.count))
        bytes += text.utf8
    }

    mutating func fixed(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    mutating func fingerprints(_ list: [Fingerprint]) {
        varint(Int64(list.count))
        for fingerprint in list { fixed(fingerprint.bits) }
    }
}

private struct ByteReader {
    let bytes: [UInt8]
    var at: Int
    let end: Int

    var isAtEnd: Bool { at == end }

    mutating func byte() throws(CheckpointFormatError) -> UInt8 {
        guard at < end else { throw .truncated }
        defer { at += 1 }
        return bytes[at]
    }

    mutating func varint() throws(CheckpointFormatError) -> Int64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 63, by: 7) {
            let next = try byte()
            value |= UInt64(next & 0x7F) << shift
            if next & 0x80 == 0 {
                guard next != 0 || shift == 0 else { throw .malformed("a number with needless bytes") }
                return Int64(value)
            }
        }
        throw .malformed("a number above 2^63 - 1")
    }

    mutating func fixed() throws(CheckpointFormatError) -> UInt64 {
        guard end - at >= 8 else { throw .truncated }
        defer { at += 8 }
        return (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[at + $1]) << (UInt64($1) * 8) }
    }

    mutating func text(_ field: String) throws(CheckpointFormatError) -> String {
        let count = try varint()
        guard count <= CheckpointCodec.maximumText else { throw .malformed("\(field): longer than \(CheckpointCodec.maximumText) bytes") }
        guard count <= end - at else { throw .truncated }
        let slice = bytes[at..<at + Int(count)]
        guard let text = String(validating: slice, as: UTF8.self) else { throw .malformed("\(field): not UTF-8") }
        at += Int(count)
        return text
    }

    mutating func fingerprints(_ field: String) throws(CheckpointFormatError) -> [Fingerprint] {
        let count = try varint()
        guard count <= CheckpointCodec.maximumFingerprints else { throw .malformed("\(field): too many fingerprints") }
        guard count * 8 <= end - at else { throw .truncated }
        var list: [Fingerprint] = []
        list.reserveCapacity(Int(count))
        for _ in 0..<count { list.append(Fingerprint(bits: try fixed())) }
        return list
    }
}
