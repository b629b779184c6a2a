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
            for index in run.range {
                // A restart throws away the rest of what was read.
                guard take(batch, index, run.partition, now) else { break }
            }
            noticeActing(run.partition)
        }
        pump()
    }

    private func take(_ batch: RecordBatch, _ index: Int, _ partition: TopicPartition, _ now: UInt64) -> Bool {
        batch.withRecord(at: index) { record in
            counts.read += 1
            let parsed: Result<JSONValue, EventError> = record.withValue { bytes in
                guard let bytes else { return .success(.null) }
                do throws(EventError) { return .success(try parseEvent(bytes)) } catch { return .failure(error) }
            }
            let type = record.timestampType
            let (fingerprint, hasIdentity) = fingerprint(of: record, event: try? parsed.get())
            let seen = partitions[partition]?.see(
                offset: record.offset, fingerprint: fingerprint, hasIdentity: hasIdentity, timestamp: record.timestamp, type: type,
                now: now, limits: limits)
            switch seen {
            case .nothing?: return true
            case nil: return false
            case .restart(let step, let gap)?:
                restart(partition, step, gap: gap)
                return false
            case .event(let ticket)?:
                noticeActing(partition)
                judge(record, parsed, partition, ticket, fingerprint)
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

    // MARK: Slots

    /// Starts what may start: slots free, lease good, order kept.
    func pump() {
        guard !isStopping else { return }
        guard !order.isEmpty, liveness.allowsAction(at: clock.monotonic()) else { return }
        var idle = 0
        while runningActions < slots, idle < order.count {
            turn = (turn + 1) % order.count
            let partition = order[turn]
            guard let origin = partitions[partition]?.origin, mayBegin(on: partition, of: origin) else {
                idle += 1
                continue
            }
            partitions[partition]?.releaseDue(now: clock.monotonic())
            guard let job = partitions[partition]?.takeJob()
            else {
                idle += 1
                continue
            }
            idle = 0
            start(job, origin: origin)
        }
    }

    /// Whether an action (or its next request) may begin now, as far as the lease goes: it lasts until the request has surely left.
    nonisolated func mayBegin(on partition: TopicPartition, of origin: Datacenter) -> Bool {
        let now = clock.monotonic()
        guard let lease = leases[origin], liveness.allowsAction(at: now) else { return false }
        return lease.allowsAction(on: partition, at: now) && lease.allowsAction(on: partition, at: now &+ setup.startMargin.nanoseconds)
    }

    func start(_ job: Job, origin: Datacenter) {
        runningActions += 1
        nextTask += 1
        let id = nextTask
        let counts = topicPartitionCounts
        let task = Task { [action, logger] in
            var left = job
            var outcome = JobOutcome()
            // Asked right before every single request: a pause of this process may have outlasted the lease. Cancelled is what was dropped;
            // that is asked after the lease, since by the time that a newer one stands there all that it is not good for has been cancelled.
            let mayStart: @Sendable () -> Bool = { self.mayBegin(on: job.partition, of: origin) && !Task.isCancelled }
            steps: while let step = left.steps.first {
                switch step {
                case .park(let event):
                    guard await self.park(event, partitionCounts: counts, mayStart: mayStart) else {
                        outcome.ending = .again
                        break steps
                    }
                    outcome.parked(event)
                case .act(let rule, let requests):
                    switch await action.run(requests, of: rule, mayStart: mayStart) {
                    case .done, .ignored: break
                    case .interrupted:
                        outcome.ending = .again
                        break steps
                    case .failed(let failure, let tries):
                        outcome.failures += 1
                        let why = "rule \(rule.name), offset \(job.offset): \(failure), after \(tries) tries"
                        let verdict = rule.verdict(on: failure, job.origin?.attempts ?? rule.freshAttempts)
                        let reason = ParkedEvent.Reason(label: failure.label, message: "\(failure)")
                        switch self.outcome(of: verdict, reason, rule: rule, job.origin) {
                        case .halt:
                            outcome.ending = .halt(why)
                            break steps
                        case .goOn:
                            logger.error(
                                "An action failed for good; its event is left behind (on_failure: skip)",
                                metadata: ["partition": "\(job.partition)", "reason": "\(why)"])
                        case .park(let event):
                            // What is left of this job is to park it: the request is not made again for that.
                            left.steps[0] = .park(event)
                            logger.log(
                                level: event.schedule == nil ? .error : .notice,
                                event.schedule == nil
                                    ? "An action failed for good; its event becomes a dead letter" : "An action failed; its event is tried again later",
                                metadata: ["partition": "\(job.partition)", "reason": "\(why)"])
                            continue steps
                        }
                    }
                }
                left.steps.removeFirst()
            }
            self.ended(left, outcome, task: id)
        }
        actionTasks[id] = RunningAction(partition: job.partition, generation: job.generation, task: task)
    }

    private func ended(_ job: Job, _ outcome: JobOutcome, task: UInt64) {
        let ending = outcome.ending
        runningActions -= 1
        actionTasks[task] = nil
        counts.failed += outcome.failures
        counts.retried += outcome.retried
        counts.deadLettered += outcome.deadLettered
        if case .finished = ending, outcome.isActed { counts.acted += 1 }
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

/// What came of a job so far.
private struct JobOutcome {
    var ending = PartitionWork.Ending.finished
    var failures = 0
    var retried = 0
    var deadLettered = 0
    /// All that its rules wanted was done.
    var isActed: Bool { failures == 0 && retried == 0 && deadLettered == 0 }

    mutating func parked(_ event: ParkedEvent) {
        if event.schedule == nil { deadLettered += 1 } else { retried += 1 }
    }
}

extension EventIdentity {
    fileprivate var needsHeaders: Bool {
        if case .header = self { true } else { false }
    }
}
