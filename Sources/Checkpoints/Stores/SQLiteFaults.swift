import GRDB
import Synchronization

/// What SQLite's result codes mean to a caller of the store (https://www.sqlite.org/rescode.html).
enum SQLiteFaults {
    enum Access: Sendable { case open, read, write }

    /// - Parameter trust: told of errors after which the file can't be believed.
    static func storeError(_ error: any Error, path: String, access: Access, trust: FileTrust) -> StoreError {
        if let error = error as? StoreError { return error }
        if let damaged = error as? SQLiteTables.Damaged {
            return StoreError(
                .corrupt, store: path, message: "\(damaged.what) in the file; restore it, or move it away to start anew")
        }
        guard let error = error as? DatabaseError else {
            return StoreError(access == .write ? .ambiguous : .unavailable, store: path, message: "\(error)")
        }
        let detail = "SQLite: \(error.message ?? "no message") (\(error.extendedResultCode.rawValue))"
        switch error.resultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL:
            return StoreError(.unavailable, store: path, message: "locked by another process for too long; \(detail)")
        case .SQLITE_FULL:
            return StoreError(.refused, store: path, message: "the disk is full, free some space; \(detail)")
        case .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
            return StoreError(
                .refused, store: path, message: "no right to write; the file and its directory must be writable; \(detail)")
        case .SQLITE_CANTOPEN:
            return StoreError(
                access == .open ? .misconfigured : .refused, store: path,
                message: "can't be opened; does its directory exist, and may this user write there? \(detail)")
        case .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return StoreError(
                .corrupt, store: path,
                message: "damaged or no SQLite file; restore it, or move it away to start anew; \(detail)")
        case .SQLITE_IOERR:
            return ioError(error, detail: detail, path: path, access: access, trust: trust)
        default:
            return StoreError(.refused, store: path, message: detail)
        }
    }

    private static func ioError(
        _ error: DatabaseError, detail: String, path: String, access: Access, trust: FileTrust
    ) -> StoreError {
        switch error.extendedResultCode {
        case .SQLITE_IOERR_SHMSIZE, .SQLITE_IOERR_SHMOPEN, .SQLITE_IOERR_SHMMAP, .SQLITE_IOERR_NOMEM:
            // The lock table beside the file could not grow: no data was touched.
            return StoreError(.refused, store: path, message: "no room for the lock table; is the disk full? \(detail)")
        default:
            trust.lose(because: detail)
            // Whether a commit got through is for the file's next reader to find out.
            return StoreError(access == .write ? .ambiguous : .corrupt, store: path, message: trust.message ?? detail)
        }
    }
}

/// Whether the file may still be believed. Linux reports a failed write-back once: after that, reading may show what never
/// reached the disk, and a repeated fsync may claim success. So one I/O error ends the trust of this process for good.
final class FileTrust: Sendable {
    private let reason = Mutex<String?>(nil)

    func lose(because reason: String) {
        self.reason.withLock { $0 = $0 ?? reason }
    }

    /// nil while nothing happened.
    var message: String? {
        reason.withLock { reason in
            reason.map { "not trusted any more after an I/O error (\($0)); check the disk and the file, then restart" }
        }
    }
}
