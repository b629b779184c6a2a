import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import Synchronization

/// Requests to etcd's JSON gateway: connections, endpoints in turn, tokens, deadlines. What an error means is decided in
/// `EtcdFaults`.
final class EtcdTransport: Sendable {
    /// Largest answer that is read, in bytes.
    static let maximumAnswerSize = 64 << 20
    /// Connections per endpoint; each watch holds one.
    static let connectionsPerEndpoint = 256
    /// A connection without requests is closed after this long.
    static let idleTimeout: TimeAmount = .seconds(30)
    /// Least time that is worth an attempt.
    private static let leastShare: Duration = .milliseconds(10)

    private enum Token: Equatable {
        case unknown
        /// The server asks for none.
        case none
        case value(String)
    }

    private struct State {
        /// The endpoint that answered last.
        var preferred = 0
        var token = Token.unknown
        var closed = false
        /// When each endpoint was last told to close a connection.
        var renewed: [ContinuousClock.Instant]
    }

    let configuration: EtcdConfiguration
    private let client: HTTPClient
    private let state: Mutex<State>
    private let logger: Logger

    init(configuration: EtcdConfiguration, logger: Logger) throws(StoreError) {
        try configuration.check()
        var http = HTTPClient.Configuration(tlsConfiguration: try configuration.tlsConfiguration())
        http.redirectConfiguration = .disallow
        http.httpVersion = .http1Only
        // Endpoints that swallow connections must leave time for the others.
        let connectShare = configuration.requestTimeout / (configuration.endpoints.count + 1)
        http.timeout.connect = TimeAmount(min(configuration.connectTimeout, connectShare))
        http.connectionPool.idleTimeout = Self.idleTimeout
        http.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = Self.connectionsPerEndpoint
        // A refused connection must be known at once, so that the next endpoint gets its turn.
        http.connectionPool.retryConnectionEstablishment = false
        self.configuration = configuration
        self.logger = logger
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: http)
        state = Mutex(State(renewed: Array(repeating: ContinuousClock.now, count: configuration.endpoints.count)))
    }

    deinit {
        // The client traps when it is dropped without a shutdown.
        if !isClosed { client.shutdown { _ in } }
    }

    var isClosed: Bool { state.withLock { $0.closed } }

    func close() async {
        let first = state.withLock { state in
            defer { state.closed = true }
            return !state.closed
        }
        if first { try? await client.shutdown() }
    }

    // MARK: Calls

    /// Sends `request` and decodes the answer; tries other endpoints as long as nothing can have been applied.
    func call<Answer: Decodable>(
        _ path: String, _ request: some Encodable & Sendable, effect: EtcdFaults.Effect, as: Answer.Type = Answer.self
    ) async throws(StoreError) -> Answer {
        let body = try encode(request)
        let deadline = ContinuousClock.now + configuration.requestTimeout
        let count = configuration.endpoints.count
        let start = state.withLock { $0.preferred }
        var failures: [String] = []
        var misconfigured = true
        var attempt = 0
        var tokenRenewed = false
        while attempt < count {
            guard !isClosed else { throw error(.unavailable, "is closed") }
            let index = (start + attempt) % count
            let remaining = deadline - ContinuousClock.now
            guard remaining > Self.leastShare else {
                failures.append("no time left for \(configuration.endpoints[index])")
                misconfigured = false
                break
            }
            // A write that reached an endpoint is never repeated, so it may as well wait for it.
            let share = effect == .write ? remaining : remaining / (count - attempt)
            switch await post(path, body, to: index, within: share, effect: effect) {
            case .success(let answer):
                if attempt > 0 { prefer(index, instead: start) }
                return try decode(answer, effect: effect, from: index)
            case .failure(.newToken(let message)):
                guard configuration.credentials != nil else {
                    throw error(.misconfigured, "\(message): etcd asks for a user; give user= and password-file=")
                }
                guard !tokenRenewed else { throw error(.refused, "\(message), with a new token too") }
                tokenRenewed = true
                forgetToken()
            case .failure(.nextEndpoint(let message)):
                // An etcd that wants TLS closes plain connections without a word.
                let hint = configuration.tls == nil && message == EtcdFaults.connectionClosed ? " (does it want tls=true?)" : ""
                failures.append("\(configuration.endpoints[index]): \(message)\(hint)")
                misconfigured = false
                attempt += 1
            case .failure(.nextEndpointMisconfigured(let message)):
                failures.append("\(configuration.endpoints[index]): \(message)")
                attempt += 1
            case .failure(.failed(let kind, let message)):
                if kind == .ambiguous { prefer((index + 1) % count, instead: start, quietly: true) }
                throw error(kind, "\(configuration.endpoints[index]): \(message)")
            }
        }
        prefer((start + 1) % count, instead: start, quietly: true)
        throw error(misconfigured ? .misconfigured : .unavailable, failures.joined(separator: "; "))
    }

    /// One request to one endpoint, with a token if etcd wants one. Never takes longer than `time`.
    private func post(
        _ path: String, _ body: ByteBuffer, to index: Int, within time: Duration, effect: EtcdFaults.Effect
    ) async -> Result<ByteBuffer, EtcdFaults.Verdict> {
        let deadline = NIODeadline.now() + TimeAmount(time)
        if let failure = await authenticate(at: index, deadline: deadline) { return .failure(failure) }
        return await exchange(path, body, with: index, deadline: deadline, effect: effect)
    }

    private func exchange(
        _ path: String, _ body: ByteBuffer, with index: Int, deadline: NIODeadline, effect: EtcdFaults.Effect
    ) async -> Result<ByteBuffer, EtcdFaults.Verdict> {
        do {
            let request = request(path, body, to: index)
            let remaining = Duration.nanoseconds((deadline - .now()).nanoseconds)
            // The client's own deadline ends with the head of the answer, so the body needs another.
            let response = try await withDeadline(remaining) { [client] in
                let response = try await client.execute(request, deadline: deadline)
                return (status: response.status, body: try await response.body.collect(upTo: Self.maximumAnswerSize))
            }
            let answer = response.body
            if response.status == .ok { return .success(answer) }
            if let failure = try? JSONDecoder().decode(EtcdWire.Failure.self, from: Data(answer.readableBytesView)) {
                return .failure(EtcdFaults.verdict(code: failure.code, message: failure.message, effect: effect))
            }
            return .failure(
                EtcdFaults.verdict(status: response.status.code, text: String(buffer: answer), effect: effect))
        } catch {
            return .failure(EtcdFaults.verdict(transport: error, effect: effect))
        }
    }

    private func request(_ path: String, _ body: ByteBuffer, to index: Int) -> HTTPClientRequest {
        let scheme = configuration.tls == nil ? "http" : "https"
        var request = HTTPClientRequest(url: "\(scheme)://\(configuration.endpoints[index])\(path)")
        request.method = .POST
        request.headers.add(name: "content-type", value: "application/json")
        // A member without a leader says so at once instead of waiting for one.
        request.headers.add(name: "grpc-metadata-hasleader", value: "true")
        let (token, renew) = state.withLock { state in
            let now = ContinuousClock.now
            let renew = now - state.renewed[index] > configuration.maximumConnectionAge
            if renew { state.renewed[index] = now }
            return (state.token, renew)
        }
        if case .value(let token) = token { request.headers.add(name: "authorization", value: token) }
        if renew { request.headers.add(name: "connection", value: "close") }
        request.body = .bytes(body)
        return request
    }

    // MARK: Tokens

    /// Gets a token where one is needed and none is known. nil when the request may go on.
    private func authenticate(at index: Int, deadline: NIODeadline) async -> EtcdFaults.Verdict? {
        guard let credentials = configuration.credentials, state.withLock({ $0.token }) == .unknown else { return nil }
        let answer: Result<ByteBuffer, EtcdFaults.Verdict>
        do throws(StoreError) {
            let body = try encode(EtcdWire.AuthenticateRequest(name: credentials.user, password: credentials.password))
            answer = await exchange("/v3/auth/authenticate", body, with: index, deadline: deadline, effect: .read)
        } catch {
            return .failed(error.kind, error.message)
        }
        switch answer {
        case .success(let body):
            guard let token = try? JSONDecoder().decode(EtcdWire.AuthenticateResponse.self, from: Data(body.readableBytesView))
            else { return .nextEndpoint("its answer to the authentication can't be read") }
            state.withLock { $0.token = .value(token.token) }
            return nil
        case .failure(.failed(_, "etcdserver: authentication is not enabled")):
            state.withLock { $0.token = .none }
            return nil
        case .failure(.newToken(let message)):
            return .failed(.misconfigured, message)
        case .failure(let verdict):
            return verdict
        }
    }

    func forgetToken() {
        state.withLock { $0.token = .unknown }
    }

    // MARK: Watches

    /// The endpoint that a new watch should begin with.
    var preferredEndpoint: Int { state.withLock { $0.preferred } }

    /// Opens a stream of lines. Its head must come within the request timeout; the body has no end of its own.
    func stream(_ path: String, _ request: some Encodable & Sendable, from index: Int) async throws -> HTTPClientResponse.Body {
        let body = try encode(request)
        let opening = NIODeadline.now() + TimeAmount(configuration.requestTimeout)
        if let failure = await authenticate(at: index, deadline: opening) {
            throw error(.unavailable, "\(configuration.endpoints[index]): \(failure)")
        }
        var httpRequest = self.request(path, body, to: index)
        httpRequest.headers.replaceOrAdd(name: "connection", value: "close")
        let prepared = httpRequest
        let response = try await client.execute(prepared, deadline: opening)
        guard response.status == .ok else {
            let text = String(buffer: try await response.body.collect(upTo: Self.maximumAnswerSize))
            throw error(.unavailable, "\(configuration.endpoints[index]): watch refused: \(text.prefix(200))")
        }
        return response.body
    }

    // MARK: Small things

    func error(_ kind: StoreError.Kind, _ message: String) -> StoreError {
        StoreError(kind, store: configuration.name, message: message)
    }

    private func prefer(_ index: Int, instead of: Int, quietly: Bool = false) {
        let moved = state.withLock { state in
            guard state.preferred == of, index != of else { return false }
            state.preferred = index
            return true
        }
        if moved {
            logger.log(
                level: quietly ? .debug : .notice,
                "using another etcd endpoint",
                metadata: ["from": "\(configuration.endpoints[of])", "to": "\(configuration.endpoints[index])"])
        }
    }

    private func encode(_ request: some Encodable) throws(StoreError) -> ByteBuffer {
        do {
            return ByteBuffer(bytes: try JSONEncoder().encode(request))
        } catch {
            throw self.error(.refused, "a request can't be written as JSON: \(error)")
        }
    }

    private func decode<Answer: Decodable>(
        _ body: ByteBuffer, effect: EtcdFaults.Effect, from index: Int
    ) throws(StoreError) -> Answer {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(body.readableBytesView))
        } catch {
            throw self.error(
                effect == .write ? .ambiguous : .corrupt,
                "\(configuration.endpoints[index]): its answer can't be read (is that an etcd?): \(error)")
        }
    }
}

extension EtcdFaults.Verdict: Error {}

extension TimeAmount {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(
            seconds.multipliedReportingOverflow(by: 1_000_000_000).overflow
                ? .max : seconds * 1_000_000_000 &+ attoseconds / 1_000_000_000)
    }
}

/// Runs `body`, and cancels it with `HTTPClientError.deadlineExceeded` when it takes longer than `time`.
func withDeadline<Value: Sendable>(
    _ time: Duration, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
    try await withThrowingTaskGroup(of: Value.self) { group in
        group.addTask(operation: body)
        group.addTask {
            try await Task.sleep(for: time)
            throw HTTPClientError.deadlineExceeded
        }
        defer { group.cancelAll() }
        guard let value = try await group.next() else { throw CancellationError() }
        return value
    }
}
