import Dispatch
import Logging

#if canImport(Glibc)
import Glibc
#endif

/// SIGTERM and SIGINT as a stream: the first asks to stop in order, a second one ends the process at once.
enum Signals {
    static func stop() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream()
        let queue = DispatchQueue(label: "switchback.signals")
        let count = Counter()
        for number in [SIGTERM, SIGINT] {
            #if !os(Linux)
            signal(number, SIG_IGN)
            #endif
            // Not on Linux, where the source takes the signal over by itself, some time after this: one that is ignored until then is lost, and
            // the process goes on for ever. So it ends the process, which has done nothing yet.
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler {
                // Keeps the source alive as long as the process.
                _ = source
                if count.next() > 1 { _exit(128 + number) }
                continuation.yield()
                continuation.finish()
            }
            source.resume()
        }
        return stream
    }

    /// One element at once, then one after each pause of so many seconds, until SIGTERM or SIGINT.
    static func everySecondsUntilStop(_ seconds: Double) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let ticks = Task {
            while !Task.isCancelled {
                continuation.yield()
                try? await Task.sleep(for: .seconds(seconds))
            }
        }
        Task {
            for await _ in stop() { break }
            ticks.cancel()
            continuation.finish()
        }
        return stream
    }

    /// SIGHUP as a stream. Signals that come while one is being served count once.
    static func reload() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        signal(SIGHUP, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: SIGHUP, queue: DispatchQueue(label: "switchback.reload"))
        source.setEventHandler {
            // Keeps the source alive as long as the process.
            _ = source
            continuation.yield()
        }
        source.resume()
        return stream
    }

    /// Touched on the signals' own queue only.
    private final class Counter: @unchecked Sendable {
        private var value = 0
        func next() -> Int {
            value += 1
            return value
        }
    }
}

/// Logs go to stderr; stdout belongs to results.
func makeLogger(_ label: String, level: Logger.Level) -> Logger {
    var logger = Logger(label: label, factory: { StreamLogHandler.standardError(label: $0) })
    logger.logLevel = level
    return logger
}
