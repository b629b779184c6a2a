import ChangePropagation
import KafkaLog

/// What one seed stands for: the world, its load, and everything that goes wrong in it.
struct Scenario: Sendable {
    /// Something that goes wrong, or that an operator does.
    enum Fault: Sendable, Hashable {
        /// A worker is killed and started again after a while.
        case kill(worker: Int, downFor: Moment)
        /// SIGSTOP, SIGCONT.
        case stop(worker: Int, duration: Moment)
        /// A worker can't reach the store, in one direction or both.
        case cutStore(worker: Int, requests: Bool, answers: Bool, duration: Moment)
        /// A worker can't reach its cluster.
        case cutCluster(worker: Int, duration: Moment)
        case slowStore(duration: Moment)
        /// Everything in a datacenter is gone for a while: workers, cluster, mirrors.
        case killDatacenter(Int, downFor: Moment)
        case stopMirrors(to: Int, duration: Moment)
        /// The mirrors to a datacenter start again and write a run twice.
        case repeatMirrors(to: Int)
        /// Retention takes part of what a cluster holds.
        case trim(datacenter: Int, share: Double)
        case switchover(to: Int, controllerDiesAfter: Moment?)
        case failover(to: Int, now: Bool)
        case cancel
        /// Another controller goes on with what is under way.
        case resume
    }

    struct Timed: Sendable, Hashable {
        let at: Moment
        let fault: Fault
    }

    let seed: UInt64
    var datacenters: [Datacenter]
    var workersPerDatacenter: Int
    var partitions: Int
    /// Whether events carry an id that fingerprints are over.
    var hasIDs: Bool
    /// Share of events that repeat another one's contents and time; only without ids.
    var identical: Double
    /// Retention has taken nothing yet: an unconfirmed start can't be excused by a gap event.
    var logsAreWhole: Bool
    var appendTime: Bool
    /// Milliseconds by which times go back and forth; now and then one is an hour ahead, or missing.
    var disorder: Int
    var hasWildTimes: Bool
    var mirrorLag: Int
    var lease: Moment
    var checkpointInterval: Int
    var commitInterval: Int
    var tail: Int
    var hold: Moment
    /// Milliseconds.
    var slack: Int
    /// Whether workers follow what other datacenters own.
    var standby = true
    var sessionTimeout: Moment
    var concurrency: Int
    var order: String
    /// Milliseconds that an action takes, at most.
    var actionTime: Int
    var failingActions: Double
    var eventsPerSecond: Double
    var load: Moment
    var transactionSize: Int
    var faults: [Timed]

    /// The usual mix. With a mutant, each run also tells the story in which that mistake shows.
    init(seed: UInt64, favouring mutant: Mutant? = nil) {
        var random = SeededRandom.named("scenario", seed: seed)
        self.init(seed: seed, random: &random)
        var events: [Timed] = []
        // One run in eight is clean: planned handovers alone, which must be exact.
        let isClean = random.chance(0.125)
        for _ in 0..<random.int(isClean ? 1...3 : 1...7) {
            let at: Moment = .milliseconds(random.int(1500...Int(load / 1_000_000)))
            events.append(Timed(at: at, fault: isClean ? .switchover(to: random.int(0...datacenters.count - 1), controllerDiesAfter: nil) : fault(&random)))
        }
        if !isClean, !events.contains(where: { $0.fault.isHandover }) {
            events.append(Timed(at: .milliseconds(random.int(2000...9000)), fault: handover(&random)))
        }
        if let mutant {
            expose(mutant)
            events = (mutant.hidesBehindFaults ? [] : events) + story(of: mutant, &random)
        } else if !isClean, random.chance(0.3) {
            events += story(of: random.pick(Mutant.allCases), &random)
        }
        faults = events.sorted { $0.at < $1.at }
    }

    /// The world in which a mistake shows most easily.
    private mutating func expose(_ mutant: Mutant) {
        switch mutant {
        case .noneAsEnd, .latestWitness:
            tail = 1
            slack = 50
            logsAreWhole = true
            appendTime = false
            hasIDs = true
            disorder = min(disorder, 50)
            eventsPerSecond = 50
            mirrorLag = min(mirrorLag, 100)
            hasWildTimes = mutant == .latestWitness
            if mutant == .latestWitness {
                concurrency = 16
                actionTime = 400
                order = "none"
            }
            // A standby looks nothing up when it takes over: the mistake would not be met.
            standby = false
        case .noFenceWait:
            eventsPerSecond = 50
            mirrorLag = min(mirrorLag, 100)
        case .sealEarly:
            eventsPerSecond = 50
            actionTime = 400
            concurrency = 16
            order = "none"
            failingActions = 0
            hasIDs = true
        default: break
        }
    }

