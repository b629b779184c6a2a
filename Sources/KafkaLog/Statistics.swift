import CRdKafka
import FoundationEssentials
import Logging
import Metrics

/// Turns librdkafka's statistics (a JSON text, see its STATISTICS.md) into gauges. Touched by one client's thread alone.
final class StatisticsReporter {
    private let clientID: String
    private let logger: Logger
    private var gauges: [String: Gauge] = [:]
    /// Gauges of partitions that a client may make; further partitions are summed up only.
    private static let partitionGaugeLimit = 1000

    init(clientID: String, logger: Logger) {
        self.clientID = clientID
        self.logger = logger
    }

    func report(_ json: UnsafeRawBufferPointer) {
        do {
            record(try JSONDecoder().decode(Statistics.self, from: Data(json)))
        } catch {
            logger.warning("librdkafka statistics can't be read", metadata: ["error": "\(error)"])
        }
    }

    private func record(_ statistics: Statistics) {
        set("kafka_rx_bytes", statistics.rxmsg_bytes)
        set("kafka_tx_bytes", statistics.txmsg_bytes)
        set("kafka_rx_network_bytes", statistics.rx_bytes)
        set("kafka_tx_network_bytes", statistics.tx_bytes)
        set("kafka_reply_queue", statistics.replyq)
        set("kafka_producer_queue_records", statistics.msg_cnt)
        set("kafka_producer_queue_bytes", statistics.msg_size)
        var queued: Int64 = 0
        var queuedBytes: Int64 = 0
        var lag: Int64 = 0
        for (topic, entry) in statistics.topics ?? [:] {
            for (name, partition) in entry.partitions where partition.partition >= 0 {
                queued &+= partition.fetchq_cnt ?? 0
                queuedBytes &+= partition.fetchq_size ?? 0
                guard let partitionLag = partition.consumer_lag, partitionLag >= 0 else { continue }
                lag &+= partitionLag
                if gauges.count < Self.partitionGaugeLimit {
                    set("kafka_consumer_lag", partitionLag, [("topic", topic), ("partition", name)])
                }
            }
        }
        set("kafka_consumer_lag_total", lag)
        set("kafka_fetch_queue_records", queued)
        set("kafka_fetch_queue_bytes", queuedBytes)
    }

    private func set(_ name: String, _ value: Int64?, _ dimensions: [(String, String)] = []) {
        guard let value else { return }
        let key = dimensions.reduce(name) { "\($0)\u{0}\($1.1)" }
        let gauge = gauges[key] ?? Gauge(label: name, dimensions: [("client", clientID)] + dimensions)
        gauges[key] = gauge
        gauge.record(value)
    }

    /// The names are librdkafka's.
    private struct Statistics: Decodable {
        let replyq: Int64?
        let msg_cnt: Int64?
        let msg_size: Int64?
        let tx_bytes: Int64?
        let rx_bytes: Int64?
        let txmsg_bytes: Int64?
        let rxmsg_bytes: Int64?
        let topics: [String: Topic]?

        struct Topic: Decodable { let partitions: [String: Partition] }

        struct Partition: Decodable {
            let partition: Int32
            let fetchq_cnt: Int64?
            let fetchq_size: Int64?
            let consumer_lag: Int64?
        }
    }
}
