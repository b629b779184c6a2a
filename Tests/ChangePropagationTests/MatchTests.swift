import Testing

@testable import ChangePropagation

/// Each sentence about `match` and `match_not`, as: what the rule says, the event, whether it matches.
@Suite struct MatchTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let says: String
        let rule: String
        let matching: [String]
        let other: [String]
        var testDescription: String { says }
    }

    static let cases = [
        Case(says: "no match means every event", rule: "order: none", matching: ["{}", "[]", #"{"a":1}"#], other: []),
        Case(
            says: "literals match by type and value", rule: "match: {type: edit, namespace: 0, bot: false, parent: null}",
            matching: [#"{"type":"edit","namespace":0,"bot":false,"parent":null,"more":1}"#, #"{"type":"edit","namespace":0.0,"bot":false,"parent":null}"#],
            other: [
                #"{"type":"edit","namespace":"0","bot":false,"parent":null}"#, #"{"type":"edit","namespace":0,"bot":0,"parent":null}"#,
                #"{"type":"Edit","namespace":0,"bot":false,"parent":null}"#, #"{"type":"edit","namespace":0,"bot":false}"#, "{}", "null", #""edit""#,
            ]),
        Case(
            says: "a quoted number is a text", rule: "match: {namespace: '0'}", matching: [#"{"namespace":"0"}"#], other: [#"{"namespace":0}"#]),
        Case(
            says: "words that YAML 1.1 takes for booleans are texts", rule: "match: {wiki: no, flag: on}",
            matching: [#"{"wiki":"no","flag":"on"}"#], other: [#"{"wiki":false,"flag":true}"#]),
        Case(
            says: "objects match field by field, in any depth", rule: "match: {meta: {domain: en.wikipedia.org, a: {b: 1}}}",
            matching: [#"{"meta":{"a":{"b":1,"c":2},"domain":"en.wikipedia.org"}}"#],
            other: [#"{"meta":{"domain":"en.wikipedia.org"}}"#, #"{"meta":"en.wikipedia.org"}"#, #"{"domain":"en.wikipedia.org"}"#]),
        Case(
            says: "every item of a list must be in the event's list", rule: "match: {tags: [purge, null_edit]}",
            matching: [#"{"tags":["null_edit","x","purge"]}"#],
            other: [#"{"tags":["purge"]}"#, #"{"tags":"purge"}"#, #"{"tags":{"0":"purge"}}"#, "{}"]),
        Case(
            says: "items may be objects, and falsy values count", rule: "match: {list: [{id: 1}, 0, '']}",
            matching: [#"{"list":[{"id":1,"x":2},0,""]}"#], other: [#"{"list":[{"id":2},0,""]}"#, #"{"list":[{"id":1},""]}"#]),
        Case(says: "an empty list is any list", rule: "match: {tags: []}", matching: [#"{"tags":[]}"#, #"{"tags":[1]}"#], other: [#"{"tags":{}}"#, "{}"]),
        Case(
            says: "'undefined' is an absent field of an object that is there", rule: "match: {meta: {parent: 'undefined'}}",
            matching: [#"{"meta":{}}"#, #"{"meta":{"other":1}}"#], other: [#"{"meta":{"parent":null}}"#, #"{"meta":{"parent":1}}"#, "{}"]),
        Case(
            says: "a path is not a regular expression", rule: "match: {path: /w/api/index.php, scheme: '//'}",
            matching: [#"{"path":"/w/api/index.php","scheme":"//"}"#], other: [#"{"path":"/w/api/index_php","scheme":"//"}"#]),
        Case(
            says: "texts match byte by byte", rule: "match: {title: \"\\u00e9\"}",
            matching: [#"{"title":"é"}"#], other: [#"{"title":"e\u0301"}"#]),
        Case(
            says: "match_not excludes", rule: "match: {type: edit}\nmatch_not: {meta: {domain: test.wikipedia.org}}",
            matching: [#"{"type":"edit","meta":{"domain":"en.wikipedia.org"}}"#, #"{"type":"edit"}"#],
            other: [#"{"type":"edit","meta":{"domain":"test.wikipedia.org"}}"#, #"{"type":"log","meta":{"domain":"en.wikipedia.org"}}"#]),
        Case(
            says: "a list under match_not excludes by any of its objects", rule: "match_not: [{bot: true}, {namespace: 2, minor: true}]",
            matching: [#"{"bot":false,"namespace":2}"#, "{}"], other: [#"{"bot":true}"#, #"{"namespace":2,"minor":true,"bot":false}"#]),
    ]

    @Test(arguments: cases) func matches(_ example: Case) throws {
        let rule = try rule("topic: a\n" + example.rule)
        for json in example.matching { #expect(try rule.matches(try event(json)), "\(json)") }
        for json in example.other {
            #expect(try rule.matches(try event(json)) == false, "\(json)")
            #expect(try rule.evaluate(event(json)) == .noMatch)
        }
    }

    @Test func recordedEventsAreSortedAsAnAwkScriptWould() throws {
        let events = try recordedEvents()
        let edits = try rule("topic: mediawiki.recentchange\nmatch: {type: edit}\nmatch_not: {bot: true}")
        let expected = events.filter { $0["type"] == "edit" && $0["bot"] == false }.count
        #expect(events.count == 12 && expected > 0 && expected < 12)
        #expect(try events.filter { try edits.matches($0) }.count == expected)
    }

    @Test(arguments: ["/a/", "/a/i", "/^https?:\\/\\//", "/a/gimsuy"]) func isARegularExpression(_ text: String) {
        #expect(RuleReader.isRegularExpression(text))
    }

    @Test(arguments: ["/", "//", "/wiki/Main", "a/b/", "/a/b/index.php"]) func isNone(_ text: String) {
        #expect(!RuleReader.isRegularExpression(text))
    }
}
