import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Synchronization

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
            configuration.http1_1ConnectionDebugInitializer = AnswerGuard.install
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
        do {
            // Its futures instead of its async calls: those cost three times as much for requests as small as these.
            let task = generation.client.execute(
                request: try prepare(request), delegate: AnswerReader(limit: responseLimit), deadline: .now() + TimeAmount(timeout))
            let answer = try await withTaskCancellationHandler { try await task.futureResult.get() } onCancel: { task.cancel() }
            return statuses.result(of: answer.status, isReadOnly: answer.isReadOnly)
        } catch let tooLong as AnswerReader.TooLong {
            return statuses.result(of: tooLong.answer.status, isReadOnly: tooLong.answer.isReadOnly)
        } catch let error as HTTPClientError {
            return Self.result(of: error)
        } catch is CancellationError {
            return .interrupted
        } catch {
            return .retriable(.connection(String(describing: error)))
        }
    }

    public func close() async { await clients.close() }

    private func prepare(_ request: ActionRequest) throws -> HTTPClient.Request {
        var headers = HTTPHeaders(request.headers.map { ($0.name, $0.value) })
        if !headers.contains(name: "user-agent") { headers.add(name: "user-agent", value: userAgent) }
        if !headers.contains(name: "x-request-id") { headers.add(name: "x-request-id", value: makeRequestID()) }
        return try HTTPClient.Request(
            url: request.url, method: HTTPMethod(rawValue: request.method), headers: headers,
            body: request.body.map { .byteBuffer(ByteBuffer(bytes: $0)) })
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

/// Keeps what an answer says about itself, and reads the rest to its end, so that the connection can be used again.
private final class AnswerReader: HTTPClientResponseDelegate {
    struct Answer: Sendable {
        var status = 0
        var isReadOnly = false
        var read = 0
    }

    /// The status is known and nobody wants the rest: the connection is closed.
    struct TooLong: Error {
        let answer: Answer
    }

    private let limit: Int
    private let answer = Mutex(Answer())

    init(limit: Int) { self.limit = limit }

    func didReceiveHead(task: HTTPClient.Task<Answer>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
        answer.withLock { answer in
            answer.status = Int(head.status.code)
            answer.isReadOnly = head.headers.first(name: "x-readonly")?.lowercased() == "true"
        }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<Answer>, _ buffer: ByteBuffer) -> EventLoopFuture<Void> {
        let soFar = answer.withLock { answer in
            answer.read += buffer.readableBytes
            return answer
        }
        return soFar.read > limit ? task.eventLoop.makeFailedFuture(TooLong(answer: soFar)) : task.eventLoop.makeSucceededVoidFuture()
    }

    func didFinishRequest(task: HTTPClient.Task<Answer>) -> Answer { answer.withLock { $0 } }
}
