import ChangePropagation
import Checkpoints
import Foundation
import KafkaLog
import Logging

/// One run of a whole worker in this process over events that are there already.
struct WorkerRun {
    private static let limit = Duration.seconds(120)

    let yaml: String
    /// Path of the SQLite store that `yaml` names.
    let store: String
    let group: String
    let events: Int64

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// Seconds for all events, by what the checkpoints cover from the first to the last.
    func seconds() async throws -> Double {
        let configuration = try WorkerConfiguration.parse(yaml, file: "bench.yaml")
        var logger = Logger(label: "bench")
        logger.logLevel = .error
        let (stop, continuation) = AsyncStream<Void>.makeStream()
        let worker = Task { [logger] in try await Worker(configuration, logger: logger).run(until: stop) }
        let opened = try await StoreConfiguration.sqlite(path: store).open(logger: logger)
        let checkpoints = CheckpointStore(opened)
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
        await opened.close()
        return seconds ?? 0
    }
}

/// Recorded events, each of which can be written many times with an id of its own.
struct RecordedEvents {
    private static let chunk: Int64 = 20_000

    private struct Part {
        let head, middle, type, rest: String
    }

    private let parts: [Part]
    /// Bytes of one, on average.
    let size: Int

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// - Parameter file: one event a line.
    init(file: String) throws {
        let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init)
        guard !lines.isEmpty else { throw Failure(description: "\(file) has no events") }
        parts = try lines.map(Self.cut)
        size = lines.reduce(0) { $0 + $1.utf8.count } / lines.count
    }

    private static func cut(_ template: String) throws -> Part {
        guard let match = template.firstMatch(of: /^(.*?"meta":\{[^}]*?"id":")[^"]*(".*?"type":")([^"]*)(".*)$/) else {
            throw Failure(description: "a recorded event has no meta.id before its type: \(template.prefix(80))")
        }
        return Part(head: String(match.1), middle: String(match.2), type: String(match.3), rest: String(match.4))
    }

    /// Makes `topic` and writes so many events, evenly over its partitions: the recorded ones in turn. One of every `wantedEvery` has the type
    /// `bench`.
    func write(_ events: Int64, to topic: String, partitions: Int32, servers: String, wantedEvery: Int64) async throws {
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [servers]))
        for result in try await admin.createTopics([NewTopic(topic, partitions: partitions)]).values { try result.get() }
        await admin.close()
        try await append(0..<events, to: topic, partitions: partitions, servers: servers, wantedEvery: wantedEvery)
    }

    /// Writes the events of these numbers to a topic that is there.
    func append(_ numbers: Range<Int64>, to topic: String, partitions: Int32, servers: String, wantedEvery: Int64) async throws {
        let producer = try KafkaProducer(KafkaClientConfiguration(bootstrapServers: [servers], settings: ["linger.ms": "20"]))
        for start in stride(from: numbers.lowerBound, to: numbers.upperBound, by: Int(Self.chunk)) {
            let records = (start..<min(start + Self.chunk, numbers.upperBound)).map { number in
                let part = parts[Int(number) % parts.count]
                let type = number % wantedEvery == 0 ? "bench" : part.type
                let digits = String(number)
                let id = "01592c7a-03f1-46cd-9472-" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
                return ProducerRecord(
                    topic: topic, partition: Int32(number % Int64(partitions)), value: Array((part.head + id + part.middle + type + part.rest).utf8))
            }
            for result in await producer.send(contentsOf: records) { _ = try result.get() }
        }
        try await producer.close()
    }
}
