import KafkaLog
import TestSupport
import Testing

@testable import Handover

private let datacenters = ["eqiad", "codfw", "esams"].compactMap { Datacenter($0) }
private let eqiad = datacenters[0]
private let counts: [String: Int32] = ["eqiad.a": 7, "eqiad.b": 2]
private let lease: Int64 = 1000

private func author(_ name: String) -> Assignment.Author { .init(name: name, now: MillisecondTimestamp(clamped: 1)) }

private var home: Assignment {
    Assignment(owner: eqiad, leaseMilliseconds: lease, partitions: counts, by: "w", since: MillisecondTimestamp(clamped: 1))
}

extension SeededGenerator {
    fileprivate mutating func datacenter() -> Datacenter { datacenters.randomElement(using: &self) ?? eqiad }

    fileprivate mutating func slice() -> Slice {
        Slice(
            topics: chance(0.4) ? [["a", "b", "eqiad.a"].randomElement(using: &self) ?? "a"] : [],
            share: chance(0.5) ? Slice.Share(percent: Int.random(in: 1...100, using: &self)) : nil,
            from: chance(0.3) ? datacenter() : nil)
    }
}

@Suite("Random handovers of random slices")
struct SlicePropertyTests {
    private enum Step: Hashable, CaseIterable { case begin, handOver, cancel, failOver, settle }

    /// One partition beside the reported ones: whoever comes later must find one owner too.
    private var partitions: [TopicPartition] { home.reported.sorted() + [TopicPartition(topic: "eqiad.new", partition: 0)] }

