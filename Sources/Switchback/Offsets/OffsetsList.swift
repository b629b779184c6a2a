import ArgumentParser
import Checkpoints
import Handover
import Offsets

/// `switchback offsets list`
struct OffsetsList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "List the groups that the store knows, with their origins and streams.",
        discussion: """
            Example:
              switchback offsets list --config worker.yaml
              switchback offsets list --config worker.yaml --output json
            """)

    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let streams = try await clusters.withReader { try await GroupStream.load(from: $0.store) }
        if streams.isEmpty { Console.note("no group has worked with this store yet: start a worker first") }
        if streams.isEmpty, output.output == .table { return }
        try output.say(json: streams, sheet: GroupStream.sheet(streams), csv: GroupStream.csv(streams))
    }
}
