import ChangePropagation
import Checkpoints
import Handover
import KafkaLog
import Logging

/// Everything that one seed makes: clusters, mirrors, the store, workers, operators, and what goes wrong. Runs the real `GroupWorker` and
/// `HandoverController` in simulated time.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class World: @unchecked Sendable {
    static let group = "simulated"
    /// After everything was healed, all must be done within this.
    static let recoveryLimit: Moment = .seconds(240)

    let scenario: Scenario
    let mutant: Mutant?
    let time = SimulatedTime()
    let trace: Trace
    let checker: Checker
    let server = StoreServer()
    let links: Links
    let clusters: [Datacenter: Cluster]
    private(set) var mirrors: [MirrorLink] = []
    private var groups: [Datacenter: Group] = [:]
    private var workers: [WorkerHost] = []
    private var load: Load
    private var hostNumber = 0
    private(set) var counts = SimulationCounts()
    private let configurations: [Datacenter: WorkerConfiguration]
    private var random: SeededRandom
    private var operators: [Task<Void, Never>] = []

    /// One worker of a datacenter through its lives.
    // @unchecked: the whole simulation runs on one thread (JobQueue).
    final class WorkerHost: @unchecked Sendable {
        let datacenter: Datacenter
        let number: Int
        var host: Host?
        var task: Task<Void, Never>?
        init(datacenter: Datacenter, number: Int) {
            self.datacenter = datacenter
            self.number = number
        }
    }

    init(_ scenario: Scenario, mutant: Mutant?, keepsWords: Bool) throws {
        self.scenario = scenario
        self.mutant = mutant
        trace = Trace(time: time, keepsWords: keepsWords)
        links = Links(time: time)
        random = .named("world", seed: scenario.seed)
        var clusters: [Datacenter: Cluster] = [:]
        for datacenter in scenario.datacenters {
            clusters[datacenter] = Cluster(
                datacenter, partitions: scenario.topicPartitions, appendTimeTopics: scenario.appendTime ? [scenario.topic] : [],
                isWhole: scenario.logsAreWhole, time: time,
                random: .named("cluster \(datacenter)", seed: scenario.seed))
        }
        self.clusters = clusters
        configurations = try Dictionary(
            uniqueKeysWithValues: scenario.datacenters.map { ($0, try WorkerConfiguration.parse(scenario.workerConfiguration($0), file: "simulated.yaml")) })
        checker = Checker(scenario: scenario, time: time, trace: trace, clusters: clusters)
        load = Load(scenario)
        for datacenter in scenario.datacenters {
            guard let cluster = clusters[datacenter] else { continue }
            groups[datacenter] = Group(
                cluster, sessionTimeout: scenario.sessionTimeout, time: time, links: links, trace: trace,
                random: .named("group \(datacenter)", seed: scenario.seed))
            for number in 0..<scenario.workersPerDatacenter { workers.append(WorkerHost(datacenter: datacenter, number: number)) }
        }
        let home = scenario.origin
        for datacenter in scenario.datacenters where datacenter != home {
            guard let from = clusters[home], let to = clusters[datacenter] else { continue }
            mirrors.append(
                MirrorLink(
                    from: from, to: to, lag: scenario.mirrorLag, time: time, trace: trace,
                    random: .named("mirror to \(datacenter)", seed: scenario.seed)))
        }
        for mirror in mirrors { mirror.missed = { [checker] in checker.neverMirrored($0, $1) } }
        server.observers.append { [checker] in checker.put($0, before: $1, now: $2) }
        applyMutant()
    }

    // MARK: Running

    /// Runs the whole scenario to its end. The result is in `checker` and `counts`.
    func run() {
        JobQueue.reseed(scenario.seed)
        for group in groups.values.sorted(by: { $0.order < $1.order }) { group.begin() }
        for mirror in mirrors { mirror.run() }
        for worker in workers { start(worker) }
        produce()
        for fault in scenario.faults { time.at(fault.at) { self.apply(fault.fault) } }
        time.at(scenario.load) { self.heal() }
        var end: Moment?
        var isWaiting = false
        var isOver = false
        while !isOver {
            guard JobQueue.drain() else {
                checker.fail("the program runs in a circle: time stands still")
                break
            }
            guard checker.violations.isEmpty else { break }
            if time.now > scenario.load, end == nil { end = time.now &+ Self.recoveryLimit }
            if let end, time.now > end {
                isWaiting = checker.waitsForOperator
                guard !isWaiting else { break }
                checker.fail("not everything was done \(Self.recoveryLimit / 1_000_000_000) s after all was healed: \(open)")
                break
            }
            isOver = time.now > scenario.load &+ .seconds(1) && isQuiet
            if !isOver, !time.step() { break }
        }
        if checker.violations.isEmpty, !isWaiting { checker.checkEnd() }
        finish()
    }

    private var open: String {
        let missing = checker.unfinished()
        return "\(missing.count) events are not acted on (\(missing.prefix(3).joined(separator: ", ")))"
    }

    private var nextLook: Moment = 0
    /// Nothing is left to do. Looked at twice a second.
    private var isQuiet: Bool {
        guard time.now >= nextLook else { return false }
        nextLook = time.now &+ .milliseconds(500)
        guard checker.unfinished().isEmpty, !mirrors.contains(where: \.isBehind) else { return false }
        guard let value = server.entries[AssignmentKey(group: Self.group, origin: scenario.origin).storeKey],
            let assignment = try? Assignment(decoding: value.bytes)
        else { return false }
        return assignment.phase == .stable
    }

    private func finish() {
        counts.records = clusters.values.reduce(0) { $0 + $1.logs.values.reduce(0) { $0 + $1.records.count } }
        counts.events = checker.fates.values.reduce(0) { $0 + $1.due }
        counts.repeats = checker.repeats
        counts.gaps = checker.gapCount
        counts.checkpoints = checker.checkpointsWritten
        counts.seconds = time.now.inSeconds
        // All tasks wind up: their hosts are gone.
        for worker in workers { end(worker) }
        for task in operators { task.cancel() }
        for host in operatorHosts { host.kill() }
        time.clear()
        _ = JobQueue.drain()
        time.clear()
    }

    // MARK: Workers

    private func start(_ worker: WorkerHost) {
        guard worker.host == nil, let configuration = configurations[worker.datacenter], let cluster = clusters[worker.datacenter],
            let group = groups[worker.datacenter]
        else { return }
        hostNumber += 1
        let name = "\(worker.datacenter.name)-\(worker.number).\(hostNumber)"
        let host = Host(name: name, time: time, random: &random)
        host.forgetsStops = mutant == .pauseForgotten
        worker.host = host
        checker.hosts[name] = host
        trace.note("worker starts", Int64(hostNumber), words: "\(name) starts")
        let seed = scenario.seed &+ UInt64(hostNumber) &* 7919
        let consumer = SimulatedConsumer(
            host: host, cluster: cluster, group: group, links: links, withIDs: scenario.hasIDs, random: .named("consumer", seed: seed))
        consumer.onAssigned = { [checker] partition in checker.given(host, partition) }
        let lookups = SimulatedLookups(host: host, cluster: cluster, group: group, random: .named("lookups", seed: seed))
        if mutant == .noneAsEnd { consumer.noneAt = { lookups.noneAt[$0] } }
        let store = storeClient(host, seed: seed)
        let sink = Sink(scenario: scenario, host: host, datacenter: worker.datacenter, checker: checker, trace: trace, random: .named("sink", seed: seed))
        sink.acknowledgesFirst = mutant == .acknowledgeFirst
        let action = RuleAction(send: { request, _ in await sink.send(request) }, sleep: host.clock.sleep)
        let setup = GroupWorker.Setup(configuration, group: Self.group, rules: configuration.rules, workerName: name)
        let logger = Logger(label: name) { [checker, trace] _ in SimulatedLog(host: host, checker: checker, trace: trace) }
        let groupWorker = GroupWorker(
            setup, consumer: consumer, lookups: lookups, store: store, action: action, clock: host.clock, logger: logger)
        worker.task = Task.detached {
            do { try await groupWorker.run() } catch is CancellationError {} catch {
                if !host.isDead { self.checker.fail("\(name) ended by itself: \(error)") }
            }
        }
    }

    private func storeClient(_ host: Host, seed: UInt64) -> SimulatedStore {
        let store = SimulatedStore(
            host: host, server: server, links: links, random: .named("store", seed: seed), transactionSize: scenario.transactionSize)
        if mutant == .staleReads { store.staleness = .milliseconds(1500) }
        store.rewindsWhenAmbiguous = mutant == .rewindWhenAmbiguous
        return store
    }

    private func end(_ worker: WorkerHost) {
        worker.host?.kill()
        worker.task?.cancel()
        worker.host = nil
        worker.task = nil
    }

    // MARK: Load

    private func produce() {
        time.after(load.pause()) { [self] in
            guard time.now < scenario.load else { return }
            if let home = clusters[scenario.origin], !home.isDown {
                let (event, partition) = load.next(now: Host.epochMilliseconds + Int64(time.now / 1_000_000), partitions: scenario.topicPartitions)
                checker.produced(event, partition)
                home.append(event, to: partition)
            }
            produce()
        }
    }

    // MARK: Faults

    private func apply(_ fault: Scenario.Fault) {
        trace.note("fault", words: fault.words(scenario))
        counts.faults += 1
        func worker(_ index: Int) -> WorkerHost { workers[index % workers.count] }
        switch fault {
        case .kill(let index, let time): kill(worker(index), for: time)
        case .stop(let index, let duration):
            checker.disruptions += 1
            worker(index).host?.stop(for: duration)
        case .cutStore(let index, let requests, let answers, let duration):
            checker.disruptions += 1
            guard let host = worker(index).host else { return }
            links.cut(host.name, from: Links.store, (requests ? [.requests] : []) + (answers ? [.answers] : []), until: time.now &+ duration)
        case .cutCluster(let index, let duration):
            checker.disruptions += 1
            guard let host = worker(index).host else { return }
            links.cut(host.name, from: worker(index).datacenter.name, Links.Direction.allCases, until: time.now &+ duration)
        case .slowStore(let duration):
            checker.disruptions += 1
            links.storeIsSlowUntil = time.now &+ duration
        case .killDatacenter(let index, let downFor): killDatacenter(scenario.datacenters[index % scenario.datacenters.count], for: downFor)
        case .stopMirrors(let index, let duration):
            let target = scenario.datacenters[index % scenario.datacenters.count]
            for mirror in mirrors where mirror.target.datacenter == target { mirror.stoppedUntil = max(mirror.stoppedUntil, time.now &+ duration) }
        case .repeatMirrors(let index):
            checker.mirrorsRepeated = true
            let target = scenario.datacenters[index % scenario.datacenters.count]
            for mirror in mirrors where mirror.target.datacenter == target { mirror.repeatSome() }
        case .trim(let index, let share): trim(scenario.datacenters[index % scenario.datacenters.count], share)
        case .switchover, .failover, .cancel, .resume: operate(fault)
        }
    }

    private func kill(_ worker: WorkerHost, for downFor: Moment) {
        checker.disruptions += 1
        end(worker)
        time.after(downFor) { [self] in start(worker) }
    }

    private func killDatacenter(_ datacenter: Datacenter, for downFor: Moment) {
        guard let cluster = clusters[datacenter], !cluster.isDown else { return }
        cluster.isDown = true
        for worker in workers where worker.datacenter == datacenter { kill(worker, for: downFor) }
        for mirror in mirrors where mirror.target.datacenter == datacenter { mirror.stoppedUntil = max(mirror.stoppedUntil, time.now &+ downFor) }
        time.after(downFor) { cluster.isDown = false }
    }

    private func trim(_ datacenter: Datacenter, _ share: Double) {
        guard let cluster = clusters[datacenter] else { return }
        for partition in cluster.partitions {
            guard let log = cluster.logs[partition], !log.records.isEmpty else { continue }
            let index = Int(Double(log.records.count) * share)
            cluster.trim(partition, to: log.records[min(index, log.records.count - 1)].offset)
        }
    }

    /// Everything works again, and stays so.
    private func heal() {
        trace.note("healed", words: "everything is healed; what is under way goes on")
        links.heal()
        for cluster in clusters.values { cluster.isDown = false }
        for mirror in mirrors { mirror.stoppedUntil = 0 }
        for worker in workers { start(worker) }
        time.after(.seconds(1)) { self.operate(.resume) }
    }

    // MARK: Operators

    private var operatorHosts: [Host] = []

    private func operate(_ fault: Scenario.Fault) {
        hostNumber += 1
        let host = Host(name: "operator-\(hostNumber)", time: time, random: &random)
        operatorHosts.append(host)
        let store = storeClient(host, seed: scenario.seed &+ UInt64(hostNumber) &* 7919)
        let key = AssignmentKey(group: Self.group, origin: scenario.origin)
        let controller = HandoverController(store: store, clock: host.clock, logger: Logger(label: host.name) { _ in SwiftLogNoOpLogHandler() }) {
            Assignment.Author(name: host.name, now: host.clock.wall())
        }
        if case .switchover(_, .some(let diesAfter)) = fault { time.after(diesAfter) { host.kill() } }
        if case .failover(_, let now) = fault {
            checker.disruptions += 1
            if now { checker.forcedNow.insert(host.name) }
        }
        if case .cancel = fault { checker.disruptions += 1 }
        func datacenter(_ index: Int) -> Datacenter { scenario.datacenters[index % scenario.datacenters.count] }
        let slice = slice()
        let targets = (0..<scenario.datacenters.count).map(datacenter)
        operators.append(
            Task.detached { [trace] in
                do {
                    switch fault {
                    case .switchover(let index, _): try await controller.beginSwitchover(key, to: targets[index % targets.count], slice: slice)
                    case .failover(let index, let now):
                        try await controller.failover(key, to: targets[index % targets.count], slice: slice, now: now)
                    case .cancel: try await controller.cancel(key)
                    default: break
                    }
                    let end = try await controller.carryThrough(key, timeout: .seconds(120))
                    trace.note("operator done", end.epoch, words: "\(host.name): \(end.owner) acts in epoch \(end.epoch)")
                    self.counts.handovers += 1
                } catch {
                    trace.note("operator gives up", words: "\(host.name): \(error)")
                }
            })
    }

    /// In half of the worlds operators move slices as well.
    private func slice() -> Slice {
        var random = SeededRandom.named("slices", seed: scenario.seed)
        guard random.chance(0.5) else { return .all }
        random = .named("slice \(hostNumber)", seed: scenario.seed)
        return random.chance(0.3) ? .all : Slice(share: Slice.Share(percent: random.pick([10, 30, 50, 60, 100])))
    }

    // MARK: Mutants

    private func applyMutant() {
        guard let mutant else { return }
        Mutation(mutant, world: self).apply()
    }
}

/// What a simulation did, for the closing line.
public struct SimulationCounts: Sendable {
    public var events = 0
    public var records = 0
    public var faults = 0
    public var handovers = 0
    public var repeats = 0
    public var gaps = 0
    public var checkpoints = 0
    public var seconds = 0.0
    public init() {}

}
