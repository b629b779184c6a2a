import CBaseline
import Foundation
import KafkaLog

/// The plainest C loop that reads with one librdkafka client and writes with another: what copying costs before a mirror promises anything.
struct CCopyLoop {
    let source: String
    let target: String
    let topic: String
    let partitions: Int32
    let records: Int64

    /// As many as the mirror has on its way with records of half a kilobyte.
    private static let underWay: Int64 = 32_768
    /// The mirror's own.
    private static let writing = ["acks": "all", "enable.idempotence": "true", "message.timeout.ms": "0", "linger.ms": "2"]

    func run() throws -> ChildResult {
        var reading = KafkaConsumer.speedDefaults(for: KafkaClientConfiguration(bootstrapServers: [source]))
        // It wakes nobody itself; with six partitions the request costs next to nothing.
        if !KafkaConsumer.hasQueueBackoff { reading.merge(["topic.metadata.refresh.interval.ms": "30", "metadata.max.age.ms": "900000"]) { $1 } }
        reading.merge(KafkaClientConfiguration.reserved) { $1 }
        reading.merge(["bootstrap.servers": source, "group.id": "bench"]) { $1 }
        let writing = Self.writing.merging(["bootstrap.servers": target]) { $1 }
        var result = ccopy_result()
        var error = [CChar](repeating: 0, count: 512)
        let outcome = CCall.withPointers(reading) { names, values in
            CCall.withPointers(writing) { targetNames, targetValues in
                ccopy(
                    topic, partitions, records, Self.underWay, names, values, reading.count, targetNames, targetValues, writing.count, &result, &error,
                    error.count)
            }
        }
        guard outcome == 0 else {
            throw ChildRun.Failure(description: "C copy: \(CCall.text(error))")
        }
        return ChildResult(records: result.copied, bytes: 0, seconds: result.seconds, cpuSeconds: result.cpu_seconds, peak: 0, steady: 0)
    }
}
