import ArgumentParser
import CBaseline
import ChangePropagation
import Foundation
import Logging
import Synchronization

/// In a process of its own: a whole worker, until all its groups have read their events. What it has read is asked of its own metrics, so
/// that nothing depends on how often it checkpoints.
struct WorkerChild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker-child", shouldDisplay: false)

    /// `worker.yaml`, with `listen: 127.0.0.1:PORT`.
    @Argument var file: String
    @Option var port: Int
    /// Of all groups together.
    @Option var events: Int64
    /// Milliseconds between two looks at the metrics.
    @Option var interval: Int = 20
    @Flag var oneCore = false
    /// So many of them are there when it begins. Once all groups have read those, the rest is asked for, and reading that is measured: what starting costs
    /// is told apart. 0: all are there.
    @Option var first: Int64 = 0

    private static let limit = Duration.seconds(240)

    func run() async throws {
        ChildRun.endWithParent()
        if oneCore, cbaseline_use_one_core() != 0 { throw ChildRun.Failure(description: "this process can't be bound to one core") }
        let configuration = try WorkerConfiguration.parse(try String(contentsOfFile: file, encoding: .utf8), file: file)
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let watch = MemoryWatch()
        let (stop, continuation) = AsyncStream<Void>.makeStream()
        let worker = Task { [logger] in
            do { try await Worker(configuration, logger: logger).run(until: stop) } catch {
                Figures.note("the worker failed: \(error)")
                _exit(1)
            }
        }
        var result = try await measure()
        // Before the end: what a drain needs is not what reading needs.
        (result.peak, result.steady) = watch.end()
        continuation.yield()
        try ChildRun.answer(result)
        await worker.value
    }

    /// From the first look that shows events, or all those that are there when it begins, to the last of them.
    private func measure() async throws -> ChildResult {
        let deadline = ContinuousClock.now + Self.limit
        var began: (done: Int64, at: ContinuousClock.Instant, cpu: Double)?
        let standstill = Standstill()
        while ContinuousClock.now < deadline {
            let done = Self.count(in: (try? PlainHTTP.get("/metrics", port: port)) ?? "")
            let (now, cpu) = (ContinuousClock.now, Figures.cpuSeconds())
            if done >= max(1, first), began == nil {
                began = (done, now, cpu)
                if first > 0 { ChildRun.askForMore() }
            }
            if done >= events, let began, done > began.done {
                return ChildResult(
                    records: done - began.done, bytes: 0, seconds: (standstill.end ?? began.at).duration(to: now) / .seconds(1), cpuSeconds: cpu - began.cpu, peak: 0, steady: 0,
                    startCPUSeconds: began.cpu)
            }
            try await Task.sleep(for: .milliseconds(interval))
        }
        throw ChildRun.Failure(description: "the worker was not done within \(Self.limit)")
    }

    private static func count(in metrics: String) -> Int64 {
        metrics.split(separator: "\n").reduce(0) { sum, line in
            guard line.hasPrefix("switchback_events_total{"), let value = line.split(separator: " ").last.flatMap({ Double($0) }) else { return sum }
            return sum + Int64(value)
        }
    }
}

/// Notices when this process goes on after it was stopped (SIGCONT).
private final class Standstill: @unchecked Sendable {
    // @unchecked: `source` is not Sendable; after `init` only `deinit` touches it.
    private let ended = Mutex<ContinuousClock.Instant?>(nil)
    private let source: any DispatchSourceSignal

    /// When that was; nil: never.
    var end: ContinuousClock.Instant? { ended.withLock { $0 } }

    init() {
        source = DispatchSource.makeSignalSource(signal: SIGCONT, queue: DispatchQueue(label: "standstill"))
        source.setEventHandler { [weak self] in self?.ended.withLock { $0 = .now } }
        source.activate()
    }

    deinit { source.cancel() }
}

/// A GET of a local endpoint over a socket: a whole HTTP client would show in the memory that is measured.
enum PlainHTTP {
    private static let timeoutSeconds = 5

    struct Failure: Error {}

    static func get(_ path: String, port: Int) throws -> String {
        let handle = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard handle >= 0 else { throw Failure() }
        defer { close(handle) }
        var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(handle, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(clamping: port)).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(handle, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard connected == 0 else { throw Failure() }
        let request = Array("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".utf8)
        guard send(handle, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { throw Failure() }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = recv(handle, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }
}
