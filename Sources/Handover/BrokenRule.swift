#if canImport(Glibc)
import Glibc
#endif

/// A test facility: a worker that is started with `SWITCHBACK_BREAK=resume-skips:<count>` goes on too late wherever it takes a partition over by
/// its tail: it calls the first `count` events done that it should act on. They are lost, and nothing says so, which is what a drill has to find
/// by itself. Without the variable this costs one comparison an event.
public enum BrokenRule {
    public static let variable = "SWITCHBACK_BREAK"

    /// Events of each partition; 0: the rule is as it should be. A value that breaks nothing is said on stderr.
    public static let resumeSkips: Int = {
        guard let text = getenv(variable).map({ String(cString: $0) }), !text.isEmpty else { return 0 }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "resume-skips", let count = Int(parts[1]), count > 0 else {
            say("\(variable)=\(text) breaks nothing; resume-skips:COUNT would be right")
            return 0
        }
        say("\(variable)=\(text): this worker loses events on purpose, for a test")
        return count
    }()

    private static func say(_ line: String) {
        let bytes = Array("switchback: \(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
