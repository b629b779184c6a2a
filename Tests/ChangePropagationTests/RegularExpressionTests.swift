import Testing

@testable import ChangePropagation

/// Regular expressions in `match`, their captures, and `cases`.
@Suite struct RegularExpressionTests {
    @Test("JavaScript's syntax and flags", arguments: [
        (#"/^en\./"#, "en.wikipedia.org", true), (#"/^en\./"#, "xen.wikipedia.org", false), ("/WIKI/", "wiki", false), ("/WIKI/i", "wiki", true),
        ("/a.c/", "a\nc", false), ("/a.c/s", "a\nc", true), ("/^b$/", "a\nb\nc", false), ("/^b$/m", "a\nb\nc", true), ("/b$/", "b\n", false),
        (#"/\u00e9/"#, "é", true), (#"/^\w+$/"#, "é", false), (#"/^\d+$/"#, "٣", false), (#"/a\/b/"#, "a/b", true), ("/[]/", "a", false),
        ("/^.$/u", "😀", true), (#"/(a)|b\1c/"#, "bc", true), ("/x/gy", "yx", true),
    ])
    func syntax(_ text: String, _ subject: String, _ matches: Bool) throws {
        #expect(try RegularExpression(text).matches(subject) == matches)
    }

    @Test("Groups are given by name or by number, and what took no part is nothing")
    func groups() throws {
        let named = try RegularExpression("/(?<a>x)?(?<b>y)/")
        #expect(named.names == [1: "a", 2: "b"])
        #expect(try named.captures("zy") == ["y", nil, "y"])
        #expect(try RegularExpression("/(.)(.)/").captures("ab") == ["ab", "a", "b"])
        #expect(try named.captures("z") == nil)
    }

    @Test("What is wrong with an expression is said when the file is loaded, with its place", arguments: [
        (#"match: {title: '/(/'}"#, "missing closing parenthesis"), (#"match: {title: '/(?<a>x)(y)/'}"#, "mixes named and numbered groups"),
        (#"match_not: [{title: '/[b-a]/'}]"#, "range out of order"),
    ])
    func wrong(_ lines: String, _ says: String) {
        let found = problems(file(rule: "topic: a\n" + lines))
        #expect(found.count == 1 && found[0].hasPrefix("worker.yaml:10:") && found[0].contains(says), "\(found)")
    }

    @Test("An expression that backtracks without end is an error of that event")
    func costly() throws {
        let rule = try rule("topic: a\nmatch: {title: '/^(?:a+)+$/'}")
        let poison = try event(#"{"title":"\#(String(repeating: "a", count: 40))b"}"#)
        #expect(throws: EventError(.tooCostly(expression: "/^(?:a+)+$/"))) { try rule.matches(poison) }
        #expect(try rule.matches(try event(#"{"title":"aaa"}"#)))
    }

    @Test("Expressions match texts, numbers and booleans, in objects and lists")
    func places() throws {
        let rule = try rule("topic: a\nmatch: {meta: {uri: '/^https?:/'}, namespace: '/^[02]$/', tags: ['/^pur/']}")
        #expect(try rule.matches(try event(#"{"meta":{"uri":"http://x"},"namespace":2,"tags":["a","purge"]}"#)))
        #expect(try rule.matches(try event(#"{"meta":{"uri":"ftp://x"},"namespace":2,"tags":["a","purge"]}"#)) == false)
        #expect(try rule.matches(try event(#"{"meta":{"uri":"http://x"},"namespace":20,"tags":["a","purge"]}"#)) == false)
        #expect(try rule.matches(try event(#"{"meta":{"uri":"http://x"},"namespace":null,"tags":["purge"]}"#)) == false)
        #expect(try rule.matches(try event(#"{"meta":{"uri":"http://x"},"namespace":0,"tags":["a"]}"#)) == false)
    }

    private func urls(_ rule: Rule, _ json: String) throws -> [String] {
        guard case .act(let requests) = try rule.evaluate(try event(json)) else { return [] }
        return requests.map(\.url)
    }

    @Test("Templates see captures where the expression stands: named by name, numbered by index")
    func captures() throws {
        let named = try rule(
            #"""
            topic: a
            match: {meta: {uri: '/^https:\/\/(?<domain>[^\/]+)\/wiki\/(?<title>.+)$/'}}
            exec: {uri: 'http://sink/{match.meta.uri.domain}/{match.meta.uri.title}?{{globals.match.meta.uri.domain}}'}
            """#)
        #expect(try urls(named, #"{"meta":{"uri":"https://en.wikipedia.org/wiki/A/B"}}"#) == ["http://sink/en.wikipedia.org/A%2FB?en.wikipedia.org"])
        let numbered = try rule(
            #"""
            topic: a
            match: {title: '/^(\w+):(\w+)/', tags: ['/^(x)/']}
            exec: {uri: 'http://sink/{match.title[1]}/{match.title[2]}/{match.title[0]}/{match.tags[0][1]}'}
            """#)
        #expect(try urls(numbered, #"{"title":"User:Ada","tags":["b","xy"]}"#) == ["http://sink/User/Ada/User%3AAda/x"])
    }

    @Test("A group that took no part is a missing field of that event")
    func absentGroup() throws {
        let rule = try rule("topic: a\nmatch: {title: '/a(?<b>b)?/'}\nexec: {uri: 'http://sink/{match.title.b}'}")
        #expect(try urls(rule, #"{"title":"ab"}"#) == ["http://sink/b"])
        #expect(throws: EventError(.missingField(path: "match.title.b"))) { try rule.evaluate(try event(#"{"title":"a"}"#)) }
    }

    @Test("Of several cases the first that matches wins; none: the event is not for the rule")
    func cases() throws {
        let rule = try rule(
            """
            topic: a
            cases:
              - match: {type: edit, bot: true}
                exec: {uri: 'http://sink/bot'}
              - match: {type: edit}
                match_not: {minor: true}
                exec: [{uri: 'http://sink/edit'}, {uri: 'http://sink/again'}]
              - match: {type: '/^(?<kind>lo)g$/'}
                exec: {uri: 'http://sink/{match.type.kind}'}
              - match: {type: quiet}
                action: none
            """)
        #expect(try urls(rule, #"{"type":"edit","bot":true}"#) == ["http://sink/bot"])
        #expect(try urls(rule, #"{"type":"edit"}"#) == ["http://sink/edit", "http://sink/again"])
        #expect(try rule.evaluate(try event(#"{"type":"edit","minor":true}"#)) == .noMatch)
        #expect(try urls(rule, #"{"type":"log"}"#) == ["http://sink/lo"])
        #expect(try rule.evaluate(try event(#"{"type":"quiet"}"#)) == .act([]))
    }

    @Test("Cases beside a match of the rule's own, and cases that are none", arguments: [
        ("cases: [{match: {a: 1}}]\nmatch: {b: 1}", "has both \"cases\" and \"match\""), ("cases: []", "must be a list of cases"),
        ("cases: {match: {a: 1}}", "must be a list of cases"), ("cases: [{macth: {a: 1}}]", "unknown key \"macth\" in case 1 of rule \"purge\""),
    ])
    func wrongCases(_ lines: String, _ says: String) {
        let found = problems(file(rule: "topic: a\n" + lines))
        #expect(found.contains { $0.contains(says) }, "\(found)")
    }
}
