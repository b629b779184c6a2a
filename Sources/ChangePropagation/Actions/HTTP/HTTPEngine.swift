import CCurl
import Foundation
import Glibc
import Synchronization

/// The one thread that makes all HTTP requests of a worker, over libcurl's multi interface and epoll: some dozens of exchanges are taken up and
/// ended with one waking, which is what makes small requests cheap.
///
/// Must be closed: `close()`.
final class HTTPEngine: Sendable {
    /// What holds for every exchange.
    struct Limits: Sendable {
        /// Milliseconds, at least 1.
        let connectTimeout: Int
        /// Whole seconds, at least 1: libcurl counts none smaller.
        let idleSeconds: Int
        let ageSeconds: Int
        /// Bytes of an answer.
        let response: Int
        /// For so many seconds a name's addresses serve new connections.
        static let nameSeconds = 5

        init(_ settings: WorkerConfiguration.HTTPSettings) {
            connectTimeout = Self.milliseconds(settings.connectTimeout)
            // libcurl closes what has been idle for longer than that, in whole seconds rounded down.
            idleSeconds = max(1, Int(settings.idleTimeout.components.seconds) - 1)
            ageSeconds = max(1, Int(settings.connectionMaxAge.components.seconds) - 1)
            response = settings.responseLimit
        }

        static func milliseconds(_ duration: Duration) -> Int { Int(max(1, min(duration, .seconds(1_000_000)) / .milliseconds(1))) }
    }

    /// Stands for one exchange, so that it can be cancelled.
    final class Ticket: Sendable {
        let isCancelled = Atomic(false)
    }

    enum Command: Sendable {
        case start(Start)
        case cancel(Ticket)
    }

    struct Start: Sendable {
        let exchange: HTTPExchange
        let ticket: Ticket
        let done: HTTPTransfer.Done
        let at: ContinuousClock.Instant
    }

    private struct Inbox {
        var commands: [Command] = []
        /// The thread waits, or is about to, and has to be woken.
        var isAsleep = false
        var isClosed = false
        /// Whoever waits for the thread's end; empty and `hasEnded`: nobody need wait.
        var waiting: [CheckedContinuation<Void, Never>] = []
        var hasEnded = false
    }

    private let inbox = Mutex(Inbox())
    private let connections: Atomic<Int>
    private let wake: Int32

    /// - Parameter connections: so many exchanges run at once, at most; more wait.
    init(limits: Limits, connections: Int) {
        self.connections = Atomic(connections)
        _ = Self.isReady
        wake = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        let thread = Thread { [self] in
            HTTPEngineLoop(limits: limits, wake: wake, connections: { self.connections.load(ordering: .relaxed) }).run { self.take($0) }
            end()
        }
        thread.name = "http"
        thread.start()
    }

    deinit { Glibc.close(wake) }

    private static let isReady = curl_global_init(Int(CURL_GLOBAL_DEFAULT))

    /// From now on so many exchanges run at once, at most.
    func allow(connections: Int) {
        self.connections.store(connections, ordering: .relaxed)
        alarm()
    }

    /// Makes the request. Cancelling the task ends it.
    nonisolated(nonsending) func perform(_ exchange: HTTPExchange) async -> HTTPExchange.Outcome {
        let ticket = Ticket()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { done in
                if !post(.start(Start(exchange: exchange, ticket: ticket, done: done, at: .now))) { done.resume(returning: .interrupted) }
            }
        } onCancel: {
            ticket.isCancelled.store(true, ordering: .sequentiallyConsistent)
            _ = post(.cancel(ticket))
        }
    }

    /// Ends every exchange that still runs (`interrupted`) and closes all connections. Returns when that is done.
    func close() async {
        await withCheckedContinuation { continuation in
            let hasEnded = inbox.withLock { inbox in
                inbox.isClosed = true
                if !inbox.hasEnded { inbox.waiting.append(continuation) }
                return inbox.hasEnded
            }
            if hasEnded { continuation.resume() } else { alarm() }
        }
    }

    /// False: it is closed.
    private func post(_ command: Command) -> Bool {
        let (isOpen, mustWake) = inbox.withLock { inbox in
            guard !inbox.isClosed else { return (false, false) }
            inbox.commands.append(command)
            defer { inbox.isAsleep = false }
            return (true, inbox.isAsleep)
        }
        if mustWake { alarm() }
        return isOpen
    }

    private func alarm() {
        var one: UInt64 = 1
        // It fails only when the counter is full, and then the thread is awake.
        _ = write(wake, &one, 8)
    }

    /// nil: closed.
    private func take(_ reused: consuming [Command]) -> [Command]? {
        var commands = reused
        commands.removeAll(keepingCapacity: true)
        return inbox.withLock { inbox in
            guard !inbox.isClosed || !inbox.commands.isEmpty else { return nil }
            swap(&commands, &inbox.commands)
            inbox.isAsleep = commands.isEmpty
            return commands
        }
    }

    private func end() {
        let waiting = inbox.withLock { inbox in
            inbox.isClosed = true
            inbox.hasEnded = true
            return exchange(&inbox.waiting, with: [])
        }
        for continuation in waiting { continuation.resume() }
    }
}
