import HeapModule

/// Nanoseconds since the simulation began.
typealias Moment = UInt64

extension Moment {
    static func milliseconds(_ count: Int) -> Moment { UInt64(Swift.max(0, count)) &* 1_000_000 }
    static func seconds(_ count: Double) -> Moment { UInt64(Swift.max(0, count) * 1e9) }
    var inSeconds: Double { Double(self) / 1e9 }
}

/// The one clock of a simulation: it stands still while anything can run, then jumps to the next event.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class SimulatedTime: @unchecked Sendable {
    private struct Event: Comparable {
        let at: Moment
        let sequence: UInt64
        let body: () -> Void
        static func == (a: Event, b: Event) -> Bool { a.sequence == b.sequence }
        static func < (a: Event, b: Event) -> Bool { (a.at, a.sequence) < (b.at, b.sequence) }
    }

    private(set) var now: Moment = 0
    private var sequence: UInt64 = 0
    private var events = Heap<Event>()

    /// Runs `body` at `moment`, or at once when that has passed; events of one moment run in the order in which they were made.
    func at(_ moment: Moment, _ body: @escaping () -> Void) {
        sequence += 1
        events.insert(Event(at: Swift.max(now, moment), sequence: sequence, body: body))
    }

    func after(_ delay: Moment, _ body: @escaping () -> Void) { at(now &+ delay, body) }

    /// Goes on to the next event and runs it. False: there is none.
    func step() -> Bool {
        guard let event = events.popMin() else { return false }
        now = event.at
        event.body()
        return true
    }

    /// Forgets everything that was to come.
    func clear() { events = Heap<Event>() }
}
