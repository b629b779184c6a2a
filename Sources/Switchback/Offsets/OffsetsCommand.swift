import ArgumentParser
import ChangePropagation
import Checkpoints
import Foundation
import KafkaLog
import Logging
import Offsets

/// `switchback offsets`: where every consumer stands, what a failover would meet, and an operator's rewind.
struct OffsetsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "offsets",
        abstract: "See where groups stand in every cluster, what a failover would meet, and rewind them.",
        discussion: """
            Exit status: 0 done; 1 it failed, or what was asked for is not so (a plan with a gap, records lost in a mirror); 2 wrong use.
            All output, field by field: Docs/Offsets.md.

            Example:
              switchback offsets list --config worker.yaml
              switchback offsets describe demo-notify_edits --config worker.yaml
              switchback offsets plan demo-notify_edits --to codfw --config worker.yaml
              switchback offsets reset demo-notify_edits --to -15m \\
                  --reason 'bad deploy' --config worker.yaml --dry-run
            """,
        subcommands: [
            OffsetsList.self, OffsetsDescribe.self, OffsetsPlan.self, OffsetsTranslate.self, OffsetsPeek.self, OffsetsDiff.self,
            OffsetsReset.self, OffsetsExport.self, OffsetsImport.self,
        ])
}

/// Which store and which clusters, and how long to wait for them.
struct ClustersOptions: ParsableArguments {
    @Option(name: .shortAndLong, help: ArgumentHelp("The worker.yaml that names store and clusters.", valueName: "file"))
    var config: String

    @Option(help: ArgumentHelp("How long everything together may take, in seconds (1 to 3600).", valueName: "seconds"))
    var timeout: Double = 30

    func validate() throws {
        guard (1...3600).contains(timeout) else { throw ValidationError("--timeout is \(timeout); 1 to 3600 seconds would be right") }
    }

    /// Opens the store for the length of `body`.
    func withReader<Result>(_ body: (SnapshotReader) async throws -> Result) async throws -> Result {
        let configuration = try WorkerConfiguration.load(path: config)
        let store = try await HandoverCommand.open(configuration.store.configuration())
        do {
            let reader = SnapshotReader(
                configuration, store: store, timeout: .seconds(timeout), logger: makeLogger("switchback.offsets", level: .critical))
            let result = try await body(reader)
            await store.close()
            return result
        } catch {
            await store.close()
            if let refusal = error as? SnapshotReader.Refusal { throw Failure("\(refusal)", code: 2) }
            throw error
        }
    }

    static var now: MillisecondTimestamp { MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)) }
}

extension SnapshotReader {
    /// Refuses a datacenter that the configuration does not have.
    func datacenter(_ name: String, option: String) throws -> Datacenter {
        guard let datacenter = Datacenter(name), configuration.datacenters[datacenter] != nil else {
            let known = configuration.datacenters.keys.sorted().map(\.name).joined(separator: ", ")
            throw Failure("\(option) \(name): no such datacenter in this worker.yaml; \(known) would be right", code: 2)
        }
        return datacenter
    }
}

/// Which partitions.
struct PartitionOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Only topics of this datacenter; may be given more than once.", valueName: "dc"))
    var origin: [String] = []

    @Option(help: ArgumentHelp("Only this stream or topic; may be given more than once.", valueName: "name"))
    var topic: [String] = []

    @Option(help: ArgumentHelp("Only these partitions, such as 0-3,7.", valueName: "numbers"))
    var partitions: String?

    func validate() throws { _ = try filter() }

    func filter() throws -> PartitionFilter {
        let origins = try origin.map { name in
            guard let datacenter = Datacenter(name) else { throw ValidationError("--origin \(name) is no datacenter's name") }
            return datacenter
        }
        var numbers: Set<Int32> = []
        if let partitions {
            guard let found = PartitionFilter.partitions(partitions) else {
                throw ValidationError("--partitions \(partitions): numbers and ranges with commas between would be right, such as 0-3,7")
            }
            numbers = found
        }
        return PartitionFilter(origins: Set(origins), topics: Set(topic), partitions: numbers)
    }
}
