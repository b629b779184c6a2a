import KafkaLog
import LocalKafka
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

@Suite("Events that come twice, against real clusters")
struct GroupWorkerDedupeTests {
    private let eqiad = WorkerWorld.eqiad
    private let group = WorkerWorld.group
    private static let once = "{retry_limit: 0, dedupe: id}"

    /// The same event in any partition: `meta.id` tells it apart, `id` is what its action shows.
    private func append(_ world: WorkerWorld, _ number: Int, partition: Int32, in datacenter: Datacenter = WorkerWorld.eqiad) throws {
        let value = #"{"id":"e\#(number)","meta":{"id":"m\#(number)"}}"#
        try world.clusters[datacenter]?.append(
            [RawRecord(timestamp: 1_700_000_000_000, value: Array(value.utf8))], to: WorkerWorld.topic, partition)
    }

    private func claims(_ world: WorkerWorld) -> [ClaimRecord] {
        world.store.snapshot.filter { $0.key.segments.first == "claims" }.compactMap { ClaimRecord($0.value.bytes) }
    }

    private func key(_ number: Int) -> StoreKey { ClaimKeys.key(group: group, rule: "rule", "id\u{0}m\(number)") }

    private func leftOut(_ running: WorkerWorld.Running) async -> Int {
        await running.worker.counts.leftOut[WorkerCounts.Reason(rule: "rule", label: "dedupe")] ?? 0
    }

    private func waitForPrefix(_ world: WorkerWorld, _ offset: Int64, partitions: Range<Int32> = 0..<2) async throws {
        for partition in partitions {
            try await eventually("everything is passed", timeout: .seconds(20)) { try await world.checkpoint(partition)?.position.offset == offset }
        }
    }

    @Test("200 events that come twice, to two workers: each is acted on once, with far fewer transactions than events")
    func twoWorkers() async throws {
        try await WorkerWorld.run { world in
            let first = try await world.start(eqiad, failures: Self.once), second = try await world.start(eqiad, failures: Self.once)
            try await eventually("each has a partition", timeout: .seconds(20)) {
                let shares = [await first.worker.works.count, await second.worker.works.count]
                return shares == [1, 1]
            }
            let before = [first, second].map { $0.store.calls(.commit) }
            for number in 0..<200 {
                try append(world, number, partition: 0)
                try append(world, number, partition: 1)
            }
            try await world.waitForCalls((0..<200).map { "e\($0)" })
            try await waitForPrefix(world, 200)
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            #expect(await leftOut(first) + leftOut(second) == 200)
            let commits = zip([first, second], before).map { $0.store.calls(.commit) - $1 }
            // Checkpoints, which are written every 50 ms here, are among them.
            #expect(commits.allSatisfy { $0 < 120 }, "\(commits)")
            try await first.stop()
            try await second.stop()
            #expect(claims(world).count == 200 && claims(world).allSatisfy { $0.state == .done })
        }
    }