    /// Faults that come together: what a mistake needs in order to show.
    private func story(of mutant: Mutant, _ random: inout SeededRandom) -> [Timed] {
        let begin: Moment = .milliseconds(random.int(2000...4000))
        let home = datacenters.firstIndex(of: origin) ?? 0
        let away = (home + 1) % datacenters.count
        let owners = (0..<workersPerDatacenter).map { home * workersPerDatacenter + $0 }
        func soon(_ range: ClosedRange<Int>) -> Moment { begin &+ .milliseconds(random.int(range)) }
        switch mutant {
        case .pauseForgotten:
            // The owner stands still while it loses the origin, and wakes up with work at hand.
            return owners.map { Timed(at: begin, fault: .stop(worker: $0, duration: lease &+ .milliseconds(random.int(300...2500)))) }
                + [Timed(at: soon(0...200), fault: .failover(to: away, now: false))]
        case .noFenceWait:
            return owners.map { Timed(at: begin, fault: .cutStore(worker: $0, requests: true, answers: true, duration: .seconds(6))) }
                + [Timed(at: soon(0...200), fault: .failover(to: away, now: false))]
        case .noneAsEnd:
            // The mirror was behind, and brings what it had not at the moment of the lookup.
            let behind = random.int(2000...3500)
            return [
                Timed(at: begin, fault: .stopMirrors(to: away, duration: .milliseconds(behind))),
                Timed(at: begin &+ .milliseconds(behind - random.int(0...25)), fault: .failover(to: away, now: random.chance(0.5))),
            ]
        case .latestWitness:
            // There is a backlog past the checkpoint.
            return owners.map { Timed(at: begin, fault: .kill(worker: $0, downFor: .seconds(6))) }
                + [Timed(at: soon(1500...3500), fault: .failover(to: away, now: random.chance(0.5)))]
        case .sealEarly: return [Timed(at: begin, fault: .switchover(to: away, controllerDiesAfter: nil))]
        default: return [Timed(at: begin, fault: .switchover(to: away, controllerDiesAfter: nil)), Timed(at: soon(500...3000), fault: .failover(to: home, now: false))]
        }
    }

    private init(seed: UInt64, random: inout SeededRandom) {
        self.seed = seed
        let names = ["codfw", "eqiad", "esams"].compactMap { Datacenter($0) }
        datacenters = random.chance(0.8) ? Array(names.prefix(2)) : names
        workersPerDatacenter = random.chance(0.65) ? 1 : 2
        partitions = random.int(1...3)
        hasIDs = random.chance(0.6)
        identical = hasIDs || random.chance(0.7) ? 0 : 0.05
        logsAreWhole = random.chance(0.7)
        appendTime = random.chance(0.08)
        disorder = random.pick([0, 0, 5, 50, 800, 3000])
        hasWildTimes = random.chance(0.3)
        mirrorLag = random.pick([0, 20, 100, 300, 300, 1000])
        lease = .milliseconds(random.pick([1000, 1000, 2000, 3000]))
        checkpointInterval = random.pick([100, 250, 500, 1000])
        commitInterval = random.pick([100, 250, 500])
        tail = random.pick([1, 4, 16, 16, 16])
        hold = .seconds(Double(random.pick([2, 5, 10])))
        slack = random.pick([50, 300, 1000])
        sessionTimeout = .milliseconds(random.pick([3000, 4000, 6000]))
        concurrency = random.pick([1, 4, 8, 16])
        order = random.pick(["none", "none", "key", "partition"])
        actionTime = random.pick([5, 20, 60, 400])
        failingActions = random.chance(0.3) ? 0.03 : 0
        eventsPerSecond = Double(random.pick([5, 15, 30, 50]))
        load = .milliseconds(random.int(5000...12000))
        transactionSize = random.pick([5, 128, 128])
        faults = []
    }

    private func handover(_ random: inout SeededRandom) -> Fault {
        let target = random.int(0...datacenters.count - 1)
        let dies: Moment? = random.chance(0.25) ? .milliseconds(random.int(1...1500)) : nil
        return random.chance(0.6) ? .switchover(to: target, controllerDiesAfter: dies) : .failover(to: target, now: random.chance(0.2))
    }

