import Handover
import KafkaLog
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

@Suite("Retry topics and dead letters, against real clusters")
struct GroupWorkerRetryTests {
    private let eqiad = WorkerWorld.eqiad
    private let codfw = WorkerWorld.codfw
    private static let quick = "{retry_limit: 2, retry_delay: 100ms, retry_factor: 2}"

    /// The offset at which the partition of the retry topic is done; nil: nothing is written yet.
    private func retriesDone(_ world: WorkerWorld, _ partition: Int32) async throws -> Checkpoint? {
        let stored = try await CheckpointStore(world.store).load(
            group: WorkerWorld.group, partition: TopicPartition(topic: "eqiad.test.retry.s", partition: partition))
        return try stored?.checkpoint.get()
    }

    @Test("A failing event is tried again when it is due until it is done; its neighbours are not held up, and each record says what is what")
    func retriedTillDone() async throws {
        try await WorkerWorld.run { world in
            let failures = Mutex(2)
            world.answer { id, _ in
                guard id == "e4" else { return .done(status: 200) }
                return failures.withLock { left in
                    left -= 1
                    return left >= 0 ? .retriable(.status(503)) : .done(status: 200)
                }
            }
            let running = try await world.start(eqiad, failures: Self.quick)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("it is done") { world.counts["e4"] == 3 }
            try await eventually("its source is passed") { try await world.checkpoint(0)?.position.offset == 10 }
            try await eventually("its retries are passed") { try await retriesDone(world, 0)?.position.offset == 2 }
            let calls = world.calls.filter { $0.id == "e4" }
            #expect(calls[0].at.duration(to: calls[1].at) >= .milliseconds(95))
            #expect(calls[1].at.duration(to: calls[2].at) >= .milliseconds(195))
            #expect(world.counts.filter { $0.key != "e4" }.values.allSatisfy { $0 == 1 })
            let records = world.parked.all
            #expect(records.map(\.topic) == ["eqiad.test.retry.s", "eqiad.test.retry.s"] && records.allSatisfy { $0.partition == 0 })
            #expect(records.map { $0.json["retries_left"] } == [1, 0] && records.map { $0.json["attempt"] } == [1, 2])
            for record in records {
                #expect(record.json["rule"] == "rule" && record.json["original_event"]?["id"] == "e4")
                #expect(record.json["reason"]?["type"] == "status_503")
                #expect(record.json["source"]?["topic"] == "eqiad.s" && record.json["source"]?["offset"] == 2)
            }
            #expect(Set(records.compactMap { $0.json["meta"]?["id"]?.string }).count == 2, "each record has an id of its own")
            try await running.stop()
        }
    }

