import Testing

@testable import ChangePropagation

/// What a rule does with an event: requests, and actions of switchback's own, one sentence a test.
@Suite("Conformance: actions") struct ActionConformanceTests {
    static let event: JSONValue = [
        "database": "enwiki", "page_title": "A/B", "triggered_by": "req:r-0,first:https://h/0",
        "meta": ["id": "e-1", "request_id": "r-1", "stream": "s.t", "uri": "https://en.wikipedia.org/wiki/A%2FB", "dt": "2026-11-21T00:00:00Z"],
    ]

    static let modules = """
        modules:
          /sys/links: http://links:8080/base/
          /sys/purge: {host: 239.128.0.112, port: 4827}
          /sys/partition:
            partition_stream: 'partitioned.{{message.meta.stream}}'
            partition_key: database
            partition_map: {enwiki: 3, dewiki: 0}
            partition_default: 7

        """

    private func requests(_ exec: String, for event: JSONValue = event, modules: String = modules) throws -> [ActionRequest] {
        let text = modules + file(rule: "topic: a\nexec:\n" + exec.split(separator: "\n").map { "  \($0)\n" }.joined())
        guard let rule = try WorkerConfiguration.parse(text, file: "/etc/switchback/worker.yaml").rules.first,
            case .act(let requests) = try rule.evaluate(event)
        else { return [] }
        return requests
    }

    private func events(_ exec: String, for event: JSONValue = event) throws -> [StreamEvent] {
        guard case .produce(let events)? = try requests(exec, for: event).first?.target else { return [] }
        return events
    }

    /// What leads from the event above to what its actions write.
    private static let chain: JSONValue = "req:r-0,first:https://h/0,s.t:https://en.wikipedia.org/wiki/A%2FB"

    @Test("/sys/queue/events writes the body's events, each to the stream in its meta")
    func eventsAreWritten() throws {
        let made = try events(
            """
            uri: /sys/queue/events
            method: post
            body:
              - {meta: {stream: one, id: x, uri: '{{message.meta.uri}}'}, page: '{message.page_title}'}
              - {meta: {topic: two}, n: 5}
            """)
        #expect(made.map(\.stream) == ["one", "two"] && made.allSatisfy { $0.key == nil && $0.partition == nil })
        #expect(made[0].value["page"] == "A%2FB" && made[0].value["meta"]?["id"] == "x" && made[1].value["n"] == 5)
    }

    @Test("One event in the body stands for a list of it, and a number behind the path is the partition")
    func oneEvent() throws {
        let made = try events("uri: '/sys/queue/events/2'\nbody: {meta: {stream: one}}")
        #expect(made.count == 1 && made[0].partition == 2)
    }

    @Test("An event that is written says what made it, and has the same id whenever the action is repeated")
    func cause() throws {
        let exec = "uri: /sys/queue/events\nbody: [{meta: {stream: one}}, {meta: {stream: one}}, {meta: {stream: one}, triggered_by: 'mine:1'}]"
        let made = try events(exec)
        #expect(made[0].value["triggered_by"] == Self.chain && made[0].value["meta"]?["request_id"] == "r-1")
        #expect(made[2].value["triggered_by"] == "req:r-0,first:https://h/0,mine:1", "what led to the cause stands before what the rule says")
        let ids = made.compactMap { $0.value["meta"]?["id"]?.string }
        #expect(Set(ids).count == 3 && ids.allSatisfy { $0.count == 36 })
        #expect(try events(exec) == made)
        #expect(try events(exec, for: Self.event.replacing(["meta", "id"], with: "e-2"))[0].value["meta"]?["id"]?.string != ids[0])
    }

    @Test("An event that is passed on as it is goes one hop further all the same")
    func passedOn() throws {
        let made = try events("produce: other\nbody: '{{globals.message}}'")
        #expect(made[0].value["triggered_by"] == Self.chain && made[0].value["meta"]?["stream"] == "other" && made[0].value["meta"]?["id"] == "e-1")
        #expect(try events("produce: other") == made, "without a body it is the event itself")
    }

    @Test("/sys/partition posts the event anew at the partition that its key has", arguments: [
        ("enwiki", 3), ("dewiki", 0), ("frwiki", 7),
    ] as [(JSONValue, Int32)])
    func partitions(_ database: JSONValue, _ partition: Int32) throws {
        let event = Self.event.replacing(["database"], with: database)
        let made = try events("uri: /sys/partition/\nbody: '{{globals.message}}'", for: event)
        #expect(made.map(\.stream) == ["partitioned.s.t"] && made.map(\.partition) == [partition])
        #expect(made[0].value["database"] == database && made[0].value["meta"]?["stream"] == "partitioned.s.t")
    }

