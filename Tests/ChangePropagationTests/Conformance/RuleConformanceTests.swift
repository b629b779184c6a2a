import Testing

@testable import ChangePropagation

/// Which events a rule is for, and what it sends: one sentence a row.
@Suite("Conformance: streams, match, cases, headers") struct RuleConformanceTests {
    // MARK: Streams

    struct Streams: CustomTestStringConvertible, Sendable {
        let sentence: String
        let rule: String
        let read: [String]
        let notRead: [String]
        init(_ sentence: String, _ rule: String, reads read: [String], not notRead: [String]) {
            self.sentence = sentence
            self.rule = rule
            self.read = read
            self.notRead = notRead
        }
        var testDescription: String { sentence }
    }

    @Test("A rule reads the streams that it says", arguments: [
        Streams("one by name", "topic: mediawiki.page_change", reads: ["mediawiki.page_change"], not: ["mediawiki.page_change2", "page_change"]),
        Streams("several by name", "topics: [a, b.c]", reads: ["a", "b.c"], not: ["b", "c"]),
        Streams("those that an expression matches", "topic: '/^mediawiki\\.job\\./'", reads: ["mediawiki.job.x"], not: ["mediawiki.jobs", "x.mediawiki.job.x"]),
        Streams("an expression is not bound to the ends", "topic: /change/", reads: ["resource_change", "change-prop"], not: ["Change"]),
        Streams("flags count", "topic: /^CHANGE/i", reads: ["change"], not: []),
        Streams("names and expressions together", "topics: [a, '/^b\\./']", reads: ["a", "b.c"], not: ["b"]),
        Streams("but for those that are excluded by name", "topic: '/^job\\./'\nexclude_topics: [job.slow]", reads: ["job.fast", "job.slow2"], not: ["job.slow"]),
        Streams("or by expression", "topics: ['/^job\\./', other]\nexclude_topics: ['/slow/', nothing]", reads: ["job.fast", "other"], not: ["job.slow.x"]),
        Streams("a name may be excluded, too", "topics: [a, b]\nexclude_topics: b", reads: ["a"], not: ["b"]),
        Streams(
            "an expression never matches switchback's own", "topic: /./", reads: ["purger.retryable", "errors", "purger.errors", "other.retry.a", "switchback2"],
            not: ["switchback.heartbeat", "purger.retry.resource_change", "purger.error", "purger.error.x"]),
    ])
    func streams(_ row: Streams) throws {
        let rule = try rule(row.rule)
        for stream in row.read { #expect(rule.selection.contains(stream), "\(stream)") }
        for stream in row.notRead { #expect(!rule.selection.contains(stream), "\(stream)") }
    }

    @Test("Expressions are asked for the topics of the rule's datacenters only")
    func origins() throws {
        let rule = try rule("topic: /a/\norigins: codfw")
        let known = rule.origins.map(\.name)
        #expect(known == ["codfw"] && rule.topics.isEmpty)
        let codfw = rule.origins[0]
        #expect(rule.reads(.init(origin: codfw, stream: "a")) && !rule.reads(.init(origin: codfw, stream: "b")))
    }

    // MARK: match and cases

    static let event: JSONValue = [
        "type": "edit", "bot": false, "n": 5, "nothing": nil, "tags": ["purge", "null_edit", 7], "title": "User:Ada/Notes",
        "meta": ["domain": "en.wikipedia.org", "uri": "https://en.wikipedia.org/wiki/A%2FB", "request_id": "r-1", "stream": "s"],
    ]

    @Test("match", arguments: [
        ("an object, field by field", "{type: edit, meta: {domain: en.wikipedia.org}}", true), ("any field may fail it", "{type: edit, meta: {domain: x}}", false),
        ("a literal is of its type", "{n: 5}", true), ("5 is not \"5\"", "{n: '5'}", false), ("each item must be in the event's list", "{tags: [7, purge]}", true),
        ("one that is not fails it", "{tags: [purge, other]}", false), ("a list against no list", "{type: [edit]}", false),
        ("'undefined': the field is absent", "{gone: undefined}", true), ("null is not absent", "{nothing: undefined}", false),
        ("null is null", "{nothing: null}", true), ("an expression", "{title: '/^user:/i'}", true), ("an expression in a list", "{tags: ['/^null/']}", true),
        ("an expression against what is not there", "{gone: '/x/'}", false), ("an empty match of an expression", "{title: '/^$/'}", false),
    ])
    func match(_ sentence: String, _ match: String, _ matches: Bool) throws {
        #expect(try rule("topic: a\nmatch: \(match)\naction: none").matches(Self.event) == matches)
        #expect(try rule("topic: a\nmatch_not: \(match)\naction: none").matches(Self.event) == !matches)
        #expect(try rule("topic: a\nmatch_not: [{type: never}, \(match)]\naction: none").matches(Self.event) == !matches, "any of a list")
    }

    @Test("The first case that matches wins, with its own captures")
    func cases() throws {
        let rule = try rule(
            """
            topic: a
            cases:
              - {match: {type: log}, exec: {uri: 'http://h/1'}}
              - {match: {title: '/^User:(?<user>[^\\/]+)/'}, match_not: {bot: true}, exec: {uri: 'http://h/2/{match.title.user}'}}
              - {match: {title: '/^(.+?):/'}, exec: {uri: 'http://h/3/{match.title[1]}'}}
            """)
        func url(_ event: JSONValue) throws -> String? {
            guard case .act(let requests) = try rule.evaluate(event) else { return nil }
            return requests.first?.url
        }
        #expect(try url(Self.event) == "http://h/2/Ada")
        #expect(try url(Self.event.replacing(["bot"], with: true)) == "http://h/3/User")
        #expect(try url(Self.event.replacing(["type"], with: "log")) == "http://h/1")
        #expect(try url(["title": "none"]) == nil)
    }

    @Test("Named and numbered groups in one expression are a mistake of the file")
    func mixedGroups() {
        let found = problems(file(rule: "topic: a\nmatch: {title: '/(?<a>x)(y)/'}\naction: none"))
        #expect(found.count == 1 && found[0].hasPrefix("worker.yaml:10:20: ") && found[0].contains("mixes named and numbered groups"))
    }

    // MARK: Headers

    @Test("Headers that are sent", arguments: [
        ("the event's request id", "{}", event, ["x-request-id: r-1", "x-triggered-by: req:r-1,s:https://en.wikipedia.org/wiki/A%2FB"]),
        ("what led to the event stands first", "{}", event.replacing(["triggered_by"], with: "req:r-0,a:b"),
            ["x-request-id: r-1", "x-triggered-by: req:r-0,a:b,s:https://en.wikipedia.org/wiki/A%2FB"]),
        ("nothing of what the event does not have", "{}", ["meta": ["stream": "s"]], []),
        ("a rule's own win", "{X-Request-ID: mine, User-Agent: 'us {message.n}', x: 1}", event,
            ["x-request-id: mine", "user-agent: us 5", "x: 1", "x-triggered-by: req:r-1,s:https://en.wikipedia.org/wiki/A%2FB"]),
    ] as [(String, String, JSONValue, [String])])
    func headers(_ sentence: String, _ headers: String, _ event: JSONValue, _ expected: [String]) throws {
        guard case .act(let requests) = try rule("topic: a\nexec: {uri: 'http://h/', headers: \(headers)}").evaluate(event) else { return }
        #expect(requests[0].headers.map { "\($0.name): \($0.value)" } == expected)
    }
}
