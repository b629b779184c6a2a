import KafkaLog
import Logging

/// A checkpoint as it stands in the store. `checkpoint` is the error where its bytes can't be used: such a partition is
/// refused, never started from a default.
public struct StoredCheckpoint: Sendable {
    public let checkpoint: Result<Checkpoint, CheckpointFormatError>
    /// The revision that the next write must expect.
    public let revision: Int64
}

/// What lets a write through: the assignment under which its author works, as it last read it. A handover changes the
/// assignment, and from that moment on no write of the old epoch lands (the fencing of Docs/Design.md section 4).
public struct Fence: Sendable, Hashable {
    public let key: StoreKey
    public let revision: Int64
    public init(key: StoreKey, revision: Int64) {
        self.key = key
        self.revision = revision
    }
}

/// One checkpoint to be written.
public struct CheckpointWrite: Sendable {
    public let partition: TopicPartition
    public let checkpoint: Checkpoint
    /// The revision of what it replaces; 0: nothing was there.
    public let expectedRevision: Int64
    /// What is written with it, or not at all: a record of why.
    public let beside: [StoreKey: [UInt8]]
    public init(partition: TopicPartition, checkpoint: Checkpoint, expectedRevision: Int64, beside: [StoreKey: [UInt8]] = [:]) {
        self.partition = partition
        self.checkpoint = checkpoint
        self.expectedRevision = expectedRevision
        self.beside = beside
    }
}

public enum CheckpointWriteResult: Sendable {
    /// It stands in the store, at this revision.
    case saved(revision: Int64)
    /// The assignment has changed since it was read. Nothing was written; read it again before anything else.
    case fenced
    /// Somebody else wrote this checkpoint. Nothing was written.
    case superseded(StoredCheckpoint?)
    /// Not known to be written. The next write finds out.
    case failed(StoreError)

    public var isSaved: Bool { if case .saved = self { true } else { false } }
}

/// Reads and writes the checkpoints of groups in the shared store. Every write is one compare-and-swap on the assignment
/// and on the checkpoint's own revision; an ambiguous answer is read again before it is believed (F47).
public struct CheckpointStore: Sendable {
    public let store: any SharedStore
    public init(_ store: any SharedStore) { self.store = store }

    public static func key(group: String, _ partition: TopicPartition) -> StoreKey {
        StoreKey("checkpoints", group, partition.topic, String(partition.partition))
    }

    /// All checkpoints of `group` in `topic`, and the store's revision at that moment.
    public func load(group: String, topic: String) async throws(StoreError) -> [TopicPartition: StoredCheckpoint] {
        try await load(under: StoreKey("checkpoints", group, topic))
    }

    /// All checkpoints of `group`.
    public func load(group: String) async throws(StoreError) -> [TopicPartition: StoredCheckpoint] {
        try await load(under: StoreKey("checkpoints", group))
    }

    public func load(group: String, partition: TopicPartition) async throws(StoreError) -> StoredCheckpoint? {
        try await store.get(Self.key(group: group, partition)).map(Self.decode)
    }

    private func load(under prefix: StoreKey) async throws(StoreError) -> [TopicPartition: StoredCheckpoint] {
        var found: [TopicPartition: StoredCheckpoint] = [:]
        for (key, value) in try await store.list(under: prefix).entries {
            guard let partition = Self.partition(of: key) else { continue }
            found[partition] = Self.decode(value)
        }
        return found
    }

    private static func partition(of key: StoreKey) -> TopicPartition? {
        guard key.segments.count == 4, let number = Int32(key.segments[3]), number >= 0 else { return nil }
        return TopicPartition(topic: key.segments[2], partition: number)
    }

    private static func decode(_ value: StoredValue) -> StoredCheckpoint {
        let checkpoint: Result<Checkpoint, CheckpointFormatError>
        do throws(CheckpointFormatError) { checkpoint = .success(try CheckpointCodec.decode(value.bytes)) } catch { checkpoint = .failure(error) }
        return StoredCheckpoint(checkpoint: checkpoint, revision: value.revision)
    }

