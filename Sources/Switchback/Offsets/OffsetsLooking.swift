import ArgumentParser
import Foundation
import KafkaLog
import Offsets

#if canImport(Glibc)
import Glibc
#endif

/// Which place: an offset or a time.
struct PointOptions: ParsableArguments {
    @Option(help: ArgumentHelp("An offset.", valueName: "offset")) var offset: Int64?
    @Option(
        parsing: .unconditional,
        help: ArgumentHelp("The first record at or after this time: 2026-03-01T02:03:04Z, ms since 1970, or -15m.", valueName: "when"))
    var time: String?

    func validate() throws {
        if let offset, offset < 0 { throw ValidationError("--offset is \(offset); 0 or more would be right") }
        guard (offset == nil) || (time == nil) else { throw ValidationError("--offset and --time: one of them would be right") }
        _ = try point()
    }

    func point() throws -> Translation.Point? {
        if let offset { return .offset(offset) }
        guard let time else { return nil }
        do { return .time(try TimeExpression(time).resolved(now: ClustersOptions.now)) } catch { throw ValidationError("--time \(error)") }
    }
}

extension SnapshotReader {
    /// A topic by its whole name, or by its stream and `origin`.
    func topic(_ name: String, origin: Datacenter?) throws -> String {
        if OriginTopic(topic: name, known: configuration.datacenters.keys) != nil { return name }
        guard let origin else {
            let known = configuration.datacenters.keys.sorted().map { "\($0).\(name)" }.joined(separator: " or ")
            throw Failure("\(name) has no datacenter's prefix; \(known) would be right", code: 2)
        }
        return OriginTopic(origin: origin, stream: name).topic
    }
}

/// `switchback offsets translate`
struct OffsetsTranslate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "translate",
        abstract: "Turn a position into a time, and into the position of the same records in another cluster.",
        discussion: """
            Finds in the other cluster where the records before the position end, as a resume does. FOUND BY tail: they are the same records.
            Exit status 1 when a partition's position could not be confirmed.

            Example:
              switchback offsets translate eqiad.mediawiki.recentchange --from eqiad \\
                  --to codfw --offset 50 --config worker.yaml
              switchback offsets translate eqiad.mediawiki.recentchange --from eqiad \\
                  --to codfw --time -15m --partitions 0-2 --config worker.yaml
            """)

    @Argument(help: "The topic, with its prefix.") var topic: String
    @Option(help: ArgumentHelp("The datacenter whose cluster the position is of.", valueName: "dc")) var from: String
    @Option(help: ArgumentHelp("The datacenter whose position is wanted.", valueName: "dc")) var to: String
    @OptionGroup var point: PointOptions
    @Option(help: ArgumentHelp("Only these partitions, such as 0-3,7.", valueName: "numbers")) var partitions: String?
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard try point.point() != nil else { throw ValidationError("say what: --offset N, or --time WHEN") }
        if let partitions, PartitionFilter.partitions(partitions) == nil {
            throw ValidationError("--partitions \(partitions): numbers and ranges with commas between would be right, such as 0-3,7")
        }
    }

    func run() async throws {
        let lines = try await clusters.withReader { reader in
            let (from, to) = (try reader.datacenter(from, option: "--from"), try reader.datacenter(to, option: "--to"))
            guard let wanted = try point.point() else { throw ValidationError("say what: --offset N, or --time WHEN") }
            let name = try reader.topic(topic, origin: nil)
            do {
                return try await reader.translate(name, partitions: partitions.flatMap(PartitionFilter.partitions) ?? [], from: from, to: to, wanted)
            } catch is SnapshotReader.Refusal {
                throw Failure("\(from) has no such partitions of \(name); 'offsets describe' lists them", code: 2)
            }
        }
        try output.say(json: lines, sheet: Translation.sheet(lines), csv: Translation.csv(lines))
        for line in lines { if let problem = line.problem { Console.note("\(line.topic)/\(line.partition): \(problem)") } }
        guard lines.allSatisfy(\.isConfirmed) else { throw ExitCode(1) }
    }
}

