import Foundation
import Glibc
#if canImport(FoundationNetworking)
import FoundationNetworking
#endif
import KafkaLog
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

@Suite("The worker's own endpoints")
struct EndpointTests {
    private let eqiad = WorkerWorld.eqiad

    /// Serves the worker's endpoints on a free port while `body` runs.
    private func serving(
        _ running: WorkerWorld.Running, readyLag: Duration = .seconds(300), _ body: (_ get: (String) async throws -> (status: Int, text: String)) async throws -> Void
    ) async throws {
        let (ports, continuation) = AsyncStream<Int>.makeStream()
        let server = StatusServer(
            address: ("127.0.0.1", 0), readyLag: readyLag, datacenter: eqiad, datacenters: [eqiad, WorkerWorld.codfw], logger: WorkerWorld.quiet
        ) {
            var statuses = [await running.worker.status()]
            if let retries = running.retries { statuses.append(await retries.status()) }
            return statuses
        }
        let task = Task { try await server.run { continuation.yield($0) } }
        defer { task.cancel() }
        var port = 0
        for await found in ports {
            port = found
            break
        }
        try await body { path in
            let (data, response) = try await URLSession.shared.data(from: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
            return ((response as? HTTPURLResponse)?.statusCode ?? 0, String(decoding: data, as: UTF8.self))
        }
    }

    @Test("A server that ends while connections come in ends alone, not its process")
    func endsWhileConnectionsComeIn() async throws {
        for _ in 0..<50 {
            let (ports, continuation) = AsyncStream<Int>.makeStream()
            let server = StatusServer(
                address: ("127.0.0.1", 0), readyLag: .seconds(300), datacenter: eqiad, datacenters: [eqiad], logger: WorkerWorld.quiet) { [] }
            let task = Task { try await server.run { continuation.yield($0) } }
            var port = 0
            for await found in ports {
                port = found
                break
            }
            // Accepted in one go, and not looked at yet when the end comes.
            let sockets = (0..<32).map { _ in Self.connect(port) }
            task.cancel()
            try await task.value
            for socket in sockets { close(socket) }
        }
    }

    private static func connect(_ port: Int) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        return descriptor
    }

