import Checkpoints
import Foundation
import KafkaLog
import Logging

/// Writes a small record into `<dc>.switchback.heartbeat` at an interval: where the mirror brings it, others know until when they
/// have what this datacenter produced, also when it can't be asked any more. Opt-in (`heartbeat` in worker.yaml).
public struct Heartbeat: Sendable {
    static let stream = "switchback.heartbeat"
    static func topic(of datacenter: Datacenter) -> String { OriginTopic(origin: datacenter, stream: stream).topic }

    private let producer: OriginProducer
    private let interval: Duration
    private let worker: String
    private let clock: HostClock
    private let logger: Logger

    init(_ producer: OriginProducer, interval: Duration, worker: String, clock: HostClock = .system, logger: Logger) {
        self.producer = producer
        self.interval = interval
        self.worker = worker
        self.clock = clock
        self.logger = logger
    }

    private struct Beat: Codable {
        var dc: String
        var worker: String
        var at: Int64
    }

    /// Beats until cancelled. A beat that fails is logged once until one succeeds again.
    func run() async {
        var hasFailed = false
        while !Task.isCancelled {
            let now = clock.wall()
            let beat = Beat(dc: producer.datacenter.name, worker: worker, at: now.milliseconds)
            let value = (try? JSONEncoder().encode(beat)).map { Array($0) }
            let result = try? await producer.send([OriginProducer.Event(key: nil, value: value, timestamp: now)], stream: Self.stream)
            if case .failure(let error)? = result?.first {
                if !hasFailed { logger.warning("The heartbeat can't be written; trying on", metadata: ["error": "\(error)"]) }
                hasFailed = true
            } else { hasFailed = false }
            do { try await clock.sleep(interval) } catch { return }
        }
    }
}
