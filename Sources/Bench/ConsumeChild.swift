import ArgumentParser
import Foundation
import KafkaLog

/// In a process of its own: reads a topic through KafkaLog or with the C loop.
struct ConsumeChild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "consume-child", shouldDisplay: false)

    /// Who reads.
    enum Reader: String, ExpressibleByArgument, CaseIterable {
        /// KafkaLog on the consumer's own thread, count-only or with an async handler for each record; or count-only on another thread.
        case kafkaLog, handler, handedOver
        /// The C loop with KafkaLog's settings, or with librdkafka's own.
        case c, plainC
    }

    @Option var servers: String
    @Option var topic: String
    @Option var partitions: Int32
    @Option var records: Int64
    @Option var setting: [String] = []
    @Option var reader = Reader.kafkaLog
    /// Of work per record.
    @Option var turns: Int64 = 0

    private static let batch = KafkaConsumer.defaultBatchLimit

    static func arguments(
        _ servers: String, _ topic: String, partitions: Int32, records: Int64, settings: [String] = [], reader: Reader = .kafkaLog, turns: Int64 = 0
    ) -> [String] {
        [
            "consume-child", "--servers", servers, "--topic", topic, "--partitions", "\(partitions)", "--records", "\(records)", "--reader", reader.rawValue,
            "--turns", "\(turns)",
        ] + settings.flatMap { ["--setting", $0] }
    }

    func run() async throws {
        ChildRun.endWithParent()
        let pairs = setting.map { text -> (String, String) in
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
        }
        let settings = Dictionary(pairs, uniquingKeysWith: { $1 })
        let watch = MemoryWatch()
        var result =
            switch reader {
            case .c, .plainC: try readInC(settings)
            case .kafkaLog: try await read(.inPlace, settings)
            case .handler: try await read(.handled, settings)
            case .handedOver: try await read(.handedOver, settings)
            }
        (result.peak, result.steady) = watch.end()
        result.library = KafkaVersion.text
        try ChildRun.answer(result)
    }

    private func read(_ manner: KafkaLogLoop.Manner, _ settings: [String: String]) async throws -> ChildResult {
        try await KafkaLogLoop(
            servers: servers, topic: topic, partitions: partitions, records: records, batch: Self.batch, settings: settings, manner: manner, turns: turns
        ).run()
    }

    private func readInC(_ settings: [String: String]) throws -> ChildResult {
        let loop = CLoop(
            servers: servers, topic: topic, partitions: partitions, records: records, batch: Self.batch, settings: settings, isPlain: reader == .plainC,
            turns: turns)
        let result = try loop.run()
        return ChildResult(
            records: result.records, bytes: result.value_bytes, seconds: result.seconds, cpuSeconds: result.cpu_seconds, peak: 0, steady: 0)
    }
}
