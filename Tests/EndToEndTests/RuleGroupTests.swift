import Foundation
import LocalKafka
import Synchronization
import TestSupport
import Testing

/// Workers that come, go and are told something while events are under way.
@Suite("Rules while workers come and go", .serialized)
struct RuleGroupTests {
    @Test("A second worker joins with 500 requests running: nothing is lost, nothing is repeated, both work")
    func rebalance() async throws {
        var settings = RuleStage.Settings()
        settings.partitions = 4
        settings.rule = ["concurrency: 600", "timeout: 60s", "retry_delay: 200ms"]
        let barrier = Barrier()
        try await RuleStage.run(settings) { _ in
            barrier.pass()
            return .status(200)
        } _: { stage in
            defer { barrier.open() }
            try stage.start("a")
            let first = (0..<500).map { "e\($0)" }, second = (500..<700).map { "e\($0)" }
            try stage.produce(first)
            try await stage.wait("500 requests run") { stage.target.calls.count == 500 }
            try stage.start("b")
            try await stage.wait("the first worker gives partitions back") { await stage.get("/status").contains("revoking") }
            #expect(stage.target.succeeded.isEmpty)
            barrier.open()
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(first) }
            try await stage.wait("the second worker reads") { Self.reading(await stage.get("/metrics", of: "b")) > 0 }
            try stage.produce(second)
            try await stage.wait("these, too") { stage.target.hasSucceeded(second) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("rebalance with 500 in flight")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            #expect(stage.target.calls.count == 700)
            #expect(Set(stage.target.calls.suffix(200).map(\.worker)) == ["a", "b"])
            try await stage.end("a")
            try await stage.end("b")
        }
    }

    /// How many partitions the metrics say are being read.
    private static func reading(_ metrics: String) -> Int {
        metrics.split(separator: "\n").filter { $0.hasPrefix("switchback_partitions{") && $0.contains(#"stage="reading""#) }
            .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }.reduce(0) { $0 + Int($1) }
    }

    @Test("SIGTERM while retries run and wait: it ends in order, and the next worker makes each of them once")
    func termination() async throws {
        var settings = RuleStage.Settings()
        settings.rule = ["retry_limit: 2", "retry_delay: 1s", "retry_factor: 1", "timeout: 20s"]
        let ids = (0..<30).map { "e\($0)" }
        let barrier = Barrier()
        try await RuleStage.run(settings) { call in
            if call.number == 1, call.id == "e0" {
                barrier.pass()
                return .status(200)
            }
            return call.number == 0 ? .status(503) : .status(200)
        } _: { stage in
            defer { barrier.open() }
            try stage.start()
            try stage.produce(ids.dropLast(15))
            try await stage.wait("the first retry runs") { stage.target.count("e0") == 2 }
            try stage.produce(ids.suffix(15))
            try await stage.wait("others wait") { stage.count(RuleStage.retryTopic) == 30 }
            // A monitor keeps its connection.
            #expect(await stage.get("/healthz") == "ok\n")
            let ending = Task { try await stage.end() }
            try await stage.wait("it stops") { stage.log().contains("Stopping: finishing what runs") }
            barrier.open()
            try await ending.value
            #expect(stage.log().contains("Stopped"), "it ended in order")
            #expect(!stage.log().contains(" error "), "ending in order is no error")
            try stage.start()
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(ids) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("SIGTERM during retries")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            #expect(ids.allSatisfy { stage.target.count($0) == 2 })
            try await stage.end()
        }
    }

    @Test("SIGHUP with a wrong file while retries wait: it is refused as a whole, and the retries are made by the old rule")
    func wrongReload() async throws {
        var settings = RuleStage.Settings()
        settings.rule = ["retry_limit: 1", "retry_delay: 2s"]
        let ids = (0..<10).map { "e\($0)" }
        try await RuleStage.run(settings) { $0.number == 0 ? .status(503) : .status(200) } _: { stage in
            try stage.start()
            try stage.produce(ids)
            try await stage.wait("the retries wait") { stage.count(RuleStage.retryTopic) == 10 }
            let wrongs = ["rules: [", "\u{0}", "", String(stage.text("a", rule: ["retry_limit: 1", "retry_delay: soon"]))]
            for (number, wrong) in wrongs.enumerated() {
                try Data(wrong.utf8).write(to: stage.configuration(of: "a"))
                stage.hangUp()
                try await stage.wait("wrong file \(number) is refused") {
                    stage.log().components(separatedBy: "refused as a whole").count == number + 2
                }
            }
            try FileManager.default.removeItem(at: stage.configuration(of: "a"))
            stage.hangUp()
            try await stage.wait("a missing file is refused") { stage.log().contains("there is no such file") }
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(ids) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("SIGHUP with wrong files")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            try await stage.end()
        }
    }
}
