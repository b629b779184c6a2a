import Checkpoints
import Logging

/// Claims in Redis (6 or later, no cluster mode needed or used: all keys have one hash tag). Each transaction is one Lua script, which Redis runs by itself;
/// a key's value is its revision, a colon, and the bytes. Keys expire in Redis, so nobody has to look for old ones.
///
/// Revisions are microseconds of Redis's clock, and always more than the one before: they don't repeat when Redis loses what it holds.
final class RedisClaims: TransactionStore {
    let name: String
    let maximumTransactionSize = 128
    private let connection: RedisConnection
    private let prefix: String
    private let expiry: @Sendable ([UInt8]) -> Int64?

    /// Makes no connection yet.
    ///
    /// - Parameter expiry: when a value is for nobody any more, in milliseconds since 1970; nil: it stays.
    init(_ settings: WorkerConfiguration.RedisSettings, expiry: @escaping @Sendable ([UInt8]) -> Int64?) {
        name = settings.name
        connection = RedisConnection(settings)
        prefix = settings.prefix
        self.expiry = expiry
    }

    /// KEYS: the counter, then every key. ARGV: four for each key: the revision expected of it (empty: none), what to do (`put`, `del` or empty),
    /// the value, and when it expires (0: never).
    private static let script = """
        local found, conflict, writes = {}, false, false
        for i = 2, #KEYS do
          local value = redis.call('GET', KEYS[i])
          found[i - 1] = value
          local expected = ARGV[4 * i - 7]
          if expected ~= '' then
            local revision = value and string.match(value, '^(%d+):') or '0'
            if revision ~= expected then conflict = true end
          end
          if ARGV[4 * i - 6] ~= '' then writes = true end
        end
        if conflict then return {0, found} end
        local time = redis.call('TIME')
        local revision = time[1] * 1000000 + time[2]
        local last = tonumber(redis.call('GET', KEYS[1]) or '0')
        if revision <= last then revision = last + 1 end
        local text = string.format('%.0f', revision)
        if writes then redis.call('SET', KEYS[1], text) end
        for i = 2, #KEYS do
          local verb, expires = ARGV[4 * i - 6], ARGV[4 * i - 4]
          if verb == 'put' then
            redis.call('SET', KEYS[i], text .. ':' .. ARGV[4 * i - 5])
            if expires ~= '0' then redis.call('PEXPIREAT', KEYS[i], expires) end
          elseif verb == 'del' then
            redis.call('DEL', KEYS[i])
          end
        end
        return {1, text}
        """

    func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try transaction.check(limit: maximumTransactionSize, store: name)
        let keys = transaction.keys.sorted()
        var arguments: [[UInt8]] = [Array("EVAL".utf8), Array(Self.script.utf8), Array(String(keys.count + 1).utf8), Array("{\(prefix)}revision".utf8)]
        arguments += keys.map { Array("{\(prefix)}\($0.escaped)".utf8) }
        for key in keys {
            arguments.append(Array((transaction.expected[key].map(String.init) ?? "").utf8))
            switch transaction.writes[key] {
            case .put(let bytes)?: arguments += [Array("put".utf8), bytes, Array(String(expiry(bytes) ?? 0).utf8)]
            case .delete?: arguments += [Array("del".utf8), [], [UInt8(ascii: "0")]]
            case nil: arguments += [[], [], [UInt8(ascii: "0")]]
            }
        }
        let reply = try await connection.call(arguments)
        switch reply {
        case .list(let parts) where parts.count == 2:
            if parts[0] == .integer(1), case .bytes(let text) = parts[1], let revision = Int64(String(decoding: text, as: UTF8.self)) {
                return .committed(revision: revision)
            }
            if parts[0] == .integer(0), case .list(let found) = parts[1], found.count == keys.count {
                return .conflict(try present(keys, found, transaction))
            }
        case .refused(let why): throw StoreError(.refused, store: name, message: "\(why); nothing of it was written")
        default: break
        }
        throw StoreError(transaction.writes.isEmpty ? .corrupt : .ambiguous, store: name, message: "the answer makes no sense; is that a Redis?")
    }

    private func present(
        _ keys: [StoreKey], _ found: [RedisReply], _ transaction: StoreTransaction
    ) throws(StoreError) -> [StoreKey: StoredValue?] {
        var present: [StoreKey: StoredValue?] = [:]
        for (key, reply) in zip(keys, found) where transaction.expected[key] != nil {
            guard case .bytes(let value) = reply else {
                present[key] = .some(nil)
                continue
            }
            guard let colon = value.firstIndex(of: UInt8(ascii: ":")), let revision = Int64(String(decoding: value[..<colon], as: UTF8.self)) else {
                throw StoreError(.corrupt, store: name, message: "{\(prefix)}\(key) is not Switchback's; give it a prefix of its own")
            }
            present[key] = StoredValue(bytes: Array(value[(colon + 1)...]), revision: revision)
        }
        return present
    }

    /// What may make Redis forget claims before their time; nil: nothing that it tells of.
    func complaint() async throws(StoreError) -> String? {
        guard case .bytes(let bytes) = try await connection.call([Array("INFO".utf8), Array("memory".utf8)]) else { return nil }
        var values: [Substring: Substring] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let pair = line.split(separator: ":", maxSplits: 1)
            if pair.count == 2 { values[pair[0]] = pair[1] }
        }
        guard let limit = values["maxmemory"], limit != "0", let policy = values["maxmemory_policy"], policy != "noeviction" else { return nil }
        return "Redis may throw claims away when its memory is full (maxmemory-policy \(policy)): their events would be acted on again; noeviction would be right"
    }

    func close() async { await connection.close() }
}
