import ArgumentParser
import Demo
import Foundation
import Logging

/// Rows of the benchmark, all against the same broker in one run, alternating, as ratios to a plain C loop.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "Bench", abstract: "Measures Switchback's rooms against plain C loops.",
        subcommands: [Run.self, RulesCommand.self, ActionsCommand.self, HandoverCommand.self, PlanCommand.self, DescribeCommand.self] + rows + [BrokerProcess.Serve.self, SinkCommand.self], defaultSubcommand: Run.self)

    private static let rows: [any ParsableCommand.Type] = [
        PeersCommand.self, DistanceCommand.self, WorkCommand.self, CheckpointCommand.self, ProduceCommand.self, MirrorRowCommand.self, MemoryCommand.self, GrowthCommand.self, AllCommand.self, SoakCommand.self,
        ConsumeChild.self, ProduceChild.self, WorkerChild.self, MirrorChild.self,
    ]

    struct Run: AsyncParsableCommand {
        @Option(help: "Records that one run reads (at least 1).") var records: Int64 = 3_000_000
        @Option(parsing: .upToNextOption, help: "Bytes of a record's value (at least 1); each one given is a row.") var size: [Int] = [512, 100]
        @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
        @Option(help: "librdkafka settings of both sides, name=value; may be repeated.") var setting: [String] = []
        @OptionGroup var options: RowOptions

        func validate() throws {
            guard records > 0, !size.isEmpty, size.allSatisfy({ $0 > 0 }), partitions > 1 else {
                throw ValidationError("records and size must be at least 1, partitions at least 2")
            }
            guard setting.allSatisfy({ $0.contains("=") }) else { throw ValidationError("--setting takes name=value") }
        }

        func run() async throws {
            for size in size {
                let broker = try BrokerProcess.start()
                defer { broker.stop() }
                Figures.note("writing \(records) records of \(size) bytes")
                try await Filling(topic: ConsumeRow.topic, partitions: partitions, records: records, size: size).write(to: broker.servers)
                let row = ConsumeRow(servers: broker.servers, records: records, size: size, partitions: partitions, settings: setting)
                try options.finish(try row.measure(runs: options.runs))
            }
        }
    }
}
