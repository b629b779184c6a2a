import Foundation
import GRDB
import Synchronization

/// One SQLite connection on GRDB's own queue, with calls that end in time whatever the disk and other processes do.
final class SQLiteConnection: Sendable {
    /// The part of `requestTimeout` that a call may spend on other processes' locks, so that it can still say "locked"
    /// (nothing happened) before the timeout says "don't know".
    static let lockShare = 0.8
    /// Between two tries for a lock.
    static let lockRetryInterval: Duration = .milliseconds(2)
    /// Between two tries to open a file that another process is creating.
    static let openRetryInterval: Duration = .milliseconds(20)

    /// Which file it is, past its name.
    private struct Inode: Equatable {
        let device: UInt64
        let number: UInt64
        init?(path: String) {
            var status = stat()
            guard stat(path, &status) == 0 else { return nil }
            device = UInt64(status.st_dev)
            number = UInt64(status.st_ino)
        }
    }

    private let path: String
    private let requestTimeout: Duration
    private let queue: DatabaseQueue
    private let lockDeadline: LockDeadline
    private let inode: Inode?
    private let trust: FileTrust
    private let closed = Mutex(false)

    private init(
        path: String, requestTimeout: Duration, queue: DatabaseQueue, lockDeadline: LockDeadline, trust: FileTrust
    ) {
        self.path = path
        self.requestTimeout = requestTimeout
        self.queue = queue
        self.lockDeadline = lockDeadline
        self.inode = Inode(path: path)
        self.trust = trust
    }

    // MARK: Opening

    static func open(path: String, requestTimeout: Duration, openTimeout: Duration) async throws(StoreError) -> SQLiteConnection
    {
        let result: Result<SQLiteConnection, StoreError> = await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                continuation.resume(
                    returning: Result { () throws(StoreError) in
                        try openBlocking(path: path, requestTimeout: requestTimeout, openTimeout: openTimeout)
                    })
            }
        }
        return try result.get()
    }

    private static func openBlocking(
        path: String, requestTimeout: Duration, openTimeout: Duration
    ) throws(StoreError) -> SQLiteConnection {
        let directory = URL(fileURLWithPath: path).deletingLastPathComponent().path
        guard FileManager.default.fileExists(atPath: directory) else {
            throw StoreError(.misconfigured, store: path, message: "there is no directory \(directory); create it first")
        }
        let deadline = ContinuousClock.now + openTimeout
        while true {
            let (lockDeadline, trust) = (LockDeadline(), FileTrust())
            lockDeadline.set(deadline)
            do {
                var configuration = Configuration()
                configuration.label = "switchback.store"
                configuration.busyMode = .callback { _ in lockDeadline.waitForNextTry() }
                configuration.prepareDatabase { try $0.execute(sql: "PRAGMA synchronous = FULL") }
                let queue = try DatabaseQueue(path: path, configuration: configuration)
                try queue.inDatabase { try prepare($0, path: path) }
                return SQLiteConnection(
                    path: path, requestTimeout: requestTimeout, queue: queue, lockDeadline: lockDeadline, trust: trust)
            } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY && ContinuousClock.now < deadline {
                // SQLite answers BUSY at once, without asking the busy handler, while another process switches to WAL.
                sleep(openRetryInterval)
            } catch {
                throw SQLiteFaults.storeError(error, path: path, access: .open, trust: trust)
            }
        }
    }

    /// Checks whose file it is before anything is written into it, and makes the tables in a new one.
    private static func prepare(_ database: Database, path: String) throws {
        // One snapshot for all that is read: another process may be making the tables right now.
        var new = false
        try database.inTransaction(.deferred) {
            new = try isNew(database, path: path)
            return .commit
        }
        if new {
            try setWAL(database, path: path)
            try database.inTransaction(.immediate) {
                if try isNew(database, path: path) { try SQLiteTables.create(in: database) }
                return .commit
            }
        } else {
            try setWAL(database, path: path)
        }
        let report = try String.fetchOne(database, sql: "PRAGMA quick_check(1)")
        guard report == "ok" else {
            throw StoreError(
                .corrupt, store: path,
                message: "damaged (\(report ?? "no report")); restore it, or move it away to start anew")
        }
    }

    private static func isNew(_ database: Database, path: String) throws -> Bool {
        let (application, version, tables) = (
            try Int64.fetchOne(database, sql: "PRAGMA application_id") ?? 0,
            try Int64.fetchOne(database, sql: "PRAGMA user_version") ?? 0,
            try Int64.fetchOne(database, sql: "SELECT count(*) FROM sqlite_schema") ?? 0
        )
        if application == 0 && version == 0 && tables == 0 { return true }
        guard application == SQLiteTables.applicationID else {
            throw StoreError(
                .misconfigured, store: path, message: "this is another program's SQLite database; give a path of its own")
        }
        guard version <= SQLiteTables.schemaVersion else {
            throw StoreError(
                .corrupt, store: path,
                message: "written by a newer Switchback (format \(version), this one reads "
                    + "\(SQLiteTables.schemaVersion)); upgrade this one")
        }
        guard version == SQLiteTables.schemaVersion else {
            throw StoreError(.corrupt, store: path, message: "unknown format \(version); restore the file")
        }
        return false
    }

    private static func setWAL(_ database: Database, path: String) throws {
        let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
        guard mode == "wal" else {
            throw StoreError(
                .misconfigured, store: path,
                message: "this place allows no WAL mode (\(mode ?? "none")); use a local disk that can be written")
        }
    }

    // MARK: Calls

    /// Runs `body` in a transaction: `BEGIN IMMEDIATE` to write, a snapshot to read.
    func perform<Value: Sendable>(
        _ access: SQLiteFaults.Access, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        try await call(access) { database in
            var value: Value?
            try database.inTransaction(access == .write ? .immediate : .deferred) {
                value = try body(database)
                return .commit
            }
            // Never nil: `inTransaction` ran the closure or threw.
            guard let value else { throw StoreError(.unavailable, store: self.path, message: "no transaction was made") }
            return value
        }
    }

    /// Changes when another connection committed something.
    func dataVersion() async throws(StoreError) -> Int64 {
        try await call(.read) { try Int64.fetchOne($0, sql: "PRAGMA data_version") ?? 0 }
    }

    private func call<Value: Sendable>(
        _ access: SQLiteFaults.Access, _ body: @escaping @Sendable (Database) throws -> Value
    ) async throws(StoreError) -> Value {
        try check()
        let entered = ContinuousClock.now
        let result: Result<Value, StoreError> = await withCheckedContinuation { continuation in
            let call = BoundedCall(continuation, access: access, path: path, timeout: requestTimeout)
            DispatchQueue.global().asyncAfter(deadline: .now() + requestTimeout.inSeconds) { call.timeOut() }
            queue.asyncWriteWithoutTransaction { database in
                guard call.begin() else { return }
                call.finish(
                    Result { () throws(StoreError) in
                        try self.check()
                        self.lockDeadline.set(entered + self.requestTimeout * Self.lockShare)
                        do {
                            return try body(database)
                        } catch {
                            throw SQLiteFaults.storeError(error, path: self.path, access: access, trust: self.trust)
                        }
                    })
            }
        }
        return try result.get()
    }

    private func check() throws(StoreError) {
        if closed.withLock({ $0 }) { throw StoreError(.unavailable, store: path, message: "is closed") }
        if let message = trust.message { throw StoreError(.corrupt, store: path, message: message) }
        // SQLite would go on writing into a file that has lost its name, beside processes that made a new one.
        guard let inode, Inode(path: path) == inode else {
            throw StoreError(
                .corrupt, store: path,
                message: "the file was moved, deleted or replaced while in use; put it back, then restart")
        }
    }

    func close() async {
        let first = closed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        guard first else { return }
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            DispatchQueue.global().async { [queue] in
                // It fails only if statements are still in use, and then deinit closes the connection.
                try? queue.close()
                continuation.resume()
            }
        }
    }

    fileprivate static func sleep(_ duration: Duration) { Thread.sleep(forTimeInterval: duration.inSeconds) }
}

