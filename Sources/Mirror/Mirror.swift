import KafkaLog
import Logging
import Synchronization

/// A mirror in one direction, for development, tests and demonstrations (production uses MirrorMaker 2, see `deploy/`).
///
/// It copies the topics `<from>.*` of one cluster into another under the same name: same partition, order, key, value,
/// headers and time. It never writes a topic of another datacenter. Progress lies in the target cluster (group
/// `switchback-mirror.<from>`); after a crash the records that were written since the last commit are recognised and
/// not written again. Run one per direction: two at once write everything twice.
public final class Mirror: Sendable {
    public let configuration: MirrorConfiguration
    private let table = ProgressTable()
    private let reachability: Reachability

    private struct State {
        var task: Task<Void, any Error>?
        var isStopped = false
        var isRunning = false
    }
    private let state = Mutex(State())

    public init(_ configuration: MirrorConfiguration) {
        var configuration = configuration
        configuration.logger[metadataKey: "mirror"] = "\(configuration.from)->\(configuration.to)"
        self.configuration = configuration
        reachability = Reachability(logger: configuration.logger)
    }

    /// Mirrors until `stop` is called or the calling task is cancelled, then waits for what was sent
    /// (`drainLimit`), commits, and returns. A cluster that is down is waited for, without limit.
    ///
    /// - Throws: `MirrorError` when the mirror may not run (one datacenter, one cluster, a wrong setting), `KafkaLogError`
    ///   when librdkafka refuses a setting.
    public func run() async throws {
        try configuration.validate()
        let task = try state.withLock { state -> Task<Void, any Error>? in
            guard !state.isRunning else { throw MirrorError.alreadyRunning }
            guard !state.isStopped else { return nil }
            state.isRunning = true
            let task = Task { try await self.runSessions() }
            state.task = task
            return task
        }
        guard let task else { return }
        defer { state.withLock { $0.isRunning = false } }
        try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    /// Lets `run` end in an orderly way; returns at once. A stopped mirror can't be run again.
    public func stop() {
        let task = state.withLock { state in
            state.isStopped = true
            return state.task
        }
        task?.cancel()
    }

    /// How far the mirror is now. Costs no request: the ends of the source's logs are as old as the last discovery.
    public func snapshot() -> MirrorStatus {
        MirrorStatus(
            from: configuration.from, to: configuration.to, isSourceReachable: reachability.isUp(.source),
            isTargetReachable: reachability.isUp(.target), partitions: table.status())
    }

    /// One session after the other: each has clients of its own and finds its place anew in the target.
    private func runSessions() async throws {
        var backoff = MirrorLimits.firstBackoff
        while !Task.isCancelled {
            let began = ContinuousClock.now
            let session = try MirrorSession(configuration, table: table, reachability: reachability, status: { [weak self] in self?.snapshot() })
            do {
                try await session.run()
            } catch is CancellationError {
                return
            } catch let error as MirrorError where !error.isRetriable {
                throw error
            } catch {
                if Task.isCancelled { return }
                note(error)
                if began.duration(to: .now) > MirrorLimits.lastBackoff { backoff = MirrorLimits.firstBackoff }
                try? await Task.sleep(for: backoff)
                backoff = min(backoff * 2, MirrorLimits.lastBackoff)
            }
        }
    }

    private func note(_ error: any Error) {
        if case MirrorError.client(let side, let cause) = error, cause.isRetriable {
            let servers = side == .source ? configuration.sourceBootstrapServers : configuration.targetBootstrapServers
            reachability.failed(side, servers: servers, cause)
            return
        }
        if case MirrorError.partition(let partition, let side, let cause) = error {
            table.hold(partition, reason: "\(error)")
            configuration.logger.error(
                "a partition can't be copied; the others go on, this one is tried again",
                metadata: ["partition": "\(partition)", "side": "\(side.rawValue)", "error": "\(cause)"])
            return
        }
        configuration.logger.warning("the mirror starts anew from its committed place", metadata: ["error": "\(error)"])
    }
}