    @Test("With one slot a batch is one transaction all the same: events are claimed ahead of their turn")
    func ahead() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            for number in 0..<200 { try append(world, number, partition: 0) }
            let running = try await world.start(eqiad, failures: "{retry_limit: 0, dedupe: id, order: partition}")
            try await world.waitForCalls((0..<200).map { "e\($0)" })
            try await waitForPrefix(world, 200, partitions: 0..<1)
            #expect(world.calls.map(\.id) == (0..<200).map { "e\($0)" })
            #expect(running.store.calls(.commit) < 100, "\(running.store.calls(.commit))")
            try await running.stop()
        }
    }

    @Test("A retry is not taken for a repeat of its own event; a copy of it that comes meanwhile is acted on by nobody else")
    func retries() async throws {
        try await WorkerWorld.run { world in
            let failures = Mutex(2)
            world.answer { _, _ in failures.withLock { left in
                left -= 1
                return left >= 0 ? .retriable(.status(503)) : .done(status: 200)
            } }
            let running = try await world.start(
                eqiad, failures: "{retry_limit: 3, retry_delay: 300ms, retry_factor: 1, dedupe: id, timeout: 1s}")
            try append(world, 0, partition: 0)
            try await eventually("its retry waits") { world.parked.retries.count == 1 }
            try append(world, 0, partition: 1)
            try await eventually("it is done") { world.counts["e0"] == 3 }
            try await waitForPrefix(world, 1)
            // The copy waits in the retry topic, and finds then that it is done.
            try await eventually("the copy is left out", timeout: .seconds(30)) { await running.retries?.counts.leftOut.values.reduce(0, +) == 1 }
            #expect(world.counts["e0"] == 3)
            try await running.stop()
        }
    }

    @Test("A worker that dies between the claim and the end of the action: it is repeated, or lost where actions are made at most once",
        arguments: [(Dedupe.Delivery.atLeastOnce, 2), (.atMostOnce, 1)])
    func crash(_ delivery: Dedupe.Delivery, _ calls: Int) async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            world.answer { id, _ in
                let isFirst = world.counts["e1"] == 1
                while id == "e1", isFirst {
                    do { try await Task.sleep(for: .milliseconds(5)) } catch { return .interrupted }
                }
                return .done(status: 200)
            }
            let failures = "{retry_limit: 0, dedupe: id, delivery: \(delivery.rawValue)}"
            let first = try await world.start(eqiad, failures: failures)
            for number in 0..<3 { try append(world, number, partition: 0) }
            try await world.waitForCalls(["e0", "e1", "e2"])
            await first.drop()
            let second = try await world.start(eqiad, failures: failures)
            try await waitForPrefix(world, 3, partitions: 0..<1)
            #expect(world.counts["e1"] == calls)
            try await second.stop()
        }
    }

    @Test("What was done is not repeated where no checkpoint says so, in another datacenter too", arguments: Dedupe.Delivery.allCases)
    func rewind(_ delivery: Dedupe.Delivery) async throws {
        try await WorkerWorld.run { world in
            let failures = "{retry_limit: 0, dedupe: id, delivery: \(delivery.rawValue)}"
            let first = try await world.start(eqiad, failures: failures)
            for number in 0..<40 {
                for datacenter in [eqiad, WorkerWorld.codfw] { try append(world, number, partition: Int32(number % 2), in: datacenter) }
            }
            try await world.waitForCalls((0..<40).map { "e\($0)" })
            try await eventually("all of it is stored") { claims(world).count { $0.state == .done } == 40 }
            await first.drop()
            let keys = world.store.snapshot.keys.filter { $0.segments.first == "checkpoints" }
            _ = try await world.store.commit(.init(writes: keys.reduce(into: [:]) { $0[$1] = .delete }))
            try await world.controller.failover(world.key, to: WorkerWorld.codfw)
            let second = try await world.start(WorkerWorld.codfw, failures: failures)
            for number in 40..<42 { try append(world, number, partition: Int32(number % 2), in: WorkerWorld.codfw) }
            try await world.waitForCalls(["e40", "e41"])
            try await waitForPrefix(world, 121)
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            #expect(await leftOut(second) == 40)
            #expect(await second.worker.status().leftOut == [.init(rule: "rule", reason: "dedupe", count: 40)])
            try await second.stop()
        }
    }

    @Test("A store that fails: nothing is acted on without a claim, and all is when it answers again")
    func storeDown() async throws {
        try await WorkerWorld.run { world in
            let running = try await world.start(eqiad, failures: Self.once)
            try append(world, 0, partition: 0)
            try await world.waitForCalls(["e0"])
            running.store.failAll(.unavailable, [.commit])
            for number in 1..<60 { try append(world, number, partition: Int32(number % 2)) }
            try await Task.sleep(for: .milliseconds(700))
            #expect(world.calls.count == 1)
            running.store.heal()
            try await world.waitForCalls((0..<60).map { "e\($0)" })
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            // Now transactions are made and their answers are lost.
            running.store.answerAmbiguouslyNext(3)
            for number in 60..<90 { try append(world, number, partition: Int32(number % 2)) }
            try await world.waitForCalls((60..<90).map { "e\($0)" })
            #expect(world.counts.values.allSatisfy { $0 == 1 })
            try await running.stop()
        }
    }

    @Test("Somebody else's claim is waited for until it is over; meanwhile others go on")
    func foreign() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let expires = HostClock.system.wall().milliseconds + 3_000
            let record = ClaimRecord(state: .claimed, owner: "eqiad.other/0/x", token: "dead#1", expires: expires)
            _ = try await world.store.commit(.init(writes: [key(1): .put(record.bytes)]))
            let running = try await world.start(eqiad, failures: Self.once)
            for number in 0..<20 { try append(world, number, partition: 0) }
            try await world.waitForCalls((0..<20).map { "e\($0)" }.filter { $0 != "e1" })
            #expect(world.counts["e1"] == nil)
            try await world.waitForCalls(["e1"])
            #expect(HostClock.system.wall().milliseconds >= expires)
            try await waitForPrefix(world, 20, partitions: 0..<1)
            try await running.stop()
        }
    }

    @Test("Expired claims are deleted, others are not")
    func sweep() async throws {
        try await WorkerWorld.run { world in
            let now = HostClock.system.wall().milliseconds
            var transaction = StoreTransaction()
            for number in 0..<100 {
                // All of one range, which is among the first that are looked through.
                let range = ClaimKeys.shard(0, group: group, rule: "rule")
                let record = ClaimRecord(state: .done, owner: "o", token: "t", expires: number < 90 ? now - 60_000 : now + 3_600_000)
                transaction.writes[StoreKey(segments: range.segments + ["\(number)"])] = .put(record.bytes)
            }
            _ = try await world.store.commit(transaction)
            let running = try await world.start(eqiad, failures: Self.once)
            try await eventually("the expired ones are gone", timeout: .seconds(20)) { claims(world).count == 10 }
            #expect(claims(world).allSatisfy { $0.expires > now })
            try await running.stop()
        }
    }

    @Test("A rule without dedupe asks the store for nothing more")
    func none() async throws {
        try await WorkerWorld.run { world in
            let running = try await world.start(eqiad)
            for number in 0..<50 { try append(world, number, partition: Int32(number % 2)) }
            try await world.waitForCalls((0..<50).map { "e\($0)" })
            try await waitForPrefix(world, 25)
            try await running.stop()
            #expect(claims(world).isEmpty)
        }
    }

    @Test("report: false keeps a rule's failures out of the counts; its dead letters are written all the same")
    func unreported() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            world.answer { _, _ in .failed(.status(404)) }
            let running = try await world.start(eqiad, failures: "{retry_limit: 0, report: false}")
            try append(world, 0, partition: 0)
            try await eventually("it is a dead letter") { world.parked.errors.count == 1 }
            try await waitForPrefix(world, 1, partitions: 0..<1)
            let (counts, status) = (await running.worker.counts, await running.worker.status())
            #expect(counts.failed == 0 && counts.acted == 0 && counts.deadLettered == 1)
            #expect(status.activities.allSatisfy { $0.failures.isEmpty } && status.activities.first?.results == ["dead_letter": 1])
            try await running.stop()
        }
    }
}
