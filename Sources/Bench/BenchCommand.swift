import ArgumentParser
import Foundation
import Logging

/// Rows of the benchmark, all against the same broker in one run, alternating, as ratios to a plain C loop.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "Bench", abstract: "Measures Switchback's rooms against plain C loops.",
        subcommands: [Run.self, RulesCommand.self, ActionsCommand.self, HandoverCommand.self, PlanCommand.self, DescribeCommand.self] + rows + [Serve.self, SinkCommand.self], defaultSubcommand: Run.self)

    private static let rows: [any ParsableCommand.Type] = [
        PeersCommand.self, WorkCommand.self, CheckpointCommand.self, ProduceCommand.self, MirrorRowCommand.self, MemoryCommand.self, GrowthCommand.self, AllCommand.self, SoakCommand.self,
        ConsumeChild.self, ProduceChild.self, WorkerChild.self, MirrorChild.self,
    ]

    struct Run: AsyncParsableCommand {
        @Option(help: "Records that one run reads (at least 1).") var records: Int64 = 1_000_000
        @Option(parsing: .upToNextOption, help: "Bytes of a record's value (at least 1); each one given is a row.") var size: [Int] = [512, 100]
        @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
        @Option(help: "Records of a batch.") var batch: Int = 4096
        @Option(help: "librdkafka settings of both sides, name=value; may be repeated.") var setting: [String] = []
        @OptionGroup var options: RowOptions

        func validate() throws {
            guard records > 0, !size.isEmpty, size.allSatisfy({ $0 > 0 }), partitions > 1, batch > 0 else {
                throw ValidationError("records, size and batch must be at least 1, partitions at least 2")
            }
            guard setting.allSatisfy({ $0.contains("=") }) else { throw ValidationError("--setting takes name=value") }
        }

        func run() async throws {
            let pairs = setting.map { text in
                let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return (String(parts[0]), String(parts[1]))
            }
            for size in size {
                let broker = try BrokerProcess.start()
                defer { broker.stop() }
                let row = ConsumeRow(
                    servers: broker.servers, records: records, size: size, partitions: partitions, batch: batch,
                    settings: Dictionary(pairs, uniquingKeysWith: { $1 }))
                try await row.fill()
                try options.finish(try await row.measure(runs: options.runs))
            }
        }
    }

    /// The broker of a run, in a process of its own: it must not share the measured one's CPU time or memory.
    struct Serve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(shouldDisplay: false)
        @Argument var directory: String

        func run() async throws { try await BrokerProcess.serve(in: URL(filePath: directory)) }
    }
}
