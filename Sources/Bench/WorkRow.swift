import ArgumentParser
import CBaseline
import Demo
import Foundation
import KafkaLog

/// Row (b) with work: each record costs its reader a microsecond of CPU time, so that librdkafka's local queue is full all the time. What a full
/// queue does to the flow decides here, not what reading costs.
struct WorkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "work",
        abstract: "Measures reading with a microsecond of work per record, through KafkaLog and in C loops: from one broker and from three, and on the librdkafka that pip has.")

    @Option(help: "Records that one run reads (at least 100000).") var records: Int64 = 600_000
    @Option(parsing: .upToNextOption, help: "Bytes of a record's value (at least 1); each one given is a row.") var size: [Int] = [512, 100]
    @Option(help: "Partitions (at least 6).") var partitions: Int32 = 6
    @Option(help: "Microseconds of work per record (above 0).") var work: Double = 1
    @Option(help: "Environment of Python whose confluent-kafka brings a librdkafka along (`make peers-venv` makes it).") var venv = ".build/bench-venv"
    @OptionGroup var options: RowOptions

    /// KafkaLog's records per second to those of the best C loop.
    static let floor = 0.9
    /// MiB.
    static let memoryBound = 64.0

    private enum Side: String, CaseIterable {
        case woken = "C, KafkaLog's settings"
        case counting = "KafkaLog, work in the loop"
        case handler = "KafkaLog, work in an async handler"
        case refreshing = "C, the same, metadata every 30 ms"
        case boundless = "C, a queue that is never full"
        case plain = "C, librdkafka's own settings"

        var isOurs: Bool { self == .counting || self == .handler }

        var reader: ConsumeChild.Reader {
            switch self {
            case .woken: .c
            case .refreshing, .boundless, .plain: .plainC
            case .counting: .kafkaLog
            case .handler: .handler
            }
        }

        var settings: [String] {
            switch self {
            case .refreshing: ConsumeRow.near + ["topic.metadata.refresh.interval.ms=30", "metadata.max.age.ms=900000"]
            case .boundless: ConsumeRow.near + ["queued.min.messages=10000000", "queued.max.messages.kbytes=2097151"]
            case .woken, .counting, .handler: ConsumeRow.near
            case .plain: []
            }
        }
    }

    /// What one row reads, and with what.
    private struct Case {
        var size: Int
        var brokers = 1
        /// A librdkafka that takes the place of the one that this program is linked to; nil: none does.
        var library: URL?
        var says: String {
            (brokers > 1 ? ", \(brokers) brokers of which one has nothing to read" : "") + (library == nil ? "" : ", on the librdkafka of confluent-kafka-python")
        }
        /// Waking its thread by metadata is for those that have no setting for a full queue.
        var sides: [Side] { library == nil ? Side.allCases : Side.allCases.filter { $0 != .refreshing } }
    }

    func validate() throws {
        guard records >= 100_000, !size.isEmpty, size.allSatisfy({ $0 > 0 }), partitions > 5, work > 0 else {
            throw ValidationError("records must be at least 100000, size at least 1, partitions at least 6, work above 0")
        }
    }

    func run() async throws {
        var cases = size.map { Case(size: $0) } + [Case(size: size[0], brokers: 3)]
        if let library = Self.library(venv) { cases.append(Case(size: size[0], library: library)) } else {
            Figures.note("no librdkafka in \(venv): only the installed one is measured")
        }
        for one in cases {
            let broker = try BrokerProcess.start(brokers: one.brokers)
            defer { broker.stop() }
            Figures.note("writing \(records) records of \(one.size) bytes\(one.says)")
            // Leaders go round the brokers: the last one's partitions stay empty, and a request to it waits for its long poll.
            let filled = one.brokers == 1 ? nil : (0..<partitions).filter { Int($0) % one.brokers != one.brokers - 1 }
            try await Filling(topic: ConsumeRow.topic, partitions: partitions, records: records, size: one.size, filled: filled).write(to: broker.servers)
            let turns = max(1, Int64(work * cbaseline_turns_per_microsecond()))
            try options.finish(try measure(broker.servers, one, turns: turns))
        }
    }

    /// A wheel keeps the libraries that it brings along beside its package.
    private static func library(_ venv: String) -> URL? {
        let manager = FileManager.default
        let lib = URL(filePath: venv).appending(path: "lib")
        let pythons = (try? manager.contentsOfDirectory(at: lib, includingPropertiesForKeys: nil)) ?? []
        let found = pythons.flatMap { python in
            let libraries = python.appending(path: "site-packages").appending(path: "confluent_kafka.libs")
            return (try? manager.contentsOfDirectory(at: libraries, includingPropertiesForKeys: nil)) ?? []
        }
        return found.first { $0.lastPathComponent.hasPrefix("librdkafka") }
    }

    /// The preloaded one: a library that can't be loaded is passed over without a word.
    private func library(of rounds: Rounds<Side>) throws -> String {
        let names = Set(Side.allCases.flatMap { rounds.of($0).map(\.library) })
        guard names.count == 1, let name = names.first ?? nil, name != KafkaVersion.text else {
            throw ChildRun.Failure(description: "the other librdkafka was not loaded: the runs were on \(names.map { $0 ?? "?" }.sorted().joined(separator: ", "))")
        }
        return name
    }

    private func measure(_ servers: String, _ one: Case, turns: Int64) throws -> RowResult {
        let environment = one.library.map { ["LD_PRELOAD": $0.path] } ?? [:]
        let rounds = try Rounds.measure(one.sides, runs: options.runs) { side in
            try ChildRun.run(
                ConsumeChild.arguments(
                    servers, ConsumeRow.topic, partitions: partitions, records: records, settings: side.settings, reader: side.reader, turns: turns),
                environment: environment)
        }
        let rivals = one.sides.filter { !$0.isOurs }
        let other = try one.library.map { _ in try library(of: rounds) }
        return RowResult(
            row: "b", name: "work, \(one.size) bytes" + (one.brokers > 1 ? ", \(one.brokers) brokers" : "") + (other.map { ", librdkafka \($0)" } ?? ""),
            load: "\(records) records of \(one.size) bytes\(one.says), \(partitions) partitions, \(String(format: "%g", work)) µs of work each, median of \(options.runs), each run a process of its own",
            sides: one.sides.map { rounds.side($0.rawValue, $0) },
            goals: [
                .init(what: "async handler to the best C loop", value: rounds.ratio(.handler, to: rivals, \.rate), atLeast: Self.floor),
                .init(what: "work in the loop to the best C loop", value: rounds.ratio(.counting, to: rivals, \.rate)),
                .init(what: "CPU per record, the cheapest C loop to async handler", value: rounds.inverse(.handler, to: rivals, \.cpu)),
                .init(what: "async handler, peak", value: rounds.median(.handler, \.peak), atMost: Self.memoryBound, unit: " MiB"),
            ],
            remark: Rounds<Side>.remark)
    }
}
