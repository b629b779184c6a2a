import Checkpoints
import Handover
import KafkaLog
import Logging

/// Takes records through the rules, and runs the actions that they want within their slots.
extension GroupWorker {
    /// How many actions of the group run at once.
    private var slots: Int { setup.rules.map(\.concurrency).max() ?? 1 }

    func take(_ batch: RecordBatch) {
        let now = clock.monotonic()
        for run in batch.runs {
            if partitions[run.partition]?.stage == .following {
                follow(batch, run, now)
                continue
            }
            guard let work = partitions[run.partition], work.stage == .reading else { continue }
            let rules = rules(for: run.partition.topic)
            var index = run.range.lowerBound
            while true {
                index = skim(batch, index..<run.range.upperBound, run.partition, rules, now)
                // A restart throws away the rest of what was read.
                guard index < run.range.upperBound, take(batch, index, run.partition, rules.rules, now) else { break }
                index += 1
            }
            noticeActing(run.partition)
        }
        pump()
    }

    /// Index of the first record that has to be read whole.
    private func skim(_ batch: RecordBatch, _ range: Range<Int>, _ partition: TopicPartition, _ rules: TopicRules, _ now: UInt64) -> Int {
        guard let screen = rules.screen else { return range.lowerBound }
        let taken = partitions[partition]?.skim(batch, range, now: now, limits: limits) { glance(at: $0, screen) }
        guard let (end, skipped) = taken else { return range.lowerBound }
        counts.read += end - range.lowerBound
        counts.skipped += skipped
        return end
    }

    /// What the record is, where a look is enough to tell that no rule wants it; nil: it has to be read whole.
    private func glance(at record: borrowing RecordView, _ screen: EventScreen) -> (Fingerprint, hasIdentity: Bool)? {
        var identity: Fingerprint?
        let isUnwanted = record.withValue { bytes in
            guard let bytes else { return false }
            return screen.look(bytes) { sight in
                if let bytes = sight?.identity, !bytes.isEmpty { identity = Fingerprint.ofIdentity(bytes) }
                return sight?.isUnwanted ?? false
            }
        }
        guard isUnwanted else { return nil }
        if let identity { return (identity, true) }
        // It may be a number.
        if case .json = setup.identity { return nil }
        return fingerprint(of: record, event: nil)
    }

    /// False: nothing more of this run is wanted.
    private func take(_ batch: RecordBatch, _ index: Int, _ partition: TopicPartition, _ rules: [Rule], _ now: UInt64) -> Bool {
        batch.withRecord(at: index) { record in
            counts.read += 1
            let parsed: Result<JSONValue, EventError> = record.withValue { bytes in
                guard let bytes else { return .success(.null) }
                do throws(EventError) { return .success(try parseEvent(bytes)) } catch { return .failure(error) }
            }
            let (fingerprint, hasIdentity) = fingerprint(of: record, event: try? parsed.get())
            let seen = partitions[partition]?.see(
                offset: record.offset, fingerprint: fingerprint, hasIdentity: hasIdentity, timestamp: record.timestamp, type: record.timestampType,
                now: now, limits: limits)
            switch seen {
            case .nothing?: return true
            case nil: return false
            case .restart(let step, let gap)?:
                restart(partition, step, gap: gap)
                return false
            case .event(let ticket)?:
                noticeActing(partition)
                judge(record, parsed, partition, rules, ticket, fingerprint)
                return partitions[partition]?.stage == .reading
            }
        }
    }

    func fingerprint(
        of record: borrowing RecordView, event: JSONValue?
    ) -> (Fingerprint, hasIdentity: Bool) {
        if setup.identity != .record {
            let headers = setup.identity.needsHeaders ? (try? record.headers()) ?? [] : []
            let bytes = setup.identity.bytes(event: event) { name in headers.last { $0.name == name }?.value }
            if let bytes { return (bytes.withUnsafeBytes { Fingerprint.ofIdentity($0) }, true) }
        }
        return (Fingerprint.ofRecord(record), false)
    }

