import Checkpoints
import Foundation
import Testing

/// What every store must do alike.
@Suite struct StoreContractTests {
    @Test(arguments: StoreKind.available) func readsWhatWasWritten(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            #expect(try await store.get("a/b") == nil)
            let first = try await store.put("a/b", "one")
            let second = try await store.put("a/b", "two")
            #expect(first > 0 && second > first)
            #expect(try await other.get("a/b") == StoredValue(bytes: Array("two".utf8), revision: second))
        }
    }

    @Test(arguments: StoreKind.available) func keepsAnyBytes(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            let values: [String: [UInt8]] = [
                "empty": [], "zero": [0], "all": Array(0...255), "large": .init(repeating: 7, count: 200_000),
            ]
            for (name, bytes) in values {
                _ = try await store.commit(StoreTransaction(writes: [StoreKey(name): .put(bytes)]))
                #expect(try await other.get(StoreKey(name))?.bytes == bytes, "\(name)")
            }
        }
    }

    @Test(arguments: StoreKind.available) func swapsOnlyAtTheExpectedRevision(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            let create = StoreTransaction(expected: ["k": 0], writes: ["k": .put([1])])
            guard case .committed(let revision) = try await store.commit(create) else {
                Issue.record("the first create met a conflict")
                return
            }
            let stored = StoredValue(bytes: [1], revision: revision)
            #expect(try await other.commit(create) == .conflict(["k": stored]))
            let swap = StoreTransaction(expected: ["k": revision], writes: ["k": .put([2])])
            guard case .committed(let next) = try await other.commit(swap) else {
                Issue.record("a swap at the right revision met a conflict")
                return
            }
            #expect(next > revision)
            #expect(try await store.commit(swap) == .conflict(["k": StoredValue(bytes: [2], revision: next)]))
            #expect(try await store.get("k") == StoredValue(bytes: [2], revision: next))
        }
    }

    @Test(arguments: StoreKind.available) func writesAllOrNothing(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            let one = try await store.put("t/one", "1")
            let outcome = try await store.commit(
                StoreTransaction(
                    expected: ["t/one": one, "t/two": 99, "t/three": 0],
                    writes: ["t/one": .delete, "t/two": .put([2]), "t/three": .put([3])]))
            #expect(
                outcome
                    == .conflict(["t/one": StoredValue(bytes: [49], revision: one), "t/two": nil, "t/three": nil]))
            #expect(try await other.list(under: "t").entries.keys.sorted() == ["t/one"])
            guard
                case .committed(let revision) = try await store.commit(
                    StoreTransaction(
                        expected: ["t/one": one, "t/two": 0],
                        writes: ["t/one": .delete, "t/two": .put([2]), "t/three": .put([3])]))
            else {
                Issue.record("a transaction with right expectations met a conflict")
                return
            }
            let listing = try await other.list(under: "t")
            #expect(
                listing.entries == [
                    "t/two": StoredValue(bytes: [2], revision: revision),
                    "t/three": StoredValue(bytes: [3], revision: revision),
                ])
            #expect(listing.revision >= revision)
        }
    }

    @Test(arguments: StoreKind.available) func checksWithoutWriting(kind: StoreKind) async throws {
        try await kind.withStores { store, _ in
            let revision = try await store.put("k", "v")
            let same = try await store.commit(StoreTransaction(expected: ["k": revision, "absent": 0]))
            guard case .committed(let now) = same, now >= revision else {
                Issue.record("a check without writes that holds: \(same)")
                return
            }
            let other = try await store.commit(StoreTransaction(expected: ["k": 0]))
            #expect(other == .conflict(["k": StoredValue(bytes: Array("v".utf8), revision: revision)]))
        }
    }

    @Test(arguments: StoreKind.available) func deletedKeysAreAbsentAndComeBackWithAHigherRevision(kind: StoreKind) async throws
    {
        try await kind.withStores { store, _ in
            let first = try await store.put("k", "v")
            _ = try await store.commit(StoreTransaction(expected: ["k": first], writes: ["k": .delete]))
            #expect(try await store.get("k") == nil)
            // Deleting what is not there changes nothing, and is no conflict.
            guard case .committed = try await store.commit(StoreTransaction(writes: ["k": .delete])) else {
                Issue.record("deleting an absent key met a conflict")
                return
            }
            #expect(try await store.put("k", "again") > first + 1)
        }
    }

    @Test(arguments: StoreKind.available) func listsByWholeSegments(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            for key in ["a", "a/x", "a/y/z", "ab", "ab/x", "a0", "a.", "b/a/x"] {
                try await store.put(StoreKey(stringLiteral: key), key)
            }
            #expect(try await other.list(under: "a").entries.keys.sorted() == ["a/x", "a/y/z"])
            #expect(try await other.list(under: "a/y").entries.keys.sorted() == ["a/y/z"])
            #expect(try await other.list(under: "none").entries.isEmpty)
            #expect(try await other.list(under: StoreKey(segments: [])).entries.count == 8)
        }
    }

    @Test(arguments: StoreKind.available) func oddNamesStayApart(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            let odd = [
                "", "/", "//", "%", "%2F", "%252F", "a/b", " ", "\u{0}", "\n", "日本", "e\u{301}", "\u{e9}", "\u{301}", "..",
                "\"", "\u{10FFFF}",
            ]
            var expected: [StoreKey: String] = [:]
            for (index, left) in odd.enumerated() {
                for right in [odd[(index + 1) % odd.count], "x"] {
                    expected[StoreKey(segments: [left, right])] = "\(index)\(right)"
                }
            }
            // One segment whose bytes have a slash in them, before a combining accent.
            expected[StoreKey(segments: ["a/\u{301}b", "x"])] = "slash"
            expected[StoreKey(segments: ["a", "\u{301}b", "x"])] = "segments"
            for (key, text) in expected { try await store.put(key, text) }
            #expect(try await other.list(under: StoreKey(segments: [])).entries.mapValues(\.text) == expected)
            for left in odd {
                let found = try await other.list(under: StoreKey(segments: [left])).entries.mapValues(\.text)
                #expect(found == expected.filter { $0.key.isUnder(StoreKey(segments: [left])) }, "\(left.debugDescription)")
                #expect(found.count >= 2)
            }
        }
    }

    @Test(arguments: StoreKind.available) func listsMoreThanAPage(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            for batch in 0..<11 {
                let keys = (0..<100).map { StoreKey("many", "\(batch)-\($0)") }
                _ = try await store.commit(
                    StoreTransaction(writes: Dictionary(uniqueKeysWithValues: keys.map { ($0, .put([UInt8(batch)])) })))
            }
            let listing = try await other.list(under: "many")
            #expect(listing.entries.count == 1100)
            #expect(listing.entries.values.allSatisfy { $0.revision <= listing.revision })
        }
    }

    @Test(arguments: StoreKind.available) func concurrentSwapsLoseNothing(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<10 {
                    group.addTask {
                        for _ in 0..<10 { try await (task % 2 == 0 ? store : other).increment("counter") }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await store.get("counter")?.text == "100")
        }
    }

    @Test(arguments: StoreKind.available) func refusesWhatIsTooLargeOrNamelessBeforeSending(kind: StoreKind) async throws {
        try await kind.withStores { store, _ in
            let limit = store.maximumTransactionSize
            func transaction(_ writes: Int) -> StoreTransaction {
                StoreTransaction(
                    writes: Dictionary(uniqueKeysWithValues: (0..<writes).map { (StoreKey("n", "\($0)"), .put([])) }))
            }
            #expect(await storeError { _ = try await store.commit(transaction(limit + 1)) }?.kind == .refused)
            #expect(try await store.list(under: "n").entries.isEmpty)
            var full = transaction(limit)
            full.expected = full.writes.mapValues { _ in 0 }
            guard case .committed = try await store.commit(full) else {
                Issue.record("the largest transaction met a conflict")
                return
            }
            #expect(try await store.list(under: "n").entries.count == limit)
            #expect(await storeError { _ = try await store.get(StoreKey(segments: [])) }?.kind == .refused)
            #expect(await storeError { _ = try await store.commit(StoreTransaction(expected: ["k": -1])) }?.kind == .refused)
        }
    }

    @Test(arguments: StoreKind.available) func hintsComeForChangesUnderThePrefix(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            let own = HintCounter(store.changes(under: "w"))
            let foreign = HintCounter(other.changes(under: "w"))
            // Until both streams have settled, a change may be covered by their first hint.
            for round in 0..<3 {
                let (before, foreignBefore) = (own.count, foreign.count)
                try await store.put(StoreKey("w", "\(round)"), "x")
                #expect(await eventually { own.count > before }, "round \(round), the writer's own stream")
                #expect(await eventually { foreign.count > foreignBefore }, "round \(round), another client's stream")
            }
            own.cancel()
            #expect(await eventually { own.ended })
        }
    }

    @Test(arguments: StoreKind.available) func endsWithClose(kind: StoreKind) async throws {
        try await kind.withStores { store, other in
            try await store.put("k", "v")
            let hints = HintCounter(store.changes(under: "k"))
            await store.close()
            #expect(await eventually { hints.ended })
            #expect(await storeError { _ = try await store.get("k") }?.kind == .unavailable)
            #expect(await storeError { _ = try await store.list(under: "k") }?.kind == .unavailable)
            #expect(await storeError { try await store.put("k", "w") }?.kind == .unavailable)
            for await _ in store.changes(under: "k") {}
            await store.close()
            #expect(try await other.get("k")?.text == "v")
        }
    }
}

