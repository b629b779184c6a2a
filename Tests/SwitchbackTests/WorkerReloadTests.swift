import Foundation
import LocalKafka
import TestSupport
import Testing

#if canImport(FoundationNetworking)
import FoundationNetworking
#endif

@Suite("A worker that runs is given new rules")
struct WorkerReloadTests {
    private static func file(kafka: String, listen: Int, rules: String) -> String {
        """
        service: test
        datacenter: eqiad
        datacenters:
          eqiad: {bootstrap: "\(kafka)"}
        store: {sqlite: store.db}
        listen: 127.0.0.1:\(listen)
        lease: 1s
        session_timeout: 6s
        drain_timeout: 2s
        rules:
        \(rules)

        """
    }

    @Test("SIGHUP takes up new rules, all or none: what is wrong is said and the old ones stay")
    func reload() async throws {
        let directory = try TemporaryDirectory()
        let cluster = try await LocalKafkaCluster.start(.init(dataDirectory: directory.file("kafka")))
        for topic in ["a", "b"] { try cluster.createTopic("eqiad.\(topic)", partitions: 1) }
        let port = try freePort()
        let config = directory.file("worker.yaml"), log = directory.file("worker.log")
        func write(_ rules: String) throws {
            try Data(Self.file(kafka: cluster.bootstrapServers, listen: port, rules: rules).utf8).write(to: config)
        }
        func metrics() async -> String {
            guard let url = URL(string: "http://127.0.0.1:\(port)/metrics"), let (data, _) = try? await URLSession.shared.data(from: url) else { return "" }
            return String(decoding: data, as: UTF8.self)
        }
        func matched(_ rule: String, _ topic: String) async -> String? {
            let start = #"switchback_events_matched_total{group="test-\#(rule)",origin="eqiad",stream="\#(topic)",rule="\#(rule)"} "#
            return await metrics().split(separator: "\n").first { $0.hasPrefix(start) }.map { String($0.dropFirst(start.count)) }
        }
        func produce(_ topic: String, _ json: String) throws { try cluster.append([.init(timestamp: 5, value: Array(json.utf8))], to: "eqiad.\(topic)", 0) }
        func said() -> String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

        try write("  first: {topic: a, match: {t: 1}, action: none}")
        try Data().write(to: log)
        let process = Process()
        process.executableURL = URL(filePath: try Executable.switchback())
        process.arguments = ["worker", "--config", config.path]
        process.standardError = try FileHandle(forWritingTo: log)
        try launch(process)
        defer { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        try produce("a", #"{"t":1}"#)
        try await eventually("the first rule works") { await matched("first", "a") == "1" }

        try write("  first: {topic: a, macth: {t: 1}, action: none}")
        kill(process.processIdentifier, SIGHUP)
        try await eventually("the mistake is said") { said().contains("refused as a whole") && said().contains("worker.yaml:11:") }
        try produce("a", #"{"t":1}"#)
        try await eventually("the old rule stays") { await matched("first", "a") == "2" }

        try write("  first: {topics: [a, b], match: {t: 2}, action: none}\n  second: {topic: b, action: none}")
        kill(process.processIdentifier, SIGHUP)
        try await eventually("they are taken up") { said().contains("The rules were reloaded") }
        for topic in ["a", "b"] { for kind in [1, 2] { try produce(topic, #"{"t":\#(kind)}"#) } }
        try await eventually("the second rule works") { await matched("second", "b") == "2" }
        try await eventually("the first one reads both topics, and wants others than before") {
            let a = await matched("first", "a"), b = await matched("first", "b")
            return a == "3" && b == "1"
        }

        try write("  second: {topic: b, action: none}")
        kill(process.processIdentifier, SIGHUP)
        try await eventually("the first one's group ends") { await !metrics().contains(#"group="test-first""#) }
        try produce("b", "{}")
        try await eventually("the other goes on") { await matched("second", "b") == "3" }
        kill(process.processIdentifier, SIGTERM)
        try await eventually("it ends") { !process.isRunning }
        #expect(process.terminationStatus == 0)
        await cluster.stop()
    }
}
