import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// How the demonstration sees what happens, waits for it and says it.
extension Demo {
    func checkpoints() async throws -> [TopicPartition: Checkpoint] {
        try await CheckpointStore(store).load(group: DemoConfiguration.group, topic: home.topic).compactMapValues { try? $0.checkpoint.get() }
    }

    /// How many of eqiad's acknowledged events its mirror in codfw had not brought there when eqiad died.
    func strandedCount() async throws -> Int {
        let admin = try KafkaAdmin(away.client("admin"))
        let copies = (0..<configuration.partitions).map { TopicPartition(topic: home.topic, partition: $0) }
        let ends = try await admin.watermarks(copies)
        await admin.close()
        let copied = ends.values.reduce(0) { $0 + Int((try? $1.get().high.offset) ?? 0) }
        let produced = book.note { ledger, _ in ledger.counts[DemoConfiguration.home]?.produced ?? 0 }
        return max(0, produced - copied)
    }

    func firstCall(by datacenter: Datacenter, from at: Double) async throws -> Double {
        var found: Double?
        try await waitFor("\(datacenter) to act on eqiad.*") { ledger in ledger.firstCall(DemoConfiguration.home, by: datacenter, from: at) != nil }
        found = book.note { ledger, _ in ledger.firstCall(DemoConfiguration.home, by: datacenter, from: at) }
        return found ?? book.now
    }

    /// The stored reports of how each of eqiad's partitions was gone on with in `datacenter`.
    func resumptions(_ datacenter: Datacenter) async throws -> [DemoResult.Resumption] {
        var found: [DemoResult.Resumption] = []
        let deadline = ContinuousClock.now + .seconds(5)
        // Reports are written beside the work: the last one may come a moment after it began.
        repeat {
            found = []
            for number in 0..<configuration.partitions {
                let partition = TopicPartition(topic: home.topic, partition: number)
                guard let report = try await ResumeReport.load(from: store, group: DemoConfiguration.group, partition),
                    report.datacenter == datacenter.name
                else { continue }
                found.append(.init(partition: partition, checkpoint: report.checkpointOffset, resumedAt: report.offset, found: report.method))
            }
            if found.count == configuration.partitions { break }
            try await Task.sleep(for: .milliseconds(50))
        } while ContinuousClock.now < deadline
        return found
    }

    // MARK: Waiting and saying

    func watch(_ duration: Duration) async throws {
        let end = ContinuousClock.now + duration
        while ContinuousClock.now < end {
            try check()
            try await Task.sleep(for: min(.milliseconds(200), ContinuousClock.now.duration(to: end)))
        }
    }

    func check() throws {
        try home.check()
        try away.check()
        if let etcd, !etcd.isRunning { throw DemoFailure("etcd ended by itself; its log ends with:\n\(etcd.lastWords())") }
    }

    func waitFor(_ what: String, _ condition: (Ledger) -> Bool) async throws {
        let deadline = ContinuousClock.now + configuration.patience
        while !book.note({ ledger, _ in condition(ledger) }) {
            try check()
            guard ContinuousClock.now < deadline else { throw DemoFailure("waited \(configuration.patience.readable) for \(what)") }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    func answer(_ what: String, _ ask: () async throws -> Void) async throws {
        let deadline = ContinuousClock.now + configuration.patience
        while true {
            do { return try await ask() } catch {
                try check()
                guard ContinuousClock.now < deadline else { throw DemoFailure("waited \(configuration.patience.readable) for \(what): \(error)") }
                try await Task.sleep(for: .milliseconds(30))
            }
        }
    }

    func step(_ text: String) { say(DemoLine(at: book.now, message: .step(text))) }
    func note(_ text: String) { say(DemoLine(at: book.now, message: .note(text))) }

    func status() {
        let total = configuration.times.total / .seconds(1)
        let sides = book.note { [isHomeUp, owner] ledger, _ in
            [DemoConfiguration.home, DemoConfiguration.away].map { datacenter in
                let counts = ledger.counts[datacenter] ?? (0, 0)
                let isHome = datacenter == DemoConfiguration.home
                return DemoStatus.Side(
                    datacenter: datacenter, isUp: !isHome || isHomeUp, produced: counts.produced, acted: counts.acted,
                    waiting: ledger.waiting(datacenter), owner: isHome ? owner : datacenter)
            }
        }
        say(DemoLine(at: book.now, message: .status(DemoStatus(sides: sides, done: min(0.99, book.now / total)))))
    }
}
