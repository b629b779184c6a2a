import ChangePropagation
import Checkpoints
import KafkaLog

/// One process on one machine: it can be killed, and stopped for a while. All that its tasks wait for goes through it.
///
/// A killed host's waits end at once with nil and everything that it asks for afterwards fails at once and has no effect: its tasks wind
/// up by themselves without being able to touch the world.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Host: @unchecked Sendable {
    let name: String
    let time: SimulatedTime
    private(set) var isDead = false
    /// SIGSTOP: until when.
    private(set) var stoppedUntil: Moment = 0
    /// How long it has been stopped in all.
    private(set) var stoppedFor: Moment = 0
    /// How far this machine's time of day is off, in milliseconds.
    let wallSkew: Int64
    /// The clock that a lease is measured by leaves out the time for which the process stood still (a mutant).
    var forgetsStops = false
    private let monotonicOffset: Moment
    private var waits: [UInt64: () -> Void] = [:]
    private var nextWait: UInt64 = 0

    /// 2023-11-14T22:13:20Z: what the time of day is when a simulation begins.
    static let epochMilliseconds: Int64 = 1_700_000_000_000

    init(name: String, time: SimulatedTime, random: inout SeededRandom) {
        self.name = name
        self.time = time
        wallSkew = Int64(random.int(-400...400))
        monotonicOffset = .seconds(3600) &+ .milliseconds(random.int(0...1_000_000))
    }

    var isStopped: Bool { time.now < stoppedUntil }
    /// Whether it can hear and answer now.
    var isUp: Bool { !isDead && !isStopped }

    var clock: HostClock {
        HostClock(
            monotonic: { [self] in time.now &+ monotonicOffset &- (forgetsStops ? stoppedFor : 0) },
            wall: { [self] in wall(at: time.now) },
            sleep: { [self] duration in try await sleep(duration) })
    }

    func wall(at moment: Moment) -> MillisecondTimestamp {
        MillisecondTimestamp(clamped: Self.epochMilliseconds + Int64(moment / 1_000_000) + wallSkew)
    }

    /// SIGKILL.
    func kill() {
        guard !isDead else { return }
        isDead = true
        let all = waits.sorted { $0.key < $1.key }
        waits = [:]
        for (_, end) in all { end() }
    }

    /// SIGSTOP now, SIGCONT after `duration`.
    func stop(for duration: Moment) {
        let until = time.now &+ duration
        guard until > stoppedUntil else { return }
        stoppedFor &+= until &- Swift.max(time.now, stoppedUntil)
        stoppedUntil = until
    }

    /// Runs `body` on this host: now, or when it goes on. Never when it is dead.
    func deliver(_ body: @escaping () -> Void) {
        guard !isDead else { return }
        if isStopped {
            time.at(stoppedUntil) { self.deliver(body) }
        } else {
            body()
        }
    }

    /// Suspends the calling task until `fulfil` is called. nil: the task was cancelled, or the host died.
    func wait<Value: Sendable>(_ begin: (Wait<Value>) -> Void) async -> Value? {
        let wait = Wait<Value>(host: self)
        return await withTaskCancellationHandler {
            await withUnsafeContinuation { continuation in
                wait.continuation = continuation
                guard !isDead, !Task.isCancelled else { return wait.end(nil) }
                nextWait += 1
                let id = nextWait
                wait.id = id
                waits[id] = { wait.end(nil) }
                begin(wait)
            }
        } onCancel: {
            wait.end(nil)
        }
    }

    fileprivate func forget(_ id: UInt64) { waits[id] = nil }

    private func sleep(_ duration: Duration) async throws {
        let done: Bool? = await wait { wait in time.after(duration.nanoseconds) { wait.fulfil(true) } }
        guard done != nil else { throw CancellationError() }
    }
}

/// One suspended task of a host.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Wait<Value: Sendable>: @unchecked Sendable {
    fileprivate var continuation: UnsafeContinuation<Value?, Never>?
    fileprivate var id: UInt64 = 0
    private let host: Host

    fileprivate init(host: Host) { self.host = host }

    /// Ends the wait when the host can hear of it; only the first call counts.
    func fulfil(_ value: Value) {
        guard continuation != nil else { return }
        host.deliver { self.end(value) }
    }

    fileprivate func end(_ value: Value?) {
        guard let waiting = continuation else { return }
        continuation = nil
        host.forget(id)
        waiting.resume(returning: value)
    }
}
