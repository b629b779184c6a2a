import CBaseline
import Demo
import Foundation
@_spi(Measuring) import KafkaLog

/// Rows (a) and (b): reading through KafkaLog, count-only and with an async handler for each record, against C loops over
/// `rd_kafka_consume_batch_queue`, with KafkaLog's settings and with librdkafka's own.
struct ConsumeRow {
    /// Count-only, KafkaLog's records per second must be at least this part of the C loop's with the same settings, …
    static let floor = 0.97
    /// … with records of 512 bytes at least so many times that of one with librdkafka's own settings, …
    static let plainFloor = 1.25
    /// … and with an async handler for each record at least this part of the C loop's.
    static let handlerFloor = 0.8
    static let topic = "bench"
    /// What KafkaLog takes for brokers close by, as a child's arguments: were each side to look by itself, a busy moment could part them.
    static let near = KafkaConsumer.speedDefaultsOfNear.map { "\($0)=\($1)" }

    let servers: String
    let records: Int64
    let size: Int
    let partitions: Int32
    let settings: [String]

    private enum Side: String, CaseIterable {
        case c = "C, KafkaLog's settings"
        case counting = "KafkaLog, count-only"
        case handedOver = "KafkaLog, count-only on another thread"
        case handler = "KafkaLog, async handler each"
        case plain = "C, librdkafka's own settings"

        var reader: ConsumeChild.Reader {
            switch self {
            case .c: .c
            case .counting: .kafkaLog
            case .handedOver: .handedOver
            case .handler: .handler
            case .plain: .plainC
            }
        }
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// All sides in turn, each in a process of its own, after one run of each that warms the broker's page cache.
    func measure(runs: Int) throws -> RowResult {
        let results = try Rounds.measure(Side.allCases, runs: runs) { side in
            let result = try ChildRun.run(
                ConsumeChild.arguments(servers, Self.topic, partitions: partitions, records: records, settings: (side == .plain ? [] : Self.near) + settings, reader: side.reader))
            guard result.bytes == records * Int64(size) else { throw Failure(description: "\(result.bytes) bytes came to '\(side.rawValue)'") }
            return result
        }
        let broker = try (0..<runs).map { _ in try fetch() }
        var goals = [
            RowResult.Goal(what: "count-only to C loop, same settings", value: results.ratio(.counting, to: .c), atLeast: Self.floor),
            RowResult.Goal(what: "count-only on another thread to C loop, same settings", value: results.ratio(.handedOver, to: .c)),
            RowResult.Goal(
                what: "count-only to C loop, librdkafka's own settings", value: results.ratio(.counting, to: .plain),
                atLeast: size == 512 ? Self.plainFloor : nil),
            RowResult.Goal(what: "async handler to C loop, same settings", value: results.ratio(.handler, to: .c), atLeast: Self.handlerFloor),
        ]
        // Nothing is promised with a user's own settings.
        if !settings.isEmpty { goals = goals.map { RowResult.Goal(what: $0.what, value: $0.value) } }
        return RowResult(
            row: "a, b", name: "consume, \(size) bytes", load: "\(records) records of \(size) bytes, \(partitions) partitions, median of \(runs), each run a process of its own",
            sides: Side.allCases.map { results.side($0.rawValue, $0) } + [ChildResult.side("C, Fetch on a socket", broker)], goals: goals,
            remark: Rounds<Side>.remark)
    }

    /// What the broker gives when no client library is in the way: it must not be what the other lines measure.
    private func fetch() throws -> ChildResult {
        guard let colon = servers.lastIndex(of: ":"), let port = Int32(servers[servers.index(after: colon)...]) else {
            throw Failure(description: "'\(servers)' is no HOST:PORT")
        }
        var result = cbaseline_result()
        var error = [CChar](repeating: 0, count: 512)
        let host = String(servers[..<colon])
        guard cbaseline_fetch(host, port, Self.topic, partitions, records, &result, &error, error.count) == 0 else {
            throw Failure(description: "C fetch: \(CCall.text(error))")
        }
        return ChildResult(
            records: records, bytes: records * Int64(size), seconds: result.seconds, cpuSeconds: result.cpu_seconds, peak: 0, steady: 0)
    }
}
