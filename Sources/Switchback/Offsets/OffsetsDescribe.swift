import ArgumentParser
import Checkpoints
import Foundation
import Offsets

/// `switchback offsets describe`
struct OffsetsDescribe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "describe",
        abstract: "Show where a group stands: each partition's checkpoint, commit, lag and mirror, in every cluster.",
        discussion: """
            LAG is in records from the position to the log's end in the owner's cluster; AGE is how old the record at the position is, read from
            the log. MIRROR is how far the farthest mirror is behind. What can't be told is shown as -.
            States: idle (all done), moving, stuck (work to do, no checkpoint written lately), waiting (retries that are
            not due yet), gap (records are gone), unknown.

            Example:
              switchback offsets describe demo-notify_edits --config worker.yaml
              switchback offsets describe demo-notify_edits --config worker.yaml \\
                  --origin eqiad --min-lag 1 --sort lag
              switchback offsets describe demo-notify_edits --config worker.yaml --watch
            """)

    @Argument(help: "The consumer group.") var group: String
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var partitions: PartitionOptions
    @OptionGroup var output: OutputOptions
    @Option(help: ArgumentHelp("Only partitions with at least so many records to do (or an unknown number).", valueName: "records")) var minLag: Int64?
    @Option(help: ArgumentHelp("Only partitions in this state; may be given more than once.", valueName: "state")) var state: [StateName] = []
    @Option(help: "partition, or largest first: lag, time, mirror, age, state.") var sort: GroupSnapshot.Order = .partition
    @Option(help: ArgumentHelp("Show only so many partitions; the totals count all.", valueName: "count")) var limit: Int?
    @Option(help: ArgumentHelp("After so many seconds without a new checkpoint, with work to do, a partition counts as stuck.", valueName: "seconds"))
    var stuckAfter: Double = 30
    @Flag(help: "Look again and again, and draw it anew, until Ctrl-C.") var watch = false
    @Option(help: ArgumentHelp("Seconds between two looks with --watch (0.5 to 3600).", valueName: "seconds")) var interval: Double = 2

    enum StateName: String, ExpressibleByArgument, CaseIterable {
        case idle, moving, stuck, waiting, gap, unknown
        var state: PartitionState.State { PartitionState.State(rawValue: rawValue) ?? .unknown }
    }

    func validate() throws {
        guard (0.5...3600).contains(interval) else { throw ValidationError("--interval is \(interval); 0.5 to 3600 seconds would be right") }
        guard (0...31_536_000).contains(stuckAfter) else { throw ValidationError("--stuck-after is \(stuckAfter); 0 to 31536000 seconds would be right") }
        if let limit, limit < 1 { throw ValidationError("--limit is \(limit); 1 or more would be right") }
        if watch, output.output != .table { throw ValidationError("--watch draws tables; for \(output.output.rawValue) run the command again and again") }
    }

    func run() async throws {
        try await clusters.withReader { reader in
            guard watch else { return try say(try await look(reader)) }
            for await _ in Signals.everySecondsUntilStop(interval) {
                let text: String
                do { text = watchText(try await look(reader)) } catch let error as SnapshotReader.Refusal { throw error } catch { text = "switchback: \(error); looking again" }
                // Home, then each line with its rest cleared, then what is below: no flicker.
                let body = text.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\u{1B}[K\n")
                Console.write(Terminal.isOutput ? "\u{1B}[H\(body)\u{1B}[K\n\u{1B}[J" : text + "\n\n", to: 1)
            }
        }
    }

    private func look(_ reader: SnapshotReader) async throws -> GroupSnapshot {
        let now = ClustersOptions.now
        return try await reader.snapshot(group, filter: try partitions.filter(), stuckAfter: .seconds(stuckAfter), now: now)
            .narrowed(leastLag: minLag, states: Set(state.map(\.state)), order: sort, limit: limit)
    }

    private func say(_ snapshot: GroupSnapshot) throws {
        try output.say(json: snapshot, sheet: snapshot.sheet, csv: snapshot.csv)
        if output.output == .table { Console.line(snapshot.totals.text(group: snapshot.group)) }
        for line in snapshot.remarks { Console.note(line) }
    }

    private func watchText(_ snapshot: GroupSnapshot) -> String {
        var lines = ["\(snapshot.group)  every \(interval) s, Ctrl-C ends it", ""]
        lines += output.tableText(snapshot.sheet).text.split(separator: "\n").map(String.init)
        lines += [snapshot.totals.text(group: snapshot.group)] + snapshot.remarks
        if Terminal.isOutput, let height = Terminal.height, lines.count > height - 1 {
            let tail = Array(lines.suffix(1 + snapshot.remarks.count))
            let room = max(3, height - 2 - tail.count)
            lines = Array(lines.prefix(room)) + ["… \(lines.count - room - tail.count) more lines (--min-lag, --sort and --limit narrow it)"] + tail
        }
        return lines.joined(separator: "\n")
    }
}

extension GroupSnapshot.Order: ExpressibleByArgument {}
