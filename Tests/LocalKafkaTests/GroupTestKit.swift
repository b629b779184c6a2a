import Foundation
import Logging
import Synchronization
import TestSupport
import Testing

@testable import LocalKafka

/// Waits until `condition` holds, looking every few milliseconds. Returns false at the timeout.
func groupEventually(_ timeout: Duration = .seconds(20), _ condition: () async -> Bool) async -> Bool {
    let end = ContinuousClock.now + timeout
    while ContinuousClock.now < end {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(10))
    }
    return await condition()
}

/// Fails the test when `condition` does not come true in time. Not a closure inside `#expect`: in a
/// closure, Swift 6.3.1 gives one in a macro's argument the same symbol as another one, which then runs in its place.
func expectInGroup(
    _ comment: @autoclosure () -> String = "", timeout: Duration = .seconds(20),
    sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async -> Bool
) async {
    if await !groupEventually(timeout, condition) {
        Issue.record(Comment(rawValue: "not in time: \(comment())"), sourceLocation: sourceLocation)
    }
}

/// A cluster in a directory of its own.
func withGroupCluster<Result>(
    brokers: Int = 1, partitions: Int32 = 4, _ body: (LocalKafkaCluster, URL) async throws -> Result
) async throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("group-test-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: directory) }
    let cluster = try await startGroupCluster(in: directory, brokers: brokers)
    do {
        _ = try cluster.topics.create("t", partitions: partitions, configuration: [:])
        let result = try await body(cluster, directory)
        await cluster.stop()
        return result
    } catch {
        await cluster.stop()
        throw error
    }
}

func startGroupCluster(in directory: URL, brokers: Int = 1) async throws -> LocalKafkaCluster {
    var configuration = LocalKafkaCluster.Configuration(
        dataDirectory: directory, brokers: try ownAddresses(brokers))
    configuration.logger = Logger(label: "group-test") { _ in SwiftLogNoOpLogHandler() }
    return try await LocalKafkaCluster.start(configuration)
}

/// A client in a process of its own: its output is kept line by line, and it is killed when it is let go.
final class GroupClient: Sendable {
    private let lines = Mutex<(whole: [String], rest: String, ended: Bool)>(([], "", false))
    private let process: Process
    private let input: FileHandle

    init(_ executable: String, _ arguments: [String]) throws {
        process = Process()
        // Threads of Swift's pools block signals, and children inherit that: without this, terminate() does nothing.
        let unblock = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_SETMASK, []); os.execv(sys.argv[1], sys.argv[1:])"
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = ["-c", unblock, executable] + arguments
        let output = Pipe()
        let input = Pipe()
        process.standardOutput = output
        process.standardError = output
        process.standardInput = input
        self.input = input.fileHandleForWriting
        output.fileHandleForReading.readabilityHandler = { [weak self] handle in
            let data = handle.availableData
            guard !data.isEmpty else {
                self?.lines.withLock { $0.ended = true }
                return handle.readabilityHandler = nil
            }
            self?.take(String(decoding: data, as: UTF8.self))
        }
        try launch(process)
    }

    deinit { kill() }

    static func kcat(_ cluster: LocalKafkaCluster, _ arguments: [String]) throws -> GroupClient {
        try GroupClient("/usr/bin/kcat", ["-b", cluster.bootstrapServers] + arguments)
    }

    /// Debian's python3-kafka, which shares no code with librdkafka.
    static func python(_ script: String, _ arguments: [String]) throws -> GroupClient {
        try GroupClient("/usr/bin/python3", ["-c", script] + arguments)
    }

    private func take(_ text: String) {
        lines.withLock { lines in
            lines.rest += text
            while let end = lines.rest.firstIndex(of: "\n") {
                lines.whole.append(String(lines.rest[..<end]))
                lines.rest = String(lines.rest[lines.rest.index(after: end)...])
            }
        }
    }

    var output: [String] { lines.withLock { $0.whole } }

    func send(_ line: String) { try? input.write(contentsOf: Data((line + "\n").utf8)) }
    func endInput() { try? input.close() }
    func terminate() { if process.isRunning { process.terminate() } }
    func kill() { if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) } }

    /// The exit status once all output is read, or nil when it still runs at the timeout.
    func exit(within timeout: Duration = .seconds(20)) async -> Int32? {
        let over = await groupEventually(timeout) { !process.isRunning && lines.withLock { $0.ended } }
        return over ? process.terminationStatus : nil
    }
}

extension LocalKafkaCluster {
    /// Partitions of topic `t` by member, as the group's leader assigned them; nil unless the group is stable.
    func assignment(ofGroup groupID: String) -> [String: [Int32]]? {
        let group = groups.describe(groupID)
        guard group.state == .stable else { return nil }
        return Dictionary(uniqueKeysWithValues: group.members.map { ($0.memberID, assignedPartitions($0.assignment)) })
    }
}

/// Reads a ConsumerProtocolAssignment: version, topics with partitions.
func assignedPartitions(_ bytes: [UInt8]) -> [Int32] {
    var reader = WireReader(.init(bytes: bytes))
    var partitions: [Int32] = []
    do {
        _ = try reader.int16()
        for _ in 0..<(try reader.arrayCount()) {
            _ = try reader.string()
            partitions += try reader.array { try $0.int32() }
        }
    } catch {
        return []
    }
    return partitions.sorted()
}
