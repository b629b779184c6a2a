import Foundation
import Testing

@testable import ChangePropagation

/// Whole service files of change-propagation.
@Suite("Conformance: service files") struct ServiceFileTests {
    /// A file of our own making in that service's shape, with a bit of everything.
    static let file = """
        num_workers: ncpu
        logging: {name: changeprop, level: info}
        spec: &spec
          title: The root
          x-sub-request-filters:
            - {type: default, name: http}
          paths:
            /sys/purge:
              x-modules:
                - {path: sys/purge.js, options: {host: 239.128.0.112, port: 4827}}
            /sys/links:
              x-modules:
                - path: sys/dep_updates.js
                  options: {templates: {mw_api: {uri: 'https://{{message.meta.domain}}/w/api.php'}}}
            /sys/limit:
              x-modules:
                - path: sys/rate_limiter.js
                  options:
                    redis: {host: localhost, port: 6379}
                    limiters: {page: {interval: 604800, limit: 100}}
            /sys/partition:
              x-modules:
                - path: sys/partitioner.js
                  options:
                    templates: {partition_stream: 'partitioned.{{message.meta.stream}}'}
                    partition_key: database
                    partition_map: {enwiki: 0}
                    partition_default: 7
            /sys/queue:
              x-modules:
                - path: sys/kafka.js
                  options:
                    metadata_broker_list: '{env(BROKERS)}'
                    dc_name: eqiad
                    startup_delay: 0
                    concurrency: 250
                    consumer: {fetch.wait.max.ms: "1"}
                    blacklist: {en.wikipedia.org: [Blacklisted]}
                    templates:
                      rerender: &rerender
                        topic: '/^(?:change-prop\\.transcludes\\.)?resource[-_]change$/'
                        retry_on: {status: [5xx, 404]}
                        ignore: {status: [403, 412]}
                        claim_ttl: 3600
                        match: {meta: {uri: '/^https?:\\/\\/[^\\/]+\\/wiki\\/(?<title>.+)$/'}, tags: [purge]}
                        match_not: [{meta: {domain: '/wiktionary.org$/'}}]
                        limiters: {page: '{{message.meta.uri}}'}
                        exec:
                          method: get
                          uri: '{env(RESTBASE)}/{{message.meta.domain}}/v1/page/html/{decode(match.meta.uri.title)}'
                          headers: {cache-control: no-cache, if-unmodified-since: '{{date(message.meta.dt)}}'}
                          query: {redirect: false}
                      again:
                        <<: *rerender
                        topic: other
                      purge:
                        topic: resource_change
                        exec: {method: post, uri: /sys/purge/, body: [{meta: {uri: '//{{message.meta.domain}}/x'}}]}
                      links:
                        topic: mediawiki.revision-create
                        exec: {method: post, uri: '/sys/links/transcludes/{message.page_title}', body: '{{globals.message}}'}
                      repartition:
                        topic: mediawiki.job.refreshLinks
                        exec: {method: post, uri: /sys/partition/, body: '{{globals.message}}'}
        services:
          - name: changeprop
            module: hyperswitch
            conf: {port: 7272, user_agent: Sample, spec: *spec}

        """

    static let environment = ["BROKERS": "kafka1:9092,kafka2:9092", "RESTBASE": "http://restbase:7231"]

    private func read(_ text: String = file, for purpose: WorkerConfiguration.Purpose = .rules) throws -> WorkerConfiguration {
        try WorkerConfiguration.parse(text, file: "config.yaml", for: purpose, environment: Self.environment)
    }

    @Test("Its rules are found, with the options that hold for all of them")
    func rules() throws {
        let configuration = try read()
        #expect(configuration.rules.map(\.name) == ["rerender", "again", "purge", "links", "repartition"])
        #expect(configuration.service == "changeprop" && configuration.datacenter.name == "eqiad" && configuration.rules[0].group == "changeprop-rerender")
        #expect(configuration.datacenters.values.map(\.bootstrap) == ["kafka1:9092,kafka2:9092"])
        let rerender = configuration.rules[0]
        #expect(rerender.concurrency == 250 && rerender.statuses.ignore.map(\.description) == ["403", "412"])
        #expect(["resource_change", "change-prop.transcludes.resource-change"].allSatisfy(rerender.selection.contains))
        #expect(!rerender.selection.contains("other") && configuration.rules[1].streams == ["other"])
        #expect(configuration.limiters["page"] == [.init(interval: .seconds(604_800), limit: 100)])
    }

