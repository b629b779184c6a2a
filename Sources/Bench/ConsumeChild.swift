import ArgumentParser
import Foundation
import KafkaLog
import Logging

/// In a process of its own: reads a topic, count-only, through KafkaLog or with the C loop.
struct ConsumeChild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "consume-child", shouldDisplay: false)

    @Option var servers: String
    @Option var topic: String
    @Option var partitions: Int32
    @Option var records: Int64
    @Option var setting: [String] = []
    @Flag var c = false

    private static let batch = 4096
    private static let limit = Duration.seconds(240)

    static func arguments(_ servers: String, _ topic: String, partitions: Int32, records: Int64, settings: [String] = [], c: Bool = false) -> [String] {
        ["consume-child", "--servers", servers, "--topic", topic, "--partitions", "\(partitions)", "--records", "\(records)"]
            + settings.flatMap { ["--setting", $0] } + (c ? ["--c"] : [])
    }

    func run() async throws {
        ChildRun.endWithParent()
        let pairs = setting.map { text -> (String, String) in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
        let settings = Dictionary(pairs, uniquingKeysWith: { $1 })
        let watch = MemoryWatch()
        var result = c ? try readInC(settings) : try await read(settings)
        (result.peak, result.steady) = watch.end()
        try ChildRun.answer(result)
    }

    private func readInC(_ settings: [String: String]) throws -> ChildResult {
        let loop = CLoop(servers: servers, topic: topic, partitions: partitions, records: records, batch: Self.batch, settings: settings)
        let result = try loop.run()
        return ChildResult(
            records: result.records, bytes: result.value_bytes, seconds: result.seconds, cpuSeconds: result.cpu_seconds, peak: 0, steady: 0)
    }

    private func read(_ settings: [String: String]) async throws -> ChildResult {
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let client = KafkaClientConfiguration(bootstrapServers: [servers], clientID: "bench", settings: settings, logger: logger)
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        let cluster = try await consumer.clusterID()
        let starts = (0..<partitions).map { (TopicPartition(topic: topic, partition: $0), Position(0, in: cluster)) }
        var count: Int64 = 0
        var bytes = 0
        let cpu = Figures.cpuSeconds()
        let began = ContinuousClock.now
        try await consumer.assign(Dictionary(uniqueKeysWithValues: starts))
        while count < records {
            guard let batch = try await consumer.nextBatch(max: Self.batch, deadline: began + Self.limit) else {
                throw ChildRun.Failure(description: "only \(count) records came")
            }
            batch.forEach { record in
                count += 1
                bytes += record.valueSize ?? 0
            }
        }
        let seconds = began.duration(to: .now) / .seconds(1)
        let used = Figures.cpuSeconds() - cpu
        try await consumer.close()
        return ChildResult(records: count, bytes: Int64(bytes), seconds: seconds, cpuSeconds: used, peak: 0, steady: 0)
    }
}
