import Foundation
import TestSupport
import Testing

/// `switchback rules check` and `rules test`, as an operator runs them.
@Suite("switchback rules")
struct RulesCommandTests {
    private let directory: TemporaryDirectory
    private let executable: String

    private static let rules = """
        service: demo
        datacenter: eqiad
        datacenters:
          eqiad: {bootstrap: "127.0.0.1:1"}
          codfw: {bootstrap: "127.0.0.1:2"}
        store: {sqlite: store.db}
        rules:
          pages:
            topic: recentchange
            cases:
              - match: {type: edit, title: '/^User:(?<user>.+)$/'}
                exec: {uri: 'http://sink/users/{match.title.user}'}
              - match: {type: edit}
                exec:
                  - {method: post, uri: 'http://sink/edits', body: {title: '{{message.title}}'}}
          other:
            topic: resource_change
            match: {type: log}
            exec: {uri: 'http://sink/{message.id}'}
        """

    init() throws {
        directory = try TemporaryDirectory()
        executable = try Executable.switchback()
    }

    private func file(_ name: String, _ text: String) throws -> String {
        let url = directory.file(name)
        try Data(text.utf8).write(to: url)
        return url.path
    }

    private func test(_ event: String, _ more: [String] = []) async throws -> ChildProcess.Output {
        let rules = try file("worker.yaml", Self.rules)
        return try await ChildProcess.run(executable, ["rules", "test", rules, "--event", try file("event.json", event)] + more)
    }

    @Test("A file that is right is explained; one that is wrong ends with 2 and a line per mistake")
    func check() async throws {
        let good = try await ChildProcess.run(executable, ["rules", "check", try file("worker.yaml", Self.rules)])
        #expect(good.status == 0)
        for words in ["eqiad.recentchange", "2 cases: 1 request / 1 request", "demo-pages", "good (2 rules)"] { #expect(good.output.contains(words)) }
        let bad = try await ChildProcess.run(
            executable, ["rules", "check", try file("bad.yaml", Self.rules.replacingOccurrences(of: "(?<user>", with: "(?<user"))])
        #expect(bad.status == 2 && bad.output.isEmpty)
        #expect(bad.errors.contains("bad.yaml:11:"))
    }

    @Test("The case, the captures and the exact requests are shown")
    func matches() async throws {
        let first = try await test(#"{"type":"edit","title":"User:Ada L"}"#)
        #expect(first.status == 0)
        #expect(first.output.contains("pages: matches, case 1 of 2\n  captures {\"title\":{\"user\":\"Ada L\"}}\n  GET http://sink/users/Ada%20L\n    user-agent: switchback/0.1.0\n"))
        #expect(first.output.contains("other: does not match"))
        let second = try await test(#"{"type":"edit","title":"X"}"#)
        #expect(second.output.contains("case 2 of 2\n  POST http://sink/edits\n    content-type: application/json\n    user-agent: switchback/0.1.0\n    {\"title\":\"X\"}\n"))
    }

    @Test("--output json is JSON alone, and --stream keeps to the rules that read it")
    func json() async throws {
        let result = try await test(#"{"type":"edit","title":"User:Ada"}"#, ["--stream", "recentchange", "--output", "json"])
        #expect(result.status == 0 && result.errors.isEmpty)
        let parsed = try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [[String: Any]]
        #expect(parsed?.count == 1 && parsed?.first?["case"] as? Int == 1)
        #expect(((parsed?.first?["requests"] as? [[String: Any]])?.first?["url"] as? String) == "http://sink/users/Ada")
    }

    @Test("An event that a rule can't finish ends with 1; what is no event, and a stream that nobody reads, with 2")
    func wrong() async throws {
        let missing = try await test(#"{"type":"log"}"#)
        #expect(missing.status == 1 && missing.output.contains("can't be finished: the event has no field message.id"))
        let broken = try await test("{")
        #expect(broken.status == 2 && broken.errors.contains("the event is not JSON"))
        let stream = try await test("{}", ["--stream", "nothing"])
        #expect(stream.status == 2 && stream.errors.contains("no rule of") && stream.errors.contains("recentchange, resource_change"))
        let nowhere = try await ChildProcess.run(executable, ["rules", "test", try file("worker.yaml", Self.rules), "--event", "/nonexistent.json"])
        #expect(nowhere.status == 2 && nowhere.errors.contains("there is no such file"))
    }

    @Test("Actions of our own are shown as what they write and send; what is left out says why")
    func ownActions() async throws {
        let own = """
            service: demo
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "127.0.0.1:1"}}
            store: {sqlite: store.db}
            modules: {/sys/purge: {host: cache, port: 4827}}
            rules:
              all:
                topic: /./
                exec:
                  - {uri: /sys/queue/events/3, body: {meta: {stream: out, id: x}}}
                  - {uri: /sys/purge/, body: {meta: {uri: '//h/a'}}}
                  - {log: /tmp/never-written.jsonl, body: {n: 1}}
              never: {topic: a, sample: 0, exec: {uri: 'http://h/'}}
              lost: {topic: a, exec: {uri: /sys/lost/}}
              idle: {topic: a}
            """
        let rules = try file("own.yaml", own), event = try file("own.json", #"{"meta":{"stream":"a","uri":"u"}}"#)
        let result = try await ChildProcess.run(executable, ["rules", "test", rules, "--event", event])
        #expect(result.status == 1)
        #expect(
            result.output.hasPrefix(
                """
                all: matches
                  produce to eqiad.out partition 3
                    {"meta":{"stream":"out","id":"x"},"triggered_by":"a:u"}
                  purge http://h/a (HTCP to cache:4827)
                  log to /tmp/never-written.jsonl
                    {"n":1}
                never: matches
                  is left out: it is not in the sample
                lost: matches
                  can't be finished: the rule sends the event to /sys/lost/, and "modules" has no URL for that path
                """), "\(result.output)")
        let check = try await ChildProcess.run(executable, ["rules", "check", rules])
        #expect(check.status == 0 && check.output.contains("good (4 rules, 2 warnings)") && check.output.contains("/./"))
        #expect(check.errors.contains("own.yaml:14:32: warning: \"uri\"") && check.errors.contains("own.yaml:15:9: warning: rule \"idle\" has no \"exec\""))
        let json = try await ChildProcess.run(executable, ["rules", "test", rules, "--event", event, "--output", "json"])
        let parsed = try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [[String: Any]]
        let requests = parsed?.first?["requests"] as? [[String: Any]]
        #expect((requests?.first?["produce"] as? [[String: Any]])?.first?["topic"] as? String == "eqiad.out")
        #expect(parsed?[1]["left_out"] as? String == "it is not in the sample")
    }
}
