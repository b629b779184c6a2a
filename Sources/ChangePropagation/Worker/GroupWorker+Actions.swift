import Checkpoints
import Handover
import KafkaLog
import Logging

/// Takes records through the rules, and runs the actions that they want within their slots.
extension GroupWorker {
    func take(_ batch: RecordBatch) {
        let now = clock.monotonic()
        for run in batch.runs {
            if partitions[run.partition]?.stage == .following {
                follow(batch, run, now)
                continue
            }
            guard let work = partitions[run.partition], work.stage == .reading else { continue }
            let rules = self.rules(for: run.partition.topic)
            let before = counts.read
            var index = run.range.lowerBound
            while true {
                index = skim(batch, index..<run.range.upperBound, run.partition, rules, now)
                // A restart throws away the rest of what was read.
                guard index < run.range.upperBound, take(batch, index, run.partition, rules.rules, now) else { break }
                index += 1
            }
            readCounts[run.partition.topic, default: 0] += counts.read - before
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
    ) -> (Fingerprint, hasIdentity: Bool) { setup.identity.fingerprint(of: record, event: event) }

    /// Counts an event that a rule leaves out. A loop is told of: somebody made it.
    func leftOut(_ rule: Rule, _ reason: LeftOut, _ partition: TopicPartition, _ offset: Int64) {
        counts.leftOut[WorkerCounts.Reason(rule: rule.name, label: reason.label), default: 0] += 1
        logger.log(
            level: reason == .hops ? .warning : .debug, "An event is left out",
            metadata: ["rule": "\(rule.name)", "partition": "\(partition)", "offset": "\(offset)", "reason": "\(reason)"])
    }

    private func rules(for topic: String) -> TopicRules {
        if let known = topicRules[topic] { return known }
        var rules: [Rule] = []
        if let read = OriginTopic(topic: topic, known: setup.datacenters) {
            rules = setup.role == .events ? self.rules.filter { $0.reads(read) } : self.rules.filter(\.usesRetryTopics)
        }
        // A retry record is no event: its rules' conditions are about what is in it.
        let made = TopicRules(rules: rules, screen: setup.role == .events ? EventScreen(rules, identity: setup.identity) : nil)
        topicRules[topic] = made
        return made
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
            guard let job = partitions[partition]?.takeJob(now: clock.monotonic())
            else {
                idle += 1
                continue
            }
            idle = 0
            readAhead.began()?.resume()
            if job.claims.isEmpty { start(job, origin: origin) } else { claim(job) }
        }
        askForClaims()
        if runningActions < slots { readAhead.takeWaiter()?.resume() }
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
        let task = Task { [action] in
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
                    outcome.parked(event, event.rule.flatMap { left.takeClaim(of: $0) })
                case .act(let rule, let requests):
                    let began = self.clock.monotonic()
                    let result = await action.run(requests, of: rule, mayStart: mayStart)
                    CrashPoints.hit(self.setup.role == .events ? .answered : .retryAnswered)
                    if case .limited(let key) = result { self.leftOut(rule, .limiter(key.type), job.partition, job.offset) }
                    let after = self.judge(result, rule, left)
                    outcome.acts.append(.init(rule, result, after, seconds: Double(self.clock.monotonic() &- began) / 1e9))
                    switch after {
                    case .goOn: outcome.acted(result, left.takeClaim(of: rule.name))
                    case .stop(let ending):
                        outcome.ending = ending
                        break steps
                    case .park(let event):
                        // What is left of this job is to park it: the request is not made again for that.
                        left.steps[0] = .park(event)
                        continue steps
                    }
                }
                left.steps.removeFirst()
            }
            self.ended(left, outcome, task: id)
        }
        actionTasks[id] = RunningAction(partition: job.partition, generation: job.generation, task: task)
    }

    /// What becomes of `job` after an action of it.
    nonisolated func judge(_ result: ActionResult, _ rule: Rule, _ job: Job) -> AfterAction {
        switch result {
        case .done, .ignored, .limited: return .goOn
        case .interrupted(let tries):
            guard tries > 0, rule.dedupe?.delivery == .atMostOnce else { return .stop(.again) }
            logger.notice(
                "An action was cut short, and is not repeated (delivery: at-most-once)",
                metadata: ["partition": "\(job.partition)", "rule": "\(rule.name)", "offset": "\(job.offset)"])
            return .goOn
        case .failed(let failure, let tries):
            let why = "rule \(rule.name), offset \(job.offset): \(failure), after \(tries) tries"
            let verdict = rule.verdict(on: failure, job.origin?.attempts ?? rule.freshAttempts)
            let metadata: Logger.Metadata = ["partition": "\(job.partition)", "reason": "\(why)"]
            switch outcome(of: verdict, ParkedEvent.Reason(label: failure.label, message: "\(failure)"), rule: rule, job.origin) {
            case .halt: return .stop(.halt(why))
            case .goOn:
                logger.log(level: rule.level(.error), "An action failed for good; its event is left behind (on_failure: skip)", metadata: metadata)
                return .goOn
            case .park(let event):
                let isDead = event.schedule == nil
                logger.log(
                    level: rule.level(isDead ? .error : .notice),
                    isDead ? "An action failed for good; its event becomes a dead letter" : "An action failed; its event is tried again later",
                    metadata: metadata)
                return .park(event)
            }
        }
    }

    enum AfterAction {
        case goOn
        case stop(PartitionWork.Ending)
        case park(ParkedEvent)
    }

    private func ended(_ ended: Job, _ outcome: JobOutcome, task: UInt64) {
        var job = ended
        settleClaims(&job, outcome)
        let ending = outcome.ending
        runningActions -= 1
        actionTasks[task] = nil
        counts.failed += outcome.acts.count { $0.failure != nil && $0.isReported }
        for act in outcome.acts { note(act, job.partition.topic) }
        counts.retried += outcome.retried
        counts.deadLettered += outcome.deadLettered
        if case .finished = ending, outcome.isActed { counts.acted += 1 }
        if case .halt(let why) = ending {
            logger.error(
                "An action failed for good; the partition is stopped and tried again after a while, the others go on (on_failure: halt)",
                metadata: ["partition": "\(job.partition)", "reason": "\(why)"])
        }
        partitions[job.partition]?.ended(job, ending)
        if isResuming(job.partition) { CrashPoints.hit(.firstAction) }
        sealIfIdle(job.partition)
        // What could not begin is tried again by the reading loop: at once, it would go round and round until the lease is good.
        if case .again = ending { return }
        pump()
    }
}

extension GroupWorker {
    /// After the last one that ran in it: seals a drained partition at once instead of at the next interval.
    func sealIfIdle(_ partition: TopicPartition) {
        if partitions[partition]?.stage == .draining, partitions[partition]?.isIdle == true { seal([partition]) }
    }
}

extension Rule {
    /// At which level something is logged about its failures.
    func level(_ usual: Logger.Level) -> Logger.Level { isReported ? usual : .debug }
}

extension EventIdentity {
    var needsHeaders: Bool {
        if case .header = self { true } else { false }
    }
}

/// The rules that read one topic.
struct TopicRules {
    let rules: [Rule]
    /// nil: each event has to be read whole.
    let screen: EventScreen?
}
