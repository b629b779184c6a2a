import Synchronization
import Testing

@testable import ChangePropagation

/// What keeps a rule from acting on an event that it matches, and what holds for all rules.
@Suite("Conformance: what is left out, and defaults") struct FilterConformanceTests {
    private func configuration(_ rule: String, top: String = "") throws -> WorkerConfiguration {
        try WorkerConfiguration.parse(top + file(rule: rule), file: "worker.yaml")
    }

    private func reason(_ rule: Rule, _ event: JSONValue) throws -> LeftOut? {
        guard case .leaveOut(let reason) = try rule.evaluate(event) else { return nil }
        return reason
    }

    private func page(_ uri: String, domain: String = "en.wikipedia.org") -> JSONValue { ["meta": ["domain": .string(domain), "uri": .string(uri)]] }

    // MARK: sample

    private func numbers(_ rule: Rule, _ count: Int = 4000) throws -> Set<Int> {
        Set(try (0..<count).filter { try reason(rule, ["meta": ["id": .string("id-\($0)"), "domain": .string("d\($0 % 7)")]]) == nil })
    }

    @Test("A sample is about that share of events, the same each time, and a smaller one is part of a larger one")
    func sample() throws {
        let tenth = try numbers(rule("topic: a\nsample: 0.1"))
        #expect((300...500).contains(tenth.count))
        #expect(try numbers(rule("topic: b\nsample: {rate: 0.1}")) == tenth)
        #expect(try tenth.isSubset(of: numbers(rule("topic: a\nsample: 0.3"))))
        #expect(try numbers(rule("topic: a\nsample: 0")).isEmpty)
        #expect(try numbers(rule("topic: a\nsample: 1")).count == 4000)
    }

    @Test("With hash_template all events that give the same text are in the sample, or none of them")
    func sampleByField() throws {
        let found = try numbers(rule("topic: a\nsample: {rate: 0.5, hash_template: '{{message.meta.domain}}'}"))
        let domains = Set(found.map { $0 % 7 })
        #expect((1...6).contains(domains.count))
        #expect(found == Set((0..<4000).filter { domains.contains($0 % 7) }))
        let rule = try rule("topic: a\nsample: {rate: 0.5, hash_template: '{{message.meta.domain}}'}")
        #expect(errorOf { try rule.evaluate(["meta": ["id": "x"]]) }?.label == "missing_field")
    }

    @Test("A case's own sample goes before the rule's")
    func sampleOfACase() throws {
        let rule = try rule("topic: a\nsample: 0\ncases:\n  - {match: {a: 1}, sample: 1}\n  - {match: {a: 2}}")
        #expect(try reason(rule, ["a": 1]) == nil)
        #expect(try reason(rule, ["a": 2]) == .sample)
        #expect(try rule.evaluate(["a": 3]) == .noMatch)
    }

    // MARK: blacklist

    @Test("A blacklist's literals match the end of the decoded URI, its expressions anywhere, each for its domain", arguments: [
        ("https://en.wikipedia.org/wiki/Foo%2FBar", true), ("https://en.wikipedia.org/wiki/Foo/Bar", true), ("https://en.wikipedia.org/wiki/Foo/Bar/x", false),
        ("https://en.wikipedia.org/wiki/NotFoo/Bar", false), ("https://en.wikipedia.org/wiki/Z%C3%BCrich", true), ("https://en.wikipedia.org/wiki/User:X/sandbox/2", true),
        ("https://en.wikipedia.org/wiki/Baz", false), ("https://en.wikipedia.org/wiki/100%", false),
    ])
    func blacklist(_ uri: String, _ isLeftOut: Bool) throws {
        let rule = try rule("topic: a\nblacklist: {en.wikipedia.org: [Foo/Bar, 'Z%C3%BCrich', '/User:.*\\/sandbox/']}")
        #expect(try reason(rule, page(uri)) == (isLeftOut ? .blacklist : nil))
        #expect(try reason(rule, page(uri, domain: "de.wikipedia.org")) == nil)
    }

    // MARK: hops

