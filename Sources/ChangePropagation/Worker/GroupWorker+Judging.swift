import Checkpoints
import Handover
import KafkaLog
import Logging

/// Asks the rules about one record, and queues what is to be done about it.
extension GroupWorker {
    /// One record as far as it is understood.
    private struct Candidate {
        /// Rules that may want it; empty: none of this worker's.
        var rules: [Rule]
        var event: JSONValue
        /// Of a retry record; nil: the record is the event itself.
        var origin: Job.Origin?
        /// When it is to be acted on; nil: now.
        var due: MillisecondTimestamp?
    }

    /// What rules make of a record. nil steps: the partition was stopped.
    private typealias Plan = (steps: [Job.Step], origin: Job.Origin?, due: MillisecondTimestamp?, claims: [Claim])

    func judge(
        _ record: borrowing RecordView, _ parsed: Result<JSONValue, EventError>, _ partition: TopicPartition, _ rules: [Rule],
        _ ticket: PrefixTracker.Ticket, _ fingerprint: Fingerprint
    ) {
        if case .success(.null) = parsed, record.valueSize == nil {
            // A tombstone is no event: there is nothing in it that a rule could want.
            counts.skipped += 1
            return partitions[partition]?.finishSkipped(ticket) ?? ()
        }
        let plan: Plan?
        do throws(EventError) {
            plan = self.plan(record, try candidate(record, try parsed.get(), rules), partition)
        } catch {
            plan = self.plan(record, unparsable: error, partition, rules)
        }
        guard let plan else { return }
        guard plan.steps.contains(where: \.isWork) else {
            // Nothing is to be sent for it.
            if plan.steps.isEmpty { counts.skipped += 1 } else { counts.acted += 1 }
            return partitions[partition]?.finishSkipped(ticket) ?? ()
        }
        var job = Job(
            partition: partition, generation: partitions[partition]?.generation ?? 0, ticket: ticket, offset: record.offset,
            timestamp: record.timestamp, fingerprint: fingerprint, steps: plan.steps, lane: lane(of: record, plan.steps),
            size: plan.steps.reduce(256 + plan.claims.count * Self.claimSize + (plan.origin?.payload.size ?? 0)) { $0 + $1.size }, origin: plan.origin)
        job.readAt = clock.monotonic()
        job.claims = plan.claims
        if let due = plan.due {
            // Two clocks have to do with it: the one that set the due time, and this one.
            let wait = due.milliseconds - clock.wall().milliseconds
            if wait > 0 { job.dueAt = job.readAt &+ UInt64(min(wait, Self.longestWait)) * 1_000_000 }
        }
        partitions[partition]?.enqueue(job)
        if setup.role == .events { CrashPoints.hit(.eventRead) } else if job.dueAt > 0 { CrashPoints.hit(.retryWaiting) }
    }

    /// Bytes of one in memory, roughly.
    private static let claimSize = 512

    /// Milliseconds; no due time is believed to be further away (a clock that is years ahead).
    private static let longestWait: Int64 = 400 * 86_400_000

    private func candidate(_ record: borrowing RecordView, _ json: JSONValue, _ rules: [Rule]) throws(EventError) -> Candidate {
        guard setup.role == .retries else { return Candidate(rules: rules, event: json) }
        let parked = try ParkedEvent(json, key: key(of: record))
        return Candidate(
            rules: rules.filter { $0.name == parked.rule }, event: json["original_event"] ?? .null,
            origin: Job.Origin(source: parked.source, payload: parked.payload, key: parked.key, attempts: parked.schedule?.attempts),
            due: parked.schedule?.due)
    }

    private func plan(_ record: borrowing RecordView, _ candidate: Candidate, _ partition: TopicPartition) -> Plan? {
        var steps: [Job.Step] = []
        var claims: [Claim] = []
        var origin = candidate.origin
        for rule in candidate.rules {
            do throws(EventError) {
                let requests: [ActionRequest]
                switch try rule.evaluate(candidate.event) {
                case .act(let wanted): requests = wanted
                case .leaveOut(let reason):
                    leftOut(rule, reason, partition, record.offset)
                    continue
                case .noMatch: continue
                }
                noteMatch(rule, partition.topic)
                if origin == nil, !requests.isEmpty { origin = self.origin(of: record, partition, isJSON: true) }
                if let due = try delay(candidate, rule), let origin {
                    steps.append(.park(parked(origin, rule: rule.name, reason: nil, schedule: .init(due: due, attempts: rule.freshAttempts))))
                } else {
                    steps.append(.act(rule, requests))
                    if let claim = claim(rule, candidate, requests.count, partition) { claims.append(claim) }
                }
            } catch {
                counts.failed += 1
                if origin == nil { origin = self.origin(of: record, partition, isJSON: true) }
                let why = "rule \(rule.name), offset \(record.offset): \(error)"
                switch outcome(of: rule.verdictOnBrokenEvent, error, rule: rule, origin) {
                case .halt:
                    halt(partition, why, at: record.offset)
                    return nil
                case .goOn:
                    logger.error("An event is skipped (on_failure: skip)", metadata: ["partition": "\(partition)", "reason": "\(why)"])
                case .park(let event):
                    logger.error("An event becomes a dead letter", metadata: ["partition": "\(partition)", "reason": "\(why)"])
                    steps.append(.park(event))
                }
            }
        }
        return (steps, origin, candidate.due, claims)
    }

