import Foundation
import LocalKafka
import Logging
import Synchronization
import TestSupport

/// A configuration for a cluster of `brokers` brokers on free ports, silent but for errors.
func testConfiguration(_ directory: TemporaryDirectory, brokers: Int = 1) -> LocalKafkaCluster.Configuration {
    var configuration = LocalKafkaCluster.Configuration(
        dataDirectory: directory.file("data"), brokers: Array(repeating: .init(), count: brokers))
    configuration.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
    return configuration
}

/// Runs `body` with a cluster in a directory of its own, and stops it at the end.
func withCluster<T>(
    brokers: Int = 1, _ configure: (inout LocalKafkaCluster.Configuration) -> Void = { _ in },
    _ body: (LocalKafkaCluster) async throws -> T
) async throws -> T {
    let directory = try TemporaryDirectory()
    var configuration = testConfiguration(directory, brokers: brokers)
    configuration.brokers = try ownAddresses(brokers)
    configure(&configuration)
    let cluster = try await LocalKafkaCluster.start(configuration)
    do {
        let result = try await body(cluster)
        await cluster.stop()
        return result
    } catch {
        await cluster.stop()
        throw error
    }
}

extension LocalKafkaCluster {
    func rawClient(broker: Int = 0, timeout: Int = 10) throws -> RawClient {
        try RawClient(port: brokerAddresses[broker].port, timeout: timeout)
    }
}

/// A batch with one record per timestamp.
func batch(_ timestamps: [Int64], value: [UInt8] = [118]) -> [UInt8] {
    RecordBatchBuilder(records: timestamps.map { RawRecord(timestamp: $0, value: value) }).bytes()
}

/// Keeps what is logged, for tests that look for a line.
final class LogRecorder: Sendable {
    private let lines = Mutex<[String]>([])
    var messages: [String] { lines.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in Handler(recorder: self) } }

    private struct Handler: LogHandler {
        let recorder: LogRecorder
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) {
            recorder.lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
        }
    }
}

/// A clock that a test sets.
final class TestClock: Sendable {
    private let value: Mutex<Int64>
    init(_ now: Int64) { value = Mutex(now) }
    var now: Int64 {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}
