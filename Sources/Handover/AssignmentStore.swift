import Checkpoints
import KafkaLog

/// An assignment as it stands in the store, and the revision that the next change (and every checkpoint write under it)
/// must expect.
public struct StoredAssignment: Sendable, Hashable {
    public let assignment: Assignment
    public let revision: Int64

    public func fence(_ key: AssignmentKey) -> Fence { Fence(key: key.storeKey, revision: revision) }
}

/// What a change of an assignment came to.
public enum AssignmentChange: Sendable {
    case done(StoredAssignment)
    /// Somebody else changed it first: how it stands now.
    case conflict(StoredAssignment?)
}

/// Reads and changes assignments in the shared store; every change is a compare-and-swap, and leaves a line of history.
public struct AssignmentStore: Sendable {
    public let store: any SharedStore
    public init(_ store: any SharedStore) { self.store = store }

    public func load(_ key: AssignmentKey) async throws -> StoredAssignment? {
        guard let value = try await store.get(key.storeKey) else { return nil }
        return StoredAssignment(assignment: try Assignment(decoding: value.bytes), revision: value.revision)
    }

    /// All assignments of one group, by origin.
    public func load(group: String) async throws -> [Datacenter: StoredAssignment] {
        var found: [Datacenter: StoredAssignment] = [:]
        for (key, value) in try await store.list(under: StoreKey("assignments", group)).entries {
            guard key.segments.count == 3, let origin = Datacenter(key.segments[2]) else { continue }
            found[origin] = StoredAssignment(assignment: try Assignment(decoding: value.bytes), revision: value.revision)
        }
        return found
    }

    /// All groups that have an assignment.
    public func groups() async throws(StoreError) -> [String] {
        let keys = try await store.list(under: StoreKey("assignments")).entries.keys
        return Set(keys.compactMap { $0.segments.count == 3 ? $0.segments[1] : nil }).sorted()
    }

    /// Replaces what stood at `revision` (0: nothing). After an ambiguous answer it reads again: one's own value there counts
    /// as done, anything else is a conflict.
    public func change(_ key: AssignmentKey, to next: Assignment, expecting revision: Int64) async throws -> AssignmentChange {
        let bytes = next.encoded()
        let transaction = StoreTransaction(
            expected: [key.storeKey: revision], writes: [key.storeKey: .put(bytes), historyKey(key, next): .put(bytes)])
        let outcome: StoreOutcome
        do throws(StoreError) { outcome = try await store.commit(transaction) } catch {
            guard error.kind == .ambiguous else { throw error }
            let now = try await store.get(key.storeKey)
            guard now?.revision ?? 0 != revision else { throw error }
            return try conflict(now, own: bytes)
        }
        switch outcome {
        case .committed(let revision): return .done(StoredAssignment(assignment: next, revision: revision))
        case .conflict(let current): return try conflict(current[key.storeKey] ?? nil, own: bytes)
        }
    }

    private func conflict(_ current: StoredValue?, own: [UInt8]) throws -> AssignmentChange {
        guard let current else { return .conflict(nil) }
        let stored = StoredAssignment(assignment: try Assignment(decoding: current.bytes), revision: current.revision)
        return current.bytes == own ? .done(stored) : .conflict(stored)
    }

    private func historyKey(_ key: AssignmentKey, _ next: Assignment) -> StoreKey {
        let phase =
            switch next.phase {
            case .stable: "3-stable"
            case .draining: "4-draining"
            case .resuming: "1-resuming"
            }
        let epoch = String(next.epoch)
        return StoreKey(
            "history", key.group, key.origin.name, String(repeating: "0", count: max(0, 12 - epoch.count)) + epoch + "-" + phase)
    }

    /// Every state that the assignment has had, oldest first.
    public func history(_ key: AssignmentKey) async throws -> [Assignment] {
        let entries = try await store.list(under: StoreKey("history", key.group, key.origin.name)).entries
        return try entries.sorted { $0.key < $1.key }.map { try Assignment(decoding: $0.value.bytes) }
    }
}
