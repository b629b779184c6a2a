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
    /// Bytes of a fetch of hundreds of partitions: librdkafka's own 50 MiB would be taken at once, and are in no cache, either.
    static let nearFetchLimit = 8_388_608
    /// What librdkafka holds ready from close by before it stops to fetch: more would cost memory, and none of it would be in the cache. From afar its own
    /// defaults hold, which must last for a round trip.
    static let nearSettings = [
        "queued.max.messages.kbytes": String(nearQueue.alone << 10), "queued.min.messages": String(nearRecords.alone), "fetch.message.max.bytes": String(nearFetchBytes),
        "fetch.max.bytes": String(nearFetchLimit),
    ]

    /// Of something that is held ready: what all consumers of a process share, what each has at least, and what one has alone.
    private struct Share {
        let all: Int, least: Int, alone: Int

        /// nil: as much as alone.
        func of(_ sharers: Int) -> Int? {
            let share = max(least, all / max(1, sharers))
            return share < alone ? share : nil
        }
    }

    /// MiB. What one has alone from afar is librdkafka's own default; less than the least would be a few partitions' fetch.
    private static let nearQueue = Share(all: 64, least: 1, alone: 8), farQueue = Share(all: 256, least: 4, alone: 64)
    /// Records: of small ones it is not the bytes that take memory.
    private static let nearRecords = Share(all: 240_000, least: 5_000, alone: 30_000), farRecords = Share(all: 400_000, least: 10_000, alone: 100_000)
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
    ///
    /// - Parameter sharers: `KafkaConsumerConfiguration.sharers`.
    static func settings(for client: KafkaClientConfiguration, sharers: Int) -> [String: String] {
        // Behind TLS nothing can be asked without a handshake, so there a connection must do.
        let isPlain = !(client.settings["security.protocol"] ?? "plaintext").lowercased().hasSuffix("ssl")
        guard let server = first(of: client) else { return share(of: sharers, isNear: false) }
        let trip = roundTrip(to: server, asking: isPlain)
        let isNear = trip?.isNear ?? false
        client.logger.debug(
            "looked how far away the brokers are",
            metadata: [
                "server": "\(server)", "connection": "\(trip.map { "\($0.connection)" } ?? "none")", "answer": "\(trip?.answer.map { "\($0)" } ?? "not asked")",
                "taken for": isNear ? "close by" : "far away",
            ])
        return (isNear ? nearSettings : [:]).merging(share(of: sharers, isNear: isNear)) { $1 }
    }

    /// Where many read beside each other, less for each of them than it would take alone.
    static func share(of sharers: Int, isNear: Bool) -> [String: String] {
        var settings: [String: String] = [:]
        if let size = (isNear ? nearQueue : farQueue).of(sharers) { settings["queued.max.messages.kbytes"] = String(size << 10) }
        if let records = (isNear ? nearRecords : farRecords).of(sharers) { settings["queued.min.messages"] = String(records) }
        return settings
    }

    /// The broker that is asked. One of the servers may be a list, as librdkafka takes it.
    static func first(of client: KafkaClientConfiguration) -> String? {
        client.bootstrapServers.flatMap { $0.split(separator: ",") }.map { String($0.filter { !$0.isWhitespace }) }.first { !$0.isEmpty }
    }

    /// What a round trip to `server` (`host:port`) takes; nil: there is no connection within the limit. Blocks for the limit at most.
    static func roundTrip(to server: String, asking: Bool, within limit: Duration = limit) -> RoundTrip? {
        final class Answer: Sendable {
            let value = Mutex<RoundTrip?>(nil)
            let isThere = DispatchSemaphore(value: 0)
        }
        let answer = Answer()
        // A name's lookup can't be given a limit, so it is left behind on a thread of its own.
        let started = spawnThread(name: "distance") {
            var trips: [RoundTrip] = []
            for _ in 0..<looks where trips.last?.isNear != true {
                if let trip = look(server, asking: asking, within: limit) { trips.append(trip) }
            }
            answer.value.withLock { value in
                value = trips.map(\.connection).min().map { RoundTrip(connection: $0, answer: trips.compactMap(\.answer).min()) }
            }
            answer.isThere.signal()
        }
        guard started == 0, answer.isThere.wait(timeout: .now() + .nanoseconds(Int(limit.nanoseconds))) == .success else { return nil }
        return answer.value.withLock { $0 }
    }

    private static func look(_ server: String, asking: Bool, within limit: Duration) -> RoundTrip? {
        let (host, port) = parts(of: server)
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, port, &hints, &found) == 0 else { return nil }
        defer { freeaddrinfo(found) }
        // As librdkafka does: where one address of a name refuses, the next is tried.
        for address in sequence(first: found, next: { $0?.pointee.ai_next }).prefix(while: { $0 != nil }) {
            if let address, let trip = look(address.pointee, asking: asking, within: limit) { return trip }
        }
        return nil
    }

    /// `[protocol://]host[:port]`, an IPv6 address in brackets or not.
    static func parts(of server: String) -> (host: String, port: String) {
        let rest = server.firstRange(of: "://").map { String(server[$0.upperBound...]) } ?? server
        func bare(_ host: some StringProtocol) -> String { host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : String(host) }
        guard let colon = rest.lastIndex(of: ":"), rest.firstIndex(of: ":") == colon || rest[..<colon].hasSuffix("]") else { return (bare(rest), portUnlessGiven) }
        return (bare(rest[..<colon]), String(rest[rest.index(after: colon)...]))
    }

    private static func look(_ address: addrinfo, asking: Bool, within limit: Duration) -> RoundTrip? {
        let socket = socket(address.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return nil }
        defer { close(socket) }
        let start = ContinuousClock.now
        if Glibc.connect(socket, address.ai_addr, address.ai_addrlen) != 0 {
            guard errno == EINPROGRESS else { return nil }
            var wanted = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
            guard poll(&wanted, 1, limit.timeoutMilliseconds) == 1, wanted.revents & Int16(POLLERR | POLLHUP) == 0 else { return nil }
        }
        return RoundTrip(connection: start.duration(to: .now), answer: asking ? ask(socket, within: limit) ?? limit : nil)
    }

    /// ApiVersions, version 0, without a client id: every broker answers it before anything else, also before SASL (KIP-35).
    private static let request: [UInt8] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]

    private static func ask(_ socket: Int32, within limit: Duration) -> Duration? {
        let start = ContinuousClock.now
        guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return nil }
        var wanted = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&wanted, 1, limit.timeoutMilliseconds) == 1 else { return nil }
        var first: UInt8 = 0
        return recv(socket, &first, 1, 0) == 1 ? start.duration(to: .now) : nil
    }
}