extension StoreKey: ExpressibleByStringLiteral {
    /// `"a/b"` as segments.
    public init(stringLiteral text: String) {
        self.init(segments: text.split(separator: "/", omittingEmptySubsequences: false).map(String.init))
    }
}

@Suite struct StoreKeyTests {
    @Test func escapesAndComesBack() throws {
        var generator = SystemRandomNumberGenerator()
        let alphabet: [String] = ["a", "/", "%", "2", "F", "5", "\u{301}", "é", "\u{0}", "", "日"]
        for _ in 0..<2000 {
            let key = StoreKey(
                segments: (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                    (0..<Int.random(in: 0...5, using: &generator)).map { _ in alphabet.randomElement(using: &generator) ?? "" }
                        .joined()
                })
            #expect(StoreKey(escaped: key.escaped) == key, "\(key.segments)")
            #expect(key.escaped.utf8.filter { $0 == UInt8(ascii: "/") }.count == key.segments.count - 1)
        }
    }

    @Test(arguments: ["%", "a%", "%2", "%2f", "%41", "a/%zz", "%%25"]) func refusesEscapesThatAreNeverWritten(text: String) {
        #expect(StoreKey(escaped: text) == nil)
    }

    @Test func comparesBytes() {
        #expect(StoreKey("\u{e9}") != StoreKey("e\u{301}"))
        #expect(Set([StoreKey("\u{e9}"), StoreKey("e\u{301}")]).count == 2)
        #expect(StoreKey("a") < StoreKey("a", "b"))
        #expect(StoreKey("a", "b") < StoreKey("b"))
    }
}