    /// nil: nothing is to be claimed.
    private func claim(_ rule: Rule, _ candidate: Candidate, _ requests: Int, _ partition: TopicPartition) -> Claim? {
        guard rule.dedupe != nil, requests > 0 else { return nil }
        let source = candidate.origin?.source
        return Claim(
            rule, candidate.event, requests: requests, topic: source?.topic ?? partition.topic, partition: source?.partition ?? partition.partition,
            group: setup.group, token: claimWork.table.nextToken(of: setup.workerName))
    }

    /// Until when the event waits in the retry topic before it is acted on; nil: it does not. One that has waited there does not wait again.
    private func delay(_ candidate: Candidate, _ rule: Rule) throws(EventError) -> MillisecondTimestamp? {
        guard setup.role == .events, rule.usesRetryTopics, let due = try rule.delayUntil?.time(of: candidate.event), due > clock.wall() else { return nil }
        return due
    }

    private func plan(_ record: borrowing RecordView, unparsable error: EventError, _ partition: TopicPartition, _ rules: [Rule]) -> Plan? {
        counts.unparsable += 1
        let why = "offset \(record.offset): \(error)"
        // Nobody knows which of the rules would have wanted it: the strictest decides.
        let verdicts = rules.map(\.verdictOnBrokenEvent)
        let verdict = verdicts.contains(.halt) ? .halt : verdicts.contains(.deadLetter) ? .deadLetter : FailureVerdict.skip
        let origin = verdict == .deadLetter ? self.origin(of: record, partition, isJSON: false) : nil
        switch outcome(of: verdict, error, rule: nil, origin) {
        case .halt:
            halt(partition, why, at: record.offset)
            return nil
        case .goOn:
            // It moves the prefix all the same.
            logger.error(
                "An event can't be parsed; it is skipped (on_failure: skip)", metadata: ["partition": "\(partition)", "reason": "\(why)"])
            return ([], nil, nil, [])
        case .park(let event):
            logger.error("An event can't be parsed; it becomes a dead letter", metadata: ["partition": "\(partition)", "reason": "\(why)"])
            return ([.park(event)], origin, nil, [])
        }
    }

    private func outcome(of verdict: FailureVerdict, _ error: EventError, rule: Rule?, _ origin: Job.Origin?) -> FailureOutcome {
        outcome(of: verdict, ParkedEvent.Reason(label: error.label, message: "\(error)"), rule: rule, origin)
    }

    /// What it takes to park the record's event later. nil: this worker parks nothing.
    private func origin(of record: borrowing RecordView, _ partition: TopicPartition, isJSON: Bool) -> Job.Origin? {
        guard parking != nil else { return nil }
        let value: [UInt8] = record.withValue { bytes in bytes.map { Array($0) } ?? [] }
        let source = ParkedEvent.Source(
            topic: partition.topic, partition: partition.partition, offset: record.offset, cluster: record.position.cluster.id,
            timestamp: record.timestamp?.milliseconds)
        return Job.Origin(source: source, payload: isJSON ? .json(value) : .raw(value), key: key(of: record), attempts: nil)
    }

    private func key(of record: borrowing RecordView) -> [UInt8]? { record.withKey { key in key.map { Array($0) } } }

    private func lane(of record: borrowing RecordView, _ steps: [Job.Step]) -> UInt64? {
        let orders = steps.compactMap { step in if case .act(let rule, _) = step { rule.order } else { nil } }
        if orders.contains(.partition) { return 0 }
        guard orders.contains(.key) else { return nil }
        return record.withKey { key in key.map { Fingerprint.ofRecord(key: $0, value: nil, timestamp: nil).bits } }
    }
}

extension Job.Step {
    fileprivate var isWork: Bool { if case .act(_, let requests) = self { !requests.isEmpty } else { true } }

    /// Bytes beside the event's own, roughly.
    fileprivate var size: Int {
        switch self {
        case .act(_, let requests): requests.reduce(0) { $0 + $1.size }
        case .park: 0
        }
    }
}

extension ParkedEvent.Payload {
    fileprivate var size: Int {
        switch self {
        case .json(let bytes), .raw(let bytes): bytes.count
        case .tooLarge: 0
        }
    }
}
