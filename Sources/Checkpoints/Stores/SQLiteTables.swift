import Foundation
import GRDB

/// The file's schema and the statements on it. Nothing here opens transactions but `create`.
enum SQLiteTables {
    /// `PRAGMA application_id`: "SWBK" in ASCII.
    static let applicationID: Int64 = 0x5357_424B
    /// `PRAGMA user_version`: grows with each change of the tables.
    static let schemaVersion: Int64 = 1

    /// A value that these tables can't hold, read from them.
    struct Damaged: Error {
        let what: String
    }

    /// Makes the tables. Inside a transaction, so that another process sees all of it or nothing.
    static func create(in database: Database) throws {
        try database.execute(
            sql: """
                CREATE TABLE entry (
                    key BLOB NOT NULL PRIMARY KEY,
                    value BLOB NOT NULL,
                    revision INTEGER NOT NULL CHECK (revision > 0)
                ) STRICT, WITHOUT ROWID;
                CREATE TABLE counter (only INTEGER PRIMARY KEY CHECK (only = 1), revision INTEGER NOT NULL) STRICT;
                INSERT INTO counter VALUES (1, 0);
                PRAGMA application_id = \(applicationID);
                PRAGMA user_version = \(schemaVersion);
                """)
    }

    static func revision(in database: Database) throws -> Int64 {
        let row = try Row.fetchOne(database.cachedStatement(sql: "SELECT revision FROM counter WHERE only = 1"))
        guard let revision = row.flatMap({ Int64.fromDatabaseValue($0["revision"]) }), revision >= 0, revision < .max else {
            throw Damaged(what: "no usable revision counter")
        }
        return revision
    }

    static func value(of key: StoreKey, in database: Database) throws -> StoredValue? {
        let statement = try database.cachedStatement(sql: "SELECT value, revision FROM entry WHERE key = ?")
        guard let row = try Row.fetchOne(statement, arguments: [Data(key.escaped.utf8)]) else { return nil }
        return try storedValue(row)
    }

    static func entries(under prefix: StoreKey, in database: Database) throws -> [StoreKey: StoredValue] {
        let columns = "SELECT key, value, revision FROM entry"
        let rows: RowCursor
        if prefix.segments.isEmpty {
            rows = try Row.fetchCursor(database.cachedStatement(sql: columns))
        } else {
            // "0" comes right after "/" in ASCII.
            let range = [Data((prefix.escaped + "/").utf8), Data((prefix.escaped + "0").utf8)]
            let statement = try database.cachedStatement(sql: columns + " WHERE key >= ? AND key < ?")
            rows = try Row.fetchCursor(statement, arguments: StatementArguments(range))
        }
        var entries: [StoreKey: StoredValue] = [:]
        while let row = try rows.next() {
            guard let bytes = Data.fromDatabaseValue(row["key"]), let text = String(validating: bytes, as: UTF8.self),
                let key = StoreKey(escaped: text)
            else { throw Damaged(what: "a key that Switchback never writes") }
            if key.isUnder(prefix) { entries[key] = try storedValue(row) }
        }
        return entries
    }

    static func apply(_ transaction: StoreTransaction, in database: Database) throws -> StoreOutcome {
        var found: [StoreKey: StoredValue?] = [:]
        for key in transaction.expected.keys { found[key] = .some(try value(of: key, in: database)) }
        guard transaction.expected.allSatisfy({ key, revision in (found[key]??.revision ?? 0) == revision }) else {
            return .conflict(found)
        }
        let current = try revision(in: database)
        let next = current + 1
        var changes = 0
        for (key, write) in transaction.writes {
            switch write {
            case .put(let bytes):
                try database.cachedStatement(
                    sql: """
                        INSERT INTO entry (key, value, revision) VALUES (?, ?, ?)
                        ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision
                        """
                ).execute(arguments: [Data(key.escaped.utf8), Data(bytes), next])
            case .delete:
                try database.cachedStatement(sql: "DELETE FROM entry WHERE key = ?")
                    .execute(arguments: [Data(key.escaped.utf8)])
            }
            changes += database.changesCount
        }
        guard changes > 0 else { return .committed(revision: current) }
        try database.cachedStatement(sql: "UPDATE counter SET revision = ? WHERE only = 1").execute(arguments: [next])
        return .committed(revision: next)
    }

    private static func storedValue(_ row: Row) throws -> StoredValue {
        guard let bytes = Data.fromDatabaseValue(row["value"]), let revision = Int64.fromDatabaseValue(row["revision"]) else {
            throw Damaged(what: "a value of the wrong type")
        }
        return StoredValue(bytes: Array(bytes), revision: revision)
    }
}
