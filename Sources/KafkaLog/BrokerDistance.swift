import Dispatch
import Glibc
import Synchronization

/// How far away the brokers are, which decides how much one fetch should bring: close by, small fetches keep a batch in the processor's cache;
/// from afar they would cost a round trip each.
enum BrokerDistance {
    /// A connection that opens in less than this is close by, …
    static let near = Duration.microseconds(500)
    /// … unless a request takes longer than this: then a proxy is close by, and the broker is not. A broker's own work is in it.
    static let nearAnswer = Duration.milliseconds(1)
    /// Bytes of a partition in one fetch from close by. Elsewhere librdkafka's own default (1 MiB) holds.
    static let nearFetchBytes = 131_072
    /// What librdkafka holds ready from close by: more would cost memory, and none of it would be in the cache. From afar its own defaults hold
    /// (64 MiB, 100,000 records), which must last for a round trip.
    static let nearQueue = ["queued.max.messages.kbytes": "12288", "queued.min.messages": "30000"]
    static let nearSettings = nearQueue.merging(["fetch.message.max.bytes": String(nearFetchBytes)]) { $1 }
    /// What is not known by then is taken for far.
    private static let limit = Duration.milliseconds(150)
    private static let looks = 3
    private static let portUnlessGiven = "9092"

    /// The shortest of a few looks: a busy machine makes one of them long.
    struct RoundTrip: Sendable, Equatable {
        /// Opening a TCP connection, the name looked up already.
        var connection: Duration
        /// From a request to its answer, which is the limit where none came; nil: no request was made.
        var answer: Duration?

        var isNear: Bool { connection < near && (answer ?? .zero) < nearAnswer }
    }

    /// librdkafka settings for consumers of these brokers.
    static func settings(for client: KafkaClientConfiguration) -> [String: String] {
        // Behind TLS nothing can be asked without a handshake, so there a connection must do.
        let isPlain = !(client.settings["security.protocol"] ?? "plaintext").lowercased().hasSuffix("ssl")
        guard let server = first(of: client), let trip = roundTrip(to: server, asking: isPlain), trip.isNear else {
            return [:]
        }
        return nearSettings
    }

    /// The broker that is asked. One of the servers may be a list, as librdkafka takes it.
    static func first(of client: KafkaClientConfiguration) -> String? {
        client.bootstrapServers.flatMap { $0.split(separator: ",") }.map { String($0.filter { !$0.isWhitespace }) }.first { !$0.isEmpty }
    }

    /// What a round trip to `server` (`host:port`) takes; nil: there is no connection within the limit. Blocks for the limit at most.
    static func roundTrip(to server: String, asking: Bool) -> RoundTrip? {
        final class Answer: Sendable {
            let value = Mutex<RoundTrip?>(nil)
            let isThere = DispatchSemaphore(value: 0)
        }
        let answer = Answer()
        // A name's lookup can't be given a limit, so it is left behind on a thread of its own.
        let started = spawnThread(name: "distance") {
            let trips = (0..<looks).compactMap { _ in look(server, asking: asking) }
            answer.value.withLock { value in
                value = trips.map(\.connection).min().map { RoundTrip(connection: $0, answer: trips.compactMap(\.answer).min()) }
            }
            answer.isThere.signal()
        }
        guard started == 0, answer.isThere.wait(timeout: .now() + .nanoseconds(Int(limit.nanoseconds))) == .success else { return nil }
        return answer.value.withLock { $0 }
    }

    private static func look(_ server: String, asking: Bool) -> RoundTrip? {
        let colon = server.lastIndex(of: ":")
        let hasPort = colon.map { !server.hasSuffix("]") && server.firstIndex(of: ":") == $0 || server[..<$0].hasSuffix("]") } ?? false
        var host = String(hasPort ? server[..<(colon ?? server.endIndex)] : server[...])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        let port = hasPort ? colon.map { String(server[server.index(after: $0)...]) } ?? portUnlessGiven : portUnlessGiven
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, port, &hints, &found) == 0, let first = found else { return nil }
        defer { freeaddrinfo(first) }
        let socket = socket(first.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        let start = ContinuousClock.now
        if Glibc.connect(socket, first.pointee.ai_addr, first.pointee.ai_addrlen) != 0 {
            guard errno == EINPROGRESS else { return nil }
            var wanted = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
            guard poll(&wanted, 1, limit.timeoutMilliseconds) == 1, wanted.revents & Int16(POLLERR | POLLHUP) == 0 else { return nil }
        }
        let connection = start.duration(to: .now)
        return RoundTrip(connection: connection, answer: asking && connection < near ? ask(socket) ?? limit : nil)
    }

    /// ApiVersions, version 0, without a client id: every broker answers it before anything else, also before SASL (KIP-35).
    private static let request: [UInt8] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]

    private static func ask(_ socket: Int32) -> Duration? {
        let start = ContinuousClock.now
        guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
        var wanted = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&wanted, 1, limit.timeoutMilliseconds) == 1 else { return nil }
        var first: UInt8 = 0
        return recv(socket, &first, 1, 0) == 1 ? start.duration(to: .now) : nil
    }
}
