import Testing

@testable import ChangePropagation

/// Each sentence about templates and requests.
@Suite struct TemplateTests {
    static let event: JSONValue = [
        "page_title": "Ä/B C&d?", "rev_id": 12_345_678_901_234_567, "minor": true, "score": 0.5, "parent": nil, "tags": ["a", "b c"],
        "meta": [
            "uri": "https://en.wikipedia.org/wiki/A%20B?x=1", "domain": "en.wikipedia.org", "request_id": "r-1", "stream": "s.t", "odd name": "o",
        ], "$schema": "/x/1",
    ]

    @Test(arguments: [
        ("plain", "plain"), ("{{message.meta.uri}}", "https://en.wikipedia.org/wiki/A%20B?x=1"),
        ("<{message.page_title}>", "<%C3%84%2FB%20C%26d%3F>"), ("{{message.page_title}}!", "Ä/B C&d?!"), ("{message.tags[1]}", "b%20c"),
        ("{{message.tags}}", "a,b c"), ("{{message.rev_id}}", "12345678901234567"), ("{{message.minor}}/{{message.score}}", "true/0.5"),
        ("[{{message.parent}}]", "[]"), ("{{ message.meta['odd name'] }}", "o"), ("{{message.$schema}}", "/x/1"),
        ("{{globals.message.meta.domain}}", "en.wikipedia.org"), ("{message.meta.domain}{{message.meta.domain}}", "en.wikipedia.orgen.wikipedia.org"),
    ])
    func fillsTexts(_ template: String, _ expected: String) throws {
        #expect(try TextTemplate(template).fill(from: EventContext(Self.event)) == expected)
    }

