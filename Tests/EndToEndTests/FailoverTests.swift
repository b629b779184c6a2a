import ChangePropagation
import Demo
import Foundation
import KafkaLog
import TestSupport
import Testing

/// The demonstration, shorter, as a test: real processes, `kill -9`, a real store.
@Suite("Failover and switchback, end to end", .serialized)
struct FailoverTests {
    static let stores: [DemoConfiguration.StoreKind] = [.sqlite, .etcd]

    @Test("A datacenter is killed, the other goes on, the first takes its work home: nothing lost, no avoidable repeat", arguments: stores)
    func thereAndBack(_ store: DemoConfiguration.StoreKind) async throws {
        let directory = try TemporaryDirectory()
        var configuration = DemoConfiguration(
            store: store, executable: try Executable.switchback(), etcd: EtcdServer.executable,
            events: try EventTemplate.load(Executable.fixture("recentchange-recorded.jsonl")),
            directory: directory.url.appending(path: "run"), seed: Seed.fresh("failover with \(store.rawValue)"))
        configuration.times.steady = .seconds(3)
        configuration.times.notice = .milliseconds(300)
        configuration.times.outage = .seconds(2)
        configuration.times.returned = .seconds(2)
        configuration.times.after = .seconds(2)
        configuration.patience = .seconds(90)
        let demo = try await Demo(configuration) { line in
            switch line.message {
            case .step(let text), .note(let text): print(String(format: "%6.1f s  ", line.at) + text)
            case .status: break
            }
        }
        let result = try await demo.run()
        #expect(result.complaints == [])
        #expect(result.home.produced > 300 && result.home.acted > 200 && result.home.skipped > 50)
        #expect(result.away.produced > 100 && result.away.acted > 50)
        #expect(result.stranded > 0, "the kill has to catch events that were not mirrored yet")
        for (resumptions, what) in [(result.failover, "failover"), (result.switchback, "switchback")] {
            #expect(resumptions.count == Int(configuration.partitions), "every partition's resume is reported after the \(what)")
            let elsewhere = resumptions.filter { $0.checkpoint != $0.resumedAt }
            #expect(elsewhere.count == resumptions.count, "the clusters hold the same events at other offsets")
            #expect(resumptions.allSatisfy { $0.found == "tail" }, "found by what was done, not by time alone")
        }
    }
}
