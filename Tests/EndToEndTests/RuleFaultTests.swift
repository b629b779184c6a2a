import Foundation
import LocalKafka
import Synchronization
import TestSupport
import Testing

/// What goes wrong around a worker that stays alive: its target, its broker, its store.
@Suite("Rules and the faults around them", .serialized)
struct RuleFaultTests {
    /// How the target fails.
    enum Fault: String, CaseIterable, Sendable {
        case down, slow, halfABody, reset, closed, mixed

        func reply(_ generator: inout SeededGenerator) -> ScriptedServer.Reply {
            switch self {
            case .down: .status(200)
            case .slow: .silence
            case .halfABody: .bytes("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf a body")
            case .reset: .reset
            case .closed: .close
            case .mixed:
                [Fault.slow, .halfABody, .reset, .closed].randomElement(using: &generator)?.reply(&generator) ?? .status(503)
            }
        }
    }

    @Test(
        "A target that is down, slow, stops half-way or resets: each event is acted on in the end, or a dead letter", arguments: Fault.allCases)
    func target(_ fault: Fault) async throws {
        var settings = RuleStage.Settings()
        settings.partitions = 2
        // A time-out that is short makes the machine's slowness a failure of the target, too.
        settings.rule = [
            "retry_limit: \(fault == .down ? 30 : 3)", "retry_delay: 300ms", "retry_factor: 1", "concurrency: 40",
            "timeout: \(fault == .slow || fault == .mixed ? 2 : 20)s",
        ]
        settings.isTargetUp = fault != .down
        let ids = (0..<40).map { "e\($0)" }
        // These never come through.
        let hopeless = fault == .down ? [] : ids.filter { Int($0.dropFirst()).map { $0 % 10 == 3 } ?? false }
        let random = Mutex(SeededGenerator.forTest("a target that is \(fault)"))
        try await RuleStage.run(settings) { call in
            call.number == 0 || hopeless.contains(call.id) ? random.withLock { fault.reply(&$0) } : .status(200)
        } _: { stage in
            try stage.start()
            try stage.produce(ids)
            if fault == .down {
                try await stage.wait("all were tried again, too") { stage.count(RuleStage.retryTopic) >= 80 }
                try stage.target.server.open()
            }
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(Set(ids).subtracting(hopeless)) }
            try await stage.wait("the rest are dead letters") { stage.count(RuleStage.errorTopic) >= hopeless.count }
            try await stage.waitUntilPassed()
            let account = try await stage.account("target \(fault)")
            #expect(account.lost == [] && account.repeated.isEmpty && account.dead == hopeless.sorted())
            for id in hopeless { #expect(stage.target.count(id) == 4, "one call and three retries of \(id)") }
            try await stage.end()
        }
    }

    @Test("A broker that stops between the request and its retry record: nothing is lost, and it goes on when the broker is back")
    func brokerDownBeforeRetryRecord() async throws {
        let barrier = Barrier()
        try await RuleStage.run { call in
            guard call.id == "victim", call.number == 0 else { return .status(200) }
            barrier.pass()
            return .status(503)
        } _: { stage in
            defer { barrier.open() }
            try stage.start()
            let before = (0..<20).map { "e\($0)" }, after = (20..<40).map { "e\($0)" }
            try stage.produce(before + ["victim"])
            try await stage.wait("its request runs") { stage.target.count("victim") == 1 && stage.target.hasSucceeded(before) }
            try await stage.cluster.stopBroker(1)
            barrier.open()
            try await stage.wait("it could not be parked") { stage.log().contains("An event could not be parked; trying on") }
            #expect(stage.count(RuleStage.retryTopic) == 0)
            #expect(try await stage.checkpoints().values.allSatisfy { $0.position.offset <= 20 }, "its position waits for the acknowledgement")
            try await stage.cluster.startBroker(1)
            try stage.produce(after)
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(before + after + ["victim"]) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("broker down before the retry record")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            #expect(stage.target.count("victim") == 2, "the request is not made again for a record that could not be written")
            try await stage.end()
        }
    }

