import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// What people read: whole lines, each in one write, so that lines of stdout and stderr never mix.
enum Console {
    static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
    static func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    private static let stdoutError = Atomic<Int32>(0)

    /// Why what was written to stdout is not all there, such as a full disk; nil: it is, or its reader went away by itself.
    static var lostOutput: String? {
        let code = stdoutError.load(ordering: .relaxed)
        return code == 0 || code == EPIPE ? nil : String(cString: strerror(code))
    }

    static func write(_ text: String, to descriptor: Int32) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest.removeFirst(count)
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN:
                // Whoever shares the terminal has made it so.
                var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                poll(&wanted, 1, -1)
            default:
                // No reason to stop here: what was to be done is done all the same. `main` looks at it in the end.
                if descriptor == STDOUT_FILENO { stdoutError.store(errno, ordering: .relaxed) }
                return
            }
        }
    }
}
