import Foundation
import GRDB
import Synchronization

/// A shared store in one SQLite file, for the processes of one machine: development, demonstrations, and a lone datacenter.
/// The file must be on a local disk; SQLite's locks don't hold on network file systems.
///
/// WAL mode, `synchronous=FULL` (a committed transaction survives a power cut), `BEGIN IMMEDIATE` for every commit. SQLite
/// tells no process about another's changes: `changes` asks `PRAGMA data_version` every `Settings.pollInterval`.
///
/// After an I/O error the store believes nothing more about its file (`FileTrust`): every later call fails with `corrupt`.
public final class SQLiteStore: SharedStore {
    public struct Settings: Sendable, Hashable {
        /// How long a call may take, waiting for its turn and for other processes' locks included.
        public var requestTimeout: Duration
        /// How long opening may take, waiting for other processes that create or recover the file included.
        public var openTimeout: Duration
        /// How often a reader of `changes` asks whether another process wrote.
        public var pollInterval: Duration

        public init(
            requestTimeout: Duration = .seconds(2), openTimeout: Duration = .seconds(10),
            pollInterval: Duration = .milliseconds(100)
        ) {
            self.requestTimeout = requestTimeout
            self.openTimeout = openTimeout
            self.pollInterval = pollInterval
        }
    }

    /// The file's path.
    public let name: String
    /// The same as etcd's, so that what works on one works on the other.
    public let maximumTransactionSize = 128

    private let settings: Settings
    private let connection: SQLiteConnection
    private let hints = ChangeHints()

    private init(path: String, settings: Settings, connection: SQLiteConnection) {
        self.name = path
        self.settings = settings
        self.connection = connection
    }

    /// Opens the file at `path`, creating it (but no directory) if it does not exist. Several processes may do so at once.
    /// - Throws: `misconfigured` for a path that can't be a store (no such directory, another program's database),
    ///   `corrupt` for a damaged file or one of a newer format, `refused` for missing rights or a full disk, `unavailable`
    ///   when other processes keep the file locked for `Settings.openTimeout`.
    public static func open(path: String, settings: Settings = Settings()) async throws(StoreError) -> SQLiteStore {
        let connection = try await SQLiteConnection.open(
            path: path, requestTimeout: settings.requestTimeout, openTimeout: settings.openTimeout)
        return SQLiteStore(path: path, settings: settings, connection: connection)
    }

    public func get(_ key: StoreKey) async throws(StoreError) -> StoredValue? {
        try key.check(store: name)
        return try await connection.perform(.read) { try SQLiteTables.value(of: key, in: $0) }
    }

    public func list(under prefix: StoreKey) async throws(StoreError) -> StoreListing {
        try await connection.perform(.read) { database in
            StoreListing(
                entries: try SQLiteTables.entries(under: prefix, in: database),
                revision: try SQLiteTables.revision(in: database))
        }
    }

    public func commit(_ transaction: StoreTransaction) async throws(StoreError) -> StoreOutcome {
        try transaction.check(limit: maximumTransactionSize, store: name)
        let outcome = try await connection.perform(.write) { try SQLiteTables.apply(transaction, in: $0) }
        if case .committed = outcome { hints.changed(transaction.writes.keys) }
        return outcome
    }

    /// The first hint comes with the first look at the file, since other processes may have written meanwhile.
    public func changes(under prefix: StoreKey) -> AsyncStream<Void> {
        let (connection, interval) = (self.connection, settings.pollInterval)
        return hints.subscribe(to: prefix, repetition: { 1 }) { hint in
            var seen: Int64?
            while !Task.isCancelled {
                // An error here is the next read's to report; a hint would only bring that read forward.
                if let version = try? await connection.dataVersion(), version != seen {
                    seen = version
                    hint()
                }
                try? await Task.sleep(for: interval)
            }
        }
    }

    public func close() async {
        hints.finish()
        await connection.close()
    }
}
