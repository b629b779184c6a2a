import Foundation
import NIOCore

/// Where committed offsets are written down, so that they outlive the process: an append-only file that is replaced by a
/// compact one when it has grown. Not safe for use from several threads at once: `GroupService` guards it.
///
/// Layout, big-endian: 8 bytes of magic, then entries of length (4 bytes), CRC-32C of the payload (4 bytes), payload. One
/// entry holds everything that one request changed, so a commit of many partitions survives whole or not at all.
/// Entries are handed to the operating system before they are acknowledged: they survive the death of the process, but
/// not of the machine (except what `sync` or a replacement made durable).
struct OffsetLog {
    typealias Changes = [GroupPartition: CommittedOffset?]

    /// One change, as it is read back.
    enum Entry: Equatable {
        case set(group: String, Changes)
        case deleteGroup(String)

        static func == (a: Entry, b: Entry) -> Bool {
            switch (a, b) {
            case (.set(let g, let x), .set(let h, let y)): g == h && x == y
            case (.deleteGroup(let g), .deleteGroup(let h)): g == h
            default: false
            }
        }
    }

    /// What opening found.
    struct Recovery {
        var entries: [Entry] = []
        /// Bytes after the last whole entry, which were cut off: an unfinished write, or damage.
        var bytesDropped: Int64 = 0
    }

    static let magic: [UInt8] = Array("LKOFFS01".utf8)
    static let entryHeaderBytes = 8
    /// No request can be larger, so no entry is.
    static let maxPayloadBytes = Limits.maxRequestBytes
    /// A file smaller than this is never replaced.
    static let minCompactionBytes: Int64 = 4 * 1024 * 1024
    /// The file is replaced when it is this many times as large as it was when it was last compact.
    static let compactionFactor: Int64 = 4

    let url: URL
    private var file: LogFile
    private var end: Int64
    private var compactBytes: Int64

    /// Opens the file (making it if it is not there) and reads it. Throws `LocalKafkaError.storage`, also when the file is
    /// not an offset log: such a file is left as it is.
    static func open(_ url: URL) throws -> (log: OffsetLog, recovered: Recovery) {
        let file = try LogFile(path: url.path, create: true)
        let size = try file.size()
        var buffer = ByteBuffer()
        if size > 0 { try file.read(at: 0, count: Int(size), into: &buffer) }
        if size < magic.count {
            // Killed while it was being made.
            guard magic.starts(with: buffer.readableBytesView) else { throw notALog(url) }
            try file.truncate(to: 0)
            try append(magic, to: file, at: 0)
            return (OffsetLog(url: url, file: file, end: Int64(magic.count)), Recovery())
        }
        guard buffer.readBytes(length: magic.count) == magic else { throw notALog(url) }
        var recovery = Recovery()
        var good = Int64(magic.count)
        while let entry = readEntry(&buffer) {
            recovery.entries.append(entry)
            good = size - Int64(buffer.readableBytes)
        }
        recovery.bytesDropped = size - good
        if recovery.bytesDropped > 0 { try file.truncate(to: good) }
        return (OffsetLog(url: url, file: file, end: good), recovery)
    }

    private init(url: URL, file: LogFile, end: Int64) {
        self.url = url
        self.file = file
        self.end = end
        self.compactBytes = end
    }

    private static func notALog(_ url: URL) -> LocalKafkaError {
        .storage(path: url.path, operation: "read", reason: "not a file of committed offsets: move it away, or choose another data directory")
    }

    /// Writes one change down. Throws `LocalKafkaError.storage`; the file then is as it was before.
    mutating func append(_ entry: Entry) throws {
        let bytes = Self.encode(entry)
        try Self.append(bytes, to: file, at: end)
        end += Int64(bytes.count)
    }

    /// Whether `compact` would be worth its while.
    var isLarge: Bool { end >= Self.minCompactionBytes && end >= Self.compactionFactor * compactBytes }

