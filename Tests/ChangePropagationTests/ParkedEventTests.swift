import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation
@testable import KafkaLog

@Suite struct ParkedEventTests {
    private let eqiad = Datacenter("eqiad")!
    private let codfw = Datacenter("codfw")!

    private func parked(_ event: String, schedule: ParkedEvent.Schedule?) -> ParkedEvent {
        ParkedEvent(
            id: "a-b", group: "purger-purge", rule: "purge", schedule: schedule, reason: .init(label: "timeout", message: "late"),
            source: .init(topic: "codfw.s.x", partition: 7, offset: 9, cluster: "c", timestamp: 12), payload: .json(Array(event.utf8)), key: [1, 2])
    }

    private func record(_ event: ParkedEvent, partitions: Int32? = 3) -> ProducerRecord {
        event.record(
            RetryTopics(service: "purger"), in: eqiad, datacenters: [eqiad, codfw], now: MillisecondTimestamp(clamped: 1_700_000_000_000),
            partitionCount: { _ in partitions })
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        let text = #"{"b": 1.50, "a":[12345678901234567890, "é"]}"#
        let schedule = ParkedEvent.Schedule(due: MillisecondTimestamp(clamped: 1_700_000_060_000), attempts: RetryAttempts(made: 1, left: 2))
        let record = record(parked(text, schedule: schedule))
        #expect(record.topic == "eqiad.purger.retry.s.x" && record.partition == 1 && record.key == [1, 2])
        let value = try #require(record.value)
        #expect(String(decoding: value, as: UTF8.self).hasSuffix(#""original_event":\#(text)}"#), "byte for byte")
        var read = try ParkedEvent(try parseEvent(value), key: record.key)
        guard case .json(let bytes) = read.payload else { Issue.record("no event"); return }
        #expect(try parseEvent(bytes) == parseEvent(Array(text.utf8)))
        read.payload = parked(text, schedule: nil).payload
        #expect(read == parked(text, schedule: schedule))
    }

    @Test func deadLettersGoToTheServicesOwnTopic() throws {
        #expect(record(parked("{}", schedule: nil)).topic == "eqiad.purger.error")
        #expect(record(parked("{}", schedule: nil), partitions: nil).partition == nil)
    }

