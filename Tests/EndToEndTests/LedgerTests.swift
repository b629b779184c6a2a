import Checkpoints
import KafkaLog
import Testing

@testable import Demo

@Suite("The demonstration's ledger")
struct LedgerTests {
    private let eqiad = DemoConfiguration.home
    private let codfw = DemoConfiguration.away
    private let partition = TopicPartition(topic: "eqiad.s", partition: 0)

    private func ledger(_ ids: [String], wanted: Bool = true) -> Ledger {
        var ledger = Ledger()
        for (offset, id) in ids.enumerated() {
            ledger.sent(id, origin: eqiad, isWanted: wanted, at: 0)
            ledger.acknowledged(id, partition: partition, offset: Int64(offset))
        }
        return ledger
    }

    private func checkpoint(_ offset: Int64, beyond: [String] = []) -> [TopicPartition: Checkpoint] {
        let done = DonePrefix(
            witness: nil, disorder: 0, tail: [], beyond: beyond.map { Fingerprint.ofIdentity($0) }, beyondSpan: 0,
            position: Position(offset, in: ClusterID("c")), timestampType: .none)
        return [
            partition: Checkpoint(
                done: done, partitionCount: 1, identity: "json:meta.id", epoch: 1, worker: "w", writtenAt: MillisecondTimestamp(clamped: 0))
        ]
    }

    @Test("What nobody acted on is lost; what no rule wants is not; what was never acknowledged is not produced")
    func lost() {
        var ledger = ledger(["a", "b"])
        ledger.sent("c", origin: eqiad, isWanted: false, at: 0)
        ledger.acknowledged("c", partition: partition, offset: 2)
        ledger.sent("d", origin: eqiad, isWanted: true, at: 0)
        ledger.called("a", by: eqiad, at: 1)
        let account = ledger.account(eqiad, failover: 10, switchback: 20, checkpoints: [:])
        #expect(account.produced == 3 && account.acted == 1 && account.lost == 1 && account.skipped == 1)
        #expect(ledger.waiting(eqiad) == 1)
        ledger.called("d", by: eqiad, at: 1)
        ledger.called("c", by: eqiad, at: 1)
        ledger.called("nobody's", by: eqiad, at: 1)
        let later = ledger.account(eqiad, failover: 10, switchback: 20, checkpoints: [:])
        #expect(later.unacknowledged == 1 && later.unwanted == 1 && ledger.strangers == 1)
    }

    @Test("A repeat counts by when it came, and is known when the checkpoint named its event")
    func repeats() {
        var ledger = ledger(["a", "b", "c", "d", "e"])
        for id in ["a", "b", "c", "d", "e"] { ledger.called(id, by: eqiad, at: 5) }
        ledger.called("a", by: eqiad, at: 6)
        for id in ["b", "c", "d"] { ledger.called(id, by: codfw, at: 12) }
        ledger.called("e", by: eqiad, at: 21)
        let account = ledger.account(eqiad, failover: 10, switchback: 20, checkpoints: checkpoint(2, beyond: ["d"]))
        #expect(account.repeatsBefore == 1)
        #expect(account.repeatsAfterFailover == 3)
        #expect(account.repeatsKnown == 2, "b lies below the checkpoint, d is named beyond it; c could not be known")
        #expect(account.repeatsAfterSwitchback == 1)
        #expect(account.lost == 0)
    }
}
