import Foundation
import Logging

/// The shared store in etcd (3.4 or later), through its v3 JSON gateway.
///
/// Reads are linearizable (a quorum answers for them). A commit is one etcd transaction that compares the modification
/// revision of every expected key. A commit is sent to another endpoint only while it certainly had no effect: after a
/// timeout or a connection lost in the middle the answer is `ambiguous`.
public final class EtcdStore: SharedStore {
    /// Keys per answer of `list`; larger ranges are read in several answers at one revision.
    static let pageSize: Int64 = 500
    /// How often `list` begins anew because a compaction took its revision away.
    static let listAttempts = 3

    /// What one member says about itself.
    public struct Status: Sendable, Hashable {
        public let version: String
        public let hasLeader: Bool
        /// Size of the database file in bytes.
        public let databaseSize: Int64
        /// Alarms and other troubles, such as NOSPACE; empty when all is well. etcd before 3.4 has no such list.
        public let errors: [String]
    }

    /// The endpoints and the prefix, without credentials.
    public let name: String
    /// etcd's `--max-txn-ops` unless changed there.
    public let maximumTransactionSize = 128

    private let transport: EtcdTransport
    private let keys: EtcdKeys
    private let logger: Logger
    private let hints = ChangeHints()

    /// Makes no connection yet.
    /// - Throws: `misconfigured` for settings that can't work, such as an unreadable certificate.
    public init(_ configuration: EtcdConfiguration, logger: Logger = Logger(label: "switchback.store.etcd")) throws(StoreError)
    {
        name = configuration.name
        transport = try EtcdTransport(configuration: configuration, logger: logger)
        keys = EtcdKeys(prefix: configuration.prefix)
        self.logger = logger
    }