    @Test("An event that more than max_hops events led to is left out", arguments: [(3, 3, false), (3, 4, true), (nil, 20, false), (nil, 21, true)] as [(Int?, Int, Bool)])
    func hops(_ limit: Int?, _ hops: Int, _ isLeftOut: Bool) throws {
        let rule = try rule("topic: a\n" + (limit.map { "max_hops: \($0)" } ?? "order: none"))
        let chain = (["req:r"] + (0..<hops).map { "s.t:https://h/\($0)" }).joined(separator: ",")
        #expect(try reason(rule, ["triggered_by": .string(chain)]) == (isLeftOut ? .hops : nil))
    }

    @Test("A rule that feeds itself comes to an end, whatever it says in triggered_by", arguments: ["", ", triggered_by: '{{message.meta.stream}}:{{message.meta.uri}}'"])
    func loop(_ said: String) throws {
        let rule = try rule("topic: a\nmax_hops: 5\nexec: {uri: /sys/queue/events, body: {meta: {stream: a, uri: '{{message.meta.uri}}'}\(said)}}")
        var event: JSONValue = ["meta": ["stream": "a", "uri": "https://h/A,_B", "request_id": "r", "id": "1"]]
        var rounds = 0
        while case .act(let requests) = try rule.evaluate(event), case .produce(let made)? = requests.first?.target, rounds < 100 {
            event = made[0].value
            rounds += 1
        }
        #expect(rounds == 6, "the first event and five that came of it")
    }

    // MARK: limiters

    /// A clock that the test moves, and how many requests were sent.
    private final class World: Sendable {
        private let offset = Mutex(Duration.zero)
        private let sent = Mutex(0)
        private let start = ContinuousClock.now
        var now: ContinuousClock.Instant { start + offset.withLock { $0 } }
        var count: Int { sent.withLock { $0 } }
        func wait(_ time: Duration) { offset.withLock { $0 += time } }
        func noteSent() { sent.withLock { $0 += 1 } }
    }

    @Test("A limiter leaves out what failed with 5xx too often within its interval, and only that")
    func limiters() async throws {
        let configuration = try configuration(
            "topic: a\nretry_limit: 0\nlimiters: {page: '{{message.uri}}'}\nexec: {uri: 'http://h/'}",
            top: "limiters: {page: [{interval: 60, limit: 2}, {interval: 1h, limit: 3}]}\n")
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.limiters["page"] == [.init(interval: .seconds(60), limit: 2), .init(interval: .seconds(3600), limit: 3)])
        let rule = configuration.rules[0]
        let world = World()
        let answer = Mutex(503)
        let action = RuleAction(
            send: { _, rule in
                world.noteSent()
                return rule.statuses.result(of: answer.withLock { $0 })
            }, limiters: Limiters(configuration.limiters, now: { world.now }))
        func run(_ uri: String) async throws -> String {
            guard case .act(let requests) = try rule.evaluate(["uri": .string(uri)]) else { return "" }
            return await action.run(requests, of: rule).label
        }
        answer.withLock { $0 = 404 }
        for _ in 0..<5 { #expect(try await run("A") == "failed", "only failures of 5xx count") }
        answer.withLock { $0 = 503 }
        #expect(try await run("A") == "failed")
        world.wait(.seconds(30))
        #expect(try await run("A") == "failed")
        let before = world.count
        #expect(try await run("A") == "limited", "two within the minute")
        #expect(world.count == before, "nothing is sent")
        #expect(try await run("B") == "failed", "another key has its own count")
        world.wait(.seconds(30))
        #expect(try await run("A") == "failed", "the first is a minute old")
        world.wait(.seconds(600))
        #expect(try await run("A") == "limited", "three within the hour")
        world.wait(.seconds(3600))
        #expect(try await run("A") == "failed")
    }

    @Test("What a limiter remembers is bounded")
    func limitersAreBounded() {
        let limiters = Limiters(["a": [.init(interval: .seconds(3600), limit: 1)]])
        for number in 0...Limiters.keyLimit { limiters.failed([LimiterKey(type: "a", key: "\(number)")]) }
        let last = LimiterKey(type: "a", key: "\(Limiters.keyLimit)")
        #expect(limiters.exceeded([last]) == last, "the newest are kept")
        #expect(limiters.exceeded([LimiterKey(type: "a", key: "0")]) == nil)
    }