    @Test("Tries used up, a status that is not retried, a template without its field, and what is no JSON become dead letters; the rest goes on")
    func deadLetters() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            world.answer { id, _ in id == "e1" ? .retriable(.timeout) : id == "e2" ? .failed(.status(404)) : .done(status: 200) }
            try world.produce(0..<4)
            let cluster = try #require(world.clusters[eqiad])
            for value in ["{", #"{"no":"id"}"#, "\u{0}"] { try cluster.append([.init(timestamp: 5, value: Array(value.utf8))], to: WorkerWorld.topic, 0) }
            try cluster.append([.init(timestamp: 5, value: [0xFF, 0xFE])], to: WorkerWorld.topic, 0)
            try world.produce(4..<8)
            let running = try await world.start(eqiad, failures: Self.quick)
            try await world.waitForCalls((0..<8).map { "e\($0)" })
            try await eventually("all dead letters are there") { world.parked.errors.count == 6 }
            try await eventually("everything is passed") { try await world.checkpoint(0)?.position.offset == 12 }
            let errors = world.parked.errors.map(\.json)
            #expect(errors.compactMap { $0["reason"]?["type"]?.string }.sorted() == ["missing_field", "not_json", "not_json", "not_json", "status_404", "timeout"])
            #expect(errors.first { $0["reason"]?["type"] == "timeout" }?["source"]?["offset"] == 1, "the first place, not the retry's")
            #expect(errors.compactMap { $0["raw_event"]?.string }.sorted() == ["\u{0}", "{"])
            #expect(errors.compactMap { $0["raw_event_base64"]?.string } == ["//4="])
            #expect(world.counts["e1"] == 3 && world.counts["e2"] == 1 && world.counts["e4"] == 1)
            try await running.stop()
        }
    }

    @Test("retry_limit: 0 means none")
    func noRetries() async throws {
        try await WorkerWorld.run { world in
            world.answer { id, _ in id == "e3" ? .retriable(.timeout) : .done(status: 200) }
            let running = try await world.start(eqiad, failures: "{retry_limit: 0}")
            #expect(running.retries == nil)
            try await world.waitForCalls(try world.produce(0..<10))
            try await eventually("it is a dead letter") { world.parked.errors.count == 1 }
            #expect(world.parked.retries.isEmpty && world.counts["e3"] == 1)
            try await eventually("everything is passed") { try await world.checkpoint(1)?.position.offset == 5 }
            try await running.stop()
        }
    }

    @Test("A target in maintenance (x-readonly) costs no attempt")
    func readOnly() async throws {
        try await WorkerWorld.run { world in
            let left = Mutex(5)
            world.answer { id, _ in
                guard id == "e0", left.withLock({ $0 -= 1; return $0 >= 0 }) else { return .done(status: 200) }
                return .retriable(.readOnly(503))
            }
            let running = try await world.start(eqiad, failures: "{retry_limit: 1, retry_delay: 50ms}")
            try await world.waitForCalls(try world.produce(0..<4))
            try await eventually("it is done in the end") { world.counts["e0"] == 6 }
            #expect(world.parked.errors.isEmpty && world.parked.retries.allSatisfy { $0.json["retries_left"] == 1 })
            try await running.stop()
        }
    }

    @Test("A broker that does not take the retry: nothing is passed and the request is not repeated; when it takes it again, all goes on")
    func brokerDown() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let failed = Mutex(false)
            world.answer { id, _ in
                guard id == "e2" else { return .done(status: 200) }
                return failed.withLock { was in
                    defer { was = true }
                    return was ? .done(status: 200) : .retriable(.timeout)
                }
            }
            world.parked.fail { _ in .deadlineExceeded(what: "produce") }
            let running = try await world.start(eqiad, failures: Self.quick)
            try await world.waitForCalls(try world.produce(0..<10))
            try await Task.sleep(for: .milliseconds(600))
            #expect(try await world.checkpoint(0)?.position.offset == 2, "its position waits for the acknowledgement")
            #expect(world.counts["e2"] == 1)
            world.parked.fail { _ in nil }
            try await eventually("it is done") { world.counts["e2"] == 2 }
            try await eventually("everything is passed") { try await world.checkpoint(0)?.position.offset == 10 }
            #expect(world.parked.retries.count == 1)
            try await running.stop()
        }
    }

    /// Where in an event's life the worker dies.
    enum Step: CaseIterable { case acting, beforeParking, afterParking, waiting, retrying, afterRetrying }

    @Test("A worker that dies at any step loses no event", arguments: Step.allCases)
    func dies(at step: Step) async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let isDead = Mutex(false)
            let succeeded = Mutex(false)
            world.answer { id, _ in
                guard id == "e5" else { return .done(status: 200) }
                let call = world.counts["e5"] ?? 0
                if isDead.withLock({ $0 }) {
                    succeeded.withLock { $0 = true }
                    return .done(status: 200)
                }
                while step == .acting || (step == .retrying && call > 1) {
                    do { try await Task.sleep(for: .milliseconds(5)) } catch { return .interrupted }
                }
                if call > 1 { succeeded.withLock { $0 = true } }
                return call > 1 ? .done(status: 200) : .retriable(.timeout)
            }
            if step == .beforeParking { world.parked.fail { _ in .deadlineExceeded(what: "produce") } }
            let delay = step == .waiting || step == .afterParking ? "1s" : "50ms"
            let failures = "{retry_limit: 1, retry_delay: \(delay)}"
            let first = try await world.start(eqiad, extra: "", failures: failures)
            try world.produce(0..<10)
            switch step {
            case .acting, .beforeParking: try await eventually("it has come so far") { world.counts["e5"] == 1 }
            case .afterParking: try await eventually("it has come so far") { world.parked.retries.count == 1 }
            case .waiting:
                try await eventually("it has come so far") { try await world.checkpoint(0)?.position.offset == 10 }
            case .retrying, .afterRetrying: try await eventually("it has come so far") { world.counts["e5"] == 2 }
            }
            await first.drop()
            try? await first.task.value
            isDead.withLock { $0 = true }
            world.parked.fail { _ in nil }
            let second = try await world.start(eqiad, failures: failures)
            try await eventually("it is done") { succeeded.withLock { $0 } }
            try await eventually("everything is passed") {
                let retry = try await retriesDone(world, 0)?.position.offset
                return try await world.checkpoint(0)?.position.offset == 10 && retry == Int64(world.parked.retries.count)
            }
            #expect(world.parked.errors.isEmpty)
            try await second.stop()
        }
    }

    @Test("Pending retries move with a switchover, there and back, and are made once", arguments: [true, false])
    func switchover(comesBack: Bool) async throws {
        try await WorkerWorld.run { world in
            world.answer { id, datacenter in
                (world.counts[id] ?? 0) < 2 && Int(id.dropFirst()).map { $0 % 5 == 0 } == true ? .retriable(.timeout) : .done(status: 200)
            }
            let failures = "{retry_limit: 1, retry_delay: 2500ms}"
            let home = try await world.start(eqiad, failures: failures)
            let away = try await world.start(codfw, failures: failures)
            try await world.waitForCalls(try world.produce(0..<40))
            try await eventually("the retries are parked") { world.parked.retries.count == 8 }
            try await eventually("the assignment knows the retries' partitions") { try await world.assignment()?.partitions["eqiad.test.retry.s"] == 2 }
            try await world.controller.beginSwitchover(world.key, to: codfw)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            if comesBack {
                try await world.controller.beginSwitchover(world.key, to: eqiad)
                _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            }
            try await eventually("all are tried again") { (0..<8).allSatisfy { world.counts["e\($0 * 5)"] == 2 } }
            try await Task.sleep(for: .milliseconds(300))
            let again = world.calls.enumerated().filter { call in world.calls[..<call.offset].contains { $0.id == call.element.id } }
            #expect(again.count == 8 && again.allSatisfy { $0.element.datacenter == (comesBack ? eqiad : codfw) })
            #expect(world.counts.values.reduce(0, +) == 48 && world.parked.errors.isEmpty)
            #expect(try await world.gaps() == 0)
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("Pending retries move with a failover: nothing is lost")
    func failover() async throws {
        try await WorkerWorld.run { world in
            world.answer { id, datacenter in datacenter == WorkerWorld.eqiad && id == "e7" ? .retriable(.timeout) : .done(status: 200) }
            let failures = "{retry_limit: 1, retry_delay: 1500ms}"
            let old = try await world.start(eqiad, failures: failures)
            let new = try await world.start(codfw, failures: failures)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("it is parked, and its source is passed") { try await world.checkpoint(1)?.position.offset == 10 }
            await old.drop()
            try await world.controller.failover(world.key, to: codfw)
            try await eventually("it is done there") { world.calls.contains { $0.id == "e7" && $0.datacenter == codfw } }
            #expect(world.calls.filter { $0.id == "e7" && $0.datacenter == codfw }.count == 1)
            try? await old.task.value
            try await new.stop()
        }
    }

    @Test("A retry that is due late does not hold up those behind it: it is parked anew with the same due time, and all others are passed")
    func parkedAnew() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            world.answer { id, _ in
                let tries = world.counts[id] ?? 0
                return tries < (id == "e0" ? 3 : 2) ? .retriable(.timeout) : .done(status: 200)
            }
            // The second retry of e0 is due in 5 s.
            let running = try await world.start(eqiad, failures: "{retry_limit: 2, retry_delay: 50ms, retry_factor: 100}")
            try world.produce(0..<1)
            try await eventually("its second retry waits") { world.parked.retries.count == 2 }
            let ids = try world.produce(1..<160)
            try await eventually("the others are done") { ids.allSatisfy { world.counts[$0] == 2 } }
            try await eventually("it was parked anew") { world.parked.retries.count >= 162 }
            let own = world.parked.retries.filter { $0.json["original_event"]?["id"] == "e0" }.map(\.json)
            #expect(own[1]["due_at"] != nil && Set(own.map { $0["meta"]?["id"]?.string ?? "" }).count == own.count)
            let drift = try own.dropFirst(2).map { record in
                guard case .integer(let first)? = own[1]["due_at"], case .integer(let again)? = record["due_at"] else { throw TestTimeout("no due time") }
                return abs(again - first)
            }
            #expect(drift.allSatisfy { $0 < 50 } && own.last?["retries_left"] == 0 && own.last?["attempt"] == 2)
            try await eventually("it is done when it is due") { world.counts["e0"] == 3 }
            try await eventually("all is passed") { try await retriesDone(world, 0)?.position.offset == Int64(world.parked.retries.count) }
            #expect(world.parked.errors.isEmpty)
            try await running.stop()
        }
    }

    @Test("Streams that an expression matches have their retries too, though their topics come later")
    func byExpression() async throws {
        try await WorkerWorld.run { world in
            world.answer { id, _ in (world.counts[id] ?? 0) < 2 && id == "e1" ? .retriable(.timeout) : .done(status: 200) }
            let running = try await world.start(eqiad, topics: "['/^s$/']", failures: Self.quick)
            try await world.waitForCalls(try world.produce(0..<6))
            try await eventually("it is tried again") { world.counts["e1"] == 2 }
            try await eventually("the retry is passed") { try await retriesDone(world, 1)?.position.offset == 1 }
            #expect(try await world.assignment()?.partitions.keys.sorted() == ["eqiad.s", "eqiad.test.retry.s"])
            try await running.stop()
        }
    }

    @Test("delay_until: an event whose time is to come waits in the retry topic and is acted on then, once; a time that is none is a dead letter")
    func delayed() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let cluster = try #require(world.clusters[eqiad])
            let due = HostClock.system.wall().milliseconds + 1_500
            for (id, until) in [("now", "1"), ("later", "\(due)"), ("odd", "\"soon\""), ("null", "null")] {
                let value = #"{"id":"\#(id)","until":\#(until)}"#
                try cluster.append([.init(timestamp: 5, value: Array(value.utf8))], to: WorkerWorld.topic, 0)
            }
            let running = try await world.start(eqiad, rule: "    delay_until: '{{message.until}}'", failures: "{retry_limit: 0}")
            try world.produce(0..<2)
            try await world.waitForCalls(["now", "null", "e0", "e1"])
            #expect(world.counts["later"] == nil)
            try await eventually("its source is passed") { try await world.checkpoint(0)?.position.offset == 6 }
            try await world.waitForCalls(["later"])
            #expect(HostClock.system.wall().milliseconds >= due)
            #expect(world.parked.errors.map { $0.json["reason"]?["type"]?.string } == ["not_a_time"])
            try await running.stop()
            #expect(world.counts["later"] == 1 && world.counts["odd"] == nil)
        }
    }
}