    @Test("etcd is killed and comes back while events flow: nothing is lost, nothing is repeated", .enabled(if: EtcdServer.isInstalled))
    func etcdDown() async throws {
        let etcd = try await EtcdServer.start()
        var settings = RuleStage.Settings()
        settings.partitions = 2
        settings.etcd = etcd.ports
        try await RuleStage.run(settings) { call in
            Int(call.id.dropFirst()).map { $0 % 7 == 0 } == true && call.number == 0 ? .status(503) : .status(200)
        } _: { stage in
            try stage.start()
            let flow = Task {
                for number in 0..<200 {
                    try stage.produce(["e\(number * 2)", "e\(number * 2 + 1)"])
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            try await stage.wait("the first are acted on") { stage.target.calls.count > 50 }
            etcd.kill()
            try await stage.wait("it is said") { stage.log().contains("The checkpoint store can't be used") }
            try await flow.value
            // The lease runs out, and nothing is acted on any more.
            try await stage.wait("work stops") {
                let calls = stage.target.calls.count
                try await Task.sleep(for: .milliseconds(1_000))
                return stage.target.calls.count == calls
            }
            #expect(stage.target.succeeded.count < 400)
            try await etcd.restart()
            try await stage.wait("all are acted on") { stage.target.succeeded.count == 400 }
            try await stage.waitUntilPassed()
            let account = try await stage.account("etcd down while events flow")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            try await stage.end()
        }
    }

    @Test("Redis, which has the claims, is killed and comes back: nothing is begun without one, and none is made twice", .enabled(if: RedisServer.isInstalled))
    func redisDown() async throws {
        let redis = try await RedisServer.start()
        var settings = RuleStage.Settings()
        settings.partitions = 2
        settings.redis = redis.port
        settings.rule.append("dedupe: id")
        try await RuleStage.run(settings) { call in
            Int(call.id.dropFirst()).map { $0 % 7 == 0 } == true && call.number == 0 ? .status(503) : .status(200)
        } _: { stage in
            try stage.start()
            let before = (0..<60).map { "e\($0)" }, during = (60..<120).map { "e\($0)" }
            try stage.produce(before)
            try await stage.wait("the first are acted on") { stage.target.hasSucceeded(before) }
            try await redis.kill()
            try stage.produce(during)
            try await stage.wait("it is said") { stage.log().contains("Claims can't be made") }
            let calls = stage.target.calls.count
            try await Task.sleep(for: .milliseconds(500))
            #expect(stage.target.calls.count == calls && !stage.target.hasSucceeded(during))
            #expect(await stage.get("/readyz").contains("can't use"))
            try await redis.restart()
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(before + during) }
            // The same events again, as other records.
            try stage.produce(before + during)
            try stage.produce(["last"])
            try await stage.wait("the last is acted on") { stage.target.hasSucceeded(["last"]) }
            try await stage.waitUntilPassed()
            #expect((before + during).allSatisfy { id in stage.target.succeeded[id] == 1 })
            try await stage.end()
        }
    }

    @Test(
        "etcd is down, and the worker is killed meanwhile: nothing is lost; what was stored is not repeated",
        .enabled(if: EtcdServer.isInstalled))
    func workerDiesWithoutEtcd() async throws {
        let etcd = try await EtcdServer.start()
        var settings = RuleStage.Settings()
        settings.etcd = etcd.ports
        try await RuleStage.run(settings) { call in call.id == "e25" && call.number == 0 ? .status(503) : .status(200) } _: { stage in
            try stage.start()
            let stored = (0..<20).map { "e\($0)" }, late = (20..<40).map { "e\($0)" }
            try stage.produce(stored)
            try await stage.wait("they are done") { stage.target.hasSucceeded(stored) }
            try await stage.waitUntilPassed()
            etcd.kill()
            try stage.produce(late)
            try await stage.wait("others are done, or wait for the lease") { stage.log().contains("The checkpoint store can't be used") }
            try await stage.kill()
            let before = stage.target.calls.count
            try stage.start()
            try await stage.wait("it waits for its store") { stage.log().contains("does not answer; trying again") }
            #expect(stage.target.calls.count == before)
            try await etcd.restart()
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(stored + late) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("etcd down, worker killed")
            #expect(account.lost == [] && account.dead == [])
            #expect(stored.allSatisfy { stage.target.count($0) == 1 }, "the store knew that they are done")
            try await stage.end()
        }
    }
}
