import Checkpoints
import Handover
import KafkaLog
import Logging

/// Puts events that can't be finished now into retry topics and the error topic. Only the broker's acknowledgement lets them count as finished.
extension GroupWorker {
    /// Retry records whose turn comes much later go to the end of their topic, where they hold nothing up.
    func parkAnew() {
        guard setup.role == .retries, parking != nil, !isStopping else { return }
        let now = clock.monotonic()
        for partition in order {
            guard let origin = partitions[partition]?.origin, mayBegin(on: partition, of: origin),
                var job = partitions[partition]?.takeParkedAnew(now: now), let held = job.origin, let attempts = held.attempts
            else { continue }
            let wait = Duration.nanoseconds(Int64(clamping: job.dueAt &- min(job.dueAt, now)))
            let rule = job.steps.lazy.compactMap { if case .act(let rule, _) = $0 { rule } else { nil } }.first
            job.steps = [.park(parked(held, rule: rule?.name, reason: nil, schedule: .init(due: due(after: wait), attempts: attempts)))]
            start(job, origin: origin)
        }
    }

    nonisolated func due(after pause: Duration) -> MillisecondTimestamp { clock.wall().moved(by: pause.milliseconds) }

    nonisolated func parked(
        _ origin: Job.Origin, rule: String?, reason: ParkedEvent.Reason?, schedule: ParkedEvent.Schedule?
    ) -> ParkedEvent {
        ParkedEvent(
            id: parking?.makeID() ?? "", group: setup.group, rule: rule, schedule: schedule, reason: reason, source: origin.source,
            payload: origin.payload, key: origin.key)
    }

    /// Produces until it is acknowledged. False: the worker may not act any more, or the work was dropped; it may be in the topic all the same.
    nonisolated func park(_ event: ParkedEvent, partitionCounts: [String: Int32], mayStart: @Sendable () -> Bool) async -> Bool {
        guard let parking else { return false }
        var event = event
        var pause = Parking.firstPause
        while mayStart() {
            CrashPoints.hit(event.schedule == nil ? .beforeDeadLetter : .beforeRetryRecord)
            guard let error = await parking.produce(event, now: clock.wall(), partitionCounts: partitionCounts) else {
                CrashPoints.hit(event.schedule == nil ? .deadLetterRecorded : .retryRecorded)
                return true
            }
            if error.isRecordTooLarge, event.withoutPayload != event {
                logger.error(
                    "An event is too large to be parked; a dead letter without it says where it is",
                    metadata: ["source": "\(event.source.topic)/\(event.source.partition)", "offset": "\(event.source.offset)"])
                event = event.withoutPayload
                continue
            }
            logger.warning(
                "An event could not be parked; trying on, its position waits meanwhile", metadata: [
                    "stream": "\(event.stream(parking.topics, datacenters: parking.datacenters))", "error": "\(error)",
                    "source": "\(event.source.topic)/\(event.source.partition)", "offset": "\(event.source.offset)", "after": "\(pause.readable)",
                ])
            do { try await clock.sleep(pause) } catch { return false }
            pause = min(pause * 2, Parking.lastPause)
        }
        return false
    }

    /// What is to be done about an event that `rule` could not finish.
    nonisolated func outcome(
        of verdict: FailureVerdict, _ reason: ParkedEvent.Reason, rule: Rule?, _ origin: Job.Origin?
    ) -> FailureOutcome {
        switch verdict {
        case .skip: return .goOn
        case .halt: return .halt
        case .retry(let attempts, let pause):
            guard let origin, parking != nil else { return .halt }
            return .park(parked(origin, rule: rule?.name, reason: reason, schedule: .init(due: due(after: pause), attempts: attempts)))
        case .deadLetter:
            guard let origin, parking != nil else { return .halt }
            return .park(parked(origin, rule: rule?.name, reason: reason, schedule: nil))
        }
    }

    enum FailureOutcome {
        case goOn
        case halt
        case park(ParkedEvent)
    }
}
