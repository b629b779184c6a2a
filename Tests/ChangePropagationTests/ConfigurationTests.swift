import Foundation
import KafkaLog
import Testing

@testable import ChangePropagation

/// What a right worker.yaml is read as.
@Suite struct ConfigurationTests {
    private func parse(_ yaml: String, file: String = "/etc/switchback/worker.yaml") throws -> WorkerConfiguration {
        try WorkerConfiguration.parse(yaml, file: file)
    }

    @Test func theSmallestFileGetsTheDefaults() throws {
        let configuration = try parse(smallestFile + "    topic: resource_change\n")
        #expect(configuration.datacenter.name == "eqiad")
        #expect(configuration.datacenters.keys.sorted().map(\.name) == ["codfw", "eqiad"])
        #expect(configuration.store == .sqlite(path: "/etc/switchback/state/switchback.sqlite"))
        #expect(configuration.lease == .seconds(5) && configuration.drainTimeout == .seconds(25) && configuration.sessionTimeout == .seconds(10))
        #expect(configuration.standby)
        #expect(
            configuration.checkpoints
                == .init(interval: .seconds(1), commitInterval: .milliseconds(500), slack: .seconds(1), hold: .seconds(30), tail: 16, maxBeyond: 96))
        #expect(configuration.identity == .record && configuration.dedupeWindow == 1024 && configuration.instance == nil)
        #expect(configuration.logLevel == .info && configuration.http == .init())
        let rule = try #require(configuration.rules.first)
        #expect(rule.name == "purge" && rule.group == "purger-purge" && rule.streams == ["resource_change"])
        #expect(rule.topics.map(\.topic) == ["codfw.resource_change", "eqiad.resource_change"])
        #expect(rule.concurrency == 30 && rule.order == .none && rule.onFailure == .deadLetter && rule.timeout == .seconds(420))
        #expect(rule.retry == .init(limit: 2, delay: .seconds(60), factor: 6) && rule.immediateRetry.limit == 0)
    }

    @Test func standbyIsTrueOrFalse() throws {
        let file = smallestFile + "    topic: resource_change\n"
        #expect(try !parse("standby: false\n" + file).standby)
        #expect(throws: ConfigurationError.self) { try parse("standby: sometimes\n" + file) }
    }

    @Test func everyKeyOfARuleIsRead() throws {
        let rule = try rule(
            """
            topics: [b.c, a]
            origins: codfw
            group: mine
            concurrency: 5
            retry_limit: 0
            retry_delay: 1.5s
            retry_factor: 1
            retry_on: {status: ['50x', 404]}
            ignore: {status: [403, '41x']}
            timeout: 500
            order: partition
            on_failure: skip
            """)
        #expect(rule.streams == ["b.c", "a"] && rule.topics.map(\.topic) == ["codfw.b.c", "codfw.a"] && rule.group == "mine")
        #expect(rule.concurrency == 5 && rule.retry == .init(limit: 0, delay: .milliseconds(1500), factor: 1))
        #expect(rule.timeout == .milliseconds(500) && rule.order == .partition && rule.onFailure == .skip)
        #expect(rule.statuses.retryOn.map(\.description) == ["50x", "404"] && rule.statuses.ignore.map(\.description) == ["403", "41x"])
    }

    @Test func etcdIsReadWithPathsFromTheFilesFolder() throws {
        let yaml = smallestFile.replacing(
            "{sqlite: state/switchback.sqlite}",
            with: "{etcd: {endpoints: ['https://a:2379', 'https://[::1]:2379'], prefix: sb/, username: me, password_file: pw, ca_file: /ca.pem, cert_file: ../c.pem, key_file: k.pem, timeout: 3s}}")
        guard case .etcd(let etcd) = try parse(yaml + "    topic: a\n").store else { Issue.record("not etcd"); return }
        #expect(etcd.endpoints == ["https://a:2379", "https://[::1]:2379"] && etcd.prefix == "/sb" && etcd.username == "me" && etcd.timeout == .seconds(3))
        #expect(etcd.passwordFile == "/etc/switchback/pw" && etcd.caFile == "/ca.pem" && etcd.certFile == "/etc/c.pem" && etcd.keyFile == "/etc/switchback/k.pem")
    }

    @Test func anchorsAndMergeKeysWork() throws {
        let configuration = try parse(
            "x-defaults: &defaults {retry_limit: 7, concurrency: 3}\nx-slow: &slow {concurrency: 1, timeout: 1s}\n" + smallestFile + """
                    <<: *defaults
                    topic: a
                  second:
                    topic: b
                    retry_limit: 1
                    <<: [*slow, *defaults]
                """)
        let (first, second) = (configuration.rules[0], configuration.rules[1])
        #expect(first.retry.limit == 7 && first.concurrency == 3)
        // A rule's own key wins wherever it stands; of merged maps the first one does.
        #expect(second.retry.limit == 1 && second.concurrency == 1 && second.timeout == .seconds(1))
    }

    @Test func kafkaSettingsArePassedOn() throws {
        let yaml = smallestFile.replacing("\"127.0.0.1:19092\"}", with: "[\"a:1\", \"b:2\"], kafka: {security.protocol: ssl, fetch.min.bytes: 1, socket.keepalive.enable: false}}")
        let eqiad = try #require(Datacenter("eqiad"))
        let cluster = try parse(yaml + "    topic: a\n").datacenters[eqiad]
        #expect(cluster == .init(bootstrap: "a:1,b:2", kafka: ["security.protocol": "ssl", "fetch.min.bytes": "1", "socket.keepalive.enable": "false"]))
    }

    @Test(arguments: [
        ("500ms", Duration.milliseconds(500)), ("30s", .seconds(30)), ("5m", .seconds(300)), ("1h", .seconds(3600)), ("1.5s", .milliseconds(1500)),
        ("0s", .zero),
    ])
    func durations(_ text: String, _ expected: Duration) { #expect(ScalarFormat.duration(text) == expected) }

    @Test(arguments: ["", "s", "5", "-5s", "5 s", "1e3s", "5S", "1.s", ".5s", "5ms ", "5d", "99999999h", "١s"])
    func notDurations(_ text: String) { #expect(ScalarFormat.duration(text) == nil) }

    @Test(arguments: [("0", 0), ("512B", 512), ("64KiB", 65536), ("1.5MiB", 1_572_864), ("2GiB", 2_147_483_648)])
    func sizes(_ text: String, _ expected: Int) { #expect(ScalarFormat.size(text) == expected) }

    @Test(arguments: ["", "B", "1MB", "-1B", "9999999999GiB"]) func notSizes(_ text: String) { #expect(ScalarFormat.size(text) == nil) }

    @Test(arguments: ["a:1", "127.0.0.1:65535", "[::1]:9092", "kafka-1.eqiad.wmnet:9092"]) func brokers(_ text: String) {
        #expect(ScalarFormat.hostAndPort(text) != nil)
    }

    @Test(arguments: ["", "a", ":1", "a:", "a:0", "a:65536", "a:+1", "::1:9092", "[]:1", "a b:1", "a:1:2"]) func notBrokers(_ text: String) {
        #expect(ScalarFormat.hostAndPort(text) == nil)
    }

    @Test(arguments: [
        ("topc", "topic"), ("retry-limit", "retry_limit"), ("concurency", "concurrency"), ("macth", "match"), ("Topic", "topic"),
    ])
    func nearestKey(_ word: String, _ expected: String) {
        #expect(nearest(to: word, among: ["topic", "topics", "retry_limit", "concurrency", "match", "match_not"]) == expected)
    }

    @Test func nothingIsNearToAnOddWord() { #expect(nearest(to: "colour", among: ["topic", "uri", "body"]) == nil) }

    /// The document's example is a file that works as it stands.
    @Test func theExampleOfTheDocumentIsRight() throws {
        let text = try String(contentsOf: repository.appending(path: "Docs/Configuration.md"), encoding: .utf8)
        let yaml = try #require(text.components(separatedBy: "```yaml\n").dropFirst().first?.components(separatedBy: "```").first)
        let configuration = try WorkerConfiguration.parse(yaml, file: "worker.yaml")
        #expect(configuration.rules.map(\.name) == ["purge_pages", "notify_edits", "count_all"])
        let edit = try #require(try recordedEvents().first { $0["type"] == "edit" && $0["bot"] == false })
        guard case .act(let requests) = try configuration.rules[1].evaluate(edit) else { Issue.record("no match"); return }
        #expect(requests.count == 1 && requests[0].method == "POST")
    }

    @Test func theExampleOfTheReadmeIsRight() throws {
        let text = try String(contentsOf: repository.appending(path: "README.md"), encoding: .utf8)
        let yaml = try #require(text.components(separatedBy: "```yaml\n").dropFirst().first?.components(separatedBy: "```").first)
        let configuration = try WorkerConfiguration.parse(yaml, file: "worker.yaml")
        #expect(text.contains("--group \(configuration.rules[0].group) "), "the commands name the group that the rule has")
        let edit = try #require(try recordedEvents().first { $0["type"] == "edit" })
        guard case .act(let requests) = try configuration.rules[0].evaluate(edit) else { Issue.record("no match"); return }
        #expect(requests.count == 1 && requests[0].url.hasPrefix("http://127.0.0.1:8080/edits/"))
    }

    /// Every key that the document names is one that the reader knows, and the other way round.
    @Test func theDocumentNamesEveryKey() throws {
        let text = try String(contentsOf: repository.appending(path: "Docs/Configuration.md"), encoding: .utf8)
        for yaml in [smallestFile + "    zzzzzzzz: 1\n    topic: a\n", smallestFile + "    topic: a\nzzzzzzzz: 1\n",
            smallestFile + "    topic: a\n    exec: {uri: 'http://h/', zzzzzzzz: 1}\n", smallestFile + "    topic: a\nhttp: {zzzzzzzz: 1}\n",
            smallestFile + "    topic: a\ncheckpoints: {zzzzzzzz: 1}\n",
            smallestFile.replacing("{sqlite: state/switchback.sqlite}", with: "{etcd: {endpoints: 'http://a:1', zzzzzzzz: 1}}") + "    topic: a\n"]
        {
            let known = try #require(problems(yaml).first?.components(separatedBy: "the keys here are ").last)
            for key in known.components(separatedBy: ", ") { #expect(text.contains("`\(key)`"), "Docs/Configuration.md does not name \(key)") }
        }
    }
}
