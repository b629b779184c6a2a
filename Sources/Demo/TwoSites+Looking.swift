import Checkpoints
import Foundation
import Handover
import KafkaLog
import Synchronization

/// Every call that the sink got, in order.
final class CallBook: Sendable {
    private let book = Mutex<(calls: [TwoSites.Call], called: Set<String>)>(([], []))

    func note(_ id: String, _ datacenter: Datacenter) {
        let now = ContinuousClock.now
        book.withLock {
            $0.calls.append(TwoSites.Call(id: id, datacenter: datacenter, at: now))
            $0.called.insert(id)
        }
    }

    var count: Int { book.withLock { $0.calls.count } }
    func calls(from index: Int) -> [TwoSites.Call] { book.withLock { Array($0.calls.dropFirst(index)) } }
    func missing(of ids: [String]) -> [String] { book.withLock { book in ids.filter { !book.called.contains($0) } } }
}

/// What happened on the stage, and waiting for it.
extension TwoSites {
    /// One call of the sink: the start of an action, as seen from outside.
    package struct Call: Sendable {
        package let id: String
        package let datacenter: Datacenter
        package let at: ContinuousClock.Instant
    }

    /// Where a record stands in one cluster.
    package struct Place: Sendable, Hashable {
        package let partition: Int32
        package let offset: Int64
        /// Milliseconds since 1970: when it was produced.
        package let timestamp: Int64
    }

    package var callCount: Int { calls.count }
    /// Calls in the order in which they came, from the `index`-th on.
    package func calls(from index: Int = 0) -> [Call] { calls.calls(from: index) }
    /// Those of `ids` that nobody acted on yet.
    package func missing(of ids: [String]) -> [String] { calls.missing(of: ids) }

    var idsFile: URL { settings.directory.appending(path: "ids") }

    /// Ids of all events that eqiad's cluster has acknowledged, oldest first.
    package func produced() throws -> [String] {
        let text = String(decoding: try Data(contentsOf: idsFile), as: UTF8.self)
        // The last line may be half written.
        guard let end = text.lastIndex(of: "\n") else { return [] }
        return text[..<end].split(separator: "\n").map(String.init)
    }

    /// Where each event of eqiad stands in a datacenter's cluster; a mirror that crashed may have put one there twice.
    package func places(in datacenter: Datacenter) async throws -> [String: [Place]] {
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client(datacenter, "places")))
        let partitions = (0..<settings.partitions).map { TopicPartition(topic: Self.topic, partition: $0) }
        let ends = try await consumer.watermarks(partitions).mapValues { try $0.get() }
        var open = ends.filter { $0.value.low.offset < $0.value.high.offset }.mapValues(\.high.offset)
        try await consumer.assign(ends.filter { open[$0.key] != nil }.mapValues(\.low))
        var found: [String: [Place]] = [:]
        while !open.isEmpty {
            guard let batch = try await consumer.nextBatch(deadline: .now + settings.patience) else {
                throw DemoFailure("\(datacenter)'s log of \(Self.topic) can't be read to its end")
            }
            for run in batch.runs {
                batch.forEach(in: run) { record in
                    let id = record.withKey { key in key.map { String(decoding: $0, as: UTF8.self) } } ?? ""
                    found[id, default: []].append(
                        Place(partition: run.partition.partition, offset: record.offset, timestamp: record.timestamp?.milliseconds ?? 0))
                    if let end = open[run.partition], record.offset >= end - 1 { open[run.partition] = nil }
                }
            }
        }
        try await consumer.close()
        return found
    }

    package func clusterID(_ datacenter: Datacenter) async throws -> ClusterID {
        let admin = try KafkaAdmin(client(datacenter, "admin"))
        let id = try await admin.clusterID()
        await admin.close()
        return id
    }

    // MARK: The store

    package func assignment() async throws -> Assignment? { try await AssignmentStore(store).load(Self.key)?.assignment }

    package func checkpoints() async throws -> [Int32: Checkpoint] {
        let stored = try await CheckpointStore(store).load(group: Self.group, topic: Self.topic)
        return Dictionary(uniqueKeysWithValues: try stored.map { ($0.key.partition, try $0.value.checkpoint.get()) })
    }

    package func gaps() async throws -> Int { try await store.list(under: StoreKey("gaps", Self.group)).entries.count }

    /// Waits until `owner` has taken eqiad's events over and the assignment is stable.
    package func waitForStable(_ owner: Datacenter, epoch: Int64) async throws {
        try await waitFor("\(owner) to own \(Self.home).* in epoch \(epoch)") {
            guard let now = try? await assignment() else { return false }
            return now.owner == owner && now.epoch == epoch && now.phase == .stable
        }
    }

    /// Waits until everything that was produced up to now has been acted on; the ids of that.
    @discardableResult
    package func waitForAll() async throws -> [String] {
        let ids = try produced()
        try await waitFor("\(ids.count) events to be acted on", but: { "(\(missing(of: ids).count) are missing)" }) { missing(of: ids).isEmpty }
        return ids
    }

    // MARK: Waiting

    /// Asks every few milliseconds, at most for the settings' patience.
    package func waitFor(
        _ what: String, but why: () -> String = { "" }, _ condition: () async throws -> Bool
    ) async throws {
        let deadline = ContinuousClock.now + settings.patience
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw DemoFailure("waited \(settings.patience) for \(what) \(why())") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    func answer(_ what: String, _ ask: () async throws -> Void) async throws {
        let deadline = ContinuousClock.now + settings.patience
        while true {
            do { return try await ask() } catch {
                try check()
                guard ContinuousClock.now < deadline else { throw DemoFailure("waited \(settings.patience) for \(what): \(error)") }
                try await Task.sleep(for: .milliseconds(30))
            }
        }
    }
}