    @Test("A limiter that the file says no window for is a warning and limits nothing")
    func unknownLimiter() throws {
        let found = try configuration("topic: a\nlimiters: {pages: '{{message.uri}}'}\naction: none", top: "limiters: {page: {interval: 60, limit: 2}}\n")
        #expect(found.warnings.map(\.description).first?.hasPrefix("worker.yaml:11:16: warning: \"pages\" in \"limiters\" in rule \"purge\" limits nothing") == true)
        #expect(Limiters().exceeded([LimiterKey(type: "x", key: "y")]) == nil)
    }

    // MARK: defaults

    @Test("defaults hold for rules that say nothing else, key by key")
    func defaults() throws {
        let top = """
            defaults:
              {concurrency: 250, retry_limit: 1, retry_delay: 500, retry_factor: 3, retry_on: {status: [50x]}, ignore: [404], timeout: 1s, order: key,
              on_failure: skip, max_hops: 4, sample: 0, blacklist: {h: [x]}}

            """
        let all = try configuration("topic: a", top: top).rules[0]
        #expect(all.concurrency == 250 && all.retry == .init(limit: 1, delay: .milliseconds(500), factor: 3) && all.timeout == .seconds(1))
        #expect(all.statuses.retryOn.map(\.description) == ["50x"] && all.statuses.ignore.map(\.description) == ["404"])
        #expect(all.order == .key && all.onFailure == .skip && all.filters.maxHops == 4)
        #expect(try reason(all, [:]) == .sample)
        let own = try configuration("topic: a\nretry_limit: 7\nsample: 1\nblacklist: {g: [x]}", top: top).rules[0]
        #expect(own.retry == .init(limit: 7, delay: .milliseconds(500), factor: 3))
        #expect(try reason(own, page("https://h/x", domain: "h")) == nil)
    }

    @Test("Without any the defaults are change-propagation's")
    func builtIn() throws {
        let rule = try rule("topic: a")
        #expect(rule.concurrency == 30 && rule.retry.limit == 2 && rule.timeout == .seconds(420) && rule.statuses.ignore.map(\.description) == ["412"])
        #expect(rule.filters.maxHops == 20 && rule.filters.sample == nil && rule.filters.blacklist.entries.isEmpty)
    }

    @Test("What is wrong is a mistake at its place", arguments: [
        ("sample: 1.5", "worker.yaml:10:13: \"sample\" in rule \"purge\" must be a number from 0.0 to 1.0, not 1.5"),
        ("sample: {hash_template: x}", "worker.yaml:10:13: \"rate\" in \"sample\" in rule \"purge\" is missing; give the share of events that is acted on, from 0 to 1"),
        ("sample: {rate: 1, hash_template: '{{match.a.b}}'}", "worker.yaml:9:5: rule \"purge\": no regular expression in its \"match\" captures match.a.b"),
        ("blacklist: {h: ['/(/']}", "worker.yaml:10:21: \"h\" in \"blacklist\" in rule \"purge\": missing closing parenthesis (at character 1 of /(/)"),
        ("max_hops: 0", "worker.yaml:10:15: \"max_hops\" in rule \"purge\" must be a whole number from 1 to 1000, not 0"),
    ])
    func mistakes(_ line: String, _ expected: String) { #expect(problems(file(rule: "topic: a\n" + line)) == [expected]) }

    @Test("A mistake in defaults or in limiters is told once")
    func mistakesInDefaults() {
        #expect(
            problems("defaults: {concurency: 5}\nlimiters: {a: {interval: 5}}\n" + file(rule: "topic: a") + "  b: {topic: b}\n").map { String($0.prefix(70)) } == [
                "worker.yaml:1:12: unknown key \"concurency\" in \"defaults\"; did you mean", "worker.yaml:2:15: \"limit\" in \"a\" in \"limiters\" is missing; give how ma",
            ])
    }
}
