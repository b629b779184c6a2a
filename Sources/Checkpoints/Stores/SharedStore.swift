/// What Switchback asks of a store that every datacenter shares: linearizable reads, compare-and-swap transactions,
/// and hints of change. etcd, SQLite and the in-memory store of the tests all mean the same by it.

/// A key in the shared store: path segments below Switchback's prefix. Segments may hold any text; the stores that write
/// keys as paths escape `/` and `%` (`escaped`), so that no group or topic name can reach into another's range.
/// Keys are equal when their bytes are: `é` as one scalar and as two are two names to Kafka, so they are two here.
public struct StoreKey: Hashable, Sendable, Comparable, CustomStringConvertible {
    public let segments: [String]
    public init(_ segments: String...) { self.segments = segments }
    public init(segments: [String]) { self.segments = segments }

    /// `a/b/c` with `%` and `/` inside a segment written as `%25` and `%2F`; the inverse of `init(escaped:)`.
    public var escaped: String { segments.map(Self.escape).joined(separator: "/") }

    /// nil when `escaped` holds an escape that `escaped` never writes.
    public init?(escaped: String) {
        var segments: [String] = []
        for part in escaped.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            guard let segment = Self.unescape(part) else { return nil }
            segments.append(segment)
        }
        self.segments = segments
    }

    /// Whether this key begins with all segments of `prefix` and has more after them. Whole segments: `ab` is not under `a`.
    public func isUnder(_ prefix: StoreKey) -> Bool {
        segments.count > prefix.segments.count
            && zip(segments, prefix.segments).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
    }

    // Bytes, not characters: a `/` before a combining accent is one Character that equals no "/", yet it is a path
    // separator to every store.
    private static func escape(_ segment: String) -> String {
        guard segment.utf8.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "%") }) else { return segment }
        var bytes: [UInt8] = []
        for byte in segment.utf8 {
            switch byte {
            case UInt8(ascii: "%"): bytes += "%25".utf8
            case UInt8(ascii: "/"): bytes += "%2F".utf8
            default: bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func unescape(_ part: Substring.UTF8View) -> String? {
        var bytes: [UInt8] = []
        var rest = part
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            if rest.starts(with: "25".utf8) {
                bytes.append(UInt8(ascii: "%"))
            } else if rest.starts(with: "2F".utf8) {
                bytes.append(UInt8(ascii: "/"))
            } else {
                return nil
            }
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    public var description: String { escaped }

    public static func == (a: StoreKey, b: StoreKey) -> Bool {
        a.segments.count == b.segments.count
            && zip(a.segments, b.segments).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
    }

    public func hash(into hasher: inout Hasher) {
        for segment in segments {
            var segment = segment
            segment.withUTF8 { bytes in
                hasher.combine(bytes.count)
                hasher.combine(bytes: UnsafeRawBufferPointer(bytes))
            }
        }
    }

    public static func < (a: StoreKey, b: StoreKey) -> Bool {
        for (left, right) in zip(a.segments, b.segments) where !left.utf8.elementsEqual(right.utf8) {
            return left.utf8.lexicographicallyPrecedes(right.utf8)
        }
        return a.segments.count < b.segments.count
    }
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

/// Where transactions on single keys are made.
public protocol TransactionStore: Sendable {
    /// A short name for messages: endpoints or file path, without credentials.
    var name: String { get }

    /// Applies `transaction` atomically. At most `maximumTransactionSize` keys, counted over `expected` and `writes`
    /// together; a larger one is a `refused` error before anything is sent.
    func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome

    /// Most keys in one transaction (etcd's `--max-txn-ops` is 128 unless changed).
    var maximumTransactionSize: Int { get }

    /// Gives back connections, files and threads. Calls after it fail with `unavailable`, or open them again.
    func close() async
}

/// The store itself. Every call ends within the store's request timeout (a setting of each store), by an answer or by a
/// `StoreError`. Correctness rests on `commit` alone; `changes` only makes things quick.
public protocol SharedStore: TransactionStore {
    /// Linearizable read of one key; nil when it does not exist.
    func get(_ key: StoreKey) async throws(StoreError) -> StoredValue?

    /// Linearizable read of every key that begins with the segments of `prefix` (whole segments; `prefix` itself excluded).
    func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing

    /// Yields whenever something under `prefix` may have changed. Only a hint: it may repeat, lag, or miss changes, and it
    /// restarts by itself after errors and compactions; readers keep a periodic `list` behind it. Ends when cancelled.
    func changes(under prefix: StoreKey) -> AsyncStream<Void>
}