    @Test("They do what they do there")
    func does() throws {
        let rules = try read().rules
        let event: JSONValue = [
            "tags": ["purge"], "page_title": "A/B", "database": "dewiki",
            "meta": [
                "uri": "https://en.wikipedia.org/wiki/A%2FB", "domain": "en.wikipedia.org", "dt": "2026-11-21T08:49:37Z", "stream": "s", "request_id": "r",
            ],
        ]
        guard case .act(let first) = try rules[0].evaluate(event) else { Issue.record("no match"); return }
        #expect(first.map { "\($0.method) \($0.url)" } == ["GET http://restbase:7231/en.wikipedia.org/v1/page/html/A%2FB?redirect=false"])
        #expect(first[0].headers.contains(.init("if-unmodified-since", "Sat, 21 Nov 2026 08:49:37 GMT")))
        #expect(first[0].limits == [LimiterKey(type: "page", key: "https://en.wikipedia.org/wiki/A%2FB")])
        guard case .act(let purge) = try rules[2].evaluate(event) else { Issue.record("no match"); return }
        #expect(purge.map(\.target) == [.purge(["http://en.wikipedia.org/x"], PurgeService(host: "239.128.0.112", port: 4827))])
        #expect(errorOf { try rules[3].evaluate(event) }?.kind == .noModule(path: "/sys/links/transcludes/A%2FB"))
        guard case .act(let posted) = try rules[4].evaluate(event), case .produce(let events)? = posted.first?.target else { Issue.record("no match"); return }
        #expect(events.map(\.stream) == ["partitioned.s"] && events.map(\.partition) == [7])
        let listed = event.replacing(["meta", "uri"], with: "https://en.wikipedia.org/wiki/Blacklisted")
        #expect(try rules[0].evaluate(listed) == .leaveOut(.blacklist))
    }

    @Test("What has no counterpart here is named in a warning with its place")
    func warnings() throws {
        let warnings = try read().warnings.map(\.description)
        for words in [
            "config.yaml:1:1: warning: \"num_workers\" has no counterpart here and is left out", "config.yaml:2:1: warning: \"logging\"",
            "\"title\" in \"spec\"", "\"x-sub-request-filters\" in \"spec\"", "sys/dep_updates.js has no counterpart here", "\"redis\" in \"options\" of sys/rate_limiter.js",
            "\"startup_delay\" in \"options\" of sys/kafka.js", "\"consumer\" in \"options\" of sys/kafka.js is left out; librdkafka's settings", "\"claim_ttl\" in rule \"rerender\"",
            "nobody answers for /sys/links/transcludes/{message.page_title}", "\"user_agent\" in \"conf\"", "\"port\" in \"conf\"", "a worker needs \"store\"",
        ] { #expect(warnings.contains { $0.contains(words) }, "\(words)\n\(warnings.joined(separator: "\n"))") }
        #expect(warnings.allSatisfy { $0.contains(": warning: ") && !$0.hasPrefix("config.yaml:0") })
    }

    @Test("With what a worker needs at its top, a worker works by it")
    func works() throws {
        let top = """
            datacenter: codfw
            datacenters: {eqiad: {bootstrap: 'a:1'}, codfw: {bootstrap: 'b:1'}}
            store: {sqlite: state.sqlite}
            modules: {/sys/links: 'http://links:1'}
            defaults: {concurrency: 9}

            """
        let configuration = try read(top + Self.file, for: .work)
        #expect(configuration.datacenter.name == "codfw" && configuration.rules[0].topics.isEmpty && configuration.rules[0].concurrency == 9)
        #expect(configuration.rules[1].topics.map(\.topic) == ["codfw.other", "eqiad.other"])
        #expect(!configuration.warnings.contains { $0.description.contains("/sys/links") })
    }

    @Test("A worker needs more than such a file has, and says what")
    func needs() {
        do {
            _ = try read(for: .work)
            Issue.record("it was taken")
        } catch { #expect("\(error)".contains("\"store\" is missing; give store:")) }
    }

    @Test("The other places at which such files have their paths", arguments: [
        "paths: {P}", "spec: {paths: {P}}", "services: [{name: x, conf: {spec: {paths: {P}}}}]",
    ])
    func places(_ shape: String) throws {
        let paths = "/sys/queue: {x-modules: [{path: sys/kafka.js, options: {dc_name: test_dc, templates: {a: {topic: b, exec: {uri: 'http://h/'}}}}}]}"
        let configuration = try read(shape.replacing("P", with: paths))
        #expect(configuration.rules.map(\.name) == ["a"])
        #expect(configuration.warnings.contains { $0.description.contains("shown as of a datacenter \"local\"") })
    }

    @Test("A mistake in it is one all the same", arguments: [
        ("topic: other", "topic: 'a b'", "can't be a topic"), ("sys/kafka.js", "sys/queue.js", "no rules were found"),
        ("{env(RESTBASE)}", "{env(UNSET)}", "the environment variable UNSET is not set"), ("port: 4827", "prt: 4827", "\"port\" in"),
        ("date(message", "dat(message", "there is no function dat()"),
    ])
    func mistakes(_ old: String, _ new: String, _ words: String) {
        do {
            _ = try read(Self.file.replacing(old, with: new))
            Issue.record("it was taken")
        } catch { #expect("\(error)".contains(words)) }
    }
}
