import ChangePropagation
import Foundation
import LocalKafka
import TestSupport
import Testing

/// Events that can't be understood, and events that make events.
@Suite("Rules and what is fed to them", .serialized)
struct RulePoisonTests {
    /// Records that the rule can't act on, and the reason that their dead letters give; nil: they are no failure.
    private static let poison: [(name: String, value: [UInt8]?, reason: String?)] = [
        ("a tombstone", nil, nil),
        ("an empty value", [], "not_json"),
        ("half an object", Array(#"{"meta":{"id":"#.utf8), "not_json"),
        ("no UTF-8", Array(#"{"meta":{"id":""#.utf8) + [0xFF, 0xFE] + Array(#""}}"#.utf8), "not_json"),
        ("a zero byte", [0], "not_json"),
        ("brackets without end", Array(String(repeating: "[", count: 100_000).utf8), "not_json"),
        ("deep, and closed", Array((String(repeating: "[", count: 5_000) + String(repeating: "]", count: 5_000)).utf8), "not_json"),
        ("a list", Array("[1]".utf8), "missing_field"),
        ("a number", Array("5".utf8), "missing_field"),
        ("no id", Array(#"{"meta":{"stream":"s"}}"#.utf8), "missing_field"),
        ("an object as id", Array(#"{"meta":{"id":{"a":1}}}"#.utf8), "not_text"),
    ]

    @Test("Poison in a batch: its neighbours are acted on, it is a dead letter that holds it byte for byte, and the position moves")
    func batch() async throws {
        try await RuleStage.run { stage in
            try stage.start()
            var good: [String] = []
            var values: [[UInt8]?] = []
            for (number, poison) in Self.poison.enumerated() {
                good.append("g\(number)")
                values += [Array(#"{"meta":{"id":"g\#(number)","stream":"s"}}"#.utf8), poison.value]
            }
            try stage.append(values)
            try await stage.wait("the neighbours are acted on") { stage.target.hasSucceeded(good) }
            let bad = Self.poison.filter { $0.reason != nil }
            try await stage.wait("the rest are dead letters") { stage.count(RuleStage.errorTopic) >= bad.count }
            try await stage.waitUntilPassed()
            let dead = try await stage.records(RuleStage.errorTopic).sorted { Self.offset($0.json) < Self.offset($1.json) }
            let reasons = dead.map { $0.json["reason"]?["type"]?.string }
            #expect(reasons == bad.map(\.reason), "\(zip(bad.map(\.name), reasons).map { "\($0): \($1 ?? "")" })")
            #expect(dead.map { Self.offset($0.json) } == Self.poison.indices.filter { Self.poison[$0].reason != nil }.map { Int64($0 * 2 + 1) })
            #expect(stage.target.calls.count == good.count)
            let account = try await stage.account("poison in a batch")
            #expect(account.lost == [] && account.repeated.isEmpty)
            try await stage.end()
        }
    }

    private static func offset(_ json: JSONValue) -> Int64 {
        if case .integer(let offset)? = json["source"]?["offset"] { offset } else { -1 }
    }

    @Test("An event of 900 kB that fails is tried again like any other")
    func huge() async throws {
        try await RuleStage.run { $0.number == 0 ? .status(503) : .status(200) } _: { stage in
            try stage.start()
            try stage.produce(["big"], extra: #","text":"\#(String(repeating: "x", count: 900_000))""#)
            try stage.produce(["small"])
            try await stage.wait("both are acted on") { stage.target.hasSucceeded(["big", "small"]) }
            try await stage.waitUntilPassed()
            let account = try await stage.account("an event of 900 kB")
            #expect(account.lost == [] && account.dead == [] && account.repeated.isEmpty)
            try await stage.end()
        }
    }

    @Test("A rule that feeds itself, and fails and is tried again on the way, ends by max_hops")
    func feedsItself() async throws {
        var settings = RuleStage.Settings()
        settings.rule = ["retry_limit: 3", "retry_delay: 100ms", "max_hops: 5"]
        settings.exec = [
            "- {uri: 'TARGET/{message.meta.id}'}",
            "- {uri: /sys/queue/events, body: {meta: {stream: s, uri: '{{message.meta.uri}}'}}}",
        ]
        try await RuleStage.run(settings) { $0.number == 0 ? .status(503) : .status(200) } _: { stage in
            try stage.start()
            try stage.append([Array(#"{"meta":{"id":"first","uri":"https://h/A","stream":"s","request_id":"r"}}"#.utf8)])
            try await stage.wait("six more came of it, the last of which is left out") { stage.count(RuleStage.topic) == 7 }
            try await stage.waitUntilPassed()
            try await Task.sleep(for: .milliseconds(500))
            #expect(stage.count(RuleStage.topic) == 7 && stage.count(RuleStage.errorTopic) == 0)
            #expect(stage.target.succeeded.count == 6 && stage.target.succeeded.values.allSatisfy { $0 == 1 })
            #expect(stage.log().contains("An event is left out"))
            try await stage.end()
        }
    }
}
