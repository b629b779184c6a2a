import ArgumentParser
import Offsets

/// `switchback offsets plan`
struct OffsetsPlan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Show what a failover would meet now: where each partition would go on, and what would repeat or be missing.",
        discussion: """
            Follows the rule that a worker follows, in the target's cluster, without acting. FOUND BY says how the place was found: same cluster,
            tail (the checkpoint's last events were found), anchor (a standby has been there), time or log start (unconfirmed). "waits": the
            mirror has not brought what the checkpoint names; a take-over would wait for it first.
            Exit status 1 when there is a gap, or a partition would be refused.

            Example:
              switchback offsets plan demo-notify_edits --to codfw --config worker.yaml
              switchback offsets plan demo-notify_edits --to codfw --config worker.yaml \\
                  --origin eqiad --output json
            """)

    @Argument(help: "The consumer group.") var group: String
    @Option(help: ArgumentHelp("The datacenter that would take over.", valueName: "dc")) var to: String
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var partitions: PartitionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let plan = try await clusters.withReader { reader in
            let target = try reader.datacenter(to, option: "--to")
            do { return try await reader.plan(group, to: target, filter: try partitions.filter(), now: ClustersOptions.now) } catch let problem as SnapshotReader.ProblemText {
                throw Failure("\(target) can't be asked: \(problem.text); a plan needs its cluster")
            }
        }
        try output.say(json: plan, sheet: plan.sheet, csv: plan.csv)
        if output.output == .table { Console.line(plan.summary) }
        for line in plan.remarks { Console.note(line) }
        if !plan.isGood { throw ExitCode(1) }
    }
}
