import ArgumentParser
import Demo
import Foundation

/// Row (e): a worker that checkpoints into its store and commits to Kafka every second, against one that never gets to either (both at
/// the longest interval allowed).
struct CheckpointCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "checkpoints", abstract: "Measures what checkpointing every second costs a worker with twenty rules, action none.")

    @Option(help: "Events that one run reads (at least 500000).") var events: Int64 = 2_500_000
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @OptionGroup var options: RowOptions

    /// Of events per second, and of what a second of CPU time does: the first is what the row is about, the second can be told on a machine that
    /// has other things to do.
    static let floor = 0.98
    private static let on = "{interval: 1s, commit_interval: 1s}"
    private static let off = "{interval: 10m, commit_interval: 10m}"

    func validate() throws {
        guard events >= 500_000, partitions > 1 else { throw ValidationError("events must be at least 500000 and partitions at least 2") }
    }

    func run() async throws {
        let recorded = try RecordedEvents(file: templates)
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        Figures.note("writing \(events) events of \(recorded.size) bytes")
        try await recorded.write(events, to: RulesRow.topic, partitions: partitions, servers: broker.servers, wantedEvery: 100)
        try options.finish(try await RowOptions.withDirectory { try measure(broker.servers, $0, size: recorded.size) })
    }

    private func measure(_ servers: String, _ directory: URL, size: Int) throws -> RowResult {
        var on: [ChildResult] = [], off: [ChildResult] = []
        for run in 0...options.runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(options.runs)")
            // Who goes first changes: whatever drifts meets both.
            for isOn in run % 2 == 0 ? [true, false] : [false, true] {
                let result = try worker("\(isOn ? "on" : "off")-\(run)", isOn ? Self.on : Self.off, servers, directory)
                guard run > 0 else { continue }
                if isOn { on.append(result) } else { off.append(result) }
            }
        }
        func ratio(_ value: (ChildResult) -> Double) -> Double { Figures.median(on.map(value)) / Figures.median(off.map(value)) }
        return RowResult(
            row: "e", name: "checkpoints", load: "\(events) recorded events of \(size) bytes, 20 rules, action none, \(partitions) partitions, one core, median of \(options.runs)",
            sides: [ChildResult.side("every second, store and commit", on), ChildResult.side("off (every 10 minutes)", off)],
            goals: [
                .init(what: "speed on to off", value: ratio(\.rate), atLeast: Self.floor),
                .init(what: "CPU per event off to on", value: 1 / ratio(\.cpu), atLeast: Self.floor),
            ])
    }

    private func worker(_ name: String, _ checkpoints: String, _ servers: String, _ directory: URL) throws -> ChildResult {
        let port = try FreePorts.take(1)[0]
        let yaml = directory.appending(path: "\(name).yaml")
        try RulesRow.configuration(
            servers, directory.appending(path: "\(name).db").path, "bench-\(name)", checkpoints: checkpoints, more: "listen: 127.0.0.1:\(port)"
        ).write(to: yaml, atomically: true, encoding: .utf8)
        return try ChildRun.run(["worker-child", yaml.path, "--port", "\(port)", "--events", "\(events)", "--one-core"])
    }
}
