import ArgumentParser
import CBaseline
import Foundation
import KafkaLog
import Logging

/// Row (f): writing with acks=all and idempotence through KafkaProducer, against a C loop over `rd_kafka_produce` with the same settings.
struct ProduceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "produce", abstract: "Measures KafkaProducer, acks=all, against a C loop over rd_kafka_produce.")

    @Option(help: "Records that one run writes (at least 100000).") var records: Int64 = 500_000
    @Option(help: "Bytes of a record's value (at least 1).") var size: Int = 512
    @Option(help: "Partitions (at least 1).") var partitions: Int32 = 6
    @OptionGroup var options: RowOptions

    func validate() throws {
        guard records >= 100_000, size > 0, partitions > 0 else { throw ValidationError("records must be at least 100000, size and partitions 1") }
    }

    func run() async throws {
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [broker.servers]))
        var c: [ChildResult] = [], ours: [ChildResult] = []
        for run in 0...options.runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(options.runs)")
            for isC in run % 2 == 0 ? [true, false] : [false, true] {
                let topic = "produce-\(run)-\(isC ? "c" : "swift")"
                for result in try await admin.createTopics([NewTopic(topic, partitions: partitions)]).values { try result.get() }
                let one = try ChildRun.run(
                    ["produce-child", "--servers", broker.servers, "--topic", topic, "--partitions", "\(partitions)", "--records", "\(records)"]
                        + ["--size", "\(size)"] + (isC ? ["--c"] : []))
                for result in try await admin.deleteTopics([topic]).values { try result.get() }
                guard run > 0 else { continue }
                if isC { c.append(one) } else { ours.append(one) }
            }
        }
        await admin.close()
        try options.finish(
            RowResult(
                row: "f", name: "produce", load: "\(records) records of \(size) bytes, acks=all, idempotent, \(partitions) partitions, median of \(options.runs)",
                sides: [ChildResult.side("C, rd_kafka_produce", c), ChildResult.side("KafkaProducer", ours)],
                goals: [
                    .init(what: "KafkaProducer to C loop", value: Figures.median(zip(ours, c).map { $0.rate / $1.rate })),
                    .init(what: "CPU per record, C loop to KafkaProducer", value: Figures.median(zip(ours, c).map { $1.cpu / $0.cpu })),
                ]))
    }
}

/// In a process of its own: writes records through KafkaLog or with the C loop.
struct ProduceChild: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "produce-child", shouldDisplay: false)

    @Option var servers: String
    @Option var topic: String
    @Option var partitions: Int32
    @Option var records: Int64
    @Option var size: Int
    @Flag var c = false

    private static let settings = ["acks": "all", "enable.idempotence": "true", "linger.ms": "5"]
    /// Records of one `send`, of which several are under way: one alone would leave the library idle between them.
    private static let chunk: Int64 = 10_000
    private static let underWay = 4

    func run() async throws {
        ChildRun.endWithParent()
        let watch = MemoryWatch()
        var result = c ? try writeInC() : try await write()
        (result.peak, result.steady) = watch.end()
        try ChildRun.answer(result)
    }

    private func write() async throws -> ChildResult {
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let producer = try KafkaProducer(
            KafkaClientConfiguration(bootstrapServers: [servers], clientID: "bench", settings: Self.settings, logger: logger))
        try await producer.clusterID()
        let value = [UInt8](repeating: 0, count: size)
        let cpu = Figures.cpuSeconds()
        let began = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            var open = 0
            for start in stride(from: 0, to: records, by: Int(Self.chunk)) {
                if open == Self.underWay {
                    try await group.next()
                    open -= 1
                }
                let chunk = (start..<min(start + Self.chunk, records)).map {
                    ProducerRecord(topic: topic, partition: Int32($0 % Int64(partitions)), value: value)
                }
                group.addTask { for result in await producer.send(contentsOf: chunk) { _ = try result.get() } }
                open += 1
            }
            try await group.waitForAll()
        }
        let seconds = began.duration(to: .now) / .seconds(1)
        let used = Figures.cpuSeconds() - cpu
        try await producer.close()
        return ChildResult(records: records, bytes: records * Int64(size), seconds: seconds, cpuSeconds: used, peak: 0, steady: 0)
    }

    private func writeInC() throws -> ChildResult {
        let all = Self.settings.merging(["bootstrap.servers": servers, "client.id": "bench"]) { $1 }
        var result = cproduce_result()
        var error = [CChar](repeating: 0, count: 512)
        let outcome = CCall.withPointers(all) { names, values in
            cproduce(topic, partitions, records, size, names, values, all.count, &result, &error, error.count)
        }
        guard outcome == 0 else {
            throw ChildRun.Failure(description: "C loop: \(CCall.text(error))")
        }
        return ChildResult(
            records: result.acknowledged, bytes: result.acknowledged * Int64(size), seconds: result.seconds, cpuSeconds: result.cpu_seconds, peak: 0, steady: 0)
    }
}
