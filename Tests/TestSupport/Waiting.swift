import Foundation

/// What a test waited for did not happen in time.
public struct TestTimeout: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// Waits until `condition` holds, asking every 5 ms. Throws `TestTimeout` after `timeout`.
public func eventually(
    _ what: String, timeout: Duration = .seconds(10), _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + timeout
    while try await !condition() {
        guard ContinuousClock.now < deadline else { throw TestTimeout("not within \(timeout): \(what)") }
        try await Task.sleep(for: .milliseconds(5))
    }
}

/// Runs blocking work on a thread of its own, so that it takes none of Swift's few shared ones.
public func onOwnThread<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        let thread = Thread { continuation.resume(with: Result { try body() }) }
        thread.start()
    }
}

/// Holds an action of a test back while `condition` is true, also when the action is cancelled: what has been sent can't be called back. Ends
/// after `limit` all the same, so that a test that fails half-way does not hang.
public func hold(upTo limit: Duration = .seconds(30), while condition: () -> Bool) async {
    let deadline = ContinuousClock.now + limit
    while condition(), ContinuousClock.now < deadline {
        // A task of its own: a cancelled one's sleep ends at once.
        await Task.detached { try? await Task.sleep(for: .milliseconds(5)) }.value
    }
}