    @Test("Metrics count what was read, matched, acted on and how, and how far it is behind")
    func metrics() async throws {
        try await WorkerWorld.run { world in
            world.answer { id, _ in id == "e3" ? .failed(.status(404)) : id == "e4" ? .retriable(.status(503)) : .done(status: 200) }
            let running = try await world.start(eqiad, failures: "{retry_limit: 1, retry_delay: 10m}")
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("both are parked") { world.parked.all.count == 2 }
            try await serving(running) { get in
                try await eventually("the retry waits") {
                    try await get("/metrics").text.contains(
                        #"switchback_retries_waiting{group="test-rule-retry",origin="eqiad",stream="test.retry.s",partition="0"} 1"#)
                }
                try await eventually("all is counted and passed") {
                    let text = try await get("/metrics").text
                    return text.contains(#"switchback_lag_records{group="test-rule",origin="eqiad",stream="s",partition="1"} 0"#)
                        && text.contains(#"switchback_actions_total{group="test-rule",origin="eqiad",stream="s",rule="rule",result="done"} 18"#)
                }
                let text = try await get("/metrics").text
                for line in [
                    #"switchback_events_total{group="test-rule",origin="eqiad",stream="s"} 20"#,
                    #"switchback_events_matched_total{group="test-rule",origin="eqiad",stream="s",rule="rule"} 20"#,
                    #"switchback_actions_total{group="test-rule",origin="eqiad",stream="s",rule="rule",result="retry"} 1"#,
                    #"switchback_actions_total{group="test-rule",origin="eqiad",stream="s",rule="rule",result="dead_letter"} 1"#,
                    #"switchback_action_failures_total{group="test-rule",origin="eqiad",stream="s",rule="rule",reason="status_404"} 1"#,
                    #"switchback_action_duration_seconds_bucket{group="test-rule",origin="eqiad",stream="s",rule="rule",le="+Inf"} 20"#,
                    #"switchback_dead_letters_total{group="test-rule"} 1"#, #"switchback_store_reachable{group="test-rule"} 1"#,
                    #"switchback_assignment_epoch{group="test-rule",origin="eqiad"} 1"#, #"switchback_gap_events_total{group="test-rule"} 0"#,
                ] { #expect(text.contains(line + "\n"), "\(line)") }
                // Every sample belongs to a family that was announced.
                for line in text.split(separator: "\n") where !line.hasPrefix("#") {
                    let name = line.prefix { $0 != "{" && $0 != " " }
                    let family = ["_bucket", "_sum", "_count"].reduce(String(name)) { $0.hasSuffix($1) && $0.contains("duration") ? String($0.dropLast($1.count)) : $0 }
                    #expect(text.contains("# TYPE \(family) "), "\(name)")
                    #expect(Double(line.split(separator: " ").last ?? "") != nil)
                }
                let status = try JSONDecoder().decode([GroupStatus].self, from: Data(try await get("/status").text.utf8))
                #expect(status.map(\.group) == ["test-rule", "test-rule-retry"] && status[0].partitions.map(\.done) == [10, 10])
            }
            try await running.stop()
        }
    }

    @Test("Ready: assigned, store reachable, lag under the limit; each of them alone makes it unready and says so")
    func readiness() async throws {
        try await WorkerWorld.run(partitions: 1) { world in
            let isHeld = Mutex(false)
            world.answer { _, _ in
                await hold { isHeld.withLock { $0 } }
                return .done(status: 200)
            }
            let running = try await world.start(eqiad)
            try await serving(running) { get in
                try await world.waitForCalls(try world.produce(0..<5))
                try await eventually("it is ready") { try await get("/readyz").status == 200 }
                #expect(try await get("/healthz") == (200, "ok\n"))
                // Events of 2023 that are not finished are far behind.
                isHeld.withLock { $0 = true }
                try world.produce(5..<6)
                try await eventually("it is behind") { try await get("/readyz").text.contains("eqiad.s/0 is ") }
                #expect(try await get("/readyz").status == 503)
                isHeld.withLock { $0 = false }
                try await eventually("it has caught up") { try await get("/readyz").status == 200 }
                running.store.failAll(.unavailable)
                try await eventually("the store is away") { try await get("/readyz") == (503, "group test-rule can't use the checkpoint store\n") }
                let text = try await get("/metrics").text
                #expect(text.contains(#"switchback_store_reachable{group="test-rule"} 0"#))
                running.store.heal()
                try await eventually("it is ready again") { try await get("/readyz").status == 200 }
            }
            try await running.stop()
        }
    }

    @Test("A worker that has not joined its group, or whose loop stands still, is told")
    func pure() {
        var group = GroupStatus(
            group: "g", readsRetries: false, isAssigned: false, isStoreReachable: true, silentSeconds: 0, events: [:], unparsable: 0, retried: 0, deadLettered: 0, gaps: 0,
            activities: [], origins: [], partitions: [])
        #expect(Readiness([group], lagLimit: 1).reasons == ["group g has not been given partitions yet"])
        group.isAssigned = true
        #expect(Readiness([group], lagLimit: 1).reasons.isEmpty)
        group.partitions = [.init(topic: "eqiad.s", partition: 0, stage: "reading", lagSeconds: 9, running: 0, waiting: 0, delayed: 0)]
        #expect(Readiness([group], lagLimit: 5).reasons == ["eqiad.s/0 is 9 s behind (group g)"] && Readiness([group], lagLimit: 10).reasons.isEmpty)
        group.readsRetries = true
        #expect(Readiness([group], lagLimit: 5).reasons.isEmpty)
        #expect(Readiness([], lagLimit: 1).reasons == ["the worker has not begun yet"])
    }

    @Test("An address in use is one clear line")
    func addressInUse() async throws {
        let server = try ScriptedServer(.close)
        defer { server.stop() }
        let second = StatusServer(
            address: ("127.0.0.1", server.port), readyLag: .seconds(1), datacenter: eqiad, datacenters: [eqiad], logger: WorkerWorld.quiet, statuses: { [] })
        let error = await #expect(throws: Worker.StartFailure.self) { try await second.run() }
        #expect(error?.description.hasPrefix("can't listen on 127.0.0.1:\(server.port) (") == true && error?.description.contains("\n") == false)
    }
}
