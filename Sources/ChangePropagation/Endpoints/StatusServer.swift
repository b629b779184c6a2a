import Foundation
import Hummingbird
import KafkaLog
import Logging

/// The worker's own HTTP endpoints: `/healthz`, `/readyz`, `/metrics`, `/status`. They say and change nothing.
struct StatusServer: Sendable {
    let address: (host: String, port: Int)
    let readyLag: Duration
    let datacenter: Datacenter
    let datacenters: Set<Datacenter>
    let logger: Logger
    /// Of every group's worker.
    let statuses: @Sendable () async -> [GroupStatus]

    /// A reading loop that has not come by for so long is stuck.
    static let silenceLimit = 60.0

    /// Serves until the task is cancelled. Throws `StartFailure` when the address can't be listened on.
    ///
    /// - Parameter listening: called with the port once it is listened on.
    func run(listening: @escaping @Sendable (Int) -> Void = { _ in }) async throws {
        var quiet = logger
        // A connection that a monitor keeps open when the worker ends would be an error there. What matters is thrown.
        quiet.logLevel = .critical
        let application = Application(
            router: router, configuration: .init(address: .hostname(address.host, port: address.port)),
            onServerRunning: { listening($0.localAddress?.port ?? 0) }, logger: quiet)
        do { try await GracefulServer.run(application, logger: quiet) } catch is CancellationError { return } catch {
            throw Worker.StartFailure(description: "can't listen on \(address.host):\(address.port) (\(error)); choose another address under \"listen\"")
        }
    }

    private var router: Router<BasicRequestContext> {
        let router = Router()
        router.get("/healthz") { _, _ in
            let stuck = await statuses().filter { $0.silentSeconds > Self.silenceLimit }
            let lines = stuck.map { "group \($0.group) has not read for \(Int($0.silentSeconds)) s" }
            return Self.answer(lines.isEmpty ? .ok : .serviceUnavailable, lines.isEmpty ? "ok\n" : lines.joined(separator: "\n") + "\n")
        }
        router.get("/readyz") { _, _ in
            let reasons = Readiness(await statuses(), lagLimit: readyLag.inSeconds).reasons
            return Self.answer(reasons.isEmpty ? .ok : .serviceUnavailable, reasons.isEmpty ? "ready\n" : reasons.joined(separator: "\n") + "\n")
        }
        router.get("/metrics") { _, _ in
            let metrics = WorkerMetrics(groups: await statuses(), datacenter: datacenter, datacenters: datacenters)
            return Self.answer(.ok, metrics.text, type: "text/plain; version=0.0.4; charset=utf-8")
        }
        router.get("/status") { _, _ in
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
            let bytes = try encoder.encode(await statuses())
            return Self.answer(.ok, String(decoding: bytes, as: UTF8.self) + "\n", type: "application/json")
        }
        return router
    }

    private static func answer(_ status: HTTPResponse.Status, _ text: String, type: String = "text/plain; charset=utf-8") -> Response {
        Response(status: status, headers: [.contentType: type], body: .init(byteBuffer: ByteBuffer(string: text)))
    }
}