    /// Replaces the file by one that holds only `live`. On failure the old file stays in use.
    mutating func compact(_ live: [Entry]) throws {
        let temporary = url.appendingPathExtension("new")
        try? FileManager.default.removeItem(at: temporary)
        let fresh = try LogFile(path: temporary.path, create: true)
        var bytes = Self.magic
        for entry in live { bytes += Self.encode(entry) }
        try Self.append(bytes, to: fresh, at: 0)
        try fresh.sync()
        guard rename(temporary.path, url.path) == 0 else {
            throw LocalKafkaError.system(path: url.path, operation: "replace")
        }
        file = fresh
        end = Int64(bytes.count)
        compactBytes = end
    }

    func sync() throws { try file.sync() }

    private static func append(_ bytes: [UInt8], to file: LogFile, at position: Int64) throws {
        try bytes.withUnsafeBytes { try file.write($0, UnsafeRawBufferPointer(start: nil, count: 0), at: position) }
    }

    // MARK: Format

    private enum Kind: UInt8 {
        case set = 1
        case deleteGroup = 2
    }

    static func encode(_ entry: Entry) -> [UInt8] {
        var payload = ByteBuffer()
        func string(_ value: String) {
            payload.writeInteger(UInt32(truncatingIfNeeded: value.utf8.count))
            payload.writeString(value)
        }
        switch entry {
        case .set(let group, let changes):
            payload.writeInteger(Kind.set.rawValue)
            string(group)
            payload.writeInteger(UInt32(truncatingIfNeeded: changes.count))
            for (partition, offset) in changes {
                string(partition.topic)
                payload.writeInteger(partition.partition)
                payload.writeInteger(offset == nil ? 0 : 1, as: UInt8.self)
                guard let offset else { continue }
                payload.writeInteger(offset.offset)
                payload.writeInteger(offset.leaderEpoch)
                string(offset.metadata)
            }
        case .deleteGroup(let group):
            payload.writeInteger(Kind.deleteGroup.rawValue)
            string(group)
        }
        var whole = ByteBuffer()
        whole.writeInteger(UInt32(truncatingIfNeeded: payload.readableBytes))
        whole.writeInteger(payload.withUnsafeReadableBytes { CRC32C.checksum($0) })
        whole.writeBuffer(&payload)
        return Array(whole.readableBytesView)
    }

    /// nil at the first entry that is not whole or not right.
    private static func readEntry(_ buffer: inout ByteBuffer) -> Entry? {
        guard let length: UInt32 = buffer.readInteger(), let crc: UInt32 = buffer.readInteger(),
            Int(length) <= maxPayloadBytes, var payload = buffer.readSlice(length: Int(length)),
            payload.withUnsafeReadableBytes({ CRC32C.checksum($0) }) == crc
        else { return nil }
        func string() -> String? {
            guard let length: UInt32 = payload.readInteger() else { return nil }
            return payload.readString(length: Int(length))
        }
        guard let kind = payload.readInteger(as: UInt8.self).flatMap(Kind.init(rawValue:)), let group = string() else {
            return nil
        }
        guard kind == .set else { return .deleteGroup(group) }
        guard let count: UInt32 = payload.readInteger() else { return nil }
        var changes: Changes = [:]
        for _ in 0..<count {
            guard let topic = string(), let partition: Int32 = payload.readInteger(),
                let present: UInt8 = payload.readInteger()
            else { return nil }
            let key = GroupPartition(topic: topic, partition: partition)
            guard present == 1 else {
                changes.updateValue(nil, forKey: key)
                continue
            }
            guard let offset: Int64 = payload.readInteger(), let epoch: Int32 = payload.readInteger(),
                let metadata = string()
            else { return nil }
            changes[key] = CommittedOffset(offset: offset, leaderEpoch: epoch, metadata: metadata)
        }
        return .set(group: group, changes)
    }
}
