import ChangePropagation
import Foundation
import Hummingbird
import KafkaLog
import Logging
import NIOCore
import Synchronization

/// The service that the workers' actions call: notes every event id, takes some milliseconds over it, says yes. It
/// stands outside both datacenters.
package final class Sink: Sendable {
    package let port: Int
    private let server: Task<Void, any Error>

    /// Starts listening on a free port of 127.0.0.1.
    /// - Parameters:
    ///   - called: id of the event, and the datacenter whose worker called; comes before the answer goes out.
    ///   - work: what is waited for before the answer; nil: some milliseconds that `seed` decides.
    package init(
        seed: UInt64, work: (@Sendable (String, Datacenter) async throws -> Void)? = nil,
        called: @escaping @Sendable (String, Datacenter) -> Void
    ) async throws {
        let delays = Mutex(SeededRandom(seed: seed))
        let router = Router()
        router.post("/propagate/:datacenter/:id") { request, context -> HTTPResponse.Status in
            guard let name = context.parameters.get("datacenter"), let datacenter = Datacenter(name),
                let id = context.parameters.get("id")
            else { return .badRequest }
            _ = try await request.body.collect(upTo: 1 << 20)
            called(id, datacenter)
            if let work { try await work(id, datacenter) } else {
                let delay = delays.withLock { $0.next() % 15 }
                try await Task.sleep(for: .milliseconds(2 + Int(delay)))
            }
            return .noContent
        }
        let (ports, continuation) = AsyncStream<Int>.makeStream()
        var logger = Logger(label: "switchback.demo.sink")
        logger.logLevel = .critical
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in
                continuation.yield(channel.localAddress?.port ?? 0)
                continuation.finish()
            }, logger: logger)
        server = Task {
            defer { continuation.finish() }
            try await application.run()
        }
        var found = 0
        for await port in ports { found = port }
        guard found > 0 else {
            server.cancel()
            throw DemoFailure("the HTTP sink can't listen on 127.0.0.1")
        }
        port = found
    }

    package func stop() async {
        server.cancel()
        _ = await server.result
    }
}
