import ArgumentParser
import Demo
import Foundation

/// Row (j): the memory of reading and of a worker with a backlog before them, each in a process of its own.
struct MemoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory", abstract: "Measures the memory of reading, and of a worker, with a large backlog and with a fifth of it.")

    @Option(help: "Recorded events of the larger backlog (at least 500000).") var backlog: Int64 = 1_000_000
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @Option(help: "librdkafka settings of reading, name=value; may be repeated.") var setting: [String] = []
    @OptionGroup var options: RowOptions

    /// MiB.
    static let readingBound = 64.0
    static let workerBound = 128.0
    /// How much more the peak may be with five times the backlog.
    static let growthBound = 1.25
    private static let part: Int64 = 5

    func validate() throws {
        guard backlog >= 500_000, partitions > 1 else { throw ValidationError("backlog must be at least 500000 and partitions at least 2") }
    }

    func run() async throws {
        let recorded = try RecordedEvents(file: templates)
        let sizes = [backlog / Self.part, backlog]
        var brokers: [Int64: BrokerProcess] = [:]
        defer { for broker in brokers.values { broker.stop() } }
        for size in sizes {
            let broker = try BrokerProcess.start()
            brokers[size] = broker
            Figures.note("writing \(size) events of \(recorded.size) bytes")
            try await recorded.write(size, to: RulesRow.topic, partitions: partitions, servers: broker.servers, wantedEvery: 100)
        }
        let servers = brokers.mapValues(\.servers)
        let result = try await RowOptions.withDirectory { try measure(sizes, servers, $0, size: recorded.size) }
        try options.finish(result)
    }

    private func measure(_ sizes: [Int64], _ brokers: [Int64: String], _ directory: URL, size: Int) throws -> RowResult {
        var reading: [Int64: [ChildResult]] = [:], worker: [Int64: [ChildResult]] = [:]
        for run in 1...options.runs {
            Figures.note("run \(run) of \(options.runs)")
            for count in sizes {
                let servers = brokers[count] ?? ""
                reading[count, default: []].append(
                    try ChildRun.run(ConsumeChild.arguments(servers, RulesRow.topic, partitions: partitions, records: count, settings: setting)))
                let port = try FreePorts.take(1)[0]
                let name = "memory-\(run)-\(count)"
                let yaml = directory.appending(path: "\(name).yaml")
                try RulesRow.configuration(
                    servers, directory.appending(path: "\(name).db").path, name, checkpoints: "{interval: 1s}", more: "listen: 127.0.0.1:\(port)"
                ).write(to: yaml, atomically: true, encoding: .utf8)
                worker[count, default: []].append(
                    try ChildRun.run(["worker-child", yaml.path, "--port", "\(port)", "--events", "\(count)", "--interval", "100"]))
            }
        }
        var result = RowResult(
            row: "j", name: "memory", load: "recorded events of \(size) bytes, \(partitions) partitions, median of \(options.runs), each run a process of its own")
        for (what, runs, bound) in [("reading", reading, Self.readingBound), ("worker", worker, Self.workerBound)] {
            for count in sizes { result.sides.append(ChildResult.side("\(what), backlog \(count)", runs[count] ?? [])) }
            let peaks = sizes.map { Figures.median((runs[$0] ?? []).map(\.peak)) }
            result.goals.append(.init(what: "\(what), peak", value: peaks[1], atMost: bound, unit: " MiB"))
            result.goals.append(.init(what: "\(what), peak with the larger backlog to that with a fifth of it", value: peaks[1] / peaks[0], atMost: Self.growthBound))
        }
        return result
    }
}