    @Test(arguments: [
        ("{}", "meta.id"), (#"{"meta":{"id":"a"},"rule":"r","due_at":-1}"#, "due_at"), (#"{"meta":{"id":"a"},"rule":3}"#, "rule"), ("7", "meta.id"),
    ])
    func othersRecordsAreRefused(_ json: String, _ missing: String) {
        #expect(errorOf { try ParkedEvent(try event(json), key: nil) }?.kind == .notParked(missing: missing))
    }

    @Test func verdicts() throws {
        typealias Row = (lines: String, failure: ActionFailure, attempts: RetryAttempts?, verdict: FailureVerdict)
        let rows: [Row] = [
            ("retry_limit: 2", .timeout, nil, .retry(.init(made: 1, left: 1), after: .seconds(60))),
            ("retry_limit: 2", .timeout, .init(made: 1, left: 1), .retry(.init(made: 2, left: 0), after: .seconds(360))),
            ("retry_limit: 2", .timeout, .init(made: 2, left: 0), .deadLetter),
            ("retry_limit: 0", .timeout, nil, .deadLetter),
            ("retry_limit: 0", .readOnly(503), nil, .deadLetter),
            ("retry_limit: 2", .readOnly(503), nil, .retry(.init(made: 0, left: 2), after: .seconds(60))),
            ("retry_limit: 2", .readOnly(503), .init(made: 2, left: 0), .retry(.init(made: 2, left: 0), after: .seconds(360))),
            ("retry_limit: 2", .status(404), nil, .deadLetter),
            ("retry_limit: 2\nretry_on: 404", .status(404), nil, .retry(.init(made: 1, left: 1), after: .seconds(60))),
            ("retry_limit: 2\non_failure: halt", .badRequest("x"), nil, .halt),
            ("retry_limit: 1\non_failure: skip", .connection("x"), .init(made: 1, left: 0), .skip),
        ]
        for row in rows {
            let rule = try rule("topic: a\nexec: {uri: 'http://h/'}\n" + row.lines)
            #expect(rule.verdict(on: row.failure, row.attempts ?? rule.freshAttempts) == row.verdict, "\(row.lines), \(row.failure)")
        }
    }

    @Test func missingTopics() throws {
        let configuration = try WorkerConfiguration.parse(
            smallestFile + "    topics: [a, b]\n    exec: {uri: 'http://h/'}\n  other:\n    topic: c\n    retry_limit: 0\n    exec: {uri: 'http://h/'}\n",
            file: "worker.yaml")
        let topics = ["eqiad.a": 3, "codfw.a": 4, "eqiad.c": 8, "codfw.purger.retry.a": 1] as [String: Int32]
        let missing = TopicKeeper.missing(configuration, in: topics).map { "\($0.name) \($0.partitions)" }
        #expect(missing == ["eqiad.purger.error 8", "eqiad.purger.retry.a 4"], "b is not there yet, and c is not retried")
    }

    @Test func theRetriesGroupMustBeFree() {
        let yaml = smallestFile + "    topic: a\n    exec: {uri: 'http://h/'}\n  purge-retry:\n    topic: b\n"
        #expect(problems(yaml).first?.contains(#"worker.yaml:11:3: the group "purger-purge-retry" of rule "purge-retry" is the one that reads the retries of rule "purge""#) == true)
    }

    @Test(arguments: [
        ("1700000000", 1_700_000_000_000), ("1700000000123", 1_700_000_000_123), (#""1700000000""#, 1_700_000_000_000),
        (#""2023-11-14T22:13:20Z""#, 1_700_000_000_000), (#""2023-11-14T22:13:20.500Z""#, 1_700_000_000_500), ("null", nil),
    ] as [(String, Int64?)])
    func dueTimes(_ json: String, _ expected: Int64?) throws {
        let due = DueTime(template: try ValueTemplate(text: "{{message.t}}"))
        #expect(try due.time(of: event(#"{"t":\#(json)}"#))?.milliseconds == expected)
        #expect(try due.time(of: event("{}")) == nil)
    }

    @Test(arguments: ["true", "[]", #""""#, #""soon""#, "-1", "20231114221320"]) func notTimes(_ json: String) throws {
        let due = DueTime(template: try ValueTemplate(text: "{{message.t}}"))
        #expect(errorOf { _ = try due.time(of: event(#"{"t":\#(json)}"#)) }?.label == "not_a_time")
    }

    /// Takes records until it is broken; then it fails for ever.
    private final class Fragile: RecordProducer {
        let number: Int
        let isBroken: Bool
        init(_ number: Int) {
            self.number = number
            isBroken = number == 1
        }

        func send(contentsOf records: [ProducerRecord]) async -> [Result<Delivery, KafkaLogError>] {
            records.map { _ in
                isBroken ? .failure(.closed) : .success(Delivery(partition: .init(topic: "t", partition: Int32(number)), position: nil, timestamp: nil))
            }
        }
    }

    @Test func aProducerThatCantGoOnIsReplacedOnce() async throws {
        let made = Mutex(0), closed = Mutex<[Int]>([])
        let producer = RenewingProducer(logger: WorkerWorld.quiet) {
            Fragile(made.withLock {
                $0 += 1
                return $0
            })
        } close: { old in
            closed.withLock { $0.append((old as? Fragile)?.number ?? 0) }
        }
        let record = ProducerRecord(topic: "t", value: [])
        #expect(await producer.send(contentsOf: [record]).first?.isFailure == true)
        for _ in 0..<2 { #expect(try await producer.send(contentsOf: [record]).first?.get().partition.partition == 2) }
        try await eventually("the broken one is closed") { closed.withLock { $0 } == [1] }
        await producer.end()
        #expect(made.withLock { $0 } == 2 && closed.withLock { $0 } == [1, 2])
    }
}

extension Result {
    fileprivate var isFailure: Bool { if case .failure = self { true } else { false } }
}
