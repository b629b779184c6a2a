import CHiredis
import Checkpoints
import Foundation

/// What Redis answered.
indirect enum RedisReply: Sendable, Equatable {
    case none
    case integer(Int64)
    case bytes([UInt8])
    case list([RedisReply])
    /// Redis says no; its first word says why, such as `OOM`.
    case refused(String)

    init(_ reply: UnsafeMutablePointer<redisReply>) {
        let value = reply.pointee
        let bytes = value.str.map { Array(UnsafeRawBufferPointer(start: $0, count: value.len)) } ?? []
        switch value.type {
        case REDIS_REPLY_INTEGER: self = .integer(value.integer)
        case REDIS_REPLY_STRING, REDIS_REPLY_STATUS: self = .bytes(bytes)
        case REDIS_REPLY_ERROR: self = .refused(String(decoding: bytes, as: UTF8.self))
        case REDIS_REPLY_ARRAY: self = .list((0..<value.elements).compactMap { value.element?[$0].map { RedisReply($0) } })
        default: self = .none
        }
    }
}

/// One connection to Redis, made when it is needed and made anew when it breaks. Calls come one after the other, each on a thread of its own queue,
/// and end within `timeout`, twice that where a connection has to be made (a name that is not resolved may take what the system's resolver takes).
final class RedisConnection: @unchecked Sendable {
    // @unchecked: `context` is touched on `queue` alone.
    private var context: UnsafeMutablePointer<redisContext>?
    private let queue = DispatchQueue(label: "switchback.redis")
    private let settings: WorkerConfiguration.RedisSettings

    init(_ settings: WorkerConfiguration.RedisSettings) { self.settings = settings }

    deinit { if let context { redisFree(context) } }

    /// One command, its name first.
    ///
    /// - Throws: `unavailable` where it was not sent, `ambiguous` where no answer came, `misconfigured` where Redis does not let us in.
    func call(_ arguments: [[UInt8]]) async throws(StoreError) -> RedisReply {
        let result: Result<RedisReply, StoreError> = await withCheckedContinuation { continuation in
            queue.async { [self] in
                do throws(StoreError) { continuation.resume(returning: .success(try send(arguments))) } catch {
                    continuation.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }

    /// Returns when it is closed. A later call makes it anew.
    func close() async {
        await withCheckedContinuation { continuation in
            queue.async { [self] in
                disconnect()
                continuation.resume()
            }
        }
    }

    // MARK: On the queue

    private func send(_ arguments: [[UInt8]]) throws(StoreError) -> RedisReply {
        if context == nil { try connect() }
        guard let reply = command(arguments) else {
            let why = failure()
            disconnect()
            throw StoreError(.ambiguous, store: settings.name, message: "no answer: \(why)")
        }
        // A replica that was the primary, or one that still loads: another connection may reach a better one.
        if case .refused(let why) = reply, ["READONLY", "LOADING", "MASTERDOWN"].contains(where: { why.hasPrefix($0) }) {
            disconnect()
            throw StoreError(.unavailable, store: settings.name, message: why)
        }
        return reply
    }

    private func command(_ arguments: [[UInt8]]) -> RedisReply? {
        guard let context else { return nil }
        var sizes = arguments.map(\.count)
        // One piece of memory for all: their addresses have to last through the call.
        let joined = Array(arguments.joined()) + [0]
        return joined.withUnsafeBufferPointer { bytes -> RedisReply? in
            guard let base = bytes.baseAddress else { return nil }
            var offset = 0
            var pointers: [UnsafePointer<CChar>?] = sizes.map { size in
                defer { offset += size }
                return UnsafeRawPointer(base + offset).assumingMemoryBound(to: CChar.self)
            }
            guard let reply = redisCommandArgv(context, Int32(arguments.count), &pointers, &sizes) else { return nil }
            defer { freeReplyObject(reply) }
            return RedisReply(reply.assumingMemoryBound(to: redisReply.self))
        }
    }

    private func connect() throws(StoreError) {
        let (seconds, attoseconds) = settings.timeout.components
        let limit = timeval(tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        guard let made = redisConnectWithTimeout(settings.host, Int32(settings.port), limit) else {
            throw StoreError(.unavailable, store: settings.name, message: "out of memory")
        }
        context = made
        guard made.pointee.err == 0, redisSetTimeout(made, limit) == REDIS_OK else {
            let why = failure()
            disconnect()
            throw StoreError(.unavailable, store: settings.name, message: "no connection: \(why)")
        }
        do throws(StoreError) { try introduce() } catch {
            disconnect()
            throw error
        }
    }

    private func introduce() throws(StoreError) {
        var commands: [[String]] = []
        if let file = settings.passwordFile {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw StoreError(.misconfigured, store: settings.name, message: "the password file \(file) can't be read")
            }
            commands.append(["AUTH"] + (settings.username.map { [$0] } ?? []) + [text.trimmingCharacters(in: .newlines)])
        }
        if settings.database != 0 { commands.append(["SELECT", String(settings.database)]) }
        // Says at once whether a password is wanted.
        commands.append(["PING"])
        for words in commands {
            switch command(words.map { Array($0.utf8) }) {
            case .refused(let why)? where ["LOADING", "MASTERDOWN"].contains(where: { why.hasPrefix($0) }):
                throw StoreError(.unavailable, store: settings.name, message: why)
            case .refused(let why)?: throw StoreError(.misconfigured, store: settings.name, message: "\(words[0]): \(why)")
            case nil: throw StoreError(.unavailable, store: settings.name, message: "no answer to \(words[0]): \(failure())")
            default: break
            }
        }
    }

    private func failure() -> String {
        guard let context, context.pointee.err != 0 else { return "unknown" }
        let text = withUnsafeBytes(of: context.pointee.errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        return text == "Resource temporarily unavailable" ? "timed out" : text
    }

    private func disconnect() {
        if let context { redisFree(context) }
        context = nil
    }
}
