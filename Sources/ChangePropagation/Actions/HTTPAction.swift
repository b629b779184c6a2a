import Foundation

/// Sends the requests of all rules over shared, kept connections. Redirects are not followed, connections have a
/// bounded age, answers are read to their end (an answer that stops half-way is a failure) up to a limit. One try is one request: nothing
/// is sent a second time by itself.
///
/// Must be closed: `close()`.
public final class HTTPAction: Sendable {
    private let engine: HTTPEngine
    private let userAgent: ActionRequest.Header
    private let makeRequestID: @Sendable () -> String

    /// - Parameters:
    ///   - version: of switchback, for the `user-agent`.
    ///   - connections: open at once, at most: the sum of all rules' `concurrency`.
    ///   - makeRequestID: gives the `x-request-id` of events that have none.
    public init(
        settings: WorkerConfiguration.HTTPSettings = .init(), version: String, connections: Int,
        makeRequestID: @escaping @Sendable () -> String = HTTPAction.randomRequestID
    ) {
        userAgent = ActionRequest.Header("user-agent", Self.userAgent(version))
        self.makeRequestID = makeRequestID
        engine = HTTPEngine(limits: HTTPEngine.Limits(settings), connections: max(8, connections))
    }

    /// From now on so many connections may be open at once: rules have changed.
    public func allow(connections: Int) { engine.allow(connections: max(8, connections)) }

    /// What requests carry whose rule names no `user-agent` of its own.
    public static func userAgent(_ version: String) -> String { "switchback/\(version)" }

    /// Sixteen random bytes as a version 4 UUID's text.
    public static let randomRequestID: @Sendable () -> String = { UUID().uuidString.lowercased() }

    /// One try of `request`, for `rule`'s statuses and timeout.
    @Sendable public nonisolated(nonsending) func send(_ request: ActionRequest, for rule: Rule) async -> RequestResult {
        await send(request, timeout: rule.timeout, statuses: rule.statuses)
    }

    /// One try. The timeout covers the whole exchange, up to the end of the answer.
    public nonisolated(nonsending) func send(_ request: ActionRequest, timeout: Duration, statuses: StatusRules) async -> RequestResult {
        var more: [ActionRequest.Header] = []
        if !request.headers.contains(where: { $0.name == "user-agent" }) { more.append(userAgent) }
        if !request.headers.contains(where: { $0.name == "x-request-id" }) { more.append(ActionRequest.Header("x-request-id", makeRequestID())) }
        let exchange: HTTPExchange
        do throws(HTTPExchange.Refused) { exchange = try HTTPExchange(request, adding: more, timeout: timeout) } catch {
            return .failed(.badRequest(error.why))
        }
        switch await engine.perform(exchange) {
        case .answer(let status, let isReadOnly): return statuses.result(of: status, isReadOnly: isReadOnly)
        case .timeout: return .retriable(.timeout)
        case .connection(let why): return .retriable(.connection(why))
        case .badRequest(let why): return .failed(.badRequest(why))
        case .interrupted: return .interrupted
        }
    }

    /// Ends what runs, and returns when no connection is open any more.
    public func close() async { await engine.close() }
}
