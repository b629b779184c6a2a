import ArgumentParser
import Foundation
import KafkaLog
import Offsets

/// `switchback offsets reset`
struct OffsetsReset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reset",
        abstract: "Set a stopped group's positions anew: an operator's rewind, recorded with name and reason.",
        discussion: """
            Shows what would be repeated (RECORDS -5: five are done again) or left out (+5) in each partition, asks, then writes checkpoints that
            every datacenter understands. The group must stand still everywhere; workers that start afterwards go on from what was set,
            whatever was committed before. The record: 'handover history', and rewinds/ in the store.

            --to takes earliest, latest, or a time: 2026-03-01T02:03:04Z (with a zone), 1772330584000 (ms since 1970), -15m (so long ago).

            Example:
              switchback offsets reset demo-notify_edits --to -15m \\
                  --reason 'bad deploy, T123' --config worker.yaml --dry-run
              switchback offsets reset demo-notify_edits --to 2026-03-01T02:03:04Z \\
                  --origin eqiad --reason 'bad deploy, T123' --config worker.yaml
              switchback offsets reset demo-notify_edits --to-offset 4711 \\
                  --topic mediawiki.recentchange --partitions 3 --reason 'poison' \\
                  --config worker.yaml
            """)

    @Argument(help: "The consumer group.") var group: String
    @Option(parsing: .unconditional, help: ArgumentHelp("earliest, latest, or a time.", valueName: "when")) var to: String?
    @Option(help: ArgumentHelp("The same offset in each of the chosen partitions.", valueName: "offset")) var toOffset: Int64?
    @Option(help: ArgumentHelp("Where this group stands, as its checkpoints say.", valueName: "group")) var toGroup: String?
    @Option(name: .customLong("in"), help: ArgumentHelp("Measure in this datacenter's cluster, not in each partition's owner's.", valueName: "dc"))
    var measured: String?
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var partitions: PartitionOptions
    @OptionGroup var rewind: RewindOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard [to != nil, toOffset != nil, toGroup != nil].count(where: \.self) == 1 else {
            throw ValidationError("say where to: --to earliest, --to latest, --to TIME, --to-offset N or --to-group G, one of them ('offsets import' takes a file)")
        }
        if let toOffset, toOffset < 0 { throw ValidationError("--to-offset is \(toOffset); 0 or more would be right") }
        if toGroup == group { throw ValidationError("--to-group is the group itself") }
        _ = try target()
    }

    private func target() throws -> RewindTarget {
        if let toOffset { return .offset(toOffset) }
        if let toGroup { return .group(toGroup) }
        switch to {
        case "earliest": return .earliest
        case "latest": return .latest
        default:
            do { return .time(try TimeExpression(to ?? "").resolved(now: ClustersOptions.now)) } catch { throw ValidationError("--to \(error); or earliest, or latest") }
        }
    }

    func run() async throws {
        try await clusters.withReader { reader in
            let datacenter = try measured.map { try reader.datacenter($0, option: "--in") }
            let plan = try await reader.planRewind(group, to: try target(), filter: try partitions.filter(), in: datacenter, now: ClustersOptions.now)
            try await rewind.run(plan, reader, output)
        }
    }
}

/// `switchback offsets export`
struct OffsetsExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write a group's positions as a plan that 'offsets import' takes.",
        discussion: """
            JSON, or CSV with --output csv. Offsets are of each partition's owner's cluster, which is named beside them.

            Example:
              switchback offsets export demo-notify_edits \\
                  --config worker.yaml > positions.json
            """)

    @Argument(help: "The consumer group.") var group: String
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var partitions: PartitionOptions
    @Option(help: "json or csv.") var output: Form = .json
    enum Form: String, ExpressibleByArgument, CaseIterable { case json, csv }

    func run() async throws {
        let (plan, missing) = try await clusters.withReader { try await $0.export(group, filter: try partitions.filter()) }
        switch output {
        case .json: try OutputOptions().sayJSON(plan)
        case .csv: Console.line(plan.csv.map(CSV.line).joined(separator: "\n"))
        }
        for partition in missing { Console.note("\(partition): its position in its owner's cluster is not known; it is left out") }
        if !missing.isEmpty { throw ExitCode(1) }
    }
}

/// `switchback offsets import`
struct OffsetsImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import",
        abstract: "Set a stopped group's positions to what a file says: as 'offsets reset'.",
        discussion: """
            Takes what 'offsets export' wrote, JSON or CSV (columns topic, partition, datacenter, offset; cluster where known). Partitions that the
            file does not name are left alone.

            Example:
              switchback offsets import demo-notify_edits positions.json \\
                  --reason 'back to where it was' --config worker.yaml --dry-run
            """)

    @Argument(help: "The consumer group.") var group: String
    @Argument(help: "The file; - is standard input.") var file: String
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var partitions: PartitionOptions
    @OptionGroup var rewind: RewindOptions
    @OptionGroup var output: OutputOptions

    /// A plan of a hundred thousand partitions is a tenth of this.
    private static let sizeLimit = 256 << 20

    func run() async throws {
        let plan: PlanFile
        do {
            let data = file == "-" ? FileHandle.standardInput.readDataToEndOfFile() : try Data(contentsOf: URL(fileURLWithPath: file))
            guard data.count <= Self.sizeLimit, let text = String(data: data, encoding: .utf8) else { throw Failure("\(file) is no UTF-8 text, or too large", code: 2) }
            plan = try PlanFile(parsing: text)
        } catch let wrong as PlanFile.Wrong { throw Failure("\(file): \(wrong)", code: 2) } catch let error as CocoaError {
            throw Failure("\(file) can't be read: \(error.localizedDescription)", code: 2)
        }
        let wanted = Dictionary(uniqueKeysWithValues: plan.entries.map { (TopicPartition(topic: $0.topic, partition: $0.partition), $0) })
        try await clusters.withReader { reader in
            let rewindPlan: RewindPlan
            do {
                rewindPlan = try await reader.planRewind(group, to: .positions(wanted), filter: try partitions.filter(), in: nil, now: ClustersOptions.now)
            } catch let wrong as PlanFile.Wrong {
                throw Failure("\(file): \(wrong)", code: 2)
            }
            try await rewind.run(rewindPlan, reader, output)
        }
    }
}