/// `switchback offsets peek`
struct OffsetsPeek: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peek",
        abstract: "Show the records around a position, or around where a group stands.",
        discussion: """
            → marks the first record at or after the position: the next one to be acted on. Values are cut to the terminal's width; --output json has
            them whole.

            Example:
              switchback offsets peek eqiad.mediawiki.recentchange --partition 0 \\
                  --group demo-notify_edits --config worker.yaml
              switchback offsets peek eqiad.mediawiki.recentchange --partition 0 \\
                  --offset 50 --in codfw --before 3 --after 3 --config worker.yaml
            """)

    @Argument(help: "The topic, with its prefix.") var topic: String
    @Option(help: "The partition.") var partition: Int32
    @OptionGroup var point: PointOptions
    @Option(name: .shortAndLong, help: ArgumentHelp("Around where this group stands.", valueName: "group")) var group: String?
    @Option(name: .customLong("in"), help: ArgumentHelp("The datacenter whose cluster is read (the group's owner's, or the topic's own).", valueName: "dc"))
    var datacenter: String?
    @Option(help: "How many records before it (0 to 1000).") var before = 5
    @Option(help: "How many records from it on (0 to 1000).") var after = 5
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (try point.point() != nil) != (group != nil) else { throw ValidationError("say where: --offset N, --time WHEN or --group G, one of them") }
        guard (0...1000).contains(before), (0...1000).contains(after), before + after > 0 else {
            throw ValidationError("--before and --after: 0 to 1000, and not both 0, would be right")
        }
        guard partition >= 0 else { throw ValidationError("--partition is \(partition); 0 or more would be right") }
    }

    func run() async throws {
        let records = try await clusters.withReader { reader in
            let name = try reader.topic(topic, origin: nil)
            let wanted = TopicPartition(topic: name, partition: partition)
            var place = try point.point()
            var read = try datacenter.map { try reader.datacenter($0, option: "--in") } ?? OriginTopic(topic: name, known: reader.configuration.datacenters.keys)?.origin
            if let group {
                let (facts, _) = try await reader.facts(group, filter: PartitionFilter(topics: [name], partitions: [partition]), readsRecords: false)
                guard let fact = facts.first, let owner = fact.owner, let position = fact.position else {
                    throw Failure("where \(group) stands in \(wanted) is not known; 'offsets plan' looks for it")
                }
                guard datacenter == nil || read == owner else {
                    throw Failure("\(group)'s position is one of \(owner)'s cluster: 'offsets translate' turns it into one of \(read?.name ?? "")", code: 2)
                }
                (place, read) = (.offset(position), owner)
            }
            guard let place, let read else { throw Failure("say where: --offset N, --time WHEN or --group G", code: 2) }
            do {
                return try await reader.peek(wanted, in: read, at: place, before: before, after: after)
            } catch let refusal as SnapshotReader.PeekRefusal { throw Failure("\(refusal)", code: 2) }
        }
        try output.say(json: records, sheet: PeekedRecord.sheet(records), csv: PeekedRecord.csv(records))
        if records.isEmpty { Console.note("there are no records there") }
    }
}

/// `switchback offsets diff`
struct OffsetsDiff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Compare topics in two clusters record by record: what the mirror lost, repeated or reordered.",
        discussion: """
            By fingerprint over key, value and time. MISSING: records of the first that the second lacks though it has later ones. TRIMMED: the second
            log begins later. BEHIND: not mirrored yet. Memory is bounded: the same record may lie 8192 records apart.
            --timeout is for how long nothing may come. Exit status 1 when something is missing or could not be compared.

            Example:
              switchback offsets diff eqiad codfw --topic mediawiki.recentchange \\
                  --origin eqiad --config worker.yaml
              switchback offsets diff eqiad codfw --origin eqiad --since -1h \\
                  --config worker.yaml --output json
            """)

    @Argument(help: "The datacenter whose log counts: mostly the origin.") var first: String
    @Argument(help: "The datacenter whose log is held against it.") var second: String
    @OptionGroup var partitions: PartitionOptions
    @Option(parsing: .unconditional, help: ArgumentHelp("Only from this time on: 2026-03-01T02:03:04Z, ms since 1970, or -1h.", valueName: "when")) var since: String?
    @OptionGroup var clusters: ClustersOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard first != second else { throw ValidationError("\(first) twice: two datacenters would be right") }
        _ = try time()
    }

    private func time() throws -> MillisecondTimestamp? {
        do { return try since.map { try TimeExpression($0).resolved(now: ClustersOptions.now) } } catch { throw ValidationError("--since \(error)") }
    }

    func run() async throws {
        let bar = ProgressBar()
        let difference = try await clusters.withReader { reader in
            let (first, second) = (try reader.datacenter(first, option: "the first"), try reader.datacenter(second, option: "the second"))
            do {
                return try await reader.diff(first, second, filter: try partitions.filter(), since: try time()) { bar.show(done: $0, of: $1, records: $2) }
            } catch is SnapshotReader.Refusal {
                throw Failure("\(first) has no topics that match; --origin and --topic name those that are there ('offsets list')", code: 2)
            }
        }
        bar.clear()
        try output.say(json: difference, sheet: difference.sheet, csv: difference.csv)
        if output.output == .table { Console.line(difference.summary) }
        for line in difference.remarks { Console.note(line) }
        if !difference.isGood { throw ExitCode(1) }
    }
}

/// How far something is, on stderr, where that is a terminal.
final class ProgressBar {
    private let isShown = isatty(STDERR_FILENO) == 1
    private var last = ContinuousClock.now - .seconds(1)
    private static let width = 24

    func show(done: Int, of total: Int, records: Int64) {
        guard isShown, last.duration(to: .now) > .milliseconds(100) else { return }
        last = .now
        let filled = total == 0 ? 0 : done * Self.width / total
        let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: Self.width - filled)
        Console.write("\r\u{1B}[K\(bar) \(done) of \(total) partitions, \(records) records", to: STDERR_FILENO)
    }

    func clear() { if isShown { Console.write("\r\u{1B}[K", to: STDERR_FILENO) } }
}