    public func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        try key.check(store: name)
        let answer: EtcdWire.RangeResponse = try await transport.call(
            "/v3/kv/range", EtcdWire.RangeRequest(key: keys.bytes(of: key)), effect: .read)
        return answer.kvs?.first?.stored
    }

    public func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        var attempt = 1
        while true {
            if let listing = try await listOnce(under: prefix) { return listing }
            attempt += 1
            guard attempt <= Self.listAttempts else {
                throw StoreError(
                    .unavailable, store: name,
                    message: "etcd compacts faster than the keys under \(prefix) can be read; "
                        + "use a longer --auto-compaction-retention")
            }
        }
    }

    /// nil when a compaction took the revision of the first page away before the last was read.
    private func listOnce(under prefix: StoreKey) async throws(StoreError) -> StoreListing? {
        let range = keys.range(under: prefix)
        var request = EtcdWire.RangeRequest(key: range.begin, range_end: range.end, limit: .init(Self.pageSize))
        var entries: [StoreKey: StoredValue] = [:]
        while true {
            let answer: EtcdWire.RangeResponse
            do throws(StoreError) {
                answer = try await transport.call("/v3/kv/range", request, effect: .read)
            } catch {
                guard request.revision != nil, error.message.contains("required revision has been compacted") else {
                    throw error
                }
                return nil
            }
            guard let revision = request.revision ?? answer.header?.revision else {
                throw StoreError(.corrupt, store: name, message: "etcd's answer has no revision; is that an etcd?")
            }
            let page = answer.kvs ?? []
            for pair in page {
                // Keys that Switchback never writes belong to someone else.
                if let key = keys.key(of: pair.key), key.isUnder(prefix) { entries[key] = pair.stored }
            }
            guard answer.more == true, let last = page.last else {
                return StoreListing(entries: entries, revision: revision.value)
            }
            request.key = last.key + [0]
            request.revision = revision
        }
    }

    public func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try transaction.check(limit: maximumTransactionSize, store: name)
        let expected = transaction.expected.keys.sorted()
        let request = EtcdWire.TransactionRequest(
            compare: expected.map { key in
                EtcdWire.Compare(key: keys.bytes(of: key), mod_revision: .init(transaction.expected[key] ?? 0))
            },
            success: transaction.writes.sorted { $0.key < $1.key }.map { key, write in
                let bytes = keys.bytes(of: key)
                switch write {
                case .put(let value): return EtcdWire.Operation(request_put: .init(key: bytes, value: Data(value)))
                case .delete: return EtcdWire.Operation(request_delete_range: .init(key: bytes))
                }
            },
            failure: expected.map { EtcdWire.Operation(request_range: .init(key: keys.bytes(of: $0))) })
        let answer: EtcdWire.TransactionResponse
        do throws(StoreError) {
            answer = try await transport.call(
                "/v3/kv/txn", request, effect: transaction.writes.isEmpty ? .read : .write)
        } catch {
            throw await settled(error, transaction)
        }
        if answer.succeeded == true {
            guard let revision = answer.header.revision else {
                throw StoreError(
                    .ambiguous, store: name, message: "etcd's answer to a commit has no revision; is that an etcd?")
            }
            return .committed(revision: revision.value)
        }
        // Nothing was written, so a wrong answer here is no ambiguity.
        guard let found = answer.responses, found.count == expected.count else {
            throw StoreError(
                .corrupt, store: name, message: "etcd's answer to a commit lacks the present values; is that an etcd?")
        }
        return .conflict(
            Dictionary(uniqueKeysWithValues: zip(expected, found).map { ($0, $1.response_range?.kvs?.first?.stored) }))
    }

    /// etcd checks its quota again when it applies a transaction, and then answers "space exceeded" although it applied it
    /// (`quotaApplierV3.Txn`). So that refusal is believed only when one of the written keys still has its old revision.
    private func settled(_ error: StoreError, _ transaction: StoreTransaction) async -> StoreError {
        guard error.kind == .refused, error.message.contains(EtcdFaults.noSpace) else { return error }
        for key in transaction.writes.keys {
            guard let revision = transaction.expected[key], case .put = transaction.writes[key] else { continue }
            do throws(StoreError) {
                if try await get(key)?.revision ?? 0 == revision { return error }
            } catch {
                logger.debug("can't tell whether a refused commit was applied", metadata: ["error": "\(error)"])
            }
            break
        }
        return StoreError(.ambiguous, store: name, message: error.message)
    }

    public func changes(under prefix: StoreKey) -> AsyncStream<Void> {
        let watch = EtcdWatch(transport: transport, range: keys.range(under: prefix), logger: logger)
        return hints.subscribe(to: prefix, repetition: { 1 }) { hint in await watch.run(hint) }
    }

    /// What the member that answers says about itself; for diagnosis only.
    public func status() async throws(StoreError) -> Status {
        let answer: EtcdWire.StatusResponse = try await transport.call(
            "/v3/maintenance/status", EtcdWire.StatusRequest(), effect: .read)
        return Status(
            version: answer.version ?? "unknown", hasLeader: (answer.leader ?? "0") != "0",
            databaseSize: answer.dbSize?.value ?? 0, errors: answer.errors ?? [])
    }

    public func close() async {
        hints.finish()
        await transport.close()
    }
}

/// A range of etcd keys: from `begin` up to but not with `end`.
struct EtcdRange: Sendable, Hashable {
    let begin: Data
    let end: Data
}

/// How keys are written: the prefix, then the escaped segments.
struct EtcdKeys: Sendable {
    let prefix: String

    func bytes(of key: StoreKey) -> Data { Data((prefix + key.escaped).utf8) }

    /// nil for a key that is not Switchback's.
    func key(of bytes: Data) -> StoreKey? {
        guard bytes.starts(with: prefix.utf8), let text = String(validating: bytes.dropFirst(prefix.utf8.count), as: UTF8.self)
        else { return nil }
        return StoreKey(escaped: text)
    }

    /// Every key that has the segments of `key` and more.
    func range(under key: StoreKey) -> EtcdRange {
        let begin = key.segments.isEmpty ? prefix : prefix + key.escaped + "/"
        // Both end with "/", and "0" comes right after it in ASCII.
        return EtcdRange(begin: Data(begin.utf8), end: Data(begin.utf8.dropLast()) + [UInt8(ascii: "0")])
    }
}
