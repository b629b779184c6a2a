import Foundation
import LocalKafka
import TestSupport

/// Speaks the protocol byte by byte, so that tests can say what no client library would.
final class RawClient: Sendable {
    /// The broker closed the connection.
    struct Closed: Error {}

    private let descriptor: Int32

    /// `timeout`: how long a read may take, in seconds.
    init(port: Int, timeout: Int = 10) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        // `deinit` closes it: that runs, too, when everything was set and this throws.
        guard result == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        var limit = timeval(tv_sec: timeout, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close(descriptor) }

    /// Throws `Closed` when the broker has closed the connection.
    func send(_ bytes: [UInt8]) async throws {
        let descriptor = self.descriptor
        try await onOwnThread {
            var sent = 0
            while sent < bytes.count {
                let count = bytes.withUnsafeBytes { memory in
                    Foundation.send(descriptor, memory.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
                }
                guard count > 0 else { throw Closed() }
                sent += count
            }
        }
    }

    /// One response without its size; throws `Closed` at the end of the connection, `TestTimeout` when nothing comes.
    func receiveFrame() async throws -> [UInt8] {
        let descriptor = self.descriptor
        return try await onOwnThread {
            func read(_ count: Int) throws -> [UInt8] {
                var bytes = [UInt8](repeating: 0, count: count)
                var done = 0
                while done < count {
                    let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + done, count - done, 0) }
                    if got < 0, errno == EAGAIN { throw TestTimeout("no answer") }
                    guard got > 0 else { throw Closed() }
                    done += got
                }
                return bytes
            }
            let size = try read(4).reduce(0) { $0 << 8 | Int($1) }
            return try read(size)
        }
    }

    static func frame(
        _ key: Int16, version: Int16, correlationID: Int32 = 7, flexible: Bool = false, clientID: String? = "raw",
        body: (inout WireWriter) -> Void
    ) -> [UInt8] {
        var header = WireWriter()
        header.int16(key)
        header.int16(version)
        header.int32(correlationID)
        header.nullableString(clientID)
        header.flexible = flexible
        header.noTaggedFields()
        body(&header)
        var size = WireWriter()
        size.int32(Int32(header.bytes.count))
        return size.bytes + header.bytes
    }

    /// Sends a request and returns a reader after the response's header.
    func request(
        _ key: APIKey, version: Int16, flexible: Bool = false, body: (inout WireWriter) -> Void
    ) async throws -> WireReader {
        try await send(Self.frame(key.rawValue, version: version, flexible: flexible, body: body))
        var reader = WireReader(bytes: try await receiveFrame(), flexible: flexible)
        _ = try reader.int32()
        if key != .apiVersions { try reader.skipTaggedFields() }
        return reader
    }

    // MARK: Requests that many tests make

    struct Produced: Equatable {
        var error: Int16
        var offset: Int64
        var appendTime: Int64 = -1
    }

    func produce(_ batch: [UInt8], topic: String, partition: Int32 = 0, version: Int16 = 7, acks: Int16 = -1) async throws
        -> Produced
    {
        var reader = try await request(.produce, version: version) {
            Self.writeProduce(batch, topic: topic, partition: partition, version: version, acks: acks, to: &$0)
        }
        _ = try reader.int32()
        _ = try reader.string()
        _ = try reader.int32()
        _ = try reader.int32()
        let error = try reader.int16()
        let offset = try reader.int64()
        return Produced(error: error, offset: offset, appendTime: version >= 2 ? try reader.int64() : -1)
    }

    static func writeProduce(
        _ batch: [UInt8], topic: String, partition: Int32, version: Int16, acks: Int16, to writer: inout WireWriter
    ) {
        if version >= 3 { writer.nullableString(nil) }
        writer.int16(acks)
        writer.int32(5000)
        writer.int32(1)
        writer.string(topic)
        writer.int32(1)
        writer.int32(partition)
        writer.int32(Int32(batch.count))
        writer.buffer.writeBytes(batch)
    }

    struct Fetched: Equatable {
        var error: Int16
        var highWatermark: Int64
        var logStart: Int64
        var records: [UInt8]
    }

    func fetch(
        topic: String, partition: Int32 = 0, offset: Int64, maxWait: Int32 = 0, minBytes: Int32 = 1,
        maxBytes: Int32 = 1 << 30, partitionMaxBytes: Int32 = 1 << 30, leaderEpoch: Int32 = -1
    ) async throws -> Fetched {
        var reader = try await request(.fetch, version: 11) {
            Self.writeFetch(
                topic: topic, partition: partition, offset: offset, maxWait: maxWait, minBytes: minBytes, maxBytes: maxBytes,
                partitionMaxBytes: partitionMaxBytes, leaderEpoch: leaderEpoch, to: &$0)
        }
        return try Self.readFetch(&reader)
    }

    static func writeFetch(
        topic: String, partition: Int32, offset: Int64, maxWait: Int32, minBytes: Int32, maxBytes: Int32 = 1 << 30,
        partitionMaxBytes: Int32 = 1 << 30, leaderEpoch: Int32 = -1, to writer: inout WireWriter
    ) {
        writer.int32(-1)
        writer.int32(maxWait)
        writer.int32(minBytes)
        writer.int32(maxBytes)
        writer.int8(0)
        writer.int32(0)
        writer.int32(-1)
        writer.int32(1)
        writer.string(topic)
        writer.int32(1)
        writer.int32(partition)
        writer.int32(leaderEpoch)
        writer.int64(offset)
        writer.int64(-1)
        writer.int32(partitionMaxBytes)
        writer.int32(0)
        writer.string("")
    }

    static func readFetch(_ reader: inout WireReader) throws -> Fetched {
        _ = try reader.int32()
        _ = try reader.int16()
        _ = try reader.int32()
        _ = try reader.int32()
        _ = try reader.string()
        _ = try reader.int32()
        _ = try reader.int32()
        let error = try reader.int16()
        let highWatermark = try reader.int64()
        _ = try reader.int64()
        let logStart = try reader.int64()
        _ = try reader.nullableArrayCount()
        _ = try reader.int32()
        let records = try reader.bytes()
        return Fetched(
            error: error, highWatermark: highWatermark, logStart: logStart, records: Array(records.readableBytesView))
    }

    struct Found: Equatable {
        var error: Int16
        var timestamp: Int64
        var offset: Int64
    }

    func listOffset(topic: String, partition: Int32 = 0, timestamp: Int64) async throws -> Found {
        let answers = try await listOffsets(topic: topic, timestamps: [(partition, timestamp)])
        return answers[0]
    }

    /// One request for many (partition, timestamp) pairs.
    func listOffsets(topic: String, timestamps: [(partition: Int32, timestamp: Int64)]) async throws -> [Found] {
        var reader = try await request(.listOffsets, version: 7, flexible: true) { writer in
            writer.int32(-1)
            writer.int8(0)
            writer.arrayCount(1)
            writer.string(topic)
            writer.array(timestamps) { writer, asked in
                writer.int32(asked.partition)
                writer.int32(-1)
                writer.int64(asked.timestamp)
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
            writer.noTaggedFields()
        }
        _ = try reader.int32()
        _ = try reader.arrayCount()
        _ = try reader.string()
        return try reader.array { reader in
            _ = try reader.int32()
            let error = try reader.int16()
            let timestamp = try reader.int64()
            let offset = try reader.int64()
            _ = try reader.int32()
            try reader.skipTaggedFields()
            return Found(error: error, timestamp: timestamp, offset: offset)
        }
    }
}
