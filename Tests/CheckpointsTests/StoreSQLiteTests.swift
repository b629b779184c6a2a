import Checkpoints
import Foundation
import TestSupport
import Testing

/// SQLite's file: other processes, and what can be wrong with it.
@Suite struct StoreSQLiteTests {
    private static let shell = "/usr/bin/sqlite3"
    private static var hasShell: Bool { FileManager.default.isExecutableFile(atPath: shell) }

    private func withFile(_ body: (String) async throws -> Void) async throws {
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory.appending(path: "store.db").path)
    }

    private func openError(_ path: String) async -> StoreError? {
        await storeError { await (try SQLiteStore.open(path: path)).close() }
    }

    @Test func staysAfterClosing() async throws {
        try await withFile { path in
            let store = try await SQLiteStore.open(path: path)
            let revision = try await store.put("k", "v")
            await store.close()
            let again = try await SQLiteStore.open(path: path)
            #expect(try await again.get("k") == StoredValue(bytes: Array("v".utf8), revision: revision))
            #expect(try await again.put("k", "w") == revision + 1)
            await again.close()
        }
    }

    /// Once seen: 1. A reads application_id 0, 2. B makes the tables, 3. A reads user_version 1: "another program's database".
    @Test func manyMayMakeTheFileAtOnce() async throws {
        for _ in 0..<5 {
            try await withFile { path in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            let store = try await SQLiteStore.open(path: path)
                            try await store.increment("opened")
                            await store.close()
                        }
                    }
                    try await group.waitForAll()
                }
                let store = try await SQLiteStore.open(path: path)
                #expect(try await store.get("opened")?.text == "8")
                await store.close()
            }
        }
    }

    @Test(.enabled(if: hasShell, "needs /usr/bin/sqlite3")) func contendsWithAnotherProcess() async throws {
        try await withFile { path in
            let store = try await SQLiteStore.open(path: path)
            try await store.put("mine", "0")
            let hints = HintCounter(store.changes(under: "theirs"))
            #expect(await eventually { hints.count == 1 })
            let theirs = """
                BEGIN IMMEDIATE;
                UPDATE counter SET revision = revision + 1;
                INSERT OR REPLACE INTO entry VALUES (CAST('theirs/n' AS BLOB),
                    CAST(CAST(coalesce((SELECT CAST(value AS TEXT) FROM entry WHERE key = CAST('theirs/n' AS BLOB)), '0') + 1 AS TEXT) AS BLOB),
                    (SELECT revision FROM counter));
                COMMIT;

                """
            let other = Task.detached {
                try await runCommand(
                    Self.shell, ["-bail", "-cmd", ".timeout 10000", path], input: String(repeating: theirs, count: 60))
            }
            for _ in 0..<60 { try await store.increment("mine") }
            let (status, output) = try await other.value
            #expect(status == 0, "\(output)")
            #expect(try await store.get("mine")?.text == "60")
            #expect(try await store.get("theirs/n")?.text == "60")
            #expect(try await store.list(under: StoreKey(segments: [])).revision == 121)
            #expect(await eventually { hints.count > 1 })
            await store.close()
        }
    }

    @Test(.enabled(if: hasShell, "needs /usr/bin/sqlite3")) func aLockHeldTooLongIsUnavailable() async throws {
        try await withFile { path in
            let store = try await SQLiteStore.open(path: path, settings: .init(requestTimeout: .seconds(10)))
            let hasty = try await SQLiteStore.open(path: path, settings: .init(requestTimeout: .seconds(2)))
            try await store.put("k", "v")
            let holder = try await SQLiteLock.hold(path)
            #expect(try await store.get("k")?.text == "v", "readers don't wait for writers")
            #expect(await storeError { try await hasty.put("k", "w") }?.kind == .unavailable)
            holder.release()
            try await store.put("k", "w")
            #expect(try await store.get("k")?.text == "w")
            await store.close()
            await hasty.close()
        }
    }

    @Test func aMissingDirectoryIsNamed() async throws {
        let error = await openError("/nonexistent/place/store.db")
        #expect(error?.kind == .misconfigured)
        #expect(error?.message.contains("no directory /nonexistent/place") == true)
    }

    @Test func noDatabaseIsCorrupt() async throws {
        try await withFile { path in
            let text = String(repeating: "this is no database\n", count: 100)
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            #expect(await openError(path)?.kind == .corrupt)
            #expect(try String(contentsOfFile: path, encoding: .utf8) == text, "a foreign file was written to")
        }
    }

    @Test func aDamagedFileIsCorrupt() async throws {
        try await withFile { path in
            let store = try await SQLiteStore.open(path: path)
            for batch in 0..<4 {
                let writes = (0..<100).map {
                    (StoreKey("n", "\(batch * 100 + $0)"), StoreTransaction.Write.put(.init(repeating: 1, count: 500)))
                }
                _ = try await store.commit(StoreTransaction(writes: Dictionary(uniqueKeysWithValues: writes)))
            }
            await store.close()
            let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
            for page in 3..<20 {
                try file.seek(toOffset: UInt64(page * 4096))
                try file.write(contentsOf: Data(repeating: 0xA5, count: 4096))
            }
            try file.close()
            #expect(await openError(path)?.kind == .corrupt)
        }
    }

    @Test(.enabled(if: hasShell, "needs /usr/bin/sqlite3")) func aNewerFormatIsRefusedUntouched() async throws {
        try await withFile { path in
            await (try SQLiteStore.open(path: path)).close()
            try await runCommand(Self.shell, [path, "PRAGMA user_version = 2"])
            let error = await openError(path)
            #expect(error?.kind == .corrupt)
            #expect(error?.message.contains("newer Switchback") == true)
            let version = try await runCommand(Self.shell, [path, "PRAGMA user_version"]).output
            #expect(version == "2\n")
        }
    }

    @Test(.enabled(if: hasShell, "needs /usr/bin/sqlite3")) func anotherProgramsDatabaseIsLeftAlone() async throws {
        try await withFile { path in
            try await runCommand(Self.shell, [path, "CREATE TABLE precious (a)"])
            let before = try Data(contentsOf: URL(fileURLWithPath: path))
            let error = await openError(path)
            #expect(error?.kind == .misconfigured)
            #expect(error?.message.contains("another program") == true)
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
        }
    }

    @Test func aFileThatLostItsNameIsNotWrittenTo() async throws {
        try await withFile { path in
            let store = try await SQLiteStore.open(path: path)
            try await store.put("k", "v")
            try FileManager.default.removeItem(atPath: path)
            #expect(await storeError { try await store.put("k", "w") }?.kind == .corrupt)
            #expect(await storeError { _ = try await store.get("k") }?.kind == .corrupt)
            await store.close()
        }
    }

    @Test func aFullDiskIsRefusedAndKeepsWhatIsThere() async throws {
        try await withSmallDisk { path, _ in
            let store = try await SQLiteStore.open(path: path)
            try await store.put("k", "kept")
            var refusal: StoreError?
            for index in 0..<100 where refusal == nil {
                refusal = await storeError {
                    _ = try await store.commit(
                        StoreTransaction(writes: [StoreKey("big", "\(index)"): .put(.init(repeating: 1, count: 50_000))]))
                }
            }
            #expect(refusal?.kind == .refused, "\(refusal as Any)")
            #expect(refusal?.message.contains("disk is full") == true)
            let listing = try await store.list(under: "big")
            #expect(try await store.get("k")?.text == "kept")
            #expect(listing.entries.values.allSatisfy { $0.bytes.count == 50_000 })
            await store.close()
        }
    }

    @Test func aReadOnlyDiskIsRefused() async throws {
        try await withSmallDisk { path, remount in
            let store = try await SQLiteStore.open(path: path)
            try await store.put("k", "v")
            await store.close()
            try await remount("ro")
            let error = await openError(path)
            #expect(error?.isRetriable == false)
            #expect(error?.message.contains("writ") == true, "\(error as Any)")
        }
    }

    /// A tmpfs of 1 MB. Needs root; says so and does nothing otherwise.
    private func withSmallDisk(_ body: (String, (String) async throws -> Void) async throws -> Void) async throws {
        let directory = try storeDirectory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let mount = try await runCommand("/bin/mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory.path])
        guard mount.status == 0 else {
            print("SKIPPED: a small disk needs the right to mount: \(mount.output)")
            return
        }
        let result: Result<Void, any Error>
        do {
            try await body(directory.appending(path: "store.db").path) { option in
                let remount = try await runCommand("/bin/mount", ["-o", "remount,\(option)", directory.path])
                #expect(remount.status == 0, "\(remount.output)")
            }
            result = .success(())
        } catch {
            result = .failure(error)
        }
        try await runCommand("/bin/umount", ["-l", directory.path])
        try result.get()
    }
}

/// A sqlite3 process that holds a file's write lock.
final class SQLiteLock {
    private let process: Process
    private let input: Pipe

    private init(process: Process, input: Pipe) {
        self.process = process
        self.input = input
    }

    static func hold(_ path: String) async throws -> SQLiteLock {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/sqlite3")
        process.arguments = ["-interactive", path]
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        try launch(process)
        try input.fileHandleForWriting.write(contentsOf: Data("BEGIN IMMEDIATE;\nSELECT 'locked ' || 'now';\n".utf8))
        let reader = output.fileHandleForReading
        try await offPool {
            var seen = ""
            while !seen.contains("locked now") {
                let data = reader.availableData
                guard !data.isEmpty else {
                    throw StoreError(.unavailable, store: path, message: "sqlite3 took no lock: \(seen)")
                }
                seen += String(decoding: data, as: UTF8.self)
            }
        }
        return SQLiteLock(process: process, input: input)
    }

    func release() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}
