import ArgumentParser
import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Offsets

extension HandoverCommand {
    /// `switchback handover standby`: what the warm standbys of a group say of each partition.
    struct StandbyTable: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "standby",
            abstract: "Show what a failover would meet now, partition by partition.",
            discussion: """
                Each datacenter that could take over says where it would go on in its own cluster, how many events may then be done a \
                second time, whether its mirror holds what the last checkpoint names, and whether events are missing there.

                Example:
                  switchback handover standby --config worker.yaml --group purge
                """)

        enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

        @OptionGroup var store: StoreOptions
        @Option(name: .shortAndLong, help: "The consumer group.") var group: String
        @Option(help: "text, or json: an array with one object for each partition and datacenter.") var output: Output = .text

        func run() async throws {
            try await withStore(store) { store in
                let entries = try await StandbyEntry.load(from: store, group: group)
                switch output {
                case .json:
                    let encoder = JSONEncoder()
                    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
                    Console.line(String(decoding: try encoder.encode(entries), as: UTF8.self))
                case .text:
                    guard !entries.isEmpty else {
                        return Console.line("no standby of group \(group) has said anything yet: it needs a worker in another datacenter, and a checkpoint")
                    }
                    OutputOptions.table.sayTable(StandbyEntry.sheet(entries))
                    for entry in entries {
                        if let problem = entry.problem { Console.line("\(entry.topic)/\(entry.partition), \(entry.datacenter): \(problem)") }
                    }
                }
            }
        }
    }
}

/// What one standby says of one partition, as it is shown.
struct StandbyEntry: Encodable {
    let topic: String
    let partition: Int32
    /// null: the partition has no assignment any more.
    let owner: String?
    let datacenter: String
    /// null: it can't be read; `problem` says why.
    let report: StandbyReport?
    /// Milliseconds for which checkpoints were written that this standby has not looked at. null: it keeps up.
    let silentMilliseconds: Int64?
    let problem: String?

    /// A standby looks once in a checkpoint interval; clocks of two machines may differ by some seconds.
    private static let silenceLimit: Int64 = 15_000

    /// All reports of `group` but those of datacenters that own the partition now: there is nothing to fail over to.
    static func load(from store: any SharedStore, group: String) async throws -> [StandbyEntry] {
        let assignments = try await AssignmentStore(store).load(group: group)
        let checkpoints = try await CheckpointStore(store).load(group: group)
        var entries: [StandbyEntry] = []
        for (partition, reports) in try await StandbyReport.load(from: store, group: group).sorted(by: { $0.key < $1.key }) {
            let origin = OriginTopic(topic: partition.topic, known: assignments.keys)?.origin
            let owner = origin.flatMap { assignments[$0]?.assignment.owner(of: partition) }
            for (datacenter, result) in reports.sorted(by: { $0.key < $1.key }) where datacenter != owner {
                entries.append(
                    StandbyEntry(partition, owner: owner, datacenter, result, newest: try? checkpoints[partition]?.checkpoint.get()))
            }
        }
        return entries
    }

    private init(
        _ partition: TopicPartition, owner: Datacenter?, _ datacenter: Datacenter, _ result: Result<StandbyReport, StandbyReport.FormatError>,
        newest: Checkpoint?
    ) {
        topic = partition.topic
        self.partition = partition.partition
        self.owner = owner?.name
        self.datacenter = datacenter.name
        switch result {
        case .success(let report):
            self.report = report
            problem = report.refusal
            let isSame = newest.map {
                $0.position.offset == report.checkpointOffset && $0.position.cluster.id == report.checkpointCluster && $0.epoch == report.checkpointEpoch
            }
            let silence = (newest?.writtenAt.milliseconds ?? 0) - report.at
            silentMilliseconds = isSame == false && silence > Self.silenceLimit ? silence : nil
        case .failure(let error):
            report = nil
            problem = error.description
            silentMilliseconds = nil
        }
    }

    // MARK: In words

    private static func duration(_ milliseconds: Int64) -> String {
        // Parts of a second say something only about short times.
        let rounded = milliseconds < 10_000 ? milliseconds : (milliseconds + 500) / 1000 * 1000
        return Duration.milliseconds(rounded).readable
    }

    private var goesOn: String { report?.resumeOffset.map(String.init) ?? (problem == nil ? "unknown" : "") }

    private var repeats: String {
        guard let report, let count = report.repeatsAtMost else { return "" }
        return count == 0 ? "none" : "\(count), \(Self.duration(report.spanMilliseconds ?? 0))"
    }

    private var mirror: String {
        if problem != nil { return "see below" }
        if let silentMilliseconds { return "silent \(Self.duration(silentMilliseconds))" }
        guard let report else { return "" }
        if report.isTailHere { return "has it" }
        guard let behind = report.behindMilliseconds, behind > 0 else { return "being read" }
        return "\(Self.duration(behind))+ behind"
    }

    private var gap: String {
        guard let report else { return "" }
        guard let gap = report.gap else { return "none" }
        return gap + (report.gapRecords.map { ", \($0)" } ?? "")
    }

    private var since: String { report.map { Date(timeIntervalSince1970: Double($0.at) / 1000).ISO8601Format() } ?? "" }

    static func sheet(_ entries: [StandbyEntry]) -> Sheet {
        Sheet(
            [
                .init("PARTITION", shrinksTo: 20), .init("STANDBY"), .init("GOES ON AT", isNumber: true), .init("REPEATS UP TO"), .init("MIRROR", rank: 1),
                .init("GAP"), .init("SINCE", rank: 2),
            ],
            rows: entries.map { entry in
                [
                    .init("\(entry.topic)/\(entry.partition)"), .init(entry.datacenter), .init(entry.goesOn), .init(entry.repeats),
                    .init(entry.mirror, entry.problem != nil || entry.silentMilliseconds != nil ? .warning : nil),
                    .init(entry.gap, entry.report?.gap == nil ? nil : .bad), .init(entry.since),
                ]
            })
    }
}
