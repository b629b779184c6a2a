import ChangePropagation
import Checkpoints
import KafkaLog

/// The shared store of a simulation, as its servers have it.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class StoreServer: @unchecked Sendable {
    private(set) var entries: [StoreKey: StoredValue] = [:]
    private(set) var revision: Int64 = 0
    /// Asked with every transaction before it is looked at: a mutant changes it here.
    var rewrite: (StoreTransaction) -> StoreTransaction = { $0 }
    /// Told of every value that was put: key, what stood there before, what stands there now.
    var observers: [(StoreKey, StoredValue?, StoredValue) -> Void] = []
    fileprivate var hints: [() -> Void] = []
    /// What stood there some time ago, for stale reads (a mutant).
    private(set) var past: [(at: Moment, entries: [StoreKey: StoredValue], revision: Int64)] = []
    var keepsPast = false

    func commit(_ transaction: StoreTransaction, at moment: Moment) -> StoreOutcome {
        let transaction = rewrite(transaction)
        for (key, revision) in transaction.expected where (entries[key]?.revision ?? 0) != revision {
            return .conflict(Dictionary(uniqueKeysWithValues: transaction.expected.keys.map { ($0, entries[$0]) }))
        }
        put(transaction, at: moment)
        return .committed(revision: revision)
    }

    /// Makes the writes whatever stands there.
    func put(_ transaction: StoreTransaction, at moment: Moment) {
        if keepsPast { past.append((moment, entries, revision)) }
        revision += 1
        for (key, write) in transaction.writes.sorted(by: { $0.key < $1.key }) {
            switch write {
            case .put(let bytes):
                let before = entries[key]
                let now = StoredValue(bytes: bytes, revision: revision)
                entries[key] = now
                for observer in observers { observer(key, before, now) }
            case .delete: entries[key] = nil
            }
        }
        for hint in hints { hint() }
    }
}

/// One host's way to the store: slow, lossy, cut at times.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class SimulatedStore: SharedStore, @unchecked Sendable {
    let name = "simulated"
    let maximumTransactionSize: Int
    private let host: Host
    private let server: StoreServer
    private let links: Links
    private var random: SeededRandom
    /// Answers come from how the store stood this long ago (a mutant). 0: as they should.
    var staleness: Moment = 0
    /// A commit whose answer is lost is followed by putting back what stood there (a mutant).
    var rewindsWhenAmbiguous = false

    static let timeout: Moment = .seconds(2)
    /// Hints that a watch loses, of a hundred.
    private static let lostHints = 0.15

    init(host: Host, server: StoreServer, links: Links, random: SeededRandom, transactionSize: Int) {
        self.host = host
        self.server = server
        self.links = links
        self.random = random
        maximumTransactionSize = transactionSize
    }

    private func latency() -> Moment {
        if host.time.now < links.storeIsSlowUntil { return .milliseconds(random.int(100...2600)) }
        return random.chance(0.01) ? .milliseconds(random.int(20...900)) : .milliseconds(random.int(1...5))
    }

    /// nil: no answer in time.
    private func ask<Answer: Sendable>(_ question: @escaping () -> Answer) async -> Answer? {
        let answer: Answer?? = await host.wait { wait in
            let time = host.time
            time.after(Self.timeout) { wait.fulfil(nil) }
            let way = latency(), back = latency()
            guard links.passes(host.name, Links.store, .requests) else { return }
            time.after(way) { [links, host] in
                // A request that was sent takes effect, whoever has died since.
                let answer = question()
                guard links.passes(host.name, Links.store, .answers) else { return }
                time.after(back) { wait.fulfil(answer) }
            }
        }
        return answer ?? nil
    }

    private func failure(_ kind: StoreError.Kind) -> StoreError {
        StoreError(host.isDead ? .unavailable : kind, store: name, message: "no answer in time (simulated)")
    }

    private func present() -> (entries: [StoreKey: StoredValue], revision: Int64) {
        guard staleness > 0 else { return (server.entries, server.revision) }
        let moment = host.time.now &- Swift.min(host.time.now, staleness)
        guard let then = server.past.first(where: { $0.at >= moment }) else { return (server.entries, server.revision) }
        return (then.entries, then.revision)
    }

    func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        let answer: StoredValue?? = await ask { [self] in present().entries[key] }
        guard let answer else { throw failure(.unavailable) }
        return answer
    }

    func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        let answer: StoreListing? = await ask { [self] in
            let now = present()
            return StoreListing(entries: now.entries.filter { $0.key.isUnder(prefix) }, revision: now.revision)
        }
        guard let answer else { throw failure(.unavailable) }
        return answer
    }

    func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        guard transaction.expected.count + transaction.writes.count <= maximumTransactionSize else {
            throw StoreError(.refused, store: name, message: "the transaction is too large")
        }
        let before = rewindsWhenAmbiguous ? server.entries : [:]
        let answer: StoreOutcome? = await ask { [server, host] in server.commit(transaction, at: host.time.now) }
        guard let answer else {
            if rewindsWhenAmbiguous, !host.isDead {
                var back = StoreTransaction()
                for key in transaction.writes.keys { if let value = before[key] { back.writes[key] = .put(value.bytes) } }
                server.put(back, at: host.time.now)
            }
            throw failure(.ambiguous)
        }
        return answer
    }

    func changes(under prefix: StoreKey) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(4))
        server.hints.append { [self] in
            guard !host.isDead, !random.chance(Self.lostHints) else { return }
            for _ in 0..<(random.chance(0.1) ? 2 : 1) {
                host.time.after(latency()) { [host] in host.deliver { continuation.yield() } }
            }
        }
        return stream
    }

    func close() async {}
}
