import Dispatch
import Glibc
import Synchronization

/// How far away the brokers are, which decides how much one fetch should bring: close by, small fetches keep a batch in the processor's cache;
/// from afar they would cost a round trip each.
enum BrokerDistance {
    /// A round trip of less than this is close by.
    static let near = Duration.microseconds(500)
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

    /// librdkafka settings for consumers of these brokers.
    static func settings(for servers: [String]) -> [String: String] {
        guard let server = servers.first(where: { !$0.isEmpty }), let time = roundTrip(to: server), time < near else { return [:] }
        return nearSettings
    }

    /// What opening a TCP connection to `server` (`host:port`) takes, its name looked up already; nil: there is none within the limit. Blocks for
    /// the limit at most.
    static func roundTrip(to server: String) -> Duration? {
        final class Answer: Sendable {
            let value = Mutex<Duration?>(nil)
            let isThere = DispatchSemaphore(value: 0)
        }
        let answer = Answer()
        // A name's lookup can't be given a limit, so it is left behind on a thread of its own.
        let started = spawnThread(name: "distance") {
            // The shortest of a few: a busy machine makes one of them long.
            let times = (0..<looks).compactMap { _ in connect(server) }
            answer.value.withLock { $0 = times.min() }
            answer.isThere.signal()
        }
        guard started == 0, answer.isThere.wait(timeout: .now() + .nanoseconds(Int(limit.nanoseconds))) == .success else { return nil }
        return answer.value.withLock { $0 }
    }

    private static func connect(_ server: String) -> Duration? {
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
        return start.duration(to: .now)
    }
}