    /// The reserved and unreserved characters of ECMA-262 and some scripts.
    @Test(arguments: [
        ("-_.!~*'()azAZ09", "-_.!~*'()azAZ09"), (";/?:@&=+$,# \"<>%{}|\\^[]`", "%3B%2F%3F%3A%40%26%3D%2B%24%2C%23%20%22%3C%3E%25%7B%7D%7C%5C%5E%5B%5D%60"),
        ("巴西", "%E5%B7%B4%E8%A5%BF"), ("😀", "%F0%9F%98%80"), ("e\u{301}", "e%CC%81"), ("\n\0", "%0A%00"), ("", ""),
    ])
    func encodesAsEncodeURIComponent(_ text: String, _ expected: String) { #expect(encodeURIComponent(text) == expected) }

    @Test(arguments: [
        ("{message.titel}", EventError.Kind.missingField(path: "message.titel")), ("{{message.meta.id.x}}", .missingField(path: "message.meta.id.x")),
        ("{{message.tags[2]}}", .missingField(path: "message.tags[2]")), ("{{message.meta}}!", .notText(path: "message.meta")),
    ])
    func aFieldThatIsNotThereIsAnErrorOfTheEvent(_ template: String, _ kind: EventError.Kind) throws {
        let template = try TextTemplate(template)
        #expect(throws: EventError(kind)) { try template.fill(from: EventContext(Self.event)) }
    }

    /// The one request of a rule for the event above.
    private func request(_ exec: String, for event: JSONValue = event) throws -> ActionRequest {
        let rule = try rule("topic: a\nexec:\n" + exec.split(separator: "\n").map { "  \($0)\n" }.joined())
        guard case .act(let requests) = try rule.evaluate(event) else { throw EventError(.badURL("no match")) }
        return try #require(requests.first)
    }

    @Test func aWholeValueKeepsItsTypeInTheBody() throws {
        let request = try request(
            """
            uri: http://sink/
            body:
              id: '{{message.rev_id}}'
              text: 'r{{message.rev_id}}'
              flags: ['{{message.minor}}', '{{message.score}}', '{{message.parent}}', 7, yes]
              meta: '{{message.meta}}'
              title: '{message.page_title}'
              '{{not a template}}': 1
            """)
        #expect(request.method == "POST")
        let meta = try #require(Self.event["meta"])
        let body = try parseEvent(try #require(request.body))
        #expect(
            body == [
                "id": 12_345_678_901_234_567, "text": "r12345678901234567", "flags": [true, 0.5, nil, 7, "yes"],
                "meta": meta, "title": "%C3%84%2FB%20C%26d%3F", "{{not a template}}": 1,
            ])
        #expect(request.headers.contains(.init("content-type", "application/json")))
    }

    @Test func theWholeEventCanBeTheBody() throws {
        for body in ["'{{globals.message}}'", "'{{message}}'"] {
            for event in try recordedEvents() {
                let request = try request("uri: 'http://sink/'\nbody: \(body)", for: event)
                #expect(try parseEvent(try #require(request.body)) == event)
            }
        }
    }

    @Test func aTextBodyIsSentAsItIs() throws {
        let request = try request("uri: http://sink/\nmethod: put\nheaders: {Content-Type: text/plain}\nbody: 'purge {{message.page_title}}'")
        #expect(request.method == "PUT")
        #expect(request.body == Array("purge Ä/B C&d?".utf8))
        #expect(request.headers.first == .init("content-type", "text/plain"))
    }

    @Test func withoutABodyARequestIsAGet() throws {
        let request = try request("uri: http://sink/")
        #expect(request.method == "GET" && request.body == nil)
    }

    @Test(arguments: [
        ("http://h/api/{message.page_title}/{{message.rev_id}}", "", "http://h/api/%C3%84%2FB%20C%26d%3F/12345678901234567"),
        ("http://h/{{message.tags[1]}}", "", "http://h/b%20c"), ("http://h/a#top", "{b: 1}", "http://h/a?b=1#top"),
        ("{{message.meta.uri}}", "{redirect: false, 'a b': '{message.tags[1]}', c: '{{message.tags}}'}",
            "https://en.wikipedia.org/wiki/A%20B?x=1&redirect=false&a%20b=b%2520c&c=a%2Cb%20c"),
        ("http://h/100%/%41%zz", "", "http://h/100%25/%41%25zz"), ("http://h/Zürich{{message.parent}}", "{}", "http://h/Z%C3%BCrich"),
        ("http://{{message.meta.domain}}:81/", "{}", "http://en.wikipedia.org:81/"),
    ])
    func urls(_ uri: String, _ query: String, _ expected: String) throws {
        #expect(try request("uri: '\(uri)'\nquery: \(query.isEmpty ? "{}" : query)").url == expected)
    }

    @Test(arguments: ["{{message.tags[0]}}", "http://{{message.parent}}/", "http://h:{{message.rev_id}}/", "http://{{message.page_title}}"])
    func aURLThatIsNoneIsAnErrorOfTheEvent(_ uri: String) throws {
        let rule = try rule("topic: a\nexec: {uri: '\(uri)'}")
        #expect(errorOf { try rule.evaluate(Self.event) }?.label == "bad_url")
    }

    @Test func anEventCannotSmuggleAHeaderIn() throws {
        let event: JSONValue = ["x": "a\r\nevil: 1", "meta": ["request_id": "r\r\nevil: 1", "stream": "s", "uri": "u\n"]]
        let inTemplate = try rule("topic: a\nexec: {uri: 'http://h/', headers: {x: '{{message.x}}'}}")
        #expect(errorOf { try inTemplate.evaluate(event) }?.kind == .badHeader(name: "x"))
        let ours = try request("uri: http://h/{{message.x}}", for: event)
        #expect(ours.headers == [.init("x-request-id", "r%0D%0Aevil:%201"), .init("x-triggered-by", "req:r%0D%0Aevil:%201,s:u%0A")])
        #expect(ours.url == "http://h/a%0D%0Aevil:%201")
    }

    @Test func requestsSayWhatTriggeredThem() throws {
        func triggeredBy(_ event: JSONValue) throws -> [ActionRequest.Header] { try request("uri: http://h/", for: event).headers }
        let meta: JSONValue = ["request_id": "r-1", "stream": "s.t", "uri": "https://h/é"]
        #expect(try triggeredBy(["meta": meta]) == [.init("x-request-id", "r-1"), .init("x-triggered-by", "req:r-1,s.t:https://h/%C3%A9")])
        #expect(
            try triggeredBy(["meta": meta, "triggered_by": "req:r-0,a:b"]) == [
                .init("x-request-id", "r-1"), .init("x-triggered-by", "req:r-0,a:b,s.t:https://h/%C3%A9"),
            ])
        #expect(try triggeredBy(["meta": ["request_id": 5]]) == [])
    }

    @Test func aRulesOwnHeadersWin() throws {
        let event: JSONValue = ["meta": ["request_id": "r-1", "stream": "s", "uri": "u"]]
        let request = try request("uri: http://h/\nheaders: {X-Request-Id: mine, x-triggered-by: me, User-Agent: us}", for: event)
        #expect(request.headers == [.init("x-request-id", "mine"), .init("x-triggered-by", "me"), .init("user-agent", "us")])
    }

    @Test func severalRequestsComeInTheirOrder() throws {
        let rule = try rule("topic: a\nexec:\n  - uri: http://h/1\n  - {uri: 'http://h/2', method: DELETE}")
        guard case .act(let requests) = try rule.evaluate(Self.event) else { Issue.record("no match"); return }
        #expect(requests.map { "\($0.method) \($0.url)" } == ["GET http://h/1", "DELETE http://h/2"])
    }

    @Test(arguments: ["action: none", "order: none"]) func aRuleWithoutRequestsActsByDoingNothing(_ line: String) throws {
        #expect(try rule("topic: a\n" + line).evaluate(Self.event) == .act([]))
    }
}
