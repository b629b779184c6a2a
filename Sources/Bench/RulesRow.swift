import ArgumentParser
import CBaseline
import CSimdJSON
import ChangePropagation
import Checkpoints
import Foundation
import KafkaLog
import Logging

/// Row (b): a whole worker (reading, parsing, twenty rules, tracking, checkpointing, action `none`) against a C loop that only reads and
/// parses the same events with simdjson. Both on one core; the broker has the other ones.
struct RulesRow {
    /// The worker's events per second must be at least this part of the C loop's, and at least this many.
    static let floor = 0.5
    static let leastRate = 200_000.0
    private static let topic = "eqiad.mediawiki.recentchange"
    private static let chunk: Int64 = 20_000
    private static let batch = 4096
    /// Every so many events, one is wanted by two of the rules.
    private static let wantedEvery: Int64 = 100
    private static let limit = Duration.seconds(120)

    let servers: String
    let directory: URL
    let events: Int64
    let partitions: Int32
    /// Recorded events, one a line.
    let templates: [String]

    struct Failure: Error, CustomStringConvertible { let description: String }

    struct Outcome {
        let table: String
        let ratio: Double
        let rate: Double
    }

    private static func note(_ text: String) { FileHandle.standardError.write(Data("\(text)\n".utf8)) }

    /// Writes the events, evenly over the partitions: the recorded ones in turn, each with an id of its own.
    func fill() async throws {
        Self.note("writing \(events) events of \(templates.reduce(0) { $0 + $1.utf8.count } / templates.count) bytes")
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [servers]))
        for result in try await admin.createTopics([NewTopic(Self.topic, partitions: partitions)]).values { try result.get() }
        await admin.close()
        let parts = try templates.map(Self.cut)
        let producer = try KafkaProducer(KafkaClientConfiguration(bootstrapServers: [servers], settings: ["linger.ms": "20"]))
        for start in stride(from: 0, to: events, by: Int(Self.chunk)) {
            let records = (start..<min(start + Self.chunk, events)).map { number in
                let part = parts[Int(number) % parts.count]
                let type = number % Self.wantedEvery == 0 ? "bench" : part.type
                let digits = String(number)
                let id = "01592c7a-03f1-46cd-9472-" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
                return ProducerRecord(
                    topic: Self.topic, partition: Int32(number % Int64(partitions)), value: Array((part.head + id + part.middle + type + part.rest).utf8))
            }
            for result in await producer.send(contentsOf: records) { _ = try result.get() }
        }
        try await producer.close()
    }

    private struct Part {
        let head, middle, type, rest: String
    }

    private static func cut(_ template: String) throws -> Part {
        guard let match = template.firstMatch(of: /^(.*?"meta":\{[^}]*?"id":")[^"]*(".*?"type":")([^"]*)(".*)$/) else {
            throw Failure(description: "a recorded event has no meta.id before its type: \(template.prefix(80))")
        }
        return Part(head: String(match.1), middle: String(match.2), type: String(match.3), rest: String(match.4))
    }

    /// Both sides in turn, after one run of each that warms the broker's page cache.
    func measure(runs: Int) async throws -> Outcome {
        var c: [Double] = [], ours: [Double] = []
        for run in 0...runs {
            Self.note(run == 0 ? "warming up" : "run \(run) of \(runs)")
            let baseline = try runBaseline()
            let worker = try await runWorker(run)
            if run > 0 {
                c.append(baseline)
                ours.append(worker)
            }
        }
        let rates = (c: Double(events) / Self.median(c), worker: Double(events) / Self.median(ours))
        let ratio = rates.worker / rates.c
        let lines = [
            "worker, 20 rules, action none: \(events) recorded events, \(partitions) partitions, one core, median of \(runs)",
            String(format: "C, consume and simdjson  %10.0f events/s  %6.3f us each", rates.c, 1e6 / rates.c),
            String(format: "worker                   %10.0f events/s  %6.3f us each  ratio %.3f", rates.worker, 1e6 / rates.worker, ratio),
        ]
        return Outcome(table: lines.joined(separator: "\n"), ratio: ratio, rate: rates.worker)
    }

    private static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
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

    /// Seconds from the first checkpoint to the last, by what they cover: joining its group is not what is measured.
    private func runWorker(_ run: Int) async throws -> Double {
        let group = "bench-\(run)"
        let path = directory.appending(path: "store-\(run).db").path
        let configuration = try WorkerConfiguration.parse(Self.configuration(servers, path, group), file: "bench.yaml")
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let (stop, continuation) = AsyncStream<Void>.makeStream()
        let worker = Task { [logger] in try await Worker(configuration, logger: logger).run(until: stop) }
        let store = try await StoreConfiguration.sqlite(path: path).open(logger: logger)
        let checkpoints = CheckpointStore(store)
        let deadline = ContinuousClock.now + Self.limit
        var first: (done: Int64, at: ContinuousClock.Instant)?
        var seconds: Double?
        while seconds == nil {
            guard ContinuousClock.now < deadline else { throw Failure(description: "the worker was not done within \(Self.limit)") }
            let stored = try await checkpoints.load(group: group)
            let done = stored.values.reduce(Int64(0)) { $0 + ((try? $1.checkpoint.get().position.offset) ?? 0) }
            let now = ContinuousClock.now
            if done > 0, first == nil { first = (done, now) }
            if done >= events, let first {
                seconds = first.at.duration(to: now) / .seconds(1) * Double(events) / Double(max(1, done - first.done))
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        continuation.yield()
        try await worker.value
        await store.close()
        return seconds ?? 0
    }

    private static func configuration(_ servers: String, _ store: String, _ group: String) -> String {
        // The C loop's. A worker leaves an old librdkafka to sleep up to 250 ms when its queue is full, which shows above 250 MB/s.
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
            checkpoints: {interval: 100ms}
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
    @Option(help: "Runs of each side; the median counts (at least 1).") var runs: Int = 3
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @Flag(help: "Exit with status 1 when the rate or the ratio is under its floor.") var check = false

    func validate() throws {
        guard events >= 100_000, partitions > 1, runs > 0 else {
            throw ValidationError("events must be at least 100000, partitions at least 2 and runs at least 1")
        }
    }

    func run() async throws {
        let lines = try String(contentsOfFile: templates, encoding: .utf8).split(separator: "\n").map(String.init)
        guard !lines.isEmpty else { throw ValidationError("\(templates) has no events") }
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        let row = RulesRow(servers: broker.servers, directory: directory, events: events, partitions: partitions, templates: lines)
        try await row.fill()
        // The broker runs already, and keeps all of them.
        guard cbaseline_use_one_core() == 0 else { throw RulesRow.Failure(description: "this process can't be bound to one core") }
        let outcome = try await row.measure(runs: runs)
        print(outcome.table)
        guard check else { return }
        if outcome.ratio < RulesRow.floor { print("under the floor of \(RulesRow.floor)") }
        if outcome.rate < RulesRow.leastRate { print("under the floor of \(Int(RulesRow.leastRate)) events/s") }
        if outcome.ratio < RulesRow.floor || outcome.rate < RulesRow.leastRate { throw ExitCode(1) }
    }
}
