import Checkpoints
import Foundation
import Handover
import KafkaLog
@testable import Offsets
import Testing

@Suite("Where a partition stands")
struct SnapshotTests {
    @Test("Done, at work, stuck, and waiting for a retry are told apart")
    func states() {
        #expect(Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 100))).state == .idle)
        let busy = Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 60), next: Models.mark(60, secondsAgo: 25)))
        #expect(busy.state == .moving && busy.lagRecords == 40 && busy.lagMilliseconds == 25_000)
        var late = Models.facts(0, checkpoint: Models.checkpoint(at: 60, secondsAgo: 31), next: Models.mark(60, secondsAgo: 31))
        #expect(Models.state(late).state == .stuck)
        late.isRetry = true
        #expect(Models.state(late).state == .waiting)
        // The record that waits is new: nobody can have written a checkpoint for it yet.
        #expect(Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 99, secondsAgo: 900), next: Models.mark(99, secondsAgo: 3))).state == .moving)
    }

    @Test("The age is that of the record at the position; without it there is none, never a guess")
    func noInterpolation() {
        let state = Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 60)))
        #expect(state.lagRecords == 40 && state.lagMilliseconds == nil)
    }

    @Test("Retention that passed the position is a gap of a known size; a position above the end is said")
    func gaps() {
        let gone = Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 4)))
        #expect(gone.state == .gap && gone.gap?.records == 6 && gone.lagRecords == 90)
        let above = Models.state(Models.facts(0, checkpoint: Models.checkpoint(at: 200)))
        #expect(above.state == .stuck && above.problem?.contains("above the log's end") == true && above.problem?.contains("offsets reset") == true)
    }

    @Test("The position is the checkpoint's or the commit's, as the resume rule has it: the higher epoch, then the higher offset")
    func position() {
        var facts = Models.facts(0, checkpoint: Models.checkpoint(at: 60))
        func commit(_ offset: Int64, epoch: Int64) -> Int64? {
            facts.logs[Models.eqiad]?.commit = ResumePlanner.Committed(offset: offset, epoch: epoch, last: nil)
            return facts.position
        }
        #expect(commit(70, epoch: 3) == 70)
        #expect(commit(50, epoch: 3) == 60)
        #expect(commit(50, epoch: 4) == 50)
        #expect(commit(99, epoch: 2) == 60)
        facts = Models.facts(0, checkpoint: Models.checkpoint(at: 60, in: Models.clusterC))
        #expect(facts.position == nil && Models.state(facts).state == .unknown)
        #expect(Models.facts(0, checkpoint: nil).position == 10)
        facts.checkpoint = .failure(.checksum)
        #expect(Models.state(facts).problem == CheckpointFormatError.checksum.description)
    }

    @Test("A mirror is level when both logs end with the same record; else it is behind by at most what the origin holds from its time on")
    func mirrors() {
        let level = Models.state(Models.facts(0, checkpoint: nil))
        #expect(level.mirrorLagRecords == 0 && level.mirrorLagMilliseconds == 0)
        let behind = Models.state(Models.facts(0, checkpoint: nil, mirrorBehind: 7))
        #expect(behind.mirrorLagRecords == 7 && behind.mirrorLagMilliseconds == 7000)
        var facts = Models.facts(0, checkpoint: nil, mirrorBehind: 7)
        facts.logs[Models.codfw]?.last?.timestampType = .logAppendTime
        #expect(Models.state(facts).mirrorLagMilliseconds == nil, "the mirror's own clock says nothing")
        facts.logs[Models.codfw]?.last = nil
        facts.logs[Models.codfw]?.end = 0
        #expect(Models.state(facts).mirrorLagRecords == 90)
    }

    @Test("Sorting and filters: what is not known comes first, since it may be the worst")
    func narrowed() {
        let snapshot = Models.snapshot
        #expect(snapshot.narrowed(leastLag: nil, states: [], order: .lag).partitions.map(\.partition) == [4, 3, 1, 2, 0])
        #expect(snapshot.narrowed(leastLag: 1, states: [.moving, .stuck], order: .partition).partitions.map(\.partition) == [1, 2])
        #expect(snapshot.narrowed(leastLag: nil, states: [], order: .state, limit: 2).partitions.map(\.partition) == [3, 2])
        #expect(snapshot.narrowed(leastLag: nil, states: [], order: .state, limit: 2).totals.partitions == 5)
    }

    @Test("Filters by origin, topic and partition")
    func filter() {
        let topic = OriginTopic(origin: Models.eqiad, stream: "page.change")
        #expect(PartitionFilter().contains(topic, 3))
        #expect(PartitionFilter(topics: ["page.change"]).contains(topic, 3) && PartitionFilter(topics: ["eqiad.page.change"]).contains(topic, 3))
        #expect(!PartitionFilter(origins: [Models.codfw]).contains(topic, 3) && !PartitionFilter(partitions: [1]).contains(topic, 3))
        #expect(PartitionFilter.partitions("0-2,7") == [0, 1, 2, 7])
        for wrong in ["", "-1", "3-1", "a", "1,,2", "0-"] { #expect(PartitionFilter.partitions(wrong) == nil) }
    }

    @Test("The table as it is at 80 columns, and with all columns")
    func table() {
        let (narrow, leftOut) = Models.snapshot.sheet.laidOut(width: 80)
        #expect(narrow.joined(separator: "\n") == Golden.describe80)
        #expect(leftOut == ["CHECKPOINT", "EPOCH", "SEALED", "COMMITTED", "CODFW LOG", "EQIAD LOG", "CHECKPOINT TIME", "WORKER"])
        #expect(Models.snapshot.sheet.laidOut(width: nil).lines.joined(separator: "\n") == Golden.describeWide)
        #expect(Models.snapshot.sheet.laidOut(width: 60).lines.allSatisfy { $0.count <= 60 })
        #expect(Models.snapshot.remarks == ["eqiad.page.change/3: gap (retention), 6 records"])
        #expect(
            Models.snapshot.totals.text(group: "g")
                == "group g: 5 partitions (1 idle, 1 moving, 1 stuck, 1 gap, 1 unknown), 170 records to do, the oldest 2h 30m; mirrors up to 3s behind")
    }

    @Test("The CSV, field by field")
    func csv() { #expect(Models.snapshot.csv.map(CSV.line).joined(separator: "\n") == Golden.describeCSV) }

    @Test("The JSON, name by name")
    func json() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var snapshot = Models.snapshot
        snapshot.partitions = [snapshot.partitions[1]]
        #expect(String(decoding: try encoder.encode(snapshot), as: UTF8.self) == Golden.describeJSON)
        #expect(String(decoding: try encoder.encode(Models.plan.partitions[0]), as: UTF8.self) == Golden.planJSON)
    }

    @Test("The plan's table, CSV, words and verdict")
    func plan() {
        #expect(Models.plan.sheet.laidOut(width: nil).lines.joined(separator: "\n") == Golden.planWide)
        #expect(Models.plan.csv.map(CSV.line).joined(separator: "\n") == Golden.planCSV)
        #expect(
            Models.plan.summary
                == "group demo-purge to codfw: 4 of 5 partitions would move, at most 92 records (1m 5s) repeated, at most 502 not mirrored yet, 1 gap, 1 refused")
        #expect(Models.plan.remarks.count == 3 && !Models.plan.isGood)
    }
}
