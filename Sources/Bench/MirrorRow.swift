import ArgumentParser
import Foundation
import KafkaLog
import Logging
import Mirror

/// Row (g): the development mirror copying a topic into another cluster, against a C loop that only reads it, and one that copies it too.
struct MirrorRowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mirror", abstract: "Measures the development mirror between two clusters against a C loop that only reads.")

    @Option(help: "Records that one run copies (at least 100000).") var records: Int64 = 1_000_000
    @Option(help: "Bytes of a record's value (at least 1).") var size: Int = 512
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @OptionGroup var options: RowOptions

    static let floor = 0.6
    /// MiB.
    static let memoryBound = 128.0
    private static let topic = "eqiad.bench"

    func validate() throws {
        guard records >= 100_000, size > 0, partitions > 1 else { throw ValidationError("records must be at least 100000, size 1 and partitions 2") }
    }

    /// One copy of the topic, and what the brokers used beside it, in seconds of CPU.
    private struct Copying {
        let child: ChildResult
        let source: Double
        let target: Double
    }

    func run() async throws {
        let source = try BrokerProcess.start()
        defer { source.stop() }
        Figures.note("writing \(records) records of \(size) bytes")
        try await Filling(topic: Self.topic, partitions: partitions, records: records, size: size).write(to: source.servers)
        var reads: [ChildResult] = [], plain: [Copying] = [], ours: [Copying] = []
        for run in 0...options.runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(options.runs)")
            let read = try ChildRun.run(ConsumeChild.arguments(source.servers, Self.topic, partitions: partitions, records: records, reader: .c))
            let loop = try await copy(from: source, c: true)
            let mirror = try await copy(from: source, c: false)
            guard run > 0 else { continue }
            reads.append(read)
            plain.append(loop)
            ours.append(mirror)
        }
        try options.finish(result(reads, plain, ours))
    }

    /// A mirror finds its place in the target: each copy has an empty one.
    private func copy(from source: BrokerProcess, c: Bool) async throws -> Copying {
        let target = try BrokerProcess.start()
        defer { target.stop() }
        if c {
            let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [target.servers]))
            for result in try await admin.createTopics([NewTopic(Self.topic, partitions: partitions)]).values { try result.get() }
            await admin.close()
        }
        let before = (source.cpuSeconds, target.cpuSeconds)
        let child = try ChildRun.run(
            ["mirror-child", "--source", source.servers, "--target", target.servers, "--records", "\(records)"]
                + (c ? ["--c", Self.topic, "--partitions", "\(partitions)"] : []))
        return Copying(child: child, source: source.cpuSeconds - before.0, target: target.cpuSeconds - before.1)
    }

    private func result(_ reads: [ChildResult], _ plain: [Copying], _ ours: [Copying]) -> RowResult {
        func brokers(_ runs: [Copying], _ seconds: (Copying) -> Double) -> Double { Figures.median(runs.map { seconds($0) / Double(records) * 1e6 }) }
        let mirror = ours.map(\.child)
        let own = Figures.median(mirror.map(\.cpu)), from = brokers(ours, \.source), to = brokers(ours, \.target)
        let cores = Double(ProcessInfo.processInfo.activeProcessorCount)
        let most = cores / (own + from + to) * 1e6
        let remark = String(
            format: "A copied record took %.2f µs of CPU in the mirror, %.2f in the broker that it was read from and %.2f in the one that it was written to: with "
                + "all %.0f cores busy that is %.0f records/s at most, %.2f of the C loop. What a copy can't do without is in Docs/Performance.md, (g).",
            own, from, to, cores, most, most / Figures.median(reads.map(\.rate)))
        return RowResult(
            row: "g", name: "mirror", load: "\(records) records of \(size) bytes, \(partitions) partitions, median of \(options.runs)",
            sides: [
                ChildResult.side("C, consume_batch_queue, reads only", reads), ChildResult.side("C, reads and writes", plain.map(\.child)),
                ChildResult.side("mirror, reads and writes", mirror), RowResult.Side(name: "broker that the mirror reads from", cpu: from),
                RowResult.Side(name: "broker that the mirror writes to", cpu: to),
            ],
            goals: [
                .init(what: "mirror to C loop", value: Figures.median(zip(mirror, reads).map { $0.rate / $1.rate }), atLeast: Self.floor),
                .init(what: "C that reads and writes, to C loop", value: Figures.median(zip(plain, reads).map { $0.child.rate / $1.rate })),
                .init(what: "CPU per record, C that reads and writes to mirror", value: Figures.median(zip(plain, ours).map { $0.child.cpu / $1.child.cpu })),
                .init(what: "mirror, peak", value: Figures.median(mirror.map(\.peak)), atMost: Self.memoryBound, unit: " MiB"),
            ],
            remark: remark)
    }
}

