#if canImport(Glibc)
import Glibc
#endif

/// What people read: whole lines, each in one write, so that lines of stdout and stderr never mix.
enum Console {
    static func line(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
    static func note(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)
        while !bytes.isEmpty {
            let count = Glibc.write(descriptor, bytes, bytes.count)
            // A reader that went away is no reason to fail here: the exit status says what happened.
            guard count > 0 else { return }
            bytes.removeFirst(count)
        }
    }
}
