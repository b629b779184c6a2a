import Foundation

extension Drill {
    /// Gives a drill up that was interrupted, and brings things to a safe end. Embedded datacenters ended with the drill.
    /// - Parameter say: hears what is done, a line each.
    public static func abort(_ directory: URL, executable: String, say: (String) -> Void) async throws -> DrillReport {
        var state = try DrillJournal.load(directory)
        if let ended = state.ended { throw DrillFailure("the drill in \(directory.path) is over (\(ended)); its report is report.md there", code: 2) }
        let journal = try DrillJournal(directory)
        let at = state.setting.map { DrillClock(began: $0.beganAt).now } ?? state.last
        func write(_ kind: DrillEntry.Kind, _ change: (inout DrillEntry) -> Void) throws {
            var entry = DrillEntry(at: at, kind)
            change(&entry)
            try state.apply(entry)
            try journal.write(entry)
        }
        if let phase = state.current, state.phases[phase] != nil, state.phases[phase]?.outcome == nil {
            try write(.phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, .aborted, "the drill was interrupted here, and given up") }
        }
        try write(.ended) { $0.text = "aborted" }
        say("the embedded datacenters ended with the drill: nothing runs any more")
        return try reportOf(directory)
    }
}
