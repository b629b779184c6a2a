import CBaseline
import Foundation
import KafkaLog

/// Rows (a) and (b): reading through KafkaLog, count-only and with an async handler for each record, against C loops over
/// `rd_kafka_consume_batch_queue`, with KafkaLog's settings and with librdkafka's own.
struct ConsumeRow {
    /// Count-only, KafkaLog's records per second must be at least this part of the C loop's with the same settings, …
    static let floor = 0.97
    /// … with records of 512 bytes at least so many times that of one with librdkafka's own settings, …
    static let plainFloor = 1.25
    /// … and with an async handler for each record at least this part of the C loop's.
    static let handlerFloor = 0.8
    private static let topic = "bench"
    private static let fillChunk: Int64 = 50_000

    let servers: String
    let records: Int64
    let size: Int
    let partitions: Int32
    let batch: Int
    let settings: [String: String]

    struct Sample {
        let seconds: Double
        let cpuSeconds: Double
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// Writes the records, evenly over the partitions.
    func fill() async throws {
        Figures.note("writing \(records) records of \(size) bytes")
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [servers]))
        for result in try await admin.createTopics([NewTopic(Self.topic, partitions: partitions)]).values { try result.get() }
        await admin.close()
        let producer = try KafkaProducer(
            KafkaClientConfiguration(bootstrapServers: [servers], settings: ["linger.ms": "20"]))
        let value = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for start in stride(from: 0, to: records, by: Int(Self.fillChunk)) {
            let chunk = (start..<Swift.min(start + Self.fillChunk, records)).map {
                ProducerRecord(topic: Self.topic, partition: Int32($0 % Int64(partitions)), value: value)
            }
            for result in await producer.send(contentsOf: chunk) { _ = try result.get() }
        }
        try await producer.close()
    }

    /// All sides in turn, after one run of each that warms the broker's page cache.
    func measure(runs: Int) async throws -> RowResult {
        var c: [Sample] = [], plain: [Sample] = [], ours: [Sample] = [], handled: [Sample] = []
        for run in 0...runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(runs)")
            let samples = (try runBaseline(), try runBaseline(isPlain: true), try await runKafkaLog(), try await runKafkaLog(isHandled: true))
            guard run > 0 else { continue }
            c.append(samples.0)
            plain.append(samples.1)
            ours.append(samples.2)
            handled.append(samples.3)
        }
        let broker = try (0..<runs).map { _ in try runFetch() }
        let base = Figures.median(c.map(\.seconds))
        func ratio(_ samples: [Sample]) -> Double { base / Figures.median(samples.map(\.seconds)) }
        var goals = [
            RowResult.Goal(what: "count-only to C loop, same settings", value: ratio(ours), atLeast: Self.floor),
            RowResult.Goal(
                what: "count-only to C loop, librdkafka's own settings", value: ratio(ours) / ratio(plain), atLeast: size == 512 ? Self.plainFloor : nil),
            RowResult.Goal(what: "async handler to C loop, same settings", value: ratio(handled), atLeast: Self.handlerFloor),
        ]
        if hasUserSettings { goals = goals.map { RowResult.Goal(what: $0.what, value: $0.value) } }
        return RowResult(
            row: "a, b", name: "consume", load: "\(records) records of \(size) bytes, \(partitions) partitions, median of \(runs)",
            sides: [
                side("C, KafkaLog's settings", c), side("C, librdkafka's own settings", plain), side("KafkaLog, count-only", ours),
                side("KafkaLog, async handler each", handled), side("C, Fetch on a socket", broker),
            ], goals: goals)
    }

    /// Then nothing is promised.
    private var hasUserSettings: Bool { !settings.isEmpty }

    private func side(_ name: String, _ samples: [Sample]) -> RowResult.Side {
        let rate = Double(records) / Figures.median(samples.map(\.seconds))
        return RowResult.Side(
            name: name, rate: rate, megabytesPerSecond: rate * Double(size) / 1e6,
            cpu: Figures.median(samples.map(\.cpuSeconds)) / Double(records) * 1e6)
    }

    private func runKafkaLog(isHandled: Bool = false) async throws -> Sample {
        let loop = KafkaLogLoop(
            servers: servers, topic: Self.topic, partitions: partitions, records: records, batch: batch, settings: settings, isHandled: isHandled)
        let result = try await loop.run()
        guard result.bytes == records * Int64(size) else { throw Failure(description: "\(result.bytes) bytes came") }
        return Sample(seconds: result.seconds, cpuSeconds: result.cpuSeconds)
    }

    private func runBaseline(isPlain: Bool = false) throws -> Sample {
        let loop = CLoop(
            servers: servers, topic: Self.topic, partitions: partitions, records: records, batch: batch, settings: settings, isPlain: isPlain)
        let result = try loop.run()
        guard result.value_bytes == records * Int64(size) else { throw Failure(description: "\(result.value_bytes) bytes came to the C loop") }
        return Sample(seconds: result.seconds, cpuSeconds: result.cpu_seconds)
    }

    /// What the broker gives when no client library is in the way: it must not be what the other lines measure.
    private func runFetch() throws -> Sample {
        guard let colon = servers.lastIndex(of: ":"), let port = Int32(servers[servers.index(after: colon)...]) else {
            throw Failure(description: "'\(servers)' is no HOST:PORT")
        }
        var result = cbaseline_result()
        var error = [CChar](repeating: 0, count: 512)
        let host = String(servers[..<colon])
        guard cbaseline_fetch(host, port, Self.topic, partitions, records, &result, &error, error.count) == 0 else {
            throw Failure(description: "C fetch: \(CCall.text(error))")
        }
        return Sample(seconds: result.seconds, cpuSeconds: result.cpu_seconds)
    }
}
