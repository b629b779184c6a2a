import Checkpoints
import Foundation
import TestSupport
import Testing

@testable import ChangePropagation

/// Claims in a real Redis.
@Suite("Claims in Redis", .enabled(if: RedisServer.isInstalled))
struct RedisClaimsTests {
    private func settings(_ port: Int, passwordFile: String? = nil, username: String? = nil) -> WorkerConfiguration.RedisSettings {
        .init(host: "127.0.0.1", port: port, username: username, passwordFile: passwordFile, timeout: .milliseconds(500))
    }

    private func claims(_ server: RedisServer) -> RedisClaims { RedisClaims(settings(server.port)) { _ in nil } }

    private func put(_ claims: RedisClaims, _ key: StoreKey, _ bytes: [UInt8], expecting revision: Int64? = nil) async throws -> StoreOutcome {
        try await claims.commit(StoreTransaction(expected: revision.map { [key: $0] } ?? [:], writes: [key: .put(bytes)]))
    }

    private func revision(_ outcome: StoreOutcome) throws -> Int64 {
        guard case .committed(let revision) = outcome else { throw TestTimeout("a conflict: \(outcome)") }
        return revision
    }

    @Test("A key is swapped at the expected revision only, and a conflict says what stands there")
    func swaps() async throws {
        let server = try await RedisServer.start()
        let (one, two) = (claims(server), claims(server))
        let first = try revision(try await put(one, "k", [1], expecting: 0))
        #expect(try await put(two, "k", [9], expecting: 0) == .conflict(["k": StoredValue(bytes: [1], revision: first)]))
        let second = try revision(try await put(two, "k", [2], expecting: first))
        #expect(second > first)
        #expect(try await put(one, "k", [3], expecting: first) == .conflict(["k": StoredValue(bytes: [2], revision: second)]))
        let looked = try await one.commit(StoreTransaction(expected: ["k": second, "absent": 0]))
        #expect(try revision(looked) >= second)
        await one.close()
        await two.close()
    }

