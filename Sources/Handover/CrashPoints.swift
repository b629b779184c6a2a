import Synchronization

#if canImport(Glibc)
import Glibc
#endif

/// The places in a handover, and in the life of an event, at which a process can be made to die, numbered for `SWITCHBACK_CRASH_AT`. The
/// numbers are part of the tests' language: they stay as they are. Old side: the workers of the owner that drains. New side: those of its target.
public enum CrashPoint: Int, Sendable, CaseIterable {
    /// Old side: a partition is drained; its seal is about to be written.
    case beforeSeal = 1
    /// Old side: a seal stands in the store; nothing here knows that yet.
    case sealWritten = 2
    /// Old side: a partition is sealed, another one is still draining.
    case betweenSeals = 3
    /// Old side: every partition is sealed; the epoch is about to be raised.
    case allSealed = 4
    /// Old side: it has raised the epoch; nothing here knows that yet.
    case raisedByOwner = 5

    /// New side: it sees the epoch that gives it the origin; nothing is planned yet.
    case epochSeen = 11
    /// New side: the place to go on from is known and sought; no record was read.
    case planned = 12
    /// New side: an action has ended in a partition that has no checkpoint of the new epoch yet.
    case firstAction = 13
    /// New side: a first checkpoint of the new epoch stands in the store, the assignment is not called stable yet.
    case firstCheckpoint = 14
    /// New side: it has called the assignment stable; nothing here knows that yet.
    case settled = 15

    /// Controller: the assignment was marked as draining.
    case markedDraining = 21
    /// Controller: it has seen that every partition is sealed; the epoch is about to be raised.
    case seenSealed = 22
    /// Controller: it has raised the epoch; nothing here knows that yet.
    case raised = 23
    /// Controller: it waits, for seals or for the new owner.
    case waiting = 24

    /// An event that a rule wants was read; nothing was begun.
    case eventRead = 31
    /// Its requests have ended, whatever the answer; nothing here knows that yet.
    case answered = 32
    /// Its retry record is about to be produced.
    case beforeRetryRecord = 33
    /// The retry record is acknowledged; the event's position has not moved.
    case retryRecorded = 34
    /// The retry record was read; it is not due yet.
    case retryWaiting = 35
    /// A retry's requests have ended, whatever the answer; nothing here knows that yet.
    case retryAnswered = 36
    /// A dead letter is about to be produced.
    case beforeDeadLetter = 37
    /// The dead letter is acknowledged; the position of what it was made of has not moved.
    case deadLetterRecorded = 38

    /// Whether it is a step of a handover; else it is one of an event's life.
    public var isOfHandover: Bool { rawValue < 30 }
}

/// A test facility: a process that is started with `SWITCHBACK_CRASH_AT=<number>[:<count>]` kills itself with SIGKILL when it comes by
/// that `CrashPoint` for the `count`-th time (1 unless given). Without the variable a point costs one comparison.
public enum CrashPoints {
    public static let variable = "SWITCHBACK_CRASH_AT"

    /// Where to die, and at which visit. nil: nowhere. A value that names no point is said on stderr, and is none.
    private static let armed: (point: CrashPoint, visit: Int)? = {
        guard let text = getenv(variable).map({ String(cString: $0) }), !text.isEmpty else { return nil }
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let point = parts.first.flatMap({ Int($0) }).flatMap(CrashPoint.init(rawValue:)),
            let visit = parts.count == 1 ? 1 : Int(parts[1]), visit > 0
        else {
            say("\(variable)=\(text) names no crash point; NUMBER or NUMBER:COUNT would be right")
            return nil
        }
        return (point, visit)
    }()

    private static let visits = Atomic<Int>(0)

    /// Whether this process is to die at `point`: for what is worth doing only then.
    public static func isArmed(_ point: CrashPoint) -> Bool { armed?.point == point }

    /// Does not return where the variable names this point.
    public static func hit(_ point: CrashPoint) {
        guard let armed, armed.point == point else { return }
        guard visits.add(1, ordering: .relaxed).newValue >= armed.visit else { return }
        say("crash point \(point.rawValue), \(point)")
        kill(getpid(), SIGKILL)
        // The signal is on its way: nothing may be done meanwhile.
        while true { pause() }
    }

    private static func say(_ line: String) {
        let bytes = Array("switchback: \(line)\n".utf8)
        _ = write(STDERR_FILENO, bytes, bytes.count)
    }
}