/// Until when the running call may wait for locks. Set on the connection's queue, read by SQLite's busy handler there.
private final class LockDeadline: Sendable {
    private let deadline = Mutex(ContinuousClock.now)

    func set(_ instant: ContinuousClock.Instant) { deadline.withLock { $0 = instant } }

    /// Sleeps a little; false when the time is up.
    func waitForNextTry() -> Bool {
        guard ContinuousClock.now < deadline.withLock({ $0 }) else { return false }
        SQLiteConnection.sleep(SQLiteConnection.lockRetryInterval)
        return true
    }
}

/// One call that is answered once: by its result, or by its timeout. A call that timed out before its turn never runs.
private final class BoundedCall<Value: Sendable>: Sendable {
    private enum Stage {
        case waiting(CheckedContinuation<Result<Value, StoreError>, Never>)
        case running(CheckedContinuation<Result<Value, StoreError>, Never>)
        case answered
    }

    private let stage: Mutex<Stage>
    private let access: SQLiteFaults.Access
    private let path: String
    private let timeout: Duration

    init(
        _ continuation: CheckedContinuation<Result<Value, StoreError>, Never>, access: SQLiteFaults.Access, path: String,
        timeout: Duration
    ) {
        self.stage = Mutex(.waiting(continuation))
        self.access = access
        self.path = path
        self.timeout = timeout
    }

    /// False when the call has timed out already.
    func begin() -> Bool {
        stage.withLock { stage in
            guard case .waiting(let continuation) = stage else { return false }
            stage = .running(continuation)
            return true
        }
    }

    func finish(_ result: Result<Value, StoreError>) {
        let continuation: CheckedContinuation<Result<Value, StoreError>, Never>? = stage.withLock { stage in
            guard case .running(let continuation) = stage else { return nil }
            stage = .answered
            return continuation
        }
        continuation?.resume(returning: result)
    }

    func timeOut() {
        let (continuation, error): (CheckedContinuation<Result<Value, StoreError>, Never>?, StoreError) = stage.withLock {
            stage in
            defer { stage = .answered }
            switch stage {
            case .waiting(let continuation):
                let message = "not its turn within \(timeout); the disk is slow"
                return (continuation, StoreError(.unavailable, store: path, message: message))
            case .running(let continuation):
                let kind: StoreError.Kind = access == .write ? .ambiguous : .unavailable
                return (continuation, StoreError(kind, store: path, message: "no answer of the disk within \(timeout)"))
            case .answered:
                return (nil, StoreError(.unavailable, store: path, message: ""))
            }
        }
        continuation?.resume(returning: .failure(error))
    }
}

extension Duration {
    var inSeconds: Double { self / .seconds(1) }
}
