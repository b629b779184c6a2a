import Foundation
import KafkaLog
import LocalKafka
import Logging
import TestSupport
import Testing

@testable import Mirror

let quiet: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = ProcessInfo.processInfo.environment["MIRROR_TEST_LOG"] == nil ? .critical : .debug
    return logger
}()

func datacenter(_ name: String) throws -> Datacenter { try #require(Datacenter(name)) }

/// Two clusters, each in a directory of its own, which goes with them.
struct Pair {
    let eqiad: LocalKafkaCluster
    let codfw: LocalKafkaCluster

    func configuration(lag: Duration = .zero, back: Bool = false) throws -> MirrorConfiguration {
        try Pair.configuration(
            back ? codfw.bootstrapServers : eqiad.bootstrapServers, back ? eqiad.bootstrapServers : codfw.bootstrapServers,
            lag: lag, back: back)
    }

    static func configuration(
        _ source: String, _ target: String, lag: Duration = .zero, back: Bool = false
    ) throws -> MirrorConfiguration {
        var configuration = MirrorConfiguration(
            from: try datacenter(back ? "codfw" : "eqiad"), sourceBootstrapServers: [source],
            to: try datacenter(back ? "eqiad" : "codfw"), targetBootstrapServers: [target], lag: lag)
        configuration.discoveryInterval = .milliseconds(100)
        configuration.commitInterval = .milliseconds(200)
        configuration.requestTimeout = .seconds(2)
        configuration.drainLimit = .seconds(2)
        configuration.logger = quiet
        return configuration
    }

    /// Runs a mirror beside `body`, and stops it in an orderly way after it.
    func withMirror<Result>(
        _ configuration: MirrorConfiguration, _ body: (Mirror) async throws -> Result
    ) async throws -> Result {
        let mirror = Mirror(configuration)
        let task = Task { try await mirror.run() }
        do {
            let result = try await body(mirror)
            mirror.stop()
            try await task.value
            return result
        } catch {
            mirror.stop()
            _ = await task.result
            throw error
        }
    }
}

func withPair<Result>(_ body: (Pair) async throws -> Result) async throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appending(path: "mirror-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: directory) }
    var clusters: [LocalKafkaCluster] = []
    do {
        for name in ["eqiad", "codfw"] {
            var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory.appending(path: name), brokers: try ownAddresses())
            try FileManager.default.createDirectory(at: configuration.dataDirectory, withIntermediateDirectories: true)
            configuration.logger = quiet
            clusters.append(try await LocalKafkaCluster.start(configuration))
        }
        let result = try await body(Pair(eqiad: clusters[0], codfw: clusters[1]))
        for cluster in clusters { await cluster.stop() }
        return result
    } catch {
        for cluster in clusters { await cluster.stop() }
        throw error
    }
}

/// Waits for a condition; says what was waited for when it does not come.
func eventually(
    _ what: String, seconds: Double = 20, _ location: SourceLocation = #_sourceLocation, _ condition: () throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
        if try condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("waited \(seconds) s for: \(what)", sourceLocation: location)
    throw TimedOut(what: what)
}

struct TimedOut: Error { let what: String }

extension LocalKafkaCluster {
    /// The next offset of a partition; 0 when it is not there.
    func end(_ topic: String, _ partition: Int32 = 0) -> Int64 { (try? status(topic, partition).nextOffset) ?? 0 }
}

/// What a mirror has to keep of a record.
struct Copy: Equatable {
    let timestamp: Int64
    let key: [UInt8]?
    let value: [UInt8]?
    let headers: [RecordHeader]
}

/// Reads a partition from its start to its end, through a client of its own. `count` records are expected.
func readAll(_ cluster: LocalKafkaCluster, _ topic: String, _ partition: Int32 = 0, count: Int) async throws -> [Copy] {
    let client = KafkaClientConfiguration(bootstrapServers: [cluster.bootstrapServers], clientID: "test", logger: quiet)
    let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
    let low = try cluster.status(topic, partition).logStart
    try await consumer.assign([
        TopicPartition(topic: topic, partition: partition): Position(low, in: try await consumer.clusterID())
    ])
    var copies: [Copy] = []
    let end = cluster.end(topic, partition)
    var next = low
    while next < end, copies.count < count + 1, let batch = try await consumer.nextBatch(deadline: .now + .seconds(3)) {
        for index in 0..<batch.count {
            let record = try batch.detached(at: index)
            next = record.position.offset + 1
            copies.append(
                Copy(
                    timestamp: record.timestamp?.milliseconds ?? -1, key: record.key, value: record.value,
                    headers: record.headers))
        }
    }
    try await consumer.close()
    return copies
}

func record(_ number: Int, time: Int64? = nil) -> RawRecord {
    RawRecord(
        timestamp: time ?? 1_700_000_000_000 + Int64(number), key: Array("k\(number % 7)".utf8), value: Array("v\(number)".utf8))
}

/// The numbers of records made by `record`.
func numbers(_ copies: [Copy]) -> [Int] {
    copies.compactMap { $0.value.flatMap { Int(String(decoding: $0.dropFirst(), as: UTF8.self)) } }
}
