/// What Switchback asks of a store that every datacenter shares: linearizable reads, compare-and-swap transactions,
/// and hints of change. etcd, SQLite and the in-memory store of the tests all mean the same by it.

/// A key in the shared store: path segments below Switchback's prefix. Segments may hold any text; the stores that write
/// keys as paths escape `/` and `%` (`escaped`), so that no group or topic name can reach into another's range.
public struct StoreKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let segments: [String]
    public init(_ segments: String...) { self.segments = segments }
    public init(segments: [String]) { self.segments = segments }

    /// `a/b/c` with `%` and `/` inside a segment written as `%25` and `%2F`; the inverse of `init(escaped:)`.
    public var escaped: String {
        segments.map { $0.replacing("%", with: "%25").replacing("/", with: "%2F") }.joined(separator: "/")
    }

    /// nil when `escaped` holds an escape that `escaped` never writes.
    public init?(escaped: String) {
        var segments: [String] = []
        for part in escaped.split(separator: "/", omittingEmptySubsequences: false) {
            let plain = String(part.replacing("%2F", with: "/").replacing("%25", with: "%"))
            guard StoreKey(plain).escaped == part else { return nil }
            segments.append(plain)
        }
        self.segments = segments
    }

    public var description: String { escaped }
    public static func < (a: StoreKey, b: StoreKey) -> Bool { a.segments.lexicographicallyPrecedes(b.segments) }
}

/// A value and the revision of its last change. Revisions grow with every change anywhere in the store, never repeat, and
/// start at 1; 0 stands for "the key does not exist".
public struct StoredValue: Hashable, Sendable {
    public let bytes: [UInt8]
    public let revision: Int64
    public init(bytes: [UInt8], revision: Int64) {
        self.bytes = bytes
        self.revision = revision
    }
}

/// A transaction: if every key still has the revision that is expected of it, all writes are made at once, else none.
public struct StoreTransaction: Sendable {
    public enum Write: Sendable, Hashable {
        case put([UInt8])
        case delete
    }

    /// Key → revision it must have at the moment of the write (0: must not exist).
    public var expected: [StoreKey: Int64]
    public var writes: [StoreKey: Write]

    public init(expected: [StoreKey: Int64] = [:], writes: [StoreKey: Write] = [:]) {
        self.expected = expected
        self.writes = writes
    }
}

public enum StoreOutcome: Sendable, Hashable {
    /// All writes were made, at this revision: what every key put by this transaction now has as its own.
    case committed(revision: Int64)
    /// Nothing was written. The keys of `expected` as they stand now (nil: absent), read in the same transaction.
    case conflict([StoreKey: StoredValue?])
}

/// All entries of a range at one moment.
public struct StoreListing: Sendable {
    public let entries: [StoreKey: StoredValue]
    /// The store's revision at that moment; a watch begun after it misses nothing.
    public let revision: Int64
    public init(entries: [StoreKey: StoredValue], revision: Int64) {
        self.entries = entries
        self.revision = revision
    }
}

/// Why a store did not do as asked.
public struct StoreError: Error, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        /// The request never took effect: no connection, no leader, refused before it was sent. Trying again is safe.
        case unavailable
        /// It may or may not have been applied (timeout, connection lost after sending): read again before believing either.
        case ambiguous
        /// The store is there and says no: out of space, no permission, too large. Trying again needs someone's help.
        case refused
        /// What is stored can't be read: wrong format, damaged file.
        case corrupt
        /// The configuration or the credentials are wrong.
        case misconfigured
    }

    public let kind: Kind
    /// Where: an endpoint or a file.
    public let store: String
    /// What happened, and the next step where one is known; one line.
    public let message: String

    public init(_ kind: Kind, store: String, message: String) {
        self.kind = kind
        self.store = store
        self.message = message
    }

    public var isRetriable: Bool { kind == .unavailable || kind == .ambiguous }
    public var description: String { "checkpoint store \(store): \(message)" }
}

/// The store itself. Every call ends within the store's request timeout (a setting of each store), by an answer or by a
/// `StoreError`. Correctness rests on `commit` alone; `changes` only makes things quick.
public protocol SharedStore: Sendable {
    /// A short name for messages: endpoints or file path, without credentials.
    var name: String { get }

    /// Linearizable read of one key; nil when it does not exist.
    func get(_ key: StoreKey) async throws(StoreError) -> StoredValue?

    /// Linearizable read of every key that begins with the segments of `prefix` (whole segments; `prefix` itself excluded).
    func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing

    /// Applies `transaction` atomically. At most `maximumTransactionSize` keys, counted over `expected` and `writes`
    /// together; a larger one is a `refused` error before anything is sent.
    func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome

    /// Most keys in one transaction (etcd's `--max-txn-ops` is 128 unless changed).
    var maximumTransactionSize: Int { get }

    /// Yields whenever something under `prefix` may have changed. Only a hint: it may repeat, lag, or miss changes, and it
    /// restarts by itself after errors and compactions; readers keep a periodic `list` behind it. Ends when cancelled.
    func changes(under prefix: StoreKey) -> AsyncStream<Void>

    /// Gives back connections, files and threads. Calls after it fail with `unavailable`.
    func close() async
}
