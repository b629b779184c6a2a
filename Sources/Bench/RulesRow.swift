import ArgumentParser
import CBaseline
import CSimdJSON
import Foundation
import KafkaLog

/// Row (c): a whole worker (reading, parsing, twenty rules, tracking, checkpointing, action `none`) against a C loop that only reads and
/// parses the same events with simdjson. Both on one core; the broker has the other ones.
struct RulesRow {
    /// The worker's events per second must be at least this part of the C loop's, and at least this many.
    static let floor = 0.5
    static let leastRate = 200_000.0
    static let topic = "eqiad.mediawiki.recentchange"
    private static let batch = KafkaConsumer.defaultBatchLimit
    /// Every so many events, one is wanted by two of the rules.
    private static let wantedEvery: Int64 = 100

    let servers: String
    let directory: URL
    let events: Int64
    let partitions: Int32
    let recorded: RecordedEvents

    struct Failure: Error, CustomStringConvertible { let description: String }

    func fill() async throws {
        Figures.note("writing \(events) events of \(recorded.size) bytes")
        try await recorded.write(events, to: Self.topic, partitions: partitions, servers: servers, wantedEvery: Self.wantedEvery)
    }

    /// Both sides in turn, after one run of each that warms the broker's page cache.
    func measure(runs: Int) async throws -> RowResult {
        var c: [Double] = [], ours: [Double] = []
        for run in 0...runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(runs)")
            let baseline = try runBaseline()
            let worker = try await runWorker(run)
            if run > 0 {
                c.append(baseline)
                ours.append(worker)
            }
        }
        let rates = (c: Double(events) / Figures.median(c), worker: Double(events) / Figures.median(ours))
        return RowResult(
            row: "c", name: "rules", load: "\(events) recorded events of \(recorded.size) bytes, 20 rules, action none, \(partitions) partitions, one core, median of \(runs)",
            sides: [
                .init(name: "C, consume and simdjson", rate: rates.c, megabytesPerSecond: rates.c * Double(recorded.size) / 1e6),
                .init(name: "worker", rate: rates.worker, megabytesPerSecond: rates.worker * Double(recorded.size) / 1e6),
            ],
            goals: [
                .init(what: "worker to C loop", value: rates.worker / rates.c, atLeast: Self.floor),
                .init(what: "worker, events per second on one core", value: rates.worker, atLeast: Self.leastRate),
            ])
    }

    private func runBaseline() throws -> Double {
        guard let scanner = csimdjson_new(0, nil, nil, nil) else { throw Failure(description: "no memory") }
        defer { csimdjson_free(scanner) }
        let loop = CLoop(servers: servers, topic: Self.topic, partitions: partitions, records: events, batch: Self.batch)
        let result = try loop.run(
            inspect: { context, value, length in
                csimdjson_scan(OpaquePointer(context), value?.assumingMemoryBound(to: UInt8.self), length, nil)
            }, context: scanner)
        return result.seconds
    }

    /// Joining its group is not what is measured.
    private func runWorker(_ run: Int) async throws -> Double {
        let path = directory.appending(path: "store-\(run).db").path
        return try await WorkerRun(yaml: Self.configuration(servers, path, "bench-\(run)"), store: path, group: "bench-\(run)", events: events).seconds()
    }

    /// - Parameter checkpoints: the value of that key.
    /// - Parameter more: lines below the others.
    static func configuration(
        _ servers: String, _ store: String, _ group: String, checkpoints: String = "{interval: 100ms}", more: String = "x-more:"
    ) -> String {
        // The C loop's.
        let settings = KafkaConsumer.speedDefaults.sorted { $0.key < $1.key }.map { "\($0): \($1)" }.joined(separator: ", ")
        let wanted = (1...2).map { "  wanted\($0): {<<: *all, match: {type: bench}}" }
        let others = (1...6).flatMap { number in
            [
                "  domain\(number): {<<: *all, match: {meta: {domain: d\(number).example.org}, type: edit}}",
                "  space\(number): {<<: *all, match: {namespace: \(100 + number), bot: false}, match_not: {meta: {domain: test.wikipedia.org}}}",
                "  tagged\(number): {<<: *all, match: {wiki: w\(number), tags: [purge], log_id: 'undefined'}}",
            ]
        }
        return """
            service: bench
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "\(servers)", kafka: {\(settings)}}}
            store: {sqlite: '\(store)'}
            identity: json:meta.id
            checkpoints: \(checkpoints)
            \(more)
            x-all: &all {topic: mediawiki.recentchange, group: \(group)}
            rules:
            \((wanted + others).joined(separator: "\n"))
            """
    }
}

/// `Bench rules`.
struct RulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rules", abstract: "Measures a whole worker, twenty rules and action none, against a C loop with simdjson, on one core.")

    @Option(help: "Events that one run reads (at least 100000).") var events: Int64 = 1_000_000
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @OptionGroup var options: RowOptions

    func validate() throws {
        guard events >= 100_000, partitions > 1 else {
            throw ValidationError("events must be at least 100000 and partitions at least 2")
        }
    }

    func run() async throws {
        let recorded = try RecordedEvents(file: templates)
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        let row = RulesRow(servers: broker.servers, directory: directory, events: events, partitions: partitions, recorded: recorded)
        try await row.fill()
        // The broker runs already, and keeps all of them.
        guard cbaseline_use_one_core() == 0 else { throw RulesRow.Failure(description: "this process can't be bound to one core") }
        try options.finish(try await row.measure(runs: options.runs))
    }
}