    /// Writes checkpoints that share one fence, in as few transactions as the store allows. A conflict on one checkpoint
    /// does not keep its neighbours from being written.
    public func save(group: String, _ writes: [CheckpointWrite], fence: Fence) async -> [TopicPartition: CheckpointWriteResult] {
        // A key counts twice (expected and written), the fence and what is beside it once.
        let most = max(1, (store.maximumTransactionSize - 1) / (2 + (writes.map(\.beside.count).max() ?? 0)))
        var results: [TopicPartition: CheckpointWriteResult] = [:]
        var failure: StoreError?
        for first in stride(from: 0, to: writes.count, by: most) {
            let chunk = Array(writes[first..<min(first + most, writes.count)])
            if let failure {
                // A store that does not answer is not asked for each chunk: the next occasion writes them.
                for write in chunk { results[write.partition] = .failed(failure) }
                continue
            }
            let saved = await saveChunk(group: group, chunk, fence: fence)
            for case .failed(let error) in saved.values where error.isRetriable { failure = error }
            results.merge(saved) { $1 }
        }
        return results
    }

    private func saveChunk(group: String, _ writes: [CheckpointWrite], fence: Fence) async -> [TopicPartition: CheckpointWriteResult] {
        var pending = writes
        var results: [TopicPartition: CheckpointWriteResult] = [:]
        // Each round writes all that is pending, or takes at least one conflicting checkpoint out of it.
        while !pending.isEmpty {
            var transaction = StoreTransaction(expected: [fence.key: fence.revision])
            for write in pending {
                let key = Self.key(group: group, write.partition)
                transaction.expected[key] = write.expectedRevision
                transaction.writes[key] = .put(CheckpointCodec.encode(write.checkpoint))
                for (key, bytes) in write.beside { transaction.writes[key] = .put(bytes) }
            }
            do throws(StoreError) {
                switch try await store.commit(transaction) {
                case .committed(let revision):
                    for write in pending { results[write.partition] = .saved(revision: revision) }
                    return results
                case .conflict(let current):
                    let before = pending.count
                    pending = settle(pending, group: group, current: current, fence: fence, into: &results)
                    guard pending.count < before else {
                        for write in pending {
                            results[write.partition] = .failed(
                                StoreError(.corrupt, store: store.name, message: "a conflict that names no conflicting key"))
                        }
                        return results
                    }
                }
            } catch {
                results.merge(await afterError(error, pending, group: group)) { $1 }
                return results
            }
        }
        return results
    }

    /// Sorts out a conflict; what is left can be tried again without the checkpoints that conflicted.
    private func settle(
        _ writes: [CheckpointWrite], group: String, current: [StoreKey: StoredValue?], fence: Fence,
        into results: inout [TopicPartition: CheckpointWriteResult]
    ) -> [CheckpointWrite] {
        let fenceNow = (current[fence.key] ?? nil)?.revision ?? 0
        guard fenceNow == fence.revision else {
            for write in writes { results[write.partition] = .fenced }
            return []
        }
        return writes.filter { write in
            let now = current[Self.key(group: group, write.partition)] ?? nil
            guard (now?.revision ?? 0) != write.expectedRevision else { return true }
            if let now, now.bytes == CheckpointCodec.encode(write.checkpoint) {
                results[write.partition] = .saved(revision: now.revision)
            } else {
                results[write.partition] = .superseded(now.map(Self.decode))
            }
            return false
        }
    }

    /// An ambiguous answer is never taken for a no: one's own value in the store counts as success. One read for all of them:
    /// a store that hangs must not be waited for once for each.
    private func afterError(_ error: StoreError, _ writes: [CheckpointWrite], group: String) async -> [TopicPartition: CheckpointWriteResult] {
        var results = Dictionary(uniqueKeysWithValues: writes.map { ($0.partition, CheckpointWriteResult.failed(error)) })
        guard error.kind == .ambiguous else { return results }
        do throws(StoreError) {
            let prefix = writes.count == 1 ? nil : StoreKey(segments: Array(Self.key(group: group, writes[0].partition).segments.dropLast(2)))
            let listed = if let prefix { try await store.list(under: prefix).entries } else { [StoreKey: StoredValue]() }
            for write in writes {
                let key = Self.key(group: group, write.partition)
                let now = prefix == nil ? try await store.get(key) : listed[key]
                if let now, now.bytes == CheckpointCodec.encode(write.checkpoint) { results[write.partition] = .saved(revision: now.revision) }
            }
        } catch {}
        return results
    }
}
