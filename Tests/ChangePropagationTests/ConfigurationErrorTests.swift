import Testing

@testable import ChangePropagation

/// Every kind of mistake with the exact text that the operator sees.
@Suite struct ConfigurationErrorTests {
    struct Case: CustomTestStringConvertible, Sendable {
        let what: String
        let yaml: String
        let expected: [String]
        init(_ what: String, _ yaml: String, _ expected: String...) {
            self.what = what
            self.yaml = yaml
            self.expected = expected
        }
        var testDescription: String { what }
    }

    static let ofRules = [
        Case("a misspelt key", "topc: resource_change\ntopic: a", #"worker.yaml:9:5: unknown key "topc" in rule "purge"; did you mean "topic"?"#),
        Case(
            "an unknown key that is like none", "topic: a\nexec: {uri: 'http://h/', colour: red}",
            #"worker.yaml:10:30: unknown key "colour" in "exec" in rule "purge"; the keys here are body, headers, method, query, uri"#),
        Case(
            "a wrong type", "topic: a\nconcurrency: many",
            #"worker.yaml:10:18: "concurrency" in rule "purge" must be a whole number from 1 to 10000, not "many""#),
        Case(
            "a number out of bounds", "topic: a\nconcurrency: 0",
            #"worker.yaml:10:18: "concurrency" in rule "purge" must be a whole number from 1 to 10000, not 0"#),
        Case(
            "a time that is none", "topic: a\nretry_delay: soon",
            #"worker.yaml:10:18: "retry_delay" in rule "purge" must be a time from 0s to 24h, such as 500ms, 30s, 5m or 1h, not "soon""#),
        Case(
            "a time out of bounds", "topic: a\ntimeout: 2h",
            #"worker.yaml:10:14: "timeout" in rule "purge" must be a time from 1ms to 1h, such as 500ms, 30s, 5m or 1h, not "2h""#),
        Case(
            "a choice that is none", "topic: a\norder: keys",
            #"worker.yaml:10:12: "order" in rule "purge" must be one of none, key, partition, not "keys"; did you mean "key"?"#),
        Case(
            "a key that is given twice, with the other mistakes of the file", "topic: a\ntopic: b\nordr: key",
            #"worker.yaml:10:5: the key "topic" is given twice; the first one is in line 9"#,
            #"worker.yaml:11:5: unknown key "ordr" in rule "purge"; did you mean "order"?"#),
        Case("a key without a value", "topic: a\ngroup:", #"worker.yaml:10:5: "group" in rule "purge" has no value; give it one or remove the line"#),
        Case(
            "no topic", "order: key",
            #"worker.yaml:9:5: rule "purge" has no "topic"; name the stream that it reads, such as topic: mediawiki.page_change"#),
        Case("topic and topics", "topic: a\ntopics: [b]", #"worker.yaml:9:5: rule "purge" has both "topic" and "topics"; keep one"#),
        Case("a list as topic", "topic: [a, b]", #"worker.yaml:9:12: "topic" in rule "purge" is one stream; write a list under "topics""#),
        Case("a topic twice", "topics: [a, b, a]", #"worker.yaml:9:20: "topics" in rule "purge" names "a" twice"#),
        Case("no topics", "topics: []", #"worker.yaml:9:13: "topics" in rule "purge" is an empty list; name at least one"#),
        Case(
            "a topic with a datacenter's prefix", "topic: codfw.mediawiki.page_change",
            #"worker.yaml:9:12: "topic" in rule "purge": "codfw.mediawiki.page_change" begins with the datacenter "codfw"; give the stream's name without it, "mediawiki.page_change", and choose datacenters with "origins""#
        ),
        Case(
            "a topic that Kafka would refuse", "topic: page change",
            #"worker.yaml:9:12: "topic" in rule "purge": "page change" can't be a topic; letters, digits, ".", "-" and "_" can, at most 230 of them"#),
        Case(
            "a broken expression for topics", "topic: '/mediawiki\\.(/'",
            #"worker.yaml:9:12: "topic" in rule "purge": missing closing parenthesis (at character 12 of /mediawiki\.(/)"#),
        Case(
            "an expression that is not closed", "topic: '/mediawiki'",
            #"worker.yaml:9:12: "topic" in rule "purge": "/mediawiki" is neither a stream's name nor a regular expression; that is written /…/"#),
        Case(
            "everything excluded", "topics: [a, b]\nexclude_topics: ['/./']",
            #"worker.yaml:10:21: "exclude_topics" in rule "purge" leaves nothing to read"#),
        Case(
            "its own retries as events", "topics: [a, purger.retry.a]",
            #"worker.yaml:9:17: "topics" in rule "purge": "purger.retry.a" holds retries of this service itself, which it reads anyway; remove it"#),
        Case(
            "its own dead letters, which would make more of them", "topic: purger.error",
            #"worker.yaml:9:12: rule "purge" reads this service's dead letters, and would make more of them of those that fail; give it on_failure: skip or halt"#),
        Case(
            "a group that can't be printed", "topic: a\ngroup: \"a\\nb\"",
            #"worker.yaml:10:12: "group" in rule "purge" can't hold spaces or control characters, nor more than 200 bytes; "a\u{a}b" does"#),
        Case("retry_on without a status", "topic: a\nretry_on: {}",
            #"worker.yaml:10:15: "status" in "retry_on" in rule "purge" is missing; give the statuses that are meant, such as status: [503]"#),
        Case(
            "an origin that is no datacenter", "topic: a\norigins: [eqiad, codwf]",
            #"worker.yaml:10:22: "origins" in rule "purge": no such datacenter "codwf"; "datacenters" lists codfw, eqiad; did you mean "codfw"?"#),
        Case(
            "a broken regular expression", "topic: a\nmatch: {meta: {uri: '/^(https/i'}}",
            #"worker.yaml:10:25: "match" in rule "purge": missing closing parenthesis (at character 7 of /^(https/i)"#),
        Case(
            "a match that is no map", "topic: a\nmatch: edit",
            #"worker.yaml:10:12: "match" in rule "purge" must be a map of fields and what they must be, not "edit""#),
        Case(
            "a match by nothing", "topic: a\nmatch: {meta: {}}",
            #"worker.yaml:10:19: "match" in rule "purge": an empty map matches nothing in particular; remove it, or write 'undefined' for a field that must be absent"#
        ),
        Case(
            "features of the whole rule engine", "topic: a\nswitch: x\ndecode_results: 5",
            #"worker.yaml:10:5: "switch" in rule "purge" is not supported yet; remove it"#,
            #"worker.yaml:11:5: "decode_results" in rule "purge" is not supported yet; remove it"#),
        Case(
            "a window that a resume is longer than", "topic: a\ndedupe: [id, root]\nclaim_ttl: 5m\nroot_claim_ttl: 60",
            #"worker.yaml:11:16: "claim_ttl" in rule "purge" is 5m, and a resume may give events again that were acted on 706s ago (Docs/Configuration.md, "Events that come twice"); that or more would be right"#,
            #"worker.yaml:12:21: "root_claim_ttl" in rule "purge" is 1m, and a resume may give events again that were acted on 706s ago (Docs/Configuration.md, "Events that come twice"); that or more would be right"#),
        Case(
            "nothing to tell events apart by", "topic: a\ndedupe: uri",
            #"worker.yaml:10:13: "dedupe" in rule "purge" must be one of none, id, content, root, not "uri""#),
        Case(
            "two ways at once", "topic: a\ndedupe: [id, content]",
            #"worker.yaml:10:13: "dedupe" in rule "purge" must be id or content, with or without root, or none"#),
        Case(
            "at most once and again", "topic: a\ndelivery: at-most-once\nretry_limit: 2\nimmediate_retries: 1\non_failure: halt",
            #"worker.yaml:11:18: "retry_limit" in rule "purge" can't go together with delivery: at-most-once, which makes no action twice; retry_limit: 0 would be right"#,
            #"worker.yaml:12:24: "immediate_retries" in rule "purge" can't go together with delivery: at-most-once, which makes no action twice; immediate_retries: 0 would be right"#,
            #"worker.yaml:13:17: "on_failure": halt in rule "purge" can't go together with delivery: at-most-once: the event would be tried again; dead_letter or skip would be right"#),
        Case(
            "a delivery that is none", "topic: a\ndelivery: exactly-once",
            #"worker.yaml:10:15: "delivery" in rule "purge" must be one of at-least-once, at-most-once, not "exactly-once""#),
        Case(
            "a due time without a field", "topic: a\ndelay_until: soon",
            #"worker.yaml:10:18: "delay_until" in rule "purge": it names no field of the event; a template such as '{{message.delay_until}}' does"#),
        Case(
            "retry_on by something else than status", "topic: a\nretry_on: {status: 503, body: x}",
            #"worker.yaml:10:29: "retry_on" in rule "purge": conditions other than "status", such as "body", are not supported yet"#),
        Case(
            "a status that is none", "topic: a\nignore: [412, 4x]",
            #"worker.yaml:10:19: "ignore" in rule "purge" must be HTTP statuses such as 503, or patterns such as 50x where x is any digit, not "4x""#),
        Case(
            "an action that is none", "topic: a\naction: log",
            #"worker.yaml:10:13: "action" in rule "purge" can only be none so far; requests are written under "exec""#),
        Case(
            "nothing and a request", "topic: a\naction: none\nexec: {uri: 'http://h/'}",
            #"worker.yaml:11:11: rule "purge" has both "exec" and "action: none"; keep one"#),
        Case("a rule that is no map", "- topic: a", #"worker.yaml:9:5: rule "purge" must be a map, not a list"#),
    ]

    static let ofRequests = [
        Case(
            "no uri", "topic: a\nexec: {method: get}",
            #"worker.yaml:10:11: "uri" in "exec" in rule "purge" is missing; give the URL to call, such as uri: 'http://127.0.0.1:8080/purge/{message.page_title}'"#
        ),
        Case(
            "a bad URL", "topic: a\nexec: {uri: 'htp://host/{message.title}'}",
            #"worker.yaml:10:17: "uri" in "exec" in rule "purge": bad URL "htp://host/{message.title}": it must begin with http:// or https://"#),
        Case(
            "a bad port", "topic: a\nexec:\n  - uri: 'http://host/'\n  - uri: 'http://host:99999/'",
            #"worker.yaml:12:14: "uri" in request 2 of rule "purge": bad URL "http://host:99999/": "host:99999" is not a host, nor a host and a port from 1 to 65535"#
        ),
        Case(
            "an action of our own without a body", "topic: a\nexec: {uri: /sys/queue/events}",
            #"worker.yaml:10:11: "body" in "exec" in rule "purge" is missing; give the event or the list of events, such as body: '{{globals.message}}'"#
        ),
        Case(
            "a stream that can't be", "topic: a\nexec: {produce: 'a b'}",
            #"worker.yaml:10:21: "produce" in "exec" in rule "purge": "a b" can't be a topic; letters, digits, ".", "-" and "_" can, at most 248 of them"#),
        Case(
            "produce and log at once", "topic: a\nexec: {produce: b, log: c}",
            #"worker.yaml:10:11: "exec" in rule "purge" has both "produce" and "log"; write a list of two"#),
        Case(
            "a method that is none", "topic: a\nexec: {uri: 'http://h/', method: fetch}",
            #"worker.yaml:10:38: "method" in "exec" in rule "purge" must be one of get, head, post, put, patch, delete, options, purge, not "fetch""#),
        Case(
            "a header of our own", "topic: a\nexec: {uri: 'http://h/', headers: {Content-Length: 5}}",
            #"worker.yaml:10:40: "headers" in "exec" in rule "purge": "Content-Length" is set by switchback itself; remove it"#),
        Case(
            "a header that is none", "topic: a\nexec: {uri: 'http://h/', headers: {'x y': me}}",
            #"worker.yaml:10:40: "headers" in "exec" in rule "purge": "x y" can't be a header's name"#),
        Case(
            "a line break in a header", "topic: a\nexec: {uri: 'http://h/', headers: {x: \"a\\r\\nb: {{message.c}}\"}}",
            #"worker.yaml:10:43: "x" in "headers" in "exec" in rule "purge" holds a control character, which no header can"#),
        Case(
            "a list as a header", "topic: a\nexec: {uri: 'http://h/', headers: {x: [1]}}",
            #"worker.yaml:10:43: "x" in "headers" in "exec" in rule "purge" must be a single value, not a list"#),
        Case(
            "a form as body", "topic: a\nexec:\n  uri: 'http://h/'\n  headers: {content-type: application/x-www-form-urlencoded}\n  body: {a: 1}",
            #"worker.yaml:13:13: "exec" in rule "purge": a body written as a map or list is sent as JSON; application/x-www-form-urlencoded is not supported yet, write the body as text"#
        ),
    ]

    static let ofTemplates = [
        Case(
            "an unknown root", "topic: a\nexec: {uri: 'http://h/{mesage.title}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "mesage.title": "mesage" is not known; a path begins with message or globals; did you mean "message"?"#
        ),
        Case(
            "a template that is not closed", "topic: a\nexec: {uri: 'http://h/{{message.title}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": a template is not closed: "}}" is missing"#),
        Case(
            "a function that there is not", "topic: a\nexec: {uri: 'http://h/', headers: {x: '{{dat(message.dt)}}'}}",
            #"worker.yaml:10:43: "exec" in rule "purge": in the template "dat(message.dt)": there is no function dat(); there are decode(), date(), default(); did you mean "date"?"#
        ),
        Case(
            "too few arguments", "topic: a\nexec: {uri: 'http://h/{{default(message.dt)}}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "default(message.dt)": default() takes 2 arguments, not 1"#),
        Case(
            "a function that is not closed", "topic: a\nexec: {uri: 'http://h/{decode(message.a}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "decode(message.a": the ")" of decode( is missing"#),
        Case(
            "an argument that is none", "topic: a\nexec: {uri: 'http://h/{decode(=)}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "decode(=)": an argument is a path such as message.meta.uri, a number, true, false, null, or a text in '…'"#
        ),
        Case(
            "a form of date() that there is not", "topic: a\nexec: {uri: \"http://h/{date(message.a, 'us')}\"}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "date(message.a, 'us')": the second argument of date() is 'rfc822' or 'iso'"#),
        Case(
            "a variable that is not set", "topic: a\nexec: {uri: 'http://{env(SWITCHBACK_TEST_UNSET)}/'}",
            #"worker.yaml:10:17: {env(SWITCHBACK_TEST_UNSET)}: the environment variable SWITCHBACK_TEST_UNSET is not set"#),
        Case(
            "the environment as a template", "topic: a\nexec: {uri: 'http://h/{{env(HOME)}}'}",
            #"worker.yaml:10:17: {{env(HOME)}} is not a template: it is replaced when the file is read, and written {env(HOME)}"#),
        Case(
            "a capture", "topic: a\nexec: {uri: 'http://h/', body: {x: [1, '{{match.meta.uri.title}}']}}",
            #"worker.yaml:9:5: rule "purge": no regular expression in its "match" captures match.meta.uri.title"#),
        Case(
            "JSON as text", "topic: a\nexec: {uri: 'http://h/', body: '{\"a\": 1}'}",
            #"worker.yaml:10:36: "exec" in rule "purge": "{"a": 1}" is not a template; write {{message.field}} or, URI-encoded, {message.field}; a body with braces is written as a YAML map, not as text"#
        ),
        Case(
            "an unknown global", "topic: a\nexec: {uri: 'http://h/{globals.options}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": there is no globals.options; {{globals.message}} is the whole event"#),
        Case(
            "an item that is no number", "topic: a\nexec: {uri: 'http://h/{message.tags[-1]}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "message.tags[-1]": inside [ ] stands an item's number, counted from 0, or a quoted name"#
        ),
        Case(
            "an operator", "topic: a\nexec: {uri: 'http://h/{message.a || 1}'}",
            #"worker.yaml:10:17: "exec" in rule "purge": in the template "message.a || 1": " || 1" is not understood; a template is a path such as message.meta.uri"#
        ),
    ]

    @Test(arguments: ofRules + ofRequests + ofTemplates)
    func rule(_ example: Case) { #expect(problems(file(rule: example.yaml)) == example.expected) }

    /// One line of the smallest file replaced, or lines added at its end.
    static let ofFiles = [
        Case("an empty file", "", "worker.yaml:1:1: the file is empty"),
        Case("a list", "- a", "worker.yaml:1:1: the file must be a map, not a list"),
        Case(
            "not YAML", "service: a\nrules: {purge: {topic: a}\nstore: {}\n",
            "worker.yaml:3:1: not valid YAML: did not find expected ',' or '}' (while parsing a flow mapping, from line 2)"),
        Case(
            "an alias of nothing", "service: *name", "worker.yaml:1:10: not valid YAML: found undefined alias"),
        Case("a tag", "service: !env NAME", "worker.yaml:1:10: YAML tags such as !env are not supported; remove it",
            #"worker.yaml:1:1: "datacenter" is missing; name the datacenter in which this worker runs"#,
            #"worker.yaml:1:1: "datacenters" is missing; list all datacenters with their clusters, such as datacenters: {eqiad: {bootstrap: "kafka1:9092"}}"#,
            #"worker.yaml:1:1: "rules" is missing; give at least one, such as rules: {purge: {topic: mediawiki.page_change, exec: {…}}}"#,
            #"worker.yaml:1:1: "store" is missing; give store: {sqlite: FILE}, or store: {etcd: {endpoints: [URL, …]}}"#),
        Case(
            "Kafka settings that librdkafka does not take", edit("  codfw: {bootstrap: \"127.0.0.1:29092\"}", "  codfw: {bootstrap: \"127.0.0.1:29092\", kafka: {fetch.min.byte: 1, security.protocol: tls}}"),
            #"worker.yaml:5:65: "fetch.min.byte" in "kafka" of datacenter "codfw": No such configuration property: "fetch.min.byte""#,
            #"worker.yaml:5:87: "security.protocol" in "kafka" of datacenter "codfw": Invalid value "tls" for configuration property "security.protocol""#),
        Case(
            "a datacenter that is not listed", edit("datacenter: eqiad", "datacenter: eqaid"),
            #"worker.yaml:2:13: "datacenter": no such datacenter "eqaid"; "datacenters" lists codfw, eqiad; did you mean "eqiad"?"#),
        Case(
            "a datacenter's name that can't be one", edit("  codfw:", "  Codfw.1:"),
            #"worker.yaml:5:3: a datacenter's name is made of lower-case letters, digits and "-", at most 63 of them; "Codfw.1" is not"#),
        Case(
            "a broker without a port", edit("127.0.0.1:29092", "127.0.0.1:29092, kafka2"),
            #"worker.yaml:5:22: "bootstrap" in datacenter "codfw": "kafka2" is not host:port with a port from 1 to 65535"#),
        Case("no brokers", edit("{bootstrap: \"127.0.0.1:29092\"}", "{}"),
            #"worker.yaml:5:10: "bootstrap" in datacenter "codfw" is missing; give its brokers, such as bootstrap: "kafka1:9092,kafka2:9092""#),
        Case(
            "a Kafka setting of our own", edit("\"127.0.0.1:29092\"}", "\"127.0.0.1:29092\", kafka: {auto.offset.reset: latest, a: [1]}}"),
            #"worker.yaml:5:49: "auto.offset.reset" in "kafka" of datacenter "codfw" is set by switchback itself; a position that is gone is never skipped silently"#,
            #"worker.yaml:5:79: "a" in "kafka" of datacenter "codfw" must be a single value, not a list"#),
        Case(
            "an address without a port", edit("datacenter: eqiad", "datacenter: eqiad\nlisten: here"),
            #"worker.yaml:3:9: "listen" must be host:port such as 127.0.0.1:9102, not "here""#),
        Case("no store", edit("{sqlite: state/switchback.sqlite}", "{}"), #"worker.yaml:6:8: "store" must have one of sqlite and etcd"#),
        Case(
            "an unknown store", edit("sqlite: state", "sqllite: state"),
            #"worker.yaml:6:9: unknown key "sqllite" in "store"; did you mean "sqlite"?"#),
        Case(
            "a bad URL of etcd", edit("{sqlite: state/switchback.sqlite}", "{etcd: {endpoints: [http://a:2379, 'b:2379']}}"),
            #"worker.yaml:6:43: "endpoints" in "etcd" in "store": bad URL "b:2379": it must begin with http:// or https://"#),
        Case(
            "etcd with half of its credentials", edit("{sqlite: state/switchback.sqlite}", "{etcd: {endpoints: 'http://a:2379', username: me, password: x}}"),
            #"worker.yaml:6:15: "password" in "etcd" in "store": passwords don't stand in this file; write it into a file of its own and give "password_file""#,
            #"worker.yaml:6:54: "username" in "etcd" in "store" needs "password_file" beside it"#),
        Case("a number as service", edit("service: purger", "service: 5"),
            #"worker.yaml:1:10: "service" must be a text, not 5; put it in quotes if it is meant as text"#),
        Case("the environment", edit("service: purger", "service: '{env(SWITCHBACK_TEST_UNSET)}'"),
            #"worker.yaml:1:10: {env(SWITCHBACK_TEST_UNSET)}: the environment variable SWITCHBACK_TEST_UNSET is not set"#),
        Case("no rules", edit("rules:\n  purge:\n", "rules: {}\n"), #"worker.yaml:7:8: "rules" is empty; give at least one rule"#),
        Case("rules without a value", edit("rules:\n  purge:\n", "rules:\n"), #"worker.yaml:7:1: "rules" has no value; give it one or remove the line"#),
        Case("a rule's name that can't be one", smallestFile + "    topic: a\n  'a b': {topic: b}\n",
            #"worker.yaml:10:3: a rule's name is made of letters, digits, "-", "_" and ".", at most 100 of them; "a b" is not"#),
        Case("checkpoints out of bounds", smallestFile + "    topic: a\ncheckpoints: {interval: 1ms, tail: 0}\n",
            #"worker.yaml:10:25: "interval" in "checkpoints" must be a time from 50ms to 10m, such as 500ms, 30s, 5m or 1h, not "1ms""#,
            #"worker.yaml:10:36: "tail" in "checkpoints" must be a whole number from 1 to 256, not 0"#),
        Case("a time without a unit", smallestFile + "    topic: a\nlease: 5\n",
            #"worker.yaml:10:8: "lease" must be a time from 1s to 10m, such as 500ms, 30s, 5m or 1h, not 5"#),
        Case("a limiter without windows", smallestFile + "    topic: a\nlimiters: {page: []}\n",
            #"worker.yaml:10:18: "page" in "limiters" is an empty list; give at least one window"#),
        Case("a size that is none", smallestFile + "    topic: a\nhttp: {response_limit: 1MB}\n",
            #"worker.yaml:10:24: "response_limit" in "http" must be a size from 0B to 1GiB, such as 512B, 64KiB or 1MiB, not "1MB""#),
        Case("an identity that is none", smallestFile + "    topic: a\nidentity: meta.id\n",
            #"worker.yaml:10:11: "identity" must be record, header:NAME or json:PATH such as json:meta.id, not "meta.id""#),
        Case("a merge of nothing", smallestFile + "    topic: a\n    <<: 5\n",
            #"worker.yaml:10:9: "<<" merges a map or a list of maps, such as <<: *defaults, not 5"#),
    ]

    static func edit(_ old: String, _ new: String) -> String {
        precondition(smallestFile.contains(old))
        let lines = smallestFile.replacing(old, with: new)
        return new.contains("rules:") ? lines : lines + "    topic: resource_change\n"
    }

    @Test(arguments: ofFiles)
    func wholeFile(_ example: Case) { #expect(Set(problems(example.yaml)) == Set(example.expected)) }

    @Test func aFileThatIsNotThereSaysSo() {
        #expect(throws: ConfigurationError(file: "/nowhere/worker.yaml", message: "there is no such file")) {
            try WorkerConfiguration.load(path: "/nowhere/worker.yaml")
        }
    }

    @Test func allProblemsComeTogetherInTheOrderOfTheirLines() {
        let yaml = smallestFile.replacing("datacenter: eqiad", with: "datacenter: drmrs").replacing("19092", with: "0")
            + "    topic: a\n    retry_limit: -1\nlog_level: loud\n"
        let lines = problems(yaml).map { $0.split(separator: ":")[1] }
        #expect(lines == ["2", "4", "10", "11"])
    }

    @Test func aMistakeInAnAnchorIsReportedOnceWhereItStands() {
        let yaml = "x-rule: &rule\n  retry_limit: many\n" + smallestFile + "    topic: a\n    <<: *rule\n  other:\n    topic: b\n    <<: *rule\n"
        #expect(problems(yaml) == [#"worker.yaml:2:16: "retry_limit" in rule "purge" must be a whole number from 0 to 100, not "many""#,
            #"worker.yaml:2:16: "retry_limit" in rule "other" must be a whole number from 0 to 100, not "many""#])
    }

    @Test func aliasesOfAliasesCannotFillTheMemory() {
        var yaml = "x-0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n"
        for level in 1...8 { yaml += "x-\(level): &a\(level) [\(Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", "))]\n" }
        #expect(
            problems(yaml + smallestFile) == [
                "worker.yaml:1:1: the file holds more than 200000 values once its aliases are written out, or nests deeper than 64"
            ])
    }

    /// Nothing that a user can write may trap.
    @Test func damagedFilesAreRefusedOrReadButNeverTrap() throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix(state: seed)
        let whole = Array(file(rule: "topic: a\nmatch: {meta: {a: [1, 'b', 2.5]}, c: 'undefined'}\nexec: {uri: 'http://h/{message.a[1]}', body: {x: '{{message}}'}}").utf8)
        for _ in 0..<300 {
            var bytes = whole
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                let scraps: [UInt8] = [0, 10, 32, 34, 38, 39, 42, 45, 58, 60, 91, 93, 123, 125, 63, 33, 124, 37, 64, 9]
                bytes[at] = scraps.randomElement(using: &random) ?? 0
            }
            let text = String(decoding: bytes, as: UTF8.self)
            let found = problems(text)
            #expect(found.allSatisfy { $0.hasPrefix("worker.yaml:") && !$0.contains("\n") }, "seed \(seed): \(found)")
        }
    }
}

/// SplitMix64: a small generator that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
