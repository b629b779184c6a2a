import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// Sends the requests of all rules over shared, pooled connections. Redirects are not followed, connections have a
/// bounded age, answers are read to their end (an answer that stops half-way is a failure) up to a limit.
///
/// Must be closed: `close()`.
public final class HTTPAction: Sendable {
    private let clients: ClientGenerations
    private let userAgent: String
    private let responseLimit: Int
    private let makeRequestID: @Sendable () -> String

    /// - Parameters:
    ///   - version: of switchback, for the `user-agent`.
    ///   - connections: open at once to one target, at most: the sum of all rules' `concurrency`.
    ///   - makeRequestID: gives the `x-request-id` of events that have none.
    public init(
        settings: WorkerConfiguration.HTTPSettings = .init(), version: String, connections: Int,
        makeRequestID: @escaping @Sendable () -> String = HTTPAction.randomRequestID
    ) {
        userAgent = Self.userAgent(version)
        responseLimit = settings.responseLimit
        self.makeRequestID = makeRequestID
        let connect = TimeAmount(settings.connectTimeout)
        let idle = TimeAmount(settings.idleTimeout)
        clients = ClientGenerations(maxAge: settings.connectionMaxAge) {
            var configuration = HTTPClient.Configuration(
                redirectConfiguration: .disallow, timeout: .init(connect: connect), connectionPool: .init(idleTimeout: idle))
            configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = max(8, connections)
            // A refused connection is an answer: our own retries pause as the rule says.
            configuration.connectionPool.retryConnectionEstablishment = false
            configuration.httpVersion = .http1Only
            return HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
        }
    }

    /// What requests carry whose rule names no `user-agent` of its own.
    public static func userAgent(_ version: String) -> String { "switchback/\(version)" }

    /// Sixteen random bytes as a version 4 UUID's text.
    public static let randomRequestID: @Sendable () -> String = {
        var bytes = (0..<16).map { _ in UInt8.random(in: .min ... .max) }
        bytes[6] = bytes[6] & 0x0F | 0x40
        bytes[8] = bytes[8] & 0x3F | 0x80
        let digits = bytes.map { String(UInt16($0) | 0x100, radix: 16).dropFirst() }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }.joined(separator: "-")
    }

    /// One try of `request`, for `rule`'s statuses and timeout.
    @Sendable public func send(_ request: ActionRequest, for rule: Rule) async -> RequestResult {
        await send(request, timeout: rule.timeout, statuses: rule.statuses)
    }

    /// One try. The timeout covers the whole exchange, up to the end of the answer.
    public func send(_ request: ActionRequest, timeout: Duration, statuses: StatusRules) async -> RequestResult {
        guard let generation = clients.acquire() else { return .interrupted }
        defer { clients.release(generation) }
        let prepared = prepare(request)
        let limit = responseLimit
        return await withTaskGroup(of: RequestResult.self) { group in
            group.addTask { await Self.exchange(prepared, on: generation.client, timeout: timeout, responseLimit: limit, statuses: statuses) }
            group.addTask {
                do { try await Task.sleep(for: timeout) } catch { return .interrupted }
                return .retriable(.timeout)
            }
            let result = await group.next() ?? .retriable(.timeout)
            group.cancelAll()
            return result
        }
    }

    public func close() async { await clients.close() }

    private func prepare(_ request: ActionRequest) -> HTTPClientRequest {
        var prepared = HTTPClientRequest(url: request.url)
        prepared.method = HTTPMethod(rawValue: request.method)
        for header in request.headers { prepared.headers.add(name: header.name, value: header.value) }
        if !prepared.headers.contains(name: "user-agent") { prepared.headers.add(name: "user-agent", value: userAgent) }
        if !prepared.headers.contains(name: "x-request-id") { prepared.headers.add(name: "x-request-id", value: makeRequestID()) }
        if let body = request.body { prepared.body = .bytes(ByteBuffer(bytes: body)) }
        return prepared
    }

    private static func exchange(
        _ request: HTTPClientRequest, on client: HTTPClient, timeout: Duration, responseLimit: Int, statuses: StatusRules
    ) async -> RequestResult {
        do {
            // The task group's timer is the real one; this only keeps the pool from queueing past it.
            let response = try await client.execute(request, timeout: TimeAmount(timeout))
            var read = 0
            for try await part in response.body {
                read += part.readableBytes
                // The status is known and nobody reads the rest: leaving the loop closes the connection.
                if read > responseLimit { break }
            }
            let isReadOnly = response.headers.first(name: "x-readonly")?.lowercased() == "true"
            return statuses.result(of: Int(response.status.code), isReadOnly: isReadOnly)
        } catch let error as HTTPClientError {
            return result(of: error)
        } catch is CancellationError {
            return .interrupted
        } catch {
            return .retriable(.connection(String(describing: error)))
        }
    }

    private static func result(of error: HTTPClientError) -> RequestResult {
        switch error {
        case .deadlineExceeded, .connectTimeout, .readTimeout, .writeTimeout, .getConnectionFromPoolTimeout, .tlsHandshakeTimeout:
            .retriable(.timeout)
        case .cancelled, .alreadyShutdown: .interrupted
        case .invalidURL, .emptyHost, .emptyScheme, .traceRequestWithBody:
            .failed(.badRequest(error.shortDescription))
        default:
            // These carry values, so they can't stand as patterns above.
            switch error.shortDescription {
            case "Unsupported scheme", "Invalid header field names", "Invalid header field values": .failed(.badRequest(error.shortDescription))
            default: .retriable(.connection(error.shortDescription))
            }
        }
    }
}