    @Test("A transaction writes all or nothing")
    func allOrNothing() async throws {
        let server = try await RedisServer.start()
        let store = claims(server)
        let one = try revision(try await put(store, "a/one", [1]))
        let refused = StoreTransaction(expected: ["a/one": one, "two": 99], writes: ["a/one": .delete, "two": .put([2]), "three": .put([3])])
        #expect(try await store.commit(refused) == .conflict(["a/one": StoredValue(bytes: [1], revision: one), "two": nil]))
        let third = StoreTransaction(expected: ["a/one": one, "two": 0], writes: ["a/one": .delete, "two": .put([2]), "three": .put([3])])
        let now = try revision(try await store.commit(third))
        #expect(
            try await store.commit(StoreTransaction(expected: ["a/one": 1, "two": 1, "three": 1]))
                == .conflict(["a/one": nil, "two": StoredValue(bytes: [2], revision: now), "three": StoredValue(bytes: [3], revision: now)]))
        await store.close()
    }

    @Test("Any bytes are kept, in a transaction as large as there may be; a larger one is refused")
    func bytes() async throws {
        let server = try await RedisServer.start()
        let store = claims(server)
        var writes: [StoreKey: StoreTransaction.Write] = [:]
        for number in 0..<store.maximumTransactionSize {
            writes[StoreKey("é/%", "{\(number)}")] = .put(number == 0 ? [] : (0..<UInt8(number)).map { $0 &* 7 } + [0, 58, 10, 13])
        }
        let at = try revision(try await store.commit(StoreTransaction(writes: writes)))
        let found = try await store.commit(StoreTransaction(expected: writes.mapValues { _ in 1 }))
        let expected = writes.mapValues { write -> StoredValue? in if case .put(let bytes) = write { StoredValue(bytes: bytes, revision: at) } else { nil } }
        #expect(found == .conflict(expected))
        writes["one more"] = .put([])
        let larger = StoreTransaction(writes: writes)
        await #expect(throws: StoreError.self) { try await store.commit(larger) }
        await store.close()
    }

    @Test("What has expired is gone; revisions go on rising when Redis has forgotten everything")
    func forgets() async throws {
        let server = try await RedisServer.start()
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        let store = RedisClaims(settings(server.port)) { $0 == [1] ? now + 300 : now + 600_000 }
        let before = try revision(try await put(store, "short", [1]))
        _ = try await put(store, "long", [2])
        try await eventually("the short one is gone") {
            if case .committed = try await store.commit(StoreTransaction(expected: ["short": 0])) { true } else { false }
        }
        guard case .conflict = try await put(store, "long", [3], expecting: 0) else { Issue.record("the long one is gone"); return }
        let connection = RedisConnection(settings(server.port))
        _ = try await connection.call([Array("FLUSHALL".utf8)])
        #expect(try revision(try await put(store, "short", [1], expecting: 0)) > before)
        await store.close()
        await connection.close()
    }

    @Test("A Redis that is gone, silent or back again: every call ends, and says whether it may have been done")
    func comesAndGoes() async throws {
        let server = try await RedisServer.start()
        let store = claims(server)
        let kept = try revision(try await put(store, "k", [1]))
        let blocker = RedisConnection(settings(server.port))
        _ = try await blocker.call([Array("CLIENT".utf8), Array("PAUSE".utf8), Array("600000".utf8)])
        await #expect { try await self.put(store, "k", [2]) } throws: { ($0 as? StoreError)?.kind == .ambiguous }
        try await server.kill()
        await #expect { try await self.put(store, "k", [3]) } throws: { ($0 as? StoreError)?.isRetriable == true }
        await #expect { try await self.put(store, "k", [4]) } throws: { ($0 as? StoreError)?.kind == .unavailable }
        try await server.restart()
        // The one without an answer may have been done.
        guard case .conflict(let found) = try await store.commit(StoreTransaction(expected: ["k": 1])) else { Issue.record("no conflict"); return }
        let value = try #require(found["k"] ?? nil)
        #expect(value == StoredValue(bytes: [1], revision: kept) || value.bytes == [2])
        await store.close()
        await blocker.close()
    }

    @Test("Passwords: right, wrong, missing, unreadable")
    func passwords() async throws {
        let server = try await RedisServer.start(["--requirepass", "secret"])
        let directory = try TemporaryDirectory()
        let (right, wrong) = (directory.file("right"), directory.file("wrong"))
        try Data("secret\n".utf8).write(to: right)
        try Data("guess\n".utf8).write(to: wrong)
        let open = RedisClaims(settings(server.port, passwordFile: right.path)) { _ in nil }
        _ = try revision(try await put(open, "k", [1]))
        await open.close()
        for file in [nil, wrong.path, directory.file("none").path] {
            let store = RedisClaims(settings(server.port, passwordFile: file)) { _ in nil }
            await #expect { try await self.put(store, "k", [1]) } throws: { error in
                guard let error = error as? StoreError else { return false }
                return error.kind == .misconfigured && !"\(error)".contains("guess") && !"\(error)".contains("secret")
            }
            await store.close()
        }
    }

    @Test("A Redis that throws keys away is complained about", arguments: [("allkeys-lru", true), ("noeviction", false)])
    func eviction(_ policy: String, _ isBad: Bool) async throws {
        let server = try await RedisServer.start(["--maxmemory", "100mb", "--maxmemory-policy", policy])
        let store = claims(server)
        let complaint = try await store.complaint()
        #expect((complaint?.contains(policy) == true) == isBad)
        await store.close()
    }

    @Test("A full Redis refuses, and nothing of the transaction is written")
    func full() async throws {
        let server = try await RedisServer.start(["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
        let store = claims(server)
        await #expect { try await self.put(store, "k", [1]) } throws: { ($0 as? StoreError)?.kind == .refused }
        #expect(try revision(try await store.commit(StoreTransaction(expected: ["k": 0]))) > 0)
        await store.close()
    }
}
