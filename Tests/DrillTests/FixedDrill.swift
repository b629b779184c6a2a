import Checkpoints
import Foundation

@testable import Drill

/// A drill that never ran: the same journal, events and calls every time. A failover of two partitions at 6 s; one event is lost, three are
/// repeated (one of them named as done by the checkpoint), a retry and a delayed event move.
enum FixedDrill {
    static let setting: DrillSetting = {
        var plan = DrillPlan(.datacenterLoss)
        plan.reason = "monthly <rehearsal> & test"
        plan.load.partitions = 2
        return DrillSetting(
            id: "fixed", plan: plan, mode: .embedded, seed: 7, store: "sqlite", ports: [1, 2], origin: "eqiad", target: "codfw",
            group: "demo-propagate", operatorName: "ops@host", beganAt: 1_767_225_600_000, version: "0.1.0")
    }()

    static func entry(_ at: Double, _ kind: DrillEntry.Kind, _ change: (inout DrillEntry) -> Void = { _ in }) -> DrillEntry {
        var entry = DrillEntry(at: at, kind)
        change(&entry)
        return entry
    }

    static func phase(_ phase: DrillPhase, _ from: Double, _ to: Double, _ text: String, _ outcome: DrillReport.PhaseOutcome = .done) -> [DrillEntry] {
        [entry(from, .phaseStarted) { $0.phase = phase }, entry(to, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, outcome, text) }]
    }

    static func mark(_ mark: DrillMark, _ at: Double) -> DrillEntry { entry(at, .mark) { $0.mark = mark } }

    static func resumes(_ at: Double, _ move: DrillReport.MoveName, epoch: Int64, _ offsets: [(Int64, Int64, String)]) -> DrillEntry {
        entry(at, .resumes) { entry in
            (entry.move, entry.epoch) = (move, epoch)
            entry.resumes = offsets.enumerated().map { .init(partition: Int32($0), checkpointOffset: $1.0, resumedOffset: $1.1, method: $1.2) }
        }
    }

    static var journal: [DrillEntry] {
        var entries = [entry(0, .began) { $0.setting = setting }]
        entries += phase(.preflight, 1, 2, "2 checks, all green")
        entries.insert(
            entry(1.5, .checks) { $0.checks = [.init("store", .green, "answered in 2 ms"), .init("clocks", .green, "no record is ahead | of this clock")] }, at: 2)
        entries += phase(.canaries, 2, 6, "16 canaries")
        entries += [entry(6, .phaseStarted) { $0.phase = .cut }]
        entries += [
            entry(6, .snapshot) {
                $0.snapshot = [.init(partition: 0, offset: 103, cluster: "A", beyond: []), .init(partition: 1, offset: 203, cluster: "A", beyond: [])]
            }, mark(.cut, 6), entry(6.1, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.cut, .done, "kill -9 of everything in eqiad") },
        ]
        entries += [entry(6.1, .phaseStarted) { $0.phase = .drain }, mark(.detected, 7), entry(7.1, .stranded) { $0.count = 2 }]
        entries += [entry(7.2, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.drain, .done, "un-drainable: 5 events are past the checkpoints") }]
        entries += [entry(7.2, .phaseStarted) { $0.phase = .fence }, mark(.asked, 7.2), mark(.raised, 7.25), mark(.leaseOver, 9.25)]
        entries += [entry(9.3, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.fence, .done, "epoch 2") }]
        entries += [
            entry(9.3, .phaseStarted) { $0.phase = .switchOver }, mark(.stable, 9.8), mark(.resolved, 7.5),
            resumes(9.8, .switchOver, epoch: 2, [(103, 53, "tail"), (203, 83, "tail")]),
            entry(9.9, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.switchOver, .done, "2 partitions resumed") },
        ]
        entries += phase(.verify, 9.9, 10, "all done") + phase(.soak, 10, 12, "2.00 s")
        entries += [
            entry(12, .phaseStarted) { $0.phase = .home }, mark(.homeBack, 12.5), mark(.homeAsked, 14), mark(.homeSealed, 14.1), mark(.homeRaised, 14.1),
            mark(.homeResolved, 14.2), mark(.homeStable, 14.5), resumes(14.5, .home, epoch: 3, [(60, 110, "tail"), (90, 210, "tail")]),
            entry(14.6, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.home, .done, "every partition is sealed") },
            entry(14.6, .phaseStarted) { $0.phase = .verifyHome }, mark(.loadEnded, 16), entry(19, .gaps) { $0.gaps = [] },
            entry(19, .phaseEnded) { ($0.phase, $0.outcome, $0.text) = (.verifyHome, .done, "1 of 18 events was lost") },
            entry(19, .ended) { $0.text = "done" },
        ]
        return entries
    }

    static func state(_ entries: [DrillEntry] = journal) throws -> DrillState {
        var state = DrillState()
        for entry in entries { try state.apply(entry) }
        return state
    }

    /// Eight in each partition from 2.5 s on, one in each that waited, and what came after the return.
    static let produced: [ProducedEvent] = {
        var events: [ProducedEvent] = []
        for partition: Int32 in 0..<2 {
            let base = 100 * Int64(partition + 1)
            for number in 0..<8 {
                events.append(.init(id: "e\(partition)\(number)", partition: partition, offset: base + Int64(number), at: 2.5 + 0.45 * Double(number)))
            }
            events.append(.init(id: "h\(partition)", partition: partition, offset: base + 8, at: 13))
            events.append(.init(id: "l\(partition)", partition: partition, offset: base + 9, at: 14.3))
        }
        events[7].due = 8
        return events
    }()

    static let calls: [TargetCall] = {
        var calls: [TargetCall] = []
        func call(_ id: String, _ datacenter: String, _ at: Double, refused: Bool = false) {
            calls.append(.init(id: id, datacenter: datacenter, at: at, refused: refused))
        }
        for event in produced {
            switch event.id {
            case "e07": call(event.id, "codfw", 9.4)
            case "e15": continue
            case "e16":
                call(event.id, "eqiad", 5.3, refused: true)
                call(event.id, "codfw", 9.5)
            case "e17": call(event.id, "codfw", 13.1)
            case "h0", "h1": call(event.id, "codfw", event.at + 0.3)
            case "l0", "l1": call(event.id, "eqiad", event.at + 0.1)
            default: call(event.id, "eqiad", event.at + 0.05)
            }
        }
        for (id, at) in [("e02", 9.28), ("e05", 9.29), ("e13", 9.3)] { call(id, "codfw", at) }
        return calls
    }()

    static func report(_ state: DrillState? = nil) throws -> DrillReport {
        let state = try state ?? self.state()
        return Drill.report(
            of: state, produced: produced, sent: Set(produced.map(\.id)), calls: calls, at: state.last,
            versions: ["switchback": "0.1.0", "librdkafka": "2.0.2", "store": "sqlite"])
    }
}
