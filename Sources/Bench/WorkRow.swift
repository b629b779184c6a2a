import ArgumentParser
import CBaseline
import Demo
import Foundation
import KafkaLog

/// Row (b) with work: each record costs its reader a microsecond of CPU time, so that librdkafka's local queue is full all the time. What a full
/// queue does to the flow decides here, not what reading costs.
struct WorkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "work", abstract: "Measures reading with a microsecond of work per record, through KafkaLog and in C loops.")

    @Option(help: "Records that one run reads (at least 100000).") var records: Int64 = 1_000_000
    @Option(parsing: .upToNextOption, help: "Bytes of a record's value (at least 1); each one given is a row.") var size: [Int] = [512, 100]
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "Microseconds of work per record (above 0).") var work: Double = 1
    @OptionGroup var options: RowOptions

    /// KafkaLog's records per second to those of the best C loop.
    static let floor = 0.9
    /// MiB.
    static let memoryBound = 64.0
    private static let topic = "bench"

    private enum Side: String, CaseIterable {
        case woken = "C, KafkaLog's settings"
        case refreshing = "C, the same, metadata every 30 ms"
        case boundless = "C, a queue that is never full"
        case plain = "C, librdkafka's own settings"
        case counting = "KafkaLog, work in the loop"
        case handler = "KafkaLog, work in an async handler"

        var isOurs: Bool { self == .counting || self == .handler }

        var reader: ConsumeChild.Reader {
            switch self {
            case .woken: .c
            case .refreshing, .boundless, .plain: .plainC
            case .counting: .kafkaLog
            case .handler: .handler
            }
        }

        func settings(_ servers: String) -> [String] {
            let near = KafkaConsumer.speedDefaults(for: KafkaClientConfiguration(bootstrapServers: [servers])).map { "\($0)=\($1)" }
            return switch self {
            case .refreshing: near + ["topic.metadata.refresh.interval.ms=30", "metadata.max.age.ms=900000"]
            case .boundless: near + ["queued.min.messages=10000000", "queued.max.messages.kbytes=2097151"]
            case .woken, .plain, .counting, .handler: []
            }
        }
    }

    func validate() throws {
        guard records >= 100_000, !size.isEmpty, size.allSatisfy({ $0 > 0 }), partitions > 1, work > 0 else {
            throw ValidationError("records must be at least 100000, size at least 1, partitions at least 2, work above 0")
        }
    }

    func run() async throws {
        for size in size {
            let broker = try BrokerProcess.start()
            defer { broker.stop() }
            Figures.note("writing \(records) records of \(size) bytes")
            try await Filling(topic: Self.topic, partitions: partitions, records: records, size: size).write(to: broker.servers)
            let turns = max(1, Int64(work * cbaseline_turns_per_microsecond()))
            try options.finish(try measure(broker.servers, size: size, turns: turns))
        }
    }

    private func measure(_ servers: String, size: Int, turns: Int64) throws -> RowResult {
        var results: [Side: [ChildResult]] = [:]
        for run in 0...options.runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(options.runs)")
            // Who goes first changes: whatever drifts meets all.
            for side in run % 2 == 0 ? Side.allCases : Side.allCases.reversed() {
                let one = try ChildRun.run(
                    ConsumeChild.arguments(
                        servers, Self.topic, partitions: partitions, records: records, settings: side.settings(servers), reader: side.reader, turns: turns))
                if run > 0 { results[side, default: []].append(one) }
            }
        }
        func median(_ side: Side, _ value: (ChildResult) -> Double) -> Double { Figures.median((results[side] ?? []).map(value)) }
        let rivals = Side.allCases.filter { !$0.isOurs }
        let best = rivals.map { median($0, \.rate) }.max() ?? .nan
        let cheapest = rivals.map { median($0, \.cpu) }.min() ?? .nan
        return RowResult(
            row: "b", name: "work",
            load: "\(records) records of \(size) bytes, \(partitions) partitions, \(String(format: "%g", work)) µs of work each, median of \(options.runs), each run a process of its own",
            sides: Side.allCases.map { ChildResult.side($0.rawValue, results[$0] ?? []) },
            goals: [
                .init(what: "async handler to the best C loop", value: median(.handler, \.rate) / best, atLeast: Self.floor),
                .init(what: "work in the loop to the best C loop", value: median(.counting, \.rate) / best),
                .init(what: "CPU per record, the cheapest C loop to async handler", value: cheapest / median(.handler, \.cpu)),
                .init(what: "async handler, peak", value: median(.handler, \.peak), atMost: Self.memoryBound, unit: " MiB"),
            ])
    }
}
