import Checkpoints
import Testing

/// The fault controls that other rooms' tests rely on.
@Suite struct StoreInMemoryTests {
    let store = InMemoryStore(requestTimeout: .milliseconds(50))

    @Test func failsAsOftenAsAsked() async throws {
        store.failNext(2, .refused, [.commit])
        #expect(try await store.get("k") == nil)
        #expect(await storeError { try await store.put("k", "1") }?.kind == .refused)
        #expect(await storeError { try await store.put("k", "2") }?.kind == .refused)
        try await store.put("k", "3")
        #expect(try await store.get("k")?.text == "3")
        #expect(store.calls(.commit) == 3)
    }

    @Test func appliesAndAnswersAmbiguously() async throws {
        store.answerAmbiguouslyNext()
        #expect(await storeError { try await store.put("k", "1") }?.kind == .ambiguous)
        #expect(try await store.get("k")?.text == "1")
    }

    @Test func cutsOneHandleOffOnly() async throws {
        let other = store.handle(named: "codfw")
        other.failAll(.unavailable)
        try await store.put("k", "1")
        #expect(await storeError { _ = try await other.get("k") }?.kind == .unavailable)
        other.heal()
        #expect(try await other.get("k")?.text == "1")
    }

    @Test(arguments: [false, true]) func frozenCommitsMayLandLate(late: Bool) async throws {
        store.freeze()
        #expect(await storeError { _ = try await store.get("k") }?.kind == .unavailable)
        #expect(await storeError { try await store.put("k", "1") }?.kind == .ambiguous)
        #expect(store.snapshot.isEmpty && store.lateCommits == 1)
        store.thaw(applyingLateCommits: late)
        #expect(try await store.get("k")?.text == (late ? "1" : nil))
    }

    @Test func callsGoOnAfterAThawInTime() async throws {
        let store = InMemoryStore(requestTimeout: .seconds(10))
        store.freeze()
        async let put = store.put("k", "1")
        #expect(await eventually { store.calls(.commit) == 1 })
        #expect(store.snapshot.isEmpty)
        store.thaw()
        #expect(try await put == 1)
    }

    @Test func delaysPastTheTimeoutFail() async throws {
        store.delayCalls(.milliseconds(1))
        try await store.put("k", "1")
        store.delayCalls(.seconds(60))
        #expect(await storeError { try await store.put("k", "2") }?.kind == .ambiguous)
        #expect(await storeError { _ = try await store.get("k") }?.kind == .unavailable)
    }

    @Test func losesAndRepeatsHints() async throws {
        let deaf = store.handle(named: "deaf")
        deaf.setHints(perChange: 0)
        store.setHints(perChange: 2)
        let (lost, twice) = (HintCounter(deaf.changes(under: "w")), HintCounter(store.changes(under: "w")))
        try await store.put("w/1", "x")
        #expect(await eventually { twice.count == 2 })
        try await store.put("elsewhere", "x")
        try await store.put("w/2", "x")
        #expect(await eventually { twice.count == 4 })
        #expect(lost.count == 0)
    }
}
