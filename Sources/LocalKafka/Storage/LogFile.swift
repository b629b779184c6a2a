import Foundation
import NIOCore

/// An open file of records. Closed when the last reference goes, so a response that is being sent keeps its file even
/// when the log drops it meanwhile. What was written to it never changes.
final class LogFile: Sendable {
    let path: String
    private let descriptor: CInt

    /// Opens the file, making it when `create` is set. Throws `LocalKafkaError.storage`.
    init(path: String, create: Bool) throws {
        self.path = path
        descriptor = open(path, create ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw LocalKafkaError.system(path: path, operation: "open") }
    }

    deinit { close(descriptor) }

    func size() throws -> Int64 {
        var info = stat()
        guard fstat(descriptor, &info) == 0 else { throw LocalKafkaError.system(path: path, operation: "stat") }
        return Int64(info.st_size)
    }

    /// Writes `head`, then `body`, at `position`. On failure the file is cut back to `position`.
    func write(_ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at position: Int64) throws {
        var written = 0
        let total = head.count + body.count
        while written < total {
            let headLeft = UnsafeRawBufferPointer(rebasing: head[min(written, head.count)...])
            let bodyLeft = UnsafeRawBufferPointer(rebasing: body[max(0, written - head.count)...])
            let parts = [
                iovec(iov_base: UnsafeMutableRawPointer(mutating: headLeft.baseAddress), iov_len: headLeft.count),
                iovec(iov_base: UnsafeMutableRawPointer(mutating: bodyLeft.baseAddress), iov_len: bodyLeft.count),
            ]
            let count = pwritev(descriptor, parts, 2, off_t(position) + off_t(written))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                let error = LocalKafkaError.system(path: path, operation: "write")
                _ = ftruncate(descriptor, off_t(position))
                throw error
            }
            written += count
        }
    }

    func sync() throws {
        guard fsync(descriptor) == 0 else { throw LocalKafkaError.system(path: path, operation: "fsync") }
    }

    func truncate(to size: Int64) throws {
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw LocalKafkaError.system(path: path, operation: "truncate")
        }
    }

    /// Reads exactly `count` bytes into `buffer`. Throws `LocalKafkaError.storage`, also at the end of the file.
    func read(at position: Int64, count: Int, into buffer: inout ByteBuffer) throws {
        var done = 0
        while done < count {
            let got = buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: count - done) { target in
                max(0, pread(descriptor, target.baseAddress, count - done, off_t(position) + off_t(done)))
            }
            guard got > 0 else { throw LocalKafkaError.system(path: path, operation: "read") }
            done += got
        }
    }

    /// Runs `body` over the first `size` bytes, mapped into memory, without copying them.
    func withMappedBytes<T>(size: Int64, _ body: (UnsafeRawBufferPointer) throws -> T) throws -> T {
        guard size > 0 else { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
        let memory = mmap(nil, Int(size), PROT_READ, MAP_PRIVATE, descriptor, 0)
        guard let memory, memory != MAP_FAILED else { throw LocalKafkaError.system(path: path, operation: "map") }
        defer { munmap(memory, Int(size)) }
        return try body(UnsafeRawBufferPointer(start: memory, count: Int(size)))
    }

    /// A range of the file to send with sendfile(2). The caller closes the region's handle after sending.
    func region(position: Int, count: Int) throws -> FileRegion {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw LocalKafkaError.system(path: path, operation: "duplicate descriptor of") }
        // The initializer's plain name is deprecated for NIOFileSystem, whose handles can't make file regions.
        let handle = NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: copy)
        return FileRegion(fileHandle: handle, readerIndex: position, endIndex: position + count)
    }
}

extension LocalKafkaError {
    /// The error of the system call that has just failed.
    static func system(path: String, operation: String) -> LocalKafkaError {
        .storage(path: path, operation: operation, reason: String(cString: strerror(errno)))
    }
}