    @Test("/sys/purge/ has a cache forget the URLs in the body, under http")
    func purges() throws {
        let body = "[{meta: {uri: '//h/a/{message.page_title}'}}, {meta: {uri: 'https://h/b'}}]"
        #expect(
            try requests("uri: /sys/purge/\nbody: \(body)").map(\.target) == [
                .purge(["http://h/a/A%2FB", "http://h/b"], PurgeService(host: "239.128.0.112", port: 4827))
            ])
    }

    @Test("Another internal path goes to the URL that modules gives for it")
    func service() throws {
        let made = try requests("uri: '/sys/links/transcludes/{message.page_title}'\nquery: {a: 1}\nbody: '{{globals.message}}'")
        #expect(made.map { "\($0.method) \($0.url)" } == ["POST http://links:8080/base/transcludes/A%2FB?a=1"])
        #expect(made[0].target == .http && made[0].headers.contains(.init("x-request-id", "r-1")))
    }

    @Test("produce: writes to a stream, log: appends to a file, and both stand among requests")
    func produceAndLog() throws {
        let made = try requests(
            """
            - {uri: 'http://h/'}
            - {produce: 'of.{{message.database}}', key: '{{message.page_title}}', partition: 1, body: {n: 1}}
            - {log: seen.jsonl, body: {title: '{{message.page_title}}'}}
            - {log: /var/log/all.jsonl}
            """)
        #expect(
            made.map(\.target) == [
                .http,
                .produce([StreamEvent(stream: "of.enwiki", partition: 1, key: Array("A/B".utf8), value: ["n": 1, "triggered_by": Self.chain])]),
                .log(file: "/etc/switchback/seen.jsonl", line: Array(#"{"title":"A/B"}"#.utf8)),
                .log(file: "/var/log/all.jsonl", line: Self.event.jsonBytes),
            ])
    }

    @Test("What an action of our own can't use is that event's error", arguments: [
        ("uri: /sys/queue/events\nbody: {a: 1}", "bad_body"), ("uri: /sys/queue/events\nbody: []", "bad_body"),
        ("uri: /sys/queue/events\nbody: [1]", "bad_body"), ("uri: /sys/queue/events/x\nbody: {meta: {stream: a}}", "bad_body"),
        ("uri: /sys/purge/\nbody: {meta: {uri: 'ftp://h/'}}", "bad_body"), ("uri: /sys/purge/\nbody: text", "bad_body"),
        ("uri: /sys/ores/\nbody: {a: 1}", "no_module"), ("uri: '/{message.database}/x'", "no_module"), ("produce: '{message.absent}'", "missing_field"),
    ])
    func errors(_ exec: String, _ label: String) throws {
        #expect(errorOf { try requests(exec) }?.label == label)
    }

    @Test("A path that nobody answers for is a warning with its place when the file is read")
    func warnings() throws {
        let text = file(rule: "topic: a\nexec: {uri: '/sys/ores/x', body: {a: 1}}")
        #expect(
            try WorkerConfiguration.parse(text, file: "worker.yaml").warnings.map(\.description) == [
                "worker.yaml:10:17: warning: \"uri\" in \"exec\" in rule \"purge\": nobody answers for /sys/ores/x; give modules: {/sys/ores: 'http://…'}. "
                    + "Without it each event that gets there is a failure"
            ])
        #expect(try WorkerConfiguration.parse(Self.modules + file(rule: "topic: a\nexec: {uri: /sys/links/a}"), file: "worker.yaml").warnings.isEmpty)
    }

    @Test("Modules that are wrong are mistakes of the file", arguments: [
        ("{/sys/links: 'ftp://h'}", "bad URL \"ftp://h\""), ("{links: 'http://h'}", "is not an internal path"), ("{/sys/purge: {host: a}}", "\"port\" in"),
        ("{/sys/queue/events: 'http://h'}", "switchback's own"), ("{/sys/purge: {host: a, port: 1, format: x}}", "must be one of squid, rfc2756"),
        ("{/sys/p: {partition_stream: a, partition_key: b, partition_map: {c: x}, partition_default: 0}}", "must be a whole number"),
        ("{/sys/p: {partition_stream: a, partition_key: b, partition_map: {}}}", "\"partition_default\" in"), ("{/sys/links: [a]}", "not a list"),
    ])
    func wrongModules(_ modules: String, _ words: String) throws {
        let found = problems("modules: \(modules)\n" + file(rule: "topic: a"))
        #expect(found.count == 1 && found[0].hasPrefix("worker.yaml:1:") && found[0].contains(words), "\(found)")
    }

    /// The bytes of a CLR, by RFC 2756: lengths, version, opcode, transaction, specifier, no authentication.
    @Test("An HTCP datagram is a CLR request for the URL", arguments: [(HTCPFormat.squid, 0 as UInt8, 0x04 as UInt8), (.rfc2756, 1, 0x40)])
    func datagram(_ format: HTCPFormat, _ minorVersion: UInt8, _ opcode: UInt8) throws {
        let datagram = try #require(HTCP.clear("http://h/a", transaction: 0x0102_0304, format: format))
        let specifier = [0, 4] + Array("HEAD".utf8) + [0, 10] + Array("http://h/a".utf8) + [0, 8] + Array("HTTP/1.0".utf8) + [0, 0]
        #expect(datagram == [0, 46, 0, minorVersion, 0, 40, opcode, 0, 1, 2, 3, 4, 0, 0] + specifier + [0, 2])
        #expect(datagram.count == 46)
        #expect(HTCP.clear(String(repeating: "a", count: 65_600), transaction: 1, format: format) == nil)
    }

    @Test("Whatever a rule says there, what it writes is a hop further than what made it", arguments: [
        "", "triggered_by: s:u", "triggered_by: mine", "triggered_by: '{{default(message.triggered_by, null)}}'", "triggered_by: 5",
    ])
    func hopsGrow(_ said: String) throws {
        for first: JSONValue in [[:], ["meta": ["stream": "s", "uri": "u"]], Self.event] {
            var event = first
            for _ in 0..<4 {
                let before = TriggerChain.hops(of: event)
                event = try #require(try events("produce: s\nbody: {n: 1\(said.isEmpty ? "" : ", " + said)}", for: event).first).value
                #expect(TriggerChain.hops(of: event) > before, "\(event.jsonText)")
            }
        }
    }

    @Test("Hops are the events in triggered_by", arguments: [
        (nil, 0), ("", 0), ("req:r", 0), ("req:r,s.t:https://h/a", 1), ("s:https://h/a,_b,c:d", 2), ("s.t:https://h/A,_B,u:https://h/", 2),
    ] as [(String?, Int)])
    func hops(_ chain: String?, _ hops: Int) {
        #expect(TriggerChain.hops(of: chain.map { ["triggered_by": .string($0)] } ?? [:]) == hops)
    }
}
