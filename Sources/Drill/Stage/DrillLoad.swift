import ChangePropagation
import Foundation
import KafkaLog
import Synchronization

/// A canary as it is written down: first when it is sent, then, with its offset, when the cluster has acknowledged it.
private struct ProducedLine: Codable {
    var id: String
    var partition: Int32
    var at: Double
    var due: Double?
    var offset: Int64?
}

/// The canaries that were produced, also by earlier runs of the same drill.
final class DrillProduced: Sendable {
    private let events: Mutex<[String: ProducedEvent]>
    private let sent: Mutex<Set<String>>
    private let handle: FileHandle
    static let name = "produced.jsonl"

    init(_ directory: URL) throws {
        let (events, sent) = try Self.load(directory)
        self.events = Mutex(Dictionary(events.map { ($0.id, $0) }) { $1 })
        self.sent = Mutex(sent)
        handle = try DrillLines.appending(directory.appending(path: Self.name))
    }

    /// Acknowledged events, and the ids of all that were sent.
    static func load(_ directory: URL) throws -> ([ProducedEvent], Set<String>) {
        let lines = try DrillLines.load(ProducedLine.self, directory.appending(path: name))
        let events = lines.compactMap { line in
            line.offset.map { ProducedEvent(id: line.id, partition: line.partition, offset: $0, at: line.at, due: line.due) }
        }
        return (events, Set(lines.map(\.id)))
    }

    func sending(_ batch: [ProducedEvent]) throws {
        sent.withLock { $0.formUnion(batch.map(\.id)) }
        try DrillLines.write(batch.map { ProducedLine(id: $0.id, partition: $0.partition, at: $0.at, due: $0.due) }, to: handle)
    }

    func acknowledged(_ batch: [ProducedEvent]) throws {
        events.withLock { events in for event in batch { events[event.id] = event } }
        try DrillLines.write(batch.map { ProducedLine(id: $0.id, partition: $0.partition, at: $0.at, due: $0.due, offset: $0.offset) }, to: handle)
    }

    var all: [ProducedEvent] { events.withLock { Array($0.values) } }
    var sentIDs: Set<String> { sent.withLock { $0 } }
    var count: Int { events.withLock { $0.count } }
}

/// Makes canaries in the origin's datacenter at a steady rate.
final class DrillLoad: Sendable {
    private let task: Task<Void, Never>
    private let trouble = Trouble()

    private final class Trouble: Sendable { let text = Mutex<String?>(nil) }

    private static let batchLimit = 50
    /// Seconds until a delayed event is due, at least; up to as much again.
    private static let delay = 2.0

    init(_ load: DrillPlan.Load, sites: any DrillSites, drill: String, produced: DrillProduced, clock: DrillClock, seed: UInt64) throws {
        var client = sites.client(sites.key.origin, "canaries")
        client.settings["message.timeout.ms"] = "5000"
        let producer = try KafkaProducer(client)
        let topic = sites.topic, trouble = trouble
        task = Task {
            var random = SeededRandom(seed: seed)
            let began = ContinuousClock.now
            var sent = 0
            while !Task.isCancelled {
                let due = min(Self.batchLimit, Int(began.duration(to: .now) / .seconds(1) * load.rate) - sent)
                if due <= 0 {
                    try? await Task.sleep(for: .milliseconds(10))
                    continue
                }
                let batch = (0..<due).map { Self.event(&random, drill, load, clock, number: sent + $0) }
                do {
                    try produced.sending(batch)
                    let results = await producer.send(contentsOf: batch.map { Self.record($0, topic: topic, clock) })
                    var done: [ProducedEvent] = []
                    for (event, result) in zip(batch, results) {
                        guard let position = try? result.get().position else { continue }
                        var event = event
                        event.offset = position.offset
                        done.append(event)
                    }
                    try produced.acknowledged(done)
                } catch {
                    trouble.text.withLock { $0 = "\(error)" }
                    return
                }
                sent += due
            }
            try? await producer.close(within: .seconds(5))
        }
    }

    private static func event(_ random: inout SeededRandom, _ drill: String, _ load: DrillPlan.Load, _ clock: DrillClock, number: Int) -> ProducedEvent {
        let lot = Double(random.next() >> 11) / Double(1 << 53)
        let isFailing = lot < load.failing, isDelayed = !isFailing && lot < load.failing + load.delayed
        let now = clock.now
        return ProducedEvent(
            id: DrillTarget.prefix(drill) + (isFailing ? DrillTarget.failing : "") + random.nextID(), partition: Int32(number % Int(load.partitions)), offset: -1, at: now,
            due: isDelayed ? now + delay * (1 + Double(random.next() >> 11) / Double(1 << 53)) : nil)
    }

    private static func record(_ event: ProducedEvent, topic: String, _ clock: DrillClock) -> ProducerRecord {
        let time = clock.date(event.at)
        var text = #"{"meta":{"id":"\#(event.id)","dt":"\#(time.ISO8601Format())"}"#
        // Milliseconds since 1970.
        if let due = event.due { text += #","due":\#(Int64(clock.date(due).timeIntervalSince1970 * 1000))"# }
        return ProducerRecord(
            topic: topic, partition: event.partition, key: Array(event.id.utf8), value: Array((text + "}").utf8),
            timestamp: MillisecondTimestamp(clamped: Int64(time.timeIntervalSince1970 * 1000)))
    }

    /// nil: none.
    var failure: String? { trouble.text.withLock { $0 } }

    /// As `kill -9` would: nobody waits for what is on its way.
    func kill() { task.cancel() }

    func stop() async {
        task.cancel()
        await task.value
    }
}