    private func fault(_ random: inout SeededRandom) -> Fault {
        let workers = datacenters.count * workersPerDatacenter
        let worker = random.int(0...workers - 1)
        let datacenter = random.int(0...datacenters.count - 1)
        let while_: Moment = .milliseconds(random.pick([300, 1000, 2500, 5000, 9000]))
        switch random.int(0...19) {
        case 0, 1, 2: return .kill(worker: worker, downFor: while_)
        case 3, 4: return .stop(worker: worker, duration: while_)
        case 5, 6:
            let kind = random.int(0...2)
            return .cutStore(worker: worker, requests: kind != 1, answers: kind != 0, duration: while_)
        case 7: return .cutCluster(worker: worker, duration: while_)
        case 8: return .slowStore(duration: while_)
        case 9, 10: return .killDatacenter(datacenter, downFor: while_)
        case 11: return .stopMirrors(to: datacenter, duration: while_)
        case 12: return .repeatMirrors(to: datacenter)
        case 13: return random.chance(0.3) ? .trim(datacenter: datacenter, share: Double(random.int(1...9)) / 10) : .cancel
        case 14: return .cancel
        case 15: return .resume
        default: return handover(&random)
        }
    }

    /// The partitions of the one origin that is watched.
    var origin: Datacenter { datacenters[datacenters.count > 1 ? 1 : 0] }
    var topic: String { "\(origin.name).s" }
    var topicPartitions: [TopicPartition] { (0..<Int32(partitions)).map { TopicPartition(topic: topic, partition: $0) } }

    /// Planned handovers alone: nothing may be lost, and nothing done twice.
    var isClean: Bool {
        faults.allSatisfy { if case .switchover(_, nil) = $0.fault { true } else { false } }
    }

    func workerConfiguration(_ datacenter: Datacenter) -> String {
        let others = datacenters.map { "  \($0): {bootstrap: 'simulated:1'}" }.joined(separator: "\n")
        return """
            service: simulated
            datacenter: \(datacenter)
            datacenters:
            \(others)
            store: {sqlite: simulated.db}
            identity: \(hasIDs ? "json:id" : "record")
            lease: \(lease / 1_000_000)ms
            session_timeout: \(sessionTimeout / 1_000_000)ms
            standby: \(standby)
            drain_timeout: 3s
            checkpoints: {interval: \(checkpointInterval)ms, commit_interval: \(commitInterval)ms, hold: \(hold / 1_000_000)ms, slack: \(slack)ms, tail: \(tail)}
            rules:
              rule:
                topic: s
                group: simulated
                origins: [\(origin)]
                match: {type: edit}
                concurrency: \(concurrency)
                order: \(order)
                retry_limit: 0
                immediate_retries: 1
                on_failure: halt
                exec: {uri: 'http://sink/{message.id}'}
            """
    }
}

extension Scenario.Fault {
    var isHandover: Bool {
        switch self {
        case .switchover, .failover: true
        default: false
        }
    }

    /// For reports.
    func words(_ scenario: Scenario) -> String {
        func seconds(_ moment: Moment) -> String { "\(Double(moment / 10_000_000) / 100) s" }
        func name(_ worker: Int) -> String {
            "worker \(worker % scenario.workersPerDatacenter) of \(scenario.datacenters[worker / scenario.workersPerDatacenter % scenario.datacenters.count])"
        }
        func datacenter(_ index: Int) -> String { scenario.datacenters[index % scenario.datacenters.count].name }
        switch self {
        case .kill(let worker, let time): return "\(name(worker)) is killed, and started again after \(seconds(time))"
        case .stop(let worker, let time): return "\(name(worker)) is stopped for \(seconds(time))"
        case .cutStore(let worker, let requests, let answers, let time):
            return "\(name(worker)) loses \(requests ? answers ? "requests and answers" : "requests to" : "answers from") the store for \(seconds(time))"
        case .cutCluster(let worker, let time): return "\(name(worker)) can't reach its cluster for \(seconds(time))"
        case .slowStore(let time): return "the store is slow for \(seconds(time))"
        case .killDatacenter(let index, let time): return "\(datacenter(index)) is gone for \(seconds(time))"
        case .stopMirrors(let index, let time): return "the mirrors to \(datacenter(index)) stand still for \(seconds(time))"
        case .repeatMirrors(let index): return "the mirrors to \(datacenter(index)) start again and write a run twice"
        case .trim(let index, let share): return "retention takes \(Int(share * 100)) % of what \(datacenter(index)) holds"
        case .switchover(let index, let dies):
            return "an operator asks for a switchover to \(datacenter(index))" + (dies.map { "; the controller dies after \(seconds($0))" } ?? "")
        case .failover(let index, let now): return "an operator forces a failover to \(datacenter(index))\(now ? " without waiting" : "")"
        case .cancel: return "an operator cancels"
        case .resume: return "an operator goes on with what is under way"
        }
    }
}
