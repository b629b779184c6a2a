#if canImport(Glibc)
import Glibc
#endif

/// Appends lines to files. A file is opened for each line, so that one that was rotated away is made anew.
actor LogFiles {
    func append(_ line: [UInt8], to path: String) -> RequestResult {
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return failure(path) }
        defer { _ = close(descriptor) }
        let bytes = line + [UInt8(ascii: "\n")]
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + written }, bytes.count - written) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return failure(path) }
            written += count
        }
        return .done(status: 201)
    }

    private func failure(_ path: String) -> RequestResult { .retriable(.notWritten("\(path): \(String(cString: strerror(errno)))")) }
}
