import ChangePropagation
import KafkaLog
import Logging

/// Makes events as real producers do: times unsorted, now and then far off or missing, some alike.
struct Load {
    private let scenario: Scenario
    private var random: SeededRandom
    private var count = 0
    private var last: Event?
    private var lastPartition: TopicPartition?

    init(_ scenario: Scenario) {
        self.scenario = scenario
        random = .named("load", seed: scenario.seed)
    }

    mutating func pause() -> Moment { .seconds(Double.random(in: 0..<2, using: &random) / scenario.eventsPerSecond) }

    mutating func next(now: Int64, partitions: [TopicPartition]) -> (Event, TopicPartition) {
        defer { count += 1 }
        var time = MillisecondTimestamp(clamped: now - Int64(random.int(0...max(0, scenario.disorder))))
        var isMissing = false
        if scenario.hasWildTimes {
            if random.chance(0.02) { time = time.moved(by: 3_600_000) }
            if random.chance(0.02) { isMissing = true }
        }
        let partition = partitions[random.int(0...partitions.count - 1)]
        if let alike = last, random.chance(scenario.identical) {
            // The same bytes at the same time: nobody can tell the two apart.
            return (Event(number: count, contents: alike.contents, key: alike.key, isWanted: alike.isWanted, timestamp: alike.timestamp), lastPartition ?? partition)
        }
        let event = Event(
            number: count, contents: count, key: random.int(0...7), isWanted: !random.chance(0.15), timestamp: isMissing ? nil : time)
        last = event
        lastPartition = partition
        return (event, partition)
    }
}

/// The service that workers call: it notes what begins and what takes effect.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Sink: @unchecked Sendable {
    private let scenario: Scenario
    private let host: Host
    private let datacenter: Datacenter
    private let checker: Checker
    private let trace: Trace
    private var random: SeededRandom
    /// Answers before anything took effect (a mutant).
    var acknowledgesFirst = false

    init(scenario: Scenario, host: Host, datacenter: Datacenter, checker: Checker, trace: Trace, random: SeededRandom) {
        self.scenario = scenario
        self.host = host
        self.datacenter = datacenter
        self.checker = checker
        self.trace = trace
        self.random = random
    }

    func send(_ request: ActionRequest) async -> RequestResult {
        guard !host.isDead else { return .interrupted }
        let id = String(request.url.split(separator: "/").last ?? "")
        trace.note("action", Int64(id.dropFirst()) ?? -1, words: "\(host.name) acts on \(id)")
        checker.started(id, on: host, in: datacenter)
        let way: Moment = .milliseconds(random.int(0...scenario.actionTime)), back: Moment = .milliseconds(random.int(0...2))
        let fails = random.chance(scenario.failingActions)
        let effect = acknowledgesFirst ? way &+ .milliseconds(300) : way
        let answer: Bool? = await host.wait { wait in
            if !fails { host.time.after(effect) { [checker, host, acknowledgesFirst] in if !acknowledgesFirst || !host.isDead { checker.tookEffect(id) } } }
            host.time.after(way &+ back) { wait.fulfil(true) }
        }
        guard answer != nil else { return .interrupted }
        return fails ? .retriable(.status(503)) : .done(status: 200)
    }
}

/// Turns a worker's log into the trace, and takes from it what the checks have to know.
struct SimulatedLog: LogHandler {
    let host: Host
    let checker: Checker
    let trace: Trace
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        guard !host.isDead else { return }
        let message = event.message.description
        if message.hasPrefix("A gap:") || message == "Going on", let partition = partition(event.metadata) {
            if message == "Going on" { checker.resumed(partition, how: event.metadata?["found"]?.description ?? "") } else {
                checker.gap(partition, from: event.metadata?["from"]?.description, to: event.metadata?["to"]?.description)
            }
        }
        trace.note(
            "log",
            words: "\(host.name): \(message) \((event.metadata ?? [:]).sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " "))")
    }

    private func partition(_ metadata: Logger.Metadata?) -> TopicPartition? {
        guard let words = metadata?["partition"]?.description.split(separator: "/"), words.count == 2, let number = Int32(words[1]) else { return nil }
        return TopicPartition(topic: String(words[0]), partition: number)
    }
}
