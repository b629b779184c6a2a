import KafkaLog
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

/// What a claim comes to, from what stands in the store.
@Suite("Claims") struct ClaimTests {
    static let key = ClaimKeys.key(group: "g", rule: "r", "id\u{0}1")

    static func claim(
        _ owner: String, _ token: String, _ delivery: Dedupe.Delivery = .atLeastOnce, key: StoreKey? = Self.key, root: Int64? = nil
    ) -> Claim {
        let root = root.map { Claim.Root(key: ClaimKeys.key(group: "g", rule: "r", "root\u{0}s"), time: $0) }
        return Claim(
            rule: "r", key: key, root: root, owner: owner, token: token, delivery: delivery, window: 1_000_000, rootWindow: 2_000_000, span: 5_000)
    }

    private static func record(_ state: ClaimRecord.State, _ owner: String, _ token: String, expires: Int64) -> ClaimRecord {
        ClaimRecord(state: state, owner: owner, token: token, expires: expires)
    }

    /// What a claim of owner A with token t makes of a record, at 100; nil: it takes it.
    static let table: [(Dedupe.Delivery, ClaimRecord?, ClaimVerdict?)] = [
        (.atLeastOnce, nil, nil), (.atMostOnce, nil, nil),
        (.atLeastOnce, record(.done, "A", "u", expires: 101), .duplicate), (.atLeastOnce, record(.done, "B", "u", expires: 101), .duplicate),
        (.atLeastOnce, record(.done, "B", "u", expires: 100), nil),
        (.atLeastOnce, record(.claimed, "B", "u", expires: 101), .busy(until: 101)), (.atLeastOnce, record(.claimed, "B", "u", expires: 100), nil),
        (.atLeastOnce, record(.claimed, "A", "u", expires: 101), nil), (.atLeastOnce, record(.claimed, "A", "t", expires: 101), nil),
        (.atMostOnce, record(.done, "B", "u", expires: 101), .duplicate), (.atMostOnce, record(.done, "A", "u", expires: 101), .duplicate),
        (.atMostOnce, record(.done, "A", "t", expires: 101), nil), (.atMostOnce, record(.claimed, "A", "u", expires: 101), .duplicate),
        (.atMostOnce, record(.done, "B", "u", expires: 100), nil),
    ]

    @Test("Done is a duplicate, somebody else's is waited for, one's own and an expired one are taken", arguments: table)
    func verdicts(_ delivery: Dedupe.Delivery, _ stored: ClaimRecord?, _ expected: ClaimVerdict?) {
        var view = ClaimView(now: 100)
        view.known[Self.key] = .some(stored.map { StoredValue(bytes: $0.bytes, revision: 7) })
        switch Self.claim("A", "t", delivery).step(view) {
        case .settled(let verdict): #expect(verdict == expected)
        case .change(_, let writes):
            #expect(expected == nil)
            guard case .put(let bytes)? = writes[Self.key], let record = ClaimRecord(bytes) else { return _ = Issue.record("it writes no claim") }
            #expect(record.token == "t" && record.state == (delivery == .atMostOnce ? .done : .claimed))
            #expect(record.expires == 100 + (delivery == .atMostOnce ? 1_000_000 : Claim.startAllowance + 5_000))
        }
    }

    @Test("A record reads back as it was written, and what is none is not taken for one")
    func records() {
        let record = ClaimRecord(state: .done, owner: "a\"/b", token: "t#1", expires: 7, rootTime: 3)
        #expect(ClaimRecord(record.bytes) == record)
        #expect(ClaimRecord(Array("{}".utf8)) == nil && ClaimRecord([0xFF]) == nil)
        #expect(ClaimRecord(Array(#"{"version":2,"state":"done","owner":"","token":"","expires_at":1}"#.utf8)) == nil)
    }

    private func run<Intent: ClaimIntent>(_ store: InMemoryStore, _ intents: [Intent], now: Int64 = 100) async -> [Intent.Verdict?] {
        var batch = ClaimBatch(intents)
        _ = await store.run(&batch, now: { now })
        return batch.verdicts
    }

    @Test("Hundreds of claims are one transaction each time the store takes so many, and what is taken already costs one more")
    func batches() async {
        let store = InMemoryStore()
        let claims = (0..<60).map { Self.claim("A", "t\($0)", key: ClaimKeys.key(group: "g", rule: "r", "id\u{0}\($0)")) }
        _ = await run(store, Array(claims[..<10].map { claim in Self.claim("B", "u", key: claim.key) }))
        #expect(store.calls(.commit) == 1)
        let verdicts = await run(store, claims)
        #expect(store.calls(.commit) == 3)
        #expect(verdicts[..<10].allSatisfy { $0 == .busy(until: 100 + Claim.startAllowance + 5_000) })
        #expect(verdicts[10...].allSatisfy { if case .granted? = $0 { true } else { false } })
    }

    @Test("A claim whose answer was lost is found to be one's own; one that was not made is made")
    func lostAnswers() async {
        let store = InMemoryStore()
        store.answerAmbiguouslyNext()
        let first = await run(store, [Self.claim("A", "t", .atMostOnce)])
        #expect(first.compactMap(\.self).count == 1)
        store.failNext(1, .ambiguous, [.commit])
        let other = ClaimKeys.key(group: "g", rule: "r", "id\u{0}2")
        let second = await run(store, [Self.claim("A", "u", .atMostOnce, key: other)])
        if case .granted? = second.first ?? nil {} else { Issue.record("it is not granted") }
        #expect(store.snapshot.count == 2)
        store.failNext(1, .unavailable, [.commit])
        #expect(await run(store, [Self.claim("A", "t", .atMostOnce)]) == [nil])
    }

