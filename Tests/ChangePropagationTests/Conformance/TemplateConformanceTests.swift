import Testing

@testable import ChangePropagation

/// What templates give, one sentence a row. The event is always this one.
@Suite("Conformance: templates") struct TemplateConformanceTests {
    static let event: JSONValue = [
        "page_title": "A/B?", "rev_id": 17, "bot": false, "empty": "", "nothing": nil, "tags": ["purge", "null edit"],
        "dt": "2026-11-21T08:49:37Z", "millis": 784_111_777_000, "escaped": "Z%C3%BCrich%2FX", "broken": "100%", "notUTF8": "%FF",
        "meta": ["domain": "en.wikipedia.org", "uri": "https://en.wikipedia.org/wiki/A%2FB"],
    ]

    struct Row: CustomTestStringConvertible, Sendable {
        let sentence: String
        let template: String
        let text: String
        init(_ sentence: String, _ template: String, _ text: String) {
            self.sentence = sentence
            self.template = template
            self.text = text
        }
        var testDescription: String { "\(sentence): \(template)" }
    }

    @Test(arguments: [
        Row("two braces put the value in as it is", "{{message.page_title}}", "A/B?"),
        Row("one brace URI-encodes it", "{message.page_title}", "A%2FB%3F"),
        Row("an item of a list", "{{message.tags[1]}}", "null edit"),
        Row("the event by its other name", "{{globals.message.rev_id}}", "17"),
        Row("decode() undoes the URI encoding", "{{decode(message.escaped)}}", "Zürich/X"),
        Row("… so that it can be done anew", "{decode(message.escaped)}", "Z%C3%BCrich%2FX"),
        Row("decode() of a literal", "{{decode('a%20b')}}", "a b"),
        Row("date() gives the form that HTTP headers have", "{{date(message.dt)}}", "Sat, 21 Nov 2026 08:49:37 GMT"),
        Row("… of milliseconds, too", "{{date(message.millis)}}", "Sun, 06 Nov 1994 08:49:37 GMT"),
        Row("… and of their digits", "{{date('784111777000')}}", "Sun, 06 Nov 1994 08:49:37 GMT"),
        Row("date() with 'iso'", "{{date(message.millis, 'iso')}}", "1994-11-06T08:49:37.000Z"),
        Row("default() of a field that is there", "{{default(message.rev_id, 5)}}", "17"),
        Row("… that is absent", "{{default(message.absent.deep, 'none')}}", "none"),
        Row("… that is null", "{{default(message.nothing, 'none')}}", "none"),
        Row("… that is false", "{{default(message.bot, 'no')}}", "no"),
        Row("… that is empty", "{{default(message.empty, message.meta.domain)}}", "en.wikipedia.org"),
        Row("functions in functions", "{{ default( message.absent , decode( message.escaped ) ) }}", "Zürich/X"),
    ])
    func texts(_ row: Row) throws {
        #expect(try TextTemplate(row.template).fill(from: EventContext(Self.event)) == row.text)
    }

    @Test("A value that is one template keeps its type", arguments: [
        ("{{message.rev_id}}", JSONValue.integer(17)), ("{{message.bot}}", false), ("{{message.tags}}", ["purge", "null edit"]), ("{{message.nothing}}", nil),
        ("{{globals.message}}", event), ("{{default(message.absent, 5)}}", 5), ("{{default(message.absent, true)}}", true),
        ("{{default(message.absent, null)}}", nil), ("r{{message.rev_id}}", "r17"), ("{message.rev_id}", "17"),
    ] as [(String, JSONValue)])
    func types(_ template: String, _ value: JSONValue) throws {
        #expect(try ValueTemplate(text: template).fill(from: EventContext(Self.event)) == value)
    }

    @Test("What an event does not have, or a function can't use, is that event's error", arguments: [
        ("{message.absent}", "missing_field"), ("{{message.tags[2]}}", "missing_field"), ("{{decode(message.absent)}}", "missing_field"),
        ("{{default(message.absent, message.gone)}}", "missing_field"), ("{{decode(message.broken)}}", "bad_argument"),
        ("{{decode(message.notUTF8)}}", "bad_argument"), ("{{decode(message.meta)}}", "bad_argument"), ("{{date(message.page_title)}}", "bad_argument"),
        ("{{date(message.tags)}}", "bad_argument"), ("{{date(99999999999999999)}}", "bad_argument"), ("{{message.meta}}", "not_text"),
    ])
    func errors(_ template: String, _ label: String) throws {
        let template = try TextTemplate(template)
        #expect(errorOf { try template.fill(from: EventContext(Self.event)) }?.label == label)
    }

    @Test("{env(NAME)} is replaced when the file is read, in any value, and a lone one has the value's type")
    func environment() throws {
        let text = file(rule: "topic: a\nconcurrency: '{env(SLOTS)}'\nexec: {uri: '{env(BASE)}/{message.a}', headers: {x: 'v{env(SLOTS)}'}}")
            .replacing("service: purger", with: "service: '{env(SLOTS)}'")
        let configuration = try WorkerConfiguration.parse(text, file: "worker.yaml", environment: ["SLOTS": "7", "BASE": "http://h:1"])
        #expect(configuration.service == "7" && configuration.rules[0].concurrency == 7)
        guard case .act(let requests) = try configuration.rules[0].evaluate(["a": "b c"]) else { Issue.record("no match"); return }
        #expect(requests[0].url == "http://h:1/b%20c" && requests[0].headers.first == .init("x", "v7"))
    }
}