    @Test("Every partition has one owner, epochs only rise, what is outside the scope keeps its owner, and there is one handover at a time")
    func transitions() throws {
        var random = SeededGenerator.forTest("random handovers")
        var done: [Step: Int] = [:], refused = 0
        for _ in 0..<400 {
            var now = home
            for number in 0..<40 {
                guard let step = Step.allCases.randomElement(using: &random) else { continue }
                let target = random.datacenter(), slice = random.slice()
                let next: Assignment
                do throws(HandoverRefusal) {
                    next = try take(step, from: now, target, slice, author: "op\(number)")
                } catch {
                    refused += 1
                    try checkRefusal(error, step, now)
                    continue
                }
                done[step, default: 0] += 1
                try check(step, from: now, to: next, target, slice)
                now = next
            }
        }
        for step in Step.allCases { #expect(done[step, default: 0] > 200, "\(step) hardly ever came about") }
        #expect(refused > 1000)
    }

    private func take(
        _ step: Step, from now: Assignment, _ target: Datacenter, _ slice: Slice, author name: String
    ) throws(HandoverRefusal) -> Assignment {
        switch step {
        case .begin: try now.draining(to: target, origin: eqiad, slice: slice, author(name))
        case .handOver: try now.handedOver(author(name))
        case .cancel: try now.cancelled(author(name))
        case .failOver: try now.failedOver(to: target, origin: eqiad, slice: slice, now: false, author(name))
        case .settle: if case .resuming = now.phase { now.settled(author(name)) } else { throw .notDraining(epoch: now.epoch) }
        }
    }

    private func checkRefusal(_ refusal: HandoverRefusal, _ step: Step, _ now: Assignment) throws {
        if step == .begin, isDraining(now) {
            guard case .underway(_, _, let by) = refusal else { throw refusal }
            try #require(by == now.begunBy)
        }
        if step == .handOver || step == .cancel { try #require(!isDraining(now), "a drain can always be ended: \(refusal)") }
    }

    private func isDraining(_ assignment: Assignment) -> Bool { if case .draining = assignment.phase { true } else { false } }

    private func check(_ step: Step, from before: Assignment, to next: Assignment, _ target: Datacenter, _ slice: Slice) throws {
        let raises = step == .handOver || step == .cancel || step == .failOver
        try #require(next.epoch == before.epoch + (raises ? 1 : 0))
        try #require(try Assignment(decoding: next.encoded()) == next)
        if step == .begin { try #require(!isDraining(before), "two at once") }
        let moves: HandoverScope? =
            switch step {
            case .handOver: before.phase.scope
            case .failOver: try before.scope(of: slice, to: target, origin: eqiad)
            case .begin, .cancel, .settle: nil
            }
        var arrived = target
        if case .draining(let aim, _) = before.phase, step == .handOver { arrived = aim }
        for partition in partitions {
            let places = next.placed.filter { $0.value.contains(partition) }
            try #require(places.count <= 1 && places[next.owner] == nil, "\(partition) stands in \(places.keys)")
            let owner = next.owner(of: partition)
            try #require(owner == (moves?.contains(partition) == true ? arrived : before.owner(of: partition)), "\(step): \(partition)")
            try #require(datacenters.count { next.mayAct(on: partition, in: $0) } == (next.isDraining(partition) ? 0 : 1))
            if raises, owner != before.owner(of: partition) || before.isDraining(partition) { try #require(next.isResuming(partition)) }
            // A wait that is not over is not forgotten.
            if before.isResuming(partition), before.fenceMilliseconds > 0, step != .settle {
                try #require(next.isDraining(partition) || next.isResuming(partition) && next.fenceMilliseconds >= before.fenceMilliseconds)
            }
        }
    }

    @Test("Two datacenters never act on one partition at the same time, whoever looks late, dies or comes back")
    func leases() {
        var random = SeededGenerator.forTest("leases of slices")
        var world = LeaseWorld(random: random)
        for _ in 0..<150 {
            world = LeaseWorld(random: SeededGenerator(seed: random.next()), before: world)
            for _ in 0..<400 {
                world.step()
                for (partition, actors) in world.acting where actors.count > 1 {
                    Issue.record("\(actors) act on \(partition) at \(world.now / 1_000_000) ms: \(world.trace.suffix(12))")
                    return
                }
            }
        }
        #expect(world.handovers > 100 && world.failovers > 100 && world.settled > 100, "\(world.handovers), \(world.failovers), \(world.settled)")
        #expect(world.actedElsewhere > 100, "slices were acted on away from the base owner")
    }
}

/// One worker in each datacenter, a stored assignment that operators change at random, and a clock. The workers read late,
/// forget everything, and follow the rules of `GroupWorker`.
private struct LeaseWorld {
    private struct Worker {
        var seen: Assignment?
        var lease: Lease?
        var reading: (sent: UInt64, value: Assignment)?
        /// The epoch in which it has sealed what it was to drain.
        var sealed: Int64 = 0
    }

    private var random: SeededGenerator
    private var store = home
    private var workers: [Datacenter: Worker] = Dictionary(uniqueKeysWithValues: datacenters.map { ($0, Worker()) })
    private(set) var now: UInt64 = 1_000_000_000_000
    private(set) var trace: [String] = []
    private(set) var handovers = 0, failovers = 0, settled = 0, actedElsewhere = 0

    init(random: SeededGenerator, before: LeaseWorld? = nil) {
        self.random = random
        guard let before else { return }
        (handovers, failovers, settled, actedElsewhere) = (before.handovers, before.failovers, before.settled, before.actedElsewhere)
    }

    var acting: [TopicPartition: [Datacenter]] {
        var acting: [TopicPartition: [Datacenter]] = [:]
        for partition in store.reported {
            acting[partition] = datacenters.filter { datacenter in
                guard let worker = workers[datacenter], worker.seen?.mayAct(on: partition, in: datacenter) == true else { return false }
                return worker.lease?.allowsAction(on: partition, at: now) == true
            }
        }
        return acting
    }

    mutating func step() {
        now += UInt64.random(in: 0...60, using: &random) * 1_000_000
        for datacenter in datacenters where random.chance(0.3) { look(datacenter) }
        if random.chance(0.05) { operate() }
        if random.chance(0.3) { finish() }
        if random.chance(0.02) { workers[random.datacenter()] = Worker() }
        actedElsewhere += acting.count { $0.value.contains { $0 != store.owner } }
    }

    /// A read is sent, or an older one's answer comes in.
    private mutating func look(_ datacenter: Datacenter) {
        guard var worker = workers[datacenter] else { return }
        defer { workers[datacenter] = worker }
        guard let (sent, value) = worker.reading else { return worker.reading = (now, store) }
        worker.reading = nil
        guard value.epoch >= worker.seen?.epoch ?? 0 else { return }
        if worker.seen?.epoch != value.epoch {
            worker.lease = value.ownsAny(datacenter) ? Lease(value, sent: sent, answered: now) : nil
        } else {
            worker.lease?.confirm(value, sent: sent)
        }
        worker.seen = value
        if case .draining = value.phase { worker.sealed = value.epoch }
    }

    private mutating func operate() {
        let target = random.datacenter(), slice = random.slice()
        let next: Assignment?
        switch Int.random(in: 0..<5, using: &random) {
        case 0, 1: next = try? store.draining(to: target, origin: eqiad, slice: slice, author("op"))
        case 2: next = try? store.cancelled(author("op"))
        default:
            next = try? store.failedOver(to: target, origin: eqiad, slice: slice, now: false, author("op"))
            if next != nil { failovers += 1 }
        }
        if let next { put(next) }
    }

    /// What workers and controllers carry through by themselves.
    private mutating func finish() {
        switch store.phase {
        case .stable: break
        case .draining(_, let scope):
            let owners = Set(store.reported.filter(scope.contains).map(store.owner(of:)))
            guard owners.allSatisfy({ workers[$0]?.sealed == store.epoch }), let next = try? store.handedOver(author("op")) else { return }
            handovers += 1
            put(next)
        case .resuming:
            let worker = workers[random.datacenter()]
            guard let worker, worker.seen == store, worker.lease?.hasWaited(at: now) == true else { return }
            settled += 1
            put(store.settled(author("w")))
        }
    }

    private mutating func put(_ next: Assignment) {
        store = next
        trace.append("\(now / 1_000_000) ms epoch \(next.epoch) owner \(next.owner) \(next.placed) \(next.phase) fence \(next.fenceMilliseconds)")
    }
}
