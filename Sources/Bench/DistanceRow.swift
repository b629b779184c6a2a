import ArgumentParser
import Demo
import Foundation
import KafkaLog

/// Row (a) from afar: reading, count-only, from a broker that is some milliseconds away. What KafkaLog chooses for how far away its brokers are must
/// be as good as what it doesn't choose.
struct DistanceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "distance", abstract: "Measures reading from brokers that are some milliseconds away, through KafkaLog and in C loops.")

    @Option(parsing: .upToNextOption, help: "Milliseconds of round trip (above 0, at most 1000); each one given is a row.") var milliseconds: [Double] = [1, 5, 30]
    @Option(help: "Records that one run reads (at least 100000).") var records: Int64 = 400_000
    @Option(help: "Bytes of a record's value (at least 1).") var size: Int = 512
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "librdkafka settings of one more C loop, name=value; may be repeated.") var setting: [String] = []
    @OptionGroup var options: RowOptions

    /// KafkaLog's records per second to those of the best C loop.
    static let floor = 0.9

    /// The default of Kafka's own producer. With batches of librdkafka's size one would be more than what is asked for of a partition.
    private static let batchBytes = 16_384

    private enum Side: String, CaseIterable {
        case chosen = "C, KafkaLog's settings"
        case counting = "KafkaLog, count-only"
        case near = "C, what suits a broker close by"
        case plain = "C, librdkafka's own settings"
        case asked = "C, librdkafka's own and --setting"
    }

    func validate() throws {
        guard milliseconds.allSatisfy({ $0 > 0 && $0 <= 1000 }), !milliseconds.isEmpty, records >= 100_000, size > 0, partitions > 1 else {
            throw ValidationError("milliseconds must be above 0 and at most 1000, records at least 100000, size at least 1, partitions at least 2")
        }
    }

    func run() async throws {
        var broker = try BrokerProcess.start()
        defer { broker.stop() }
        Figures.note("writing \(records) records of \(size) bytes")
        // From close by: librdkafka's thread spins while it waits for the answers to small batches.
        try await Filling(topic: ConsumeRow.topic, partitions: partitions, records: records, size: size, batchBytes: Self.batchBytes).write(to: broker.servers)
        for distance in milliseconds {
            Figures.note(String(format: "from %g ms away", distance))
            broker = try broker.again(roundTrip: .microseconds(distance * 1000))
            try options.finish(try measure(broker.servers, distance))
        }
    }

    private func measure(_ servers: String, _ distance: Double) throws -> RowResult {
        let sides = Side.allCases.filter { $0 != .asked || !setting.isEmpty }
        let results = try Rounds.measure(sides, runs: options.runs) { side in
            let (reader, settings): (ConsumeChild.Reader, [String]) =
                switch side {
                case .chosen: (.c, [])
                case .counting: (.kafkaLog, [])
                case .near: (.c, ConsumeRow.near)
                case .plain: (.plainC, [])
                case .asked: (.plainC, setting)
                }
            return try ChildRun.run(
                ConsumeChild.arguments(servers, ConsumeRow.topic, partitions: partitions, records: records, settings: settings, reader: reader))
        }
        return RowResult(
            row: "a", name: String(format: "distance, %g ms", distance),
            load: "\(records) records of \(size) bytes, count-only, \(partitions) partitions, median of \(options.runs), each run a process of its own",
            sides: sides.map { results.side($0.rawValue, $0) },
            goals: [.init(what: "KafkaLog to the best C loop", value: results.ratio(.counting, to: .chosen, .near, .plain), atLeast: Self.floor)],
            remark: "A proxy makes every byte late, half of the time on each way; it knows nothing of TCP's windows, so that only round trips cost. " + Rounds<Side>.remark)
    }
}