    private func liveThrough(_ store: some SharedStore) async throws {
        func run<Intent: ClaimIntent>(_ intents: [Intent], now: Int64) async throws -> [Intent.Verdict] {
            var batch = ClaimBatch(intents)
            if let error = await store.run(&batch, now: { now }) { throw error }
            return batch.verdicts.compactMap(\.self)
        }
        func key(_ number: Int) -> StoreKey { ClaimKeys.key(group: "g", rule: "r", "id\u{0}\(number)") }
        let claims = (0..<30).map { Self.claim("A", "a\($0)", key: key($0), root: 5) }
        var granted: [Claim] = []
        for (claim, verdict) in zip(claims, try await run(claims, now: 100)) {
            guard case .granted(let grant) = verdict else { return _ = Issue.record("it is not granted") }
            granted.append(claim)
            granted[granted.count - 1].grant = grant
        }
        #expect(granted.count == 30)
        let ends = Settlement.of(granted[0], .done, marksRoot: true) + Settlement.of(granted[1], .released) + Settlement.of(granted[2], .extended(until: 50_000))
        #expect(try await run(ends, now: 200) == [true, true, true, true])
        let others = (0..<4).map { Self.claim("B", "b\($0)", key: key($0)) }
        let verdicts = try await run(others, now: 300)
        guard verdicts.count == 4, case .granted = verdicts[1] else { return _ = Issue.record("\(verdicts)") }
        #expect(verdicts[0] == .duplicate && verdicts[2] == .busy(until: 50_000) && verdicts[3] == .busy(until: 100 + Claim.startAllowance + 5_000))
        let looks = [Self.claim("B", "c", key: nil, root: 4), Self.claim("B", "d", key: nil, root: 5)]
        let roots = try await run(looks, now: 300)
        #expect(roots.first == .duplicate && roots.last != .duplicate)
    }

    @Test("It is the same in a SQLite file")
    func sqlite() async throws {
        let directory = try TemporaryDirectory()
        defer { directory.remove() }
        let store = try await SQLiteStore.open(path: directory.file("claims.sqlite").path)
        try await liveThrough(store)
        await store.close()
    }

    @Test("It is the same in etcd", .enabled(if: EtcdServer.isInstalled, "needs /usr/bin/etcd (apt-get install etcd-server)"))
    func etcd() async throws {
        let server = try await EtcdServer.start()
        defer { server.shutDown() }
        let store = try await StoreConfiguration(parsing: "etcd://\(server.endpoints)").open()
        try await liveThrough(store)
        await store.close()
    }

    @Test("Root events: an older one is a duplicate once a newer one is done, leaves of one root event are not, and marks never go back")
    func roots() async throws {
        let store = InMemoryStore()
        func granted(_ time: Int64) async -> Bool {
            let claim = Self.claim("A", "t\(time)", key: nil, root: time)
            if case .granted? = await run(store, [claim])[0] { return true } else { return false }
        }
        func done(_ time: Int64) async {
            _ = await run(store, Settlement.of(Self.claim("A", "t\(time)", key: nil, root: time), .done, marksRoot: true))
        }
        #expect(await granted(50))
        await done(50)
        for (time, isGranted) in [(49, false), (50, true), (51, true)] { #expect(await granted(Int64(time)) == isGranted) }
        await done(60)
        await done(50)
        #expect(await granted(60))
        #expect(await granted(59) == false)
        #expect(store.snapshot.count == 1)
    }

    @Test("What an event is told apart by")
    func keys() throws {
        func claim(_ lines: String, _ json: String, partition: Int32 = 0) throws -> Claim? {
            try Claim(rule("topic: a\n\(lines)"), event(json), requests: 1, topic: "eqiad.a", partition: partition, group: "g", token: "t")
        }
        let id = try #require(try claim("dedupe: id", #"{"meta":{"id":"1"},"a":1}"#))
        #expect(try claim("dedupe: id", #"{"meta":{"id":"1"},"a":2}"#)?.key == id.key)
        #expect(try claim("dedupe: id", #"{"meta":{"id":"1"},"a":1}"#, partition: 1)?.owner != id.owner)
        #expect(try claim("dedupe: id", #"{ "meta": {"id":"1"}, "a":1}"#)?.owner == id.owner, "a retry is the same owner")
        #expect(try claim("dedupe: content", #"{"meta":{"id":"1"},"a":1}"#)?.key != claim("dedupe: content", #"{"meta":{"id":"1"},"a":2}"#)?.key)
        #expect(try claim("dedupe: id", #"{"a":1}"#) == nil)
        #expect(try claim("delivery: at-most-once", #"{"a":1}"#)?.key != nil)
        #expect(try claim("dedupe: none", #"{"meta":{"id":"1"}}"#) == nil && claim("", #"{"meta":{"id":"1"}}"#) == nil)
        let root = try #require(try claim("dedupe: root", #"{"root_event":{"signature":"s","dt":"2026-11-21T10:00:00.500Z"}}"#))
        #expect(root.key == nil && root.root?.time == 1_795_255_200_500)
        #expect(try claim("dedupe: root", #"{"root_event":{"signature":"s","dt":"soon"}}"#) == nil)
    }

    @Test("Ranges of claims are shared out among all partitions, each to one")
    func shards() {
        for count in [1, 3, 256, 300] as [Int32] {
            let all = (0..<count).flatMap { ClaimSweep.shards(of: $0, count: count) }
            #expect(all.sorted() == Array(0..<256))
        }
        #expect(ClaimSweep.shards(of: 0, count: 0).isEmpty)
    }
}