    /// Asks the rules about one event, and queues what they want done.
    private func judge(
        _ record: borrowing RecordView, _ parsed: Result<JSONValue, EventError>, _ partition: TopicPartition, _ rules: [Rule],
        _ ticket: PrefixTracker.Ticket, _ fingerprint: Fingerprint
    ) {
        let event: JSONValue
        switch parsed {
        case .success(.null) where record.valueSize == nil:
            // A tombstone is no event: there is nothing in it that a rule could want.
            counts.skipped += 1
            return partitions[partition]?.finishSkipped(ticket) ?? ()
        case .success(let value): event = value
        case .failure(let error):
            counts.unparsable += 1
            let why = "offset \(record.offset): \(error)"
            if rules.contains(where: { $0.onFailure == .halt }) { return halt(partition, why, at: record.offset) }
            // It moves the prefix all the same.
            logger.error(
                "An event can't be parsed; it is skipped (on_failure: skip)", metadata: ["partition": "\(partition)", "reason": "\(why)"])
            partitions[partition]?.finishSkipped(ticket)
            return
        }
        var actions: [(rule: Rule, requests: [ActionRequest])] = []
        for index in rules.indices {
            do throws(EventError) {
                switch try rules[index].evaluate(event) {
                case .act(let requests): actions.append((rules[index], requests))
                case .leaveOut(let reason): leftOut(rules[index], reason, partition, record.offset)
                case .noMatch: break
                }
            } catch {
                let rule = rules[index]
                counts.failed += 1
                let why = "rule \(rule.name), offset \(record.offset): \(error)"
                if rule.onFailure == .halt { return halt(partition, why, at: record.offset) }
                logger.error("An event is skipped (on_failure: skip)", metadata: ["partition": "\(partition)", "reason": "\(why)"])
            }
        }
        guard actions.contains(where: { !$0.requests.isEmpty }) else {
            // Nothing is to be sent for it.
            if actions.isEmpty { counts.skipped += 1 } else { counts.acted += 1 }
            partitions[partition]?.finishSkipped(ticket)
            return
        }
        let generation = partitions[partition]?.generation ?? 0
        partitions[partition]?.enqueue(
            Job(
                partition: partition, generation: generation, ticket: ticket, offset: record.offset, timestamp: record.timestamp,
                fingerprint: fingerprint, actions: actions, lane: lane(of: record, actions.map(\.rule)),
                size: actions.reduce(256) { $0 + $1.requests.reduce(0) { $0 + $1.size } }))
    }

    /// Counts an event that a rule leaves out. A loop is told of: somebody made it.
    private func leftOut(_ rule: Rule, _ reason: LeftOut, _ partition: TopicPartition, _ offset: Int64) {
        counts.leftOut[WorkerCounts.Reason(rule: rule.name, label: reason.label), default: 0] += 1
        logger.log(
            level: reason == .hops ? .warning : .debug, "An event is left out",
            metadata: ["rule": "\(rule.name)", "partition": "\(partition)", "offset": "\(offset)", "reason": "\(reason)"])
    }

    private func rules(for topic: String) -> TopicRules {
        if let known = topicRules[topic] { return known }
        var rules: [Rule] = []
        if let read = OriginTopic(topic: topic, known: setup.datacenters) {
            rules = setup.rules.filter { $0.reads(read) }
        }
        let made = TopicRules(rules: rules, screen: EventScreen(rules, identity: setup.identity))
        topicRules[topic] = made
        return made
    }

    private func lane(of record: borrowing RecordView, _ rules: [Rule]) -> UInt64? {
        if rules.contains(where: { $0.order == .partition }) { return 0 }
        guard rules.contains(where: { $0.order == .key }) else { return nil }
        return record.withKey { key in key.map { Fingerprint.ofRecord(key: $0, value: nil, timestamp: nil).bits } }
    }

