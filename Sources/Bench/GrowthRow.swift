import ArgumentParser
import Demo
import Foundation
import KafkaLog

/// Row (k): CPU per record as partitions grow (reading through KafkaLog, and the C loop beside it) and as groups grow (a worker).
struct GrowthCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "growth", abstract: "Measures CPU per record with more and more partitions, and with more and more groups in one worker.")

    @Option(parsing: .upToNextOption, help: "Partitions, few to many (each at least 2).") var partitions: [Int32] = [6, 600, 6_000]
    @Option(parsing: .upToNextOption, help: "Groups, few to many.") var groups: [Int] = [1, 10, 100]
    @Option(help: "Records of a topic (at least 100000).") var records: Int64 = 1_000_000
    @Option(help: "Bytes of a record's value (at least 1).") var size: Int = 512
    @Option(help: "Bytes of a record batch, at most (at least 1000).") var batchBytes: Int = 16_384
    @Option(help: "Events that all groups of a run read together (at least 100000).") var events: Int64 = 1_000_000
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @Option(help: "librdkafka settings of reading, name=value; may be repeated.") var setting: [String] = []
    @OptionGroup var options: RowOptions

    /// How much more a record may cost with the most partitions than with the fewest.
    static let bound = 1.5

    func validate() throws {
        guard partitions.count > 1, groups.count > 1, partitions.allSatisfy({ $0 > 1 }), groups.allSatisfy({ $0 > 0 }), partitions == Set(partitions).sorted(),
            groups == Set(groups).sorted(), records >= 100_000,
            events >= 100_000, groups.allSatisfy({ events / Int64($0) > Self.early }), size > 0, batchBytes >= 1000
        else { throw ValidationError("two numbers of partitions (2 or more) and of groups at least, from few to many, records and events at least 100000, more than \(Self.early) events for each group, size at least 1, batch-bytes at least 1000") }
    }

    func run() async throws {
        var result = RowResult(
            row: "k", name: "growth",
            load: "\(records) records of \(size) bytes read; a worker's groups read \(events) recorded events together; median of \(options.runs)")
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        try await readPartitions(broker.servers, &result)
        try await RowOptions.withDirectory { try await workGroups(broker.servers, $0, &result) }
        try options.finish(result)
    }

    private func readPartitions(_ servers: String, _ result: inout RowResult) async throws {
        for count in partitions {
            Figures.note("writing \(records) records into \(count) partitions")
            try await Filling(topic: "p\(count)", partitions: count, records: records, size: size, batchBytes: batchBytes).write(to: servers)
        }
        var ours: [Int32: [ChildResult]] = [:], c: [Int32: [ChildResult]] = [:]
        for run in 0...options.runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(options.runs)")
            for count in partitions {
                for isC in [true, false] {
                    let one = try ChildRun.run(
                        ConsumeChild.arguments(servers, "p\(count)", partitions: count, records: records, settings: ConsumeRow.near + setting, reader: isC ? .c : .kafkaLog))
                    guard run > 0 else { continue }
                    if isC { c[count, default: []].append(one) } else { ours[count, default: []].append(one) }
                }
            }
        }
        for (name, runs) in [("KafkaLog", ours), ("C loop", c)] {
            result.sides += partitions.map { ChildResult.side("\(name), \($0) partitions", runs[$0] ?? []) }
        }
        let costs = [ours, c].map { runs in partitions.map { Figures.median((runs[$0] ?? []).map(\.cpu)) } }
        let (most, fewest) = (partitions.count - 1, 0)
        result.goals.append(
            .init(what: "KafkaLog, CPU per record at \(partitions[most]) partitions to \(partitions[fewest])", value: costs[0][most] / costs[0][fewest], atMost: Self.bound))
        result.goals.append(.init(what: "C loop, the same", value: costs[1][most] / costs[1][fewest]))
        result.goals.append(.init(what: "KafkaLog to C loop, CPU per record at \(partitions[most]) partitions", value: costs[0][most] / costs[1][most]))
        result.remark = "CPU is counted from assign() to the last record: what assigning so many partitions costs once is in it. What starting groups costs is not in their CPU per event."
    }

    /// Each worker starts with a few events, which all of its groups have read before the others are written, while it stands still: starting a group costs
    /// the same however many events there are.
    private func workGroups(_ servers: String, _ directory: URL, _ result: inout RowResult) async throws {
        let recorded = try RecordedEvents(file: templates)
        var runs: [Int: [ChildResult]] = [:]
        for run in 1...options.runs {
            for count in groups {
                Figures.note("run \(run) of \(options.runs), \(count) groups")
                let port = try FreePorts.take(1)[0]
                let name = "groups-\(count)-\(run)"
                let yaml = directory.appending(path: "\(name).yaml")
                try configuration(servers, directory.appending(path: "\(name).db").path, count, name, port).write(to: yaml, atomically: true, encoding: .utf8)
                let each = events / Int64(count)
                try await recorded.write(Self.early, to: "eqiad.\(name)", partitions: 6, servers: servers, wantedEvery: 100)
                let one = try await ChildRun.run([
                    "worker-child", yaml.path, "--port", "\(port)", "--first", "\(Self.early * Int64(count))", "--events", "\(each * Int64(count))", "--interval", "100",
                ]) { try await recorded.append(Self.early..<each, to: "eqiad.\(name)", partitions: 6, servers: servers, wantedEvery: 100) }
                runs[count, default: []].append(one)
                try await delete("eqiad.\(name)", servers)
            }
        }
        result.sides += groups.map { ChildResult.side("worker, \($0) groups", runs[$0] ?? []) }
        let costs = groups.map { Figures.median((runs[$0] ?? []).map(\.cpu)) }
        let starts = groups.map { Figures.median((runs[$0] ?? []).compactMap(\.startCPUSeconds)) }
        let (most, fewest) = (groups.count - 1, 0)
        result.goals.append(.init(what: "worker, CPU per event and group with \(groups[most]) groups to \(groups[fewest])", value: costs[most] / costs[fewest]))
        result.goals.append(
            .init(
                what: "worker, CPU to start a group more, up to \(groups[most])",
                value: (starts[most] - starts[fewest]) / Double(groups[most] - groups[fewest]) * 1000, unit: " ms"))
    }

    /// Events that are there when a worker starts.
    private static let early: Int64 = 600

    private func delete(_ topic: String, _ servers: String) async throws {
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [servers]))
        for deleted in try await admin.deleteTopics([topic]).values { try deleted.get() }
        await admin.close()
    }

    private func configuration(_ servers: String, _ store: String, _ count: Int, _ name: String, _ port: Int) -> String {
        """
        service: bench
        datacenter: eqiad
        datacenters: {eqiad: {bootstrap: "\(servers)"}}
        store: {sqlite: '\(store)'}
        identity: json:meta.id
        listen: 127.0.0.1:\(port)
        rules:
        \((1...count).map { "  rule\($0): {topic: \(name), group: \(name)-\($0), match: {type: bench}}" }.joined(separator: "\n"))
        """
    }
}
