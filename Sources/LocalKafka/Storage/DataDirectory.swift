import Foundation
import Logging
import Synchronization

/// The directory that holds a cluster: `cluster.json`, `producer-ids.json`, `topics/NAME/topic.json` and
/// `topics/NAME/PARTITION/OFFSET.log`. One process at a time has it, by a lock on the file `lock`.
final class DataDirectory: Sendable {
    /// The version of the files' layout. A directory of another version is refused.
    static let formatVersion = 1

    private struct ClusterFile: Codable {
        var formatVersion: Int
        var clusterID: String
    }
    private struct ProducerIDFile: Codable { var next: Int64 }

    let path: String
    let clusterID: String
    private let lockDescriptor: CInt
    /// The next producer id, and the first one that is not reserved on disk yet.
    private let producerIDs: Mutex<(next: Int64, reservedUntil: Int64)>
    /// Producer ids are reserved on disk in blocks of this many.
    private static let producerIDBlock: Int64 = 1000

    /// Throws `LocalKafkaError.dataDirectoryLocked` or `.storage`.
    init(path: String) throws {
        self.path = path
        do {
            try FileManager.default.createDirectory(atPath: path + "/topics", withIntermediateDirectories: true)
        } catch {
            throw LocalKafkaError.storage(path: path, operation: "make directory", reason: error.localizedDescription)
        }
        let descriptor = open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw LocalKafkaError.system(path: path + "/lock", operation: "open") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            Foundation.close(descriptor)
            throw LocalKafkaError.dataDirectoryLocked(path: path)
        }
        lockDescriptor = descriptor
        do {
            let fresh = ClusterFile(formatVersion: Self.formatVersion, clusterID: KafkaUUID.random().description)
            let file = try Self.readOrCreate(path + "/cluster.json", fresh)
            guard file.formatVersion == Self.formatVersion else {
                throw LocalKafkaError.storage(
                    path: path + "/cluster.json", operation: "read",
                    reason: "format version \(file.formatVersion); this program reads \(Self.formatVersion)")
            }
            clusterID = file.clusterID
            let next = try Self.readOrCreate(path + "/producer-ids.json", ProducerIDFile(next: 1)).next
            producerIDs = Mutex((next, next))
        } catch {
            Foundation.close(descriptor)
            throw error
        }
    }

    deinit { release() }

    private let isReleased = Mutex(false)

    /// Gives up the lock. Nothing may be written after that.
    func release() {
        let first = isReleased.withLock { released in
            defer { released = true }
            return !released
        }
        if first { Foundation.close(lockDescriptor) }
    }

    /// An id that no producer has had in this directory.
    func takeProducerID() throws -> Int64 {
        try producerIDs.withLock { ids in
            if ids.next >= ids.reservedUntil {
                try Self.write(ProducerIDFile(next: ids.next + Self.producerIDBlock), to: path + "/producer-ids.json")
                ids.reservedUntil = ids.next + Self.producerIDBlock
            }
            defer { ids.next += 1 }
            return ids.next
        }
    }

    // MARK: JSON files

    private static func readOrCreate<T: Codable>(_ path: String, _ fresh: T) throws -> T {
        if FileManager.default.fileExists(atPath: path) { return try read(T.self, from: path) }
        try write(fresh, to: path)
        return fresh
    }

    static func read<T: Decodable>(_ type: T.Type, from path: String) throws -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(contentsOf: URL(fileURLWithPath: path)))
        } catch {
            let reason = error is DecodingError ? "not what this program wrote: damaged; use another directory" : error.localizedDescription
            throw LocalKafkaError.storage(path: path, operation: "read", reason: reason)
        }
    }

    /// Writes beside the file, syncs, then renames over it: a reader finds the old content or the new, never a part.
    static func write<T: Encodable>(_ value: T, to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let data: Data
        do { data = try encoder.encode(value) } catch {
            throw LocalKafkaError.storage(path: path, operation: "encode", reason: "\(error)")
        }
        let temporary = path + ".new"
        unlink(temporary)
        let file = try LogFile(path: temporary, create: true)
        try data.withUnsafeBytes { try file.write($0, UnsafeRawBufferPointer(start: nil, count: 0), at: 0) }
        try file.sync()
        guard rename(temporary, path) == 0 else { throw LocalKafkaError.system(path: path, operation: "replace") }
    }
}
