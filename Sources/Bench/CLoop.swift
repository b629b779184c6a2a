import CBaseline
import Foundation
import KafkaLog

/// The plain C loop over `rd_kafka_consume_batch_queue`, with the settings that KafkaLog uses.
struct CLoop {
    let servers: String
    let topic: String
    let partitions: Int32
    let records: Int64
    let batch: Int
    var settings: [String: String] = [:]
    /// Without those of KafkaLog's own: librdkafka's defaults. Nor are the brokers' threads woken then.
    var isPlain = false
    /// Turns of work per record (`cbaseline_work`); 0: they are only counted.
    var turns: Int64 = 0

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// How long the loop's call may wait for a full batch: short, so that the last records don't wait for ones that never come.
    private static let timeoutMilliseconds: Int32 = 5
    /// Half of librdkafka's queue: after so much the brokers' threads are woken, as in KafkaLog. `own` is librdkafka's value where the settings have none.
    private static func half(of setting: String, in settings: [String: String], own: Int64) -> Int64 { (settings[setting].flatMap { Int64($0) } ?? own) / 2 }

    /// `inspect` looks at each value, with `context`; nil: they are only counted.
    func run(inspect: cbaseline_inspect? = nil, context: OpaquePointer? = nil) throws -> cbaseline_result {
        var all = KafkaClientConfiguration.reserved.merging(
            ["bootstrap.servers": servers, "client.id": "bench", "group.id": "bench"], uniquingKeysWith: { $1 })
        if !isPlain {
            let client = KafkaClientConfiguration(bootstrapServers: [servers], settings: settings)
            all.merge(KafkaConsumer.speedDefaults(for: client)) { $1 }
        }
        all.merge(settings) { $1 }
        let wakeEvery = isPlain || KafkaConsumer.hasQueueBackoff ? 0 : Self.half(of: "queued.min.messages", in: all, own: 100_000)
        let wakeEveryBytes = Self.half(of: "queued.max.messages.kbytes", in: all, own: 65_536) * 1024
        var turns = turns
        var result = cbaseline_result()
        var error = [CChar](repeating: 0, count: 512)
        let outcome = withUnsafeMutablePointer(to: &turns) { turns in
            CCall.withPointers(all) { names, values in
                let isWorking = turns.pointee > 0
                return cbaseline_consume(
                    topic, partitions, records, batch, Self.timeoutMilliseconds, wakeEvery, wakeEveryBytes, names, values, all.count,
                    isWorking ? cbaseline_inspect_working : inspect,
                    isWorking ? UnsafeMutableRawPointer(turns) : context.map(UnsafeMutableRawPointer.init), &result, &error, error.count)
            }
        }
        guard outcome == 0, result.records >= records else {
            throw Failure(description: "C loop: \(CCall.text(error))")
        }
        return result
    }
}
