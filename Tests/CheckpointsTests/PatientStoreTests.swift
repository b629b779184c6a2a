import KafkaLog
import Logging
import Synchronization
import Testing

@testable import Checkpoints

@Suite("A store that is waited for")
struct PatientStoreTests {
    private let base = InMemoryStore()
    private let key = StoreKey("a", "b")

    /// Its clock goes on only where it waits.
    private func patient(_ patience: Duration = .seconds(5)) -> PatientStore {
        let now = Passing()
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return PatientStore(
            base, patience: StorePatience(limit: patience, pause: .seconds(1)),
            clock: HostClock(monotonic: { now.value }, wall: { MillisecondTimestamp(clamped: 0) }, sleep: { now.pass($0) }), logger: logger)
    }

    private final class Passing: Sendable {
        private let state = Mutex<UInt64>(0)
        var value: UInt64 { state.withLock { $0 } }
        func pass(_ duration: Duration) { state.withLock { $0 += UInt64(duration / .nanoseconds(1)) } }
    }

    @Test("A moment without an answer is not noticed")
    func passing() async throws {
        _ = try await patient().commit(StoreTransaction(expected: [key: 0], writes: [key: .put([1])]))
        base.failNext(3, .unavailable, [.get, .list])
        #expect(try await patient().get(key)?.bytes == [1])
        base.failNext(2, .ambiguous, [.get, .list])
        #expect(try await patient().get(key)?.bytes == [1])
        base.failNext(2, .ambiguous, [.get, .list])
        #expect(try await patient().list(under: StoreKey("a")).entries.count == 1)
    }

    @Test("After its patience the store's own error is thrown")
    func lasting() async throws {
        base.failAll(.unavailable)
        let error = await #expect(throws: StoreError.self) { try await patient().get(key) }
        #expect(error?.kind == .unavailable)
        #expect(base.calls(.get) == 6, "at 0, 1, 2, 3, 4 and 5 s")
    }

    @Test("What somebody has to mend is not asked for again", arguments: [StoreError.Kind.refused, .corrupt, .misconfigured])
    func final(_ kind: StoreError.Kind) async throws {
        base.failAll(kind)
        let error = await #expect(throws: StoreError.self) { try await patient().get(key) }
        #expect(error?.kind == kind && base.calls(.get) == 1)
    }

    @Test("A commit is made once: whoever writes makes it anew")
    func commits() async throws {
        base.failAll(.unavailable)
        await #expect(throws: StoreError.self) { _ = try await patient().commit(StoreTransaction(expected: [key: 0], writes: [key: .put([1])])) }
        #expect(base.calls(.commit) == 1)
    }
}
