import Foundation
import LocalKafka
import Logging
import TestSupport
import Testing

/// `switchback worker` with rules that write events and files, as a process of its own against a real broker.
@Suite("A worker's own actions")
struct WorkerActionsTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func rules(_ cluster: LocalKafkaCluster) -> String {
        """
        service: demo
        datacenter: eqiad
        datacenters: {eqiad: {bootstrap: "\(cluster.bootstrapServers)", kafka: {acks: 1}}}
        store: {sqlite: store.db}
        identity: json:meta.id
        rules:
          feeds_itself:
            topic: /^loop/
            max_hops: 3
            exec:
              - {log: seen.jsonl}
              - {uri: /sys/queue/events, body: {meta: {stream: loop, uri: '{{message.meta.uri}}'}}}
        """
    }

    @Test("What a rule writes comes back to it, each a hop further, until max_hops ends it")
    func loop() async throws {
        var settings = LocalKafkaCluster.Configuration(dataDirectory: directory.file("kafka"))
        settings.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let cluster = try await LocalKafkaCluster.start(settings)
        try cluster.createTopic("eqiad.loop", partitions: 1)
        let first = #"{"meta":{"id":"first","uri":"https://h/A,_B","stream":"loop","request_id":"r"}}"#
        try cluster.append([RawRecord(timestamp: 1_700_000_000_000, value: Array(first.utf8))], to: "eqiad.loop", 0)
        let file = directory.file("worker.yaml")
        try Data(rules(cluster).utf8).write(to: file)
        let worker = Process()
        worker.executableURL = URL(filePath: try Executable.switchback())
        worker.arguments = ["worker", "--config", file.path]
        worker.standardOutput = FileHandle.nullDevice
        worker.standardError = FileHandle.nullDevice
        try launch(worker)
        var failure: (any Error)?
        do {
            let seen = directory.file("seen.jsonl")
            func lines() -> [Substring] { (try? String(contentsOf: seen, encoding: .utf8))?.split(separator: "\n") ?? [] }
            try await eventually("the first event and three that came of it are acted on", timeout: .seconds(20)) { lines().count >= 4 }
            try await eventually("the last one is written") { try cluster.status("eqiad.loop", 0).nextOffset >= 5 }
            try await Task.sleep(for: .milliseconds(500))
            #expect(try lines().count == 4 && cluster.status("eqiad.loop", 0).nextOffset == 5)
            let events = lines().compactMap { try? JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any] }
            #expect(Set(events.compactMap { ($0["meta"] as? [String: Any])?["id"] as? String }).count == 4)
            let hop = ",loop:https://h/A,_B"
            #expect(events.map { $0["triggered_by"] as? String } == [nil, "req:r\(hop)", "req:r\(hop)\(hop)", "req:r\(hop)\(hop)\(hop)"])
        } catch { failure = error }
        worker.terminate()
        await Task.detached { worker.waitUntilExit() }.value
        await cluster.stop()
        if let failure { throw failure }
        #expect(worker.terminationStatus == 0)
    }
}
