import Checkpoints
import Foundation
import Synchronization
import TestSupport
import Testing

/// The three stores, for tests that must hold on each.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case inMemory, sqlite, etcd

    /// Without etcd where it is not installed, saying so.
    static var available: [StoreKind] {
        if EtcdServer.isInstalled { return allCases }
        print("SKIPPED with etcd: \(EtcdServer.executable) is not installed (apt-get install etcd-server)")
        return [.inMemory, .sqlite]
    }

    var testDescription: String { rawValue }

    /// Runs `body` on two clients of one new, empty store, and closes both.
    func withStores(_ body: (any SharedStore, any SharedStore) async throws -> Void) async throws {
        var directory: URL?
        let (one, two): (any SharedStore, any SharedStore)
        switch self {
        case .inMemory:
            let store = InMemoryStore()
            (one, two) = (store, store.handle(named: "other"))
        case .sqlite:
            let path = try storeDirectory()
            directory = path
            let file = path.appending(path: "store.db").path
            (one, two) = (try await SQLiteStore.open(path: file), try await SQLiteStore.open(path: file))
        case .etcd:
            let server = try await SharedEtcd.server()
            var configuration = server.configuration()
            configuration.prefix = "/test-\(UUID().uuidString)/"
            (one, two) = (try EtcdStore(configuration), try EtcdStore(configuration))
        }
        let result: Result<Void, any Error>
        do { result = .success(try await body(one, two)) } catch { result = .failure(error) }
        await one.close()
        await two.close()
        if let directory { try? FileManager.default.removeItem(at: directory) }
        try result.get()
    }
}

/// One etcd for all tests that don't disturb it; it ends with the process.
actor SharedEtcd {
    private static let shared = SharedEtcd()
    private var starting: Task<EtcdServer, any Error>?

    static func server() async throws -> EtcdServer { try await shared.get() }

    private func get() async throws -> EtcdServer {
        let task = starting ?? Task { try await EtcdServer.start() }
        starting = task
        return try await task.value
    }
}

extension EtcdServer {
    func configuration(timeout: Duration = .seconds(10)) -> EtcdConfiguration {
        EtcdConfiguration(endpoints: ports.map { .init(host: "127.0.0.1", port: $0) }, requestTimeout: timeout)
    }
}

func storeDirectory() throws -> URL {
    let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-store-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    return directory
}

/// Runs a command and returns its exit status and output.
@discardableResult
func runCommand(
    _ command: String, _ arguments: [String], input: String? = nil
) async throws -> (status: Int32, output: String) {
    try await offPool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command)
        process.arguments = arguments
        let (stdin, stdout) = (Pipe(), Pipe())
        process.standardInput = stdin
        process.standardOutput = stdout
        process.standardError = stdout
        try launch(process)
        if let input { try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8)) }
        try stdin.fileHandleForWriting.close()
        let output = String(decoding: stdout.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, output)
    }
}

/// Counts the hints of a stream, and lets tests wait for them.
final class HintCounter: Sendable {
    private final class State: Sendable {
        let value = Mutex((count: 0, ended: false))
    }

    private let state = State()
    private let task: Task<Void, Never>

    init(_ stream: AsyncStream<Void>) {
        task = Task { [state] in
            for await _ in stream { state.value.withLock { $0.count += 1 } }
            state.value.withLock { $0.ended = true }
        }
    }

    deinit { task.cancel() }

    var count: Int { state.value.withLock { $0.count } }
    var ended: Bool { state.value.withLock { $0.ended } }
    func cancel() { task.cancel() }
}

/// Waits until `condition` holds; false when it does not within `timeout`.
func eventually(within timeout: Duration = .seconds(5), _ condition: () async throws -> Bool) async rethrows -> Bool {
    let deadline = ContinuousClock.now + timeout
    while ContinuousClock.now < deadline {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return try await condition()
}

/// The error's kind, or nil when `body` succeeds.
func storeError(_ body: () async throws -> Void) async -> StoreError? {
    do {
        try await body()
        return nil
    } catch let error as StoreError {
        return error
    } catch {
        Issue.record("\(error) is no StoreError")
        return nil
    }
}

extension SharedStore {
    /// Puts without expectations.
    @discardableResult
    func put(_ key: StoreKey, _ text: String) async throws -> Int64 {
        guard case .committed(let revision) = try await commit(StoreTransaction(writes: [key: .put(Array(text.utf8))])) else {
            throw StoreError(.corrupt, store: name, message: "a put without expectations met a conflict")
        }
        return revision
    }

    /// Adds one to the number under `key` by compare-and-swap, as often as it takes.
    func increment(_ key: StoreKey) async throws {
        while true {
            let found = try await get(key)
            let number = found.flatMap { Int(String(decoding: $0.bytes, as: UTF8.self)) } ?? 0
            let outcome = try await commit(
                StoreTransaction(expected: [key: found?.revision ?? 0], writes: [key: .put(Array("\(number + 1)".utf8))]))
            if case .committed = outcome { return }
        }
    }
}

extension StoredValue {
    var text: String { String(decoding: bytes, as: UTF8.self) }
}