    // MARK: Slots

    /// Starts what may start: slots free, lease good, order kept.
    func pump() {
        guard !isStopping else { return }
        guard !order.isEmpty, liveness.allowsAction(at: clock.monotonic()) else { return }
        var idle = 0
        while runningActions < slots, idle < order.count {
            turn = (turn + 1) % order.count
            let partition = order[turn]
            guard let origin = partitions[partition]?.origin, mayBegin(on: partition, of: origin),
                let job = partitions[partition]?.takeJob()
            else {
                idle += 1
                continue
            }
            idle = 0
            start(job, origin: origin)
        }
    }

    /// Whether an action (or its next request) may begin now, as far as the lease goes: it lasts until the request has surely left.
    private nonisolated func mayBegin(on partition: TopicPartition, of origin: Datacenter) -> Bool {
        let now = clock.monotonic()
        guard let lease = leases[origin], liveness.allowsAction(at: now) else { return false }
        return lease.allowsAction(on: partition, at: now) && lease.allowsAction(on: partition, at: now &+ setup.startMargin.nanoseconds)
    }

    private func start(_ job: Job, origin: Datacenter) {
        runningActions += 1
        nextTask += 1
        let id = nextTask
        let task = Task { [action, logger] in
            var ending = PartitionWork.Ending.finished
            var failures = 0
            for (rule, requests) in job.actions {
                // Asked right before every single request: a pause of this process may have outlasted the lease. Cancelled is what was
                // dropped; that is asked after the lease, since by the time that a newer one stands there all that it is not good for
                // has been cancelled.
                let result = await action.run(requests, of: rule, mayStart: { self.mayBegin(on: job.partition, of: origin) && !Task.isCancelled })
                switch result {
                case .done, .ignored: continue
                case .limited(let key): self.leftOut(rule, .limiter(key.type), job.partition, job.offset)
                case .interrupted: ending = .again
                case .failed(let why, let tries):
                    failures += 1
                    let reason = "rule \(rule.name), offset \(job.offset): \(why), after \(tries) tries"
                    guard rule.onFailure == .halt else {
                        logger.error(
                            "An action failed for good; its event is left behind (on_failure: skip)",
                            metadata: ["partition": "\(job.partition)", "reason": "\(reason)"])
                        continue
                    }
                    ending = .halt(reason)
                }
                if case .finished = ending { continue }
                break
            }
            self.ended(job, ending, failures: failures, task: id)
        }
        actionTasks[id] = RunningAction(partition: job.partition, generation: job.generation, task: task)
    }

    private func ended(_ job: Job, _ ending: PartitionWork.Ending, failures: Int, task: UInt64) {
        runningActions -= 1
        actionTasks[task] = nil
        counts.failed += failures
        if case .finished = ending, failures == 0 { counts.acted += 1 }
        if case .halt(let why) = ending {
            logger.error(
                "An action failed for good; the partition is stopped and tried again after a while, the others go on (on_failure: halt)",
                metadata: ["partition": "\(job.partition)", "reason": "\(why)"])
        }
        partitions[job.partition]?.ended(job, ending)
        if partitions[job.partition]?.mustWrite == true, isResuming(job.partition) { CrashPoints.hit(.firstAction) }
        if partitions[job.partition]?.stage == .draining, partitions[job.partition]?.isIdle == true {
            // The last one: seal at once instead of at the next interval.
            seal([job.partition])
        }
        // What could not begin is tried again by the reading loop: at once, it would go round and round until the lease is good.
        if case .again = ending { return }
        pump()
    }
}

extension EventIdentity {
    fileprivate var needsHeaders: Bool {
        if case .header = self { true } else { false }
    }
}

/// The rules that read one topic.
struct TopicRules {
    let rules: [Rule]
    /// nil: each event has to be read whole.
    let screen: EventScreen?
}