/// In a process of its own: one mirror, from its first copied record to the last, or the C loop.
struct MirrorChild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "mirror-child", shouldDisplay: false)

    @Option var source: String
    @Option var target: String
    @Option var records: Int64
    @Option(help: "Copies this topic by the C loop.") var c: String?
    @Option var partitions: Int32 = 1

    private static let limit = Duration.seconds(240)
    private static let interval = Duration.milliseconds(10)

    func run() async throws {
        ChildRun.endWithParent()
        if let c {
            let watch = MemoryWatch()
            var result = try CCopyLoop(source: source, target: target, topic: c, partitions: partitions, records: records).run()
            (result.peak, result.steady) = watch.end()
            return try ChildRun.answer(result)
        }
        guard let from = Datacenter("eqiad"), let to = Datacenter("codfw") else { throw ChildRun.Failure(description: "no datacenter") }
        var configuration = MirrorConfiguration(from: from, sourceBootstrapServers: [source], to: to, targetBootstrapServers: [target])
        configuration.logger = Logger(label: "bench")
        configuration.logger.logLevel = .error
        let mirror = Mirror(configuration)
        let watch = MemoryWatch()
        let running = Task { try await mirror.run() }
        var result = try await measure(mirror)
        (result.peak, result.steady) = watch.end()
        mirror.stop()
        try await running.value
        try ChildRun.answer(result)
    }

    private func measure(_ mirror: Mirror) async throws -> ChildResult {
        let deadline = ContinuousClock.now + Self.limit
        var first: (copied: Int64, at: ContinuousClock.Instant, cpu: Double)?
        while ContinuousClock.now < deadline {
            let copied = mirror.snapshot().copied
            let (now, cpu) = (ContinuousClock.now, Figures.cpuSeconds())
            if copied > 0, first == nil { first = (copied, now, cpu) }
            if copied >= records, let first, copied > first.copied {
                return ChildResult(
                    records: copied - first.copied, bytes: 0, seconds: first.at.duration(to: now) / .seconds(1), cpuSeconds: cpu - first.cpu, peak: 0,
                    steady: 0)
            }
            try await Task.sleep(for: Self.interval)
        }
        throw ChildRun.Failure(description: "the mirror was not done within \(Self.limit)")
    }
}

/// Writes a topic, one partition after the other, so that batches are as large with many partitions as with few.
struct Filling {
    private static let chunk: Int64 = 50_000

    let topic: String
    let partitions: Int32
    let records: Int64
    let size: Int
    /// Those that get records; nil: all.
    var filled: [Int32]?
    /// Of a record batch, at most; nil: librdkafka's own choice, nearly a million.
    var batchBytes: Int?

    func write(to servers: String) async throws {
        let client = KafkaClientConfiguration(bootstrapServers: [servers], settings: ["linger.ms": "20"].merging(batchBytes.map { ["batch.size": "\($0)"] } ?? [:]) { $1 })
        let admin = try KafkaAdmin(client)
        for result in try await admin.createTopics([NewTopic(topic, partitions: partitions)], timeout: .seconds(60)).values { try result.get() }
        await admin.close()
        let producer = try KafkaProducer(client)
        let value = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        let filled = filled ?? Array(0..<partitions)
        for start in stride(from: 0, to: records, by: Int(Self.chunk)) {
            let chunk = (start..<min(start + Self.chunk, records)).map {
                ProducerRecord(topic: topic, partition: filled[Int($0 * Int64(filled.count) / records)], value: value)
            }
            for result in await producer.send(contentsOf: chunk) { _ = try result.get() }
        }
        try await producer.close()
    }
}
