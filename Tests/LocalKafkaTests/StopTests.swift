import TestSupport
import Testing

@testable import LocalKafka

@Suite("Stopping a broker") struct StopTests {
    @Test("Clients that connect at that very moment are no harm, and none is left hanging")
    func connectionsDuringAStop() async throws {
        for _ in 0..<4 {
            let directory = try TemporaryDirectory()
            var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory.url)
            configuration.logger.logLevel = .critical
            let cluster = try await LocalKafkaCluster.start(configuration)
            let port = cluster.brokerAddresses[0].port
            let clients = (0..<4).map { _ in Task { try await Self.connectUntilRefused(port) } }
            try await Task.sleep(for: .milliseconds(5))
            await cluster.stop()
            for client in clients {
                for connection in try await client.value {
                    do {
                        // A connection that the kernel completed on this side alone is only known to be none when it is used.
                        try await connection.send([0])
                        _ = try await connection.receiveFrame()
                        Issue.record("an answer to nothing")
                    } catch is TestTimeout { Issue.record("a connection was left open") } catch {}
                }
            }
        }
    }

    private static func connectUntilRefused(_ port: Int) async throws -> [RawClient] {
        try await onOwnThread {
            var open: [RawClient] = []
            while open.count < 200, let client = try? RawClient(port: port, timeout: 5) { open.append(client) }
            return open
        }
    }
}
