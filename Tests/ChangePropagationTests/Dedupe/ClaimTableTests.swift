import KafkaLog
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

/// So that an expectation may change it.
private final class Table {
    private var table = ClaimTable()
    var hasUnsettled: Bool { table.hasUnsettled }
    func hold(_ claims: [Claim], now: Int64) -> Bool { table.hold(claims, now: now) }
    func release(_ claims: [Claim]) { table.release(claims) }
    func takeKnown(_ claim: Claim, now: Int64) -> ClaimVerdict? { table.takeKnown(claim, now: now) }
    func wantedAhead(_ claims: [Claim], limit: Int, now: Int64) -> [Claim] { table.wantedAhead(claims, limit: limit, now: now) }
    func keepAhead(_ claim: Claim, _ verdict: ClaimVerdict, now: Int64) { table.keepAhead(claim, verdict, now: now) }
    func settle(_ settlements: [Settlement]) { table.settle(settlements) }
    func takeUnsettled(limit: Int) -> [Settlement] { table.takeUnsettled(limit: limit) }
    func settled(_ taken: [Settlement], failed: [Settlement]) { table.settled(taken, failed: failed) }
}

@Suite("A worker's table of claims") struct ClaimTableTests {
    private func claim(_ owner: String, _ token: String, _ delivery: Dedupe.Delivery = .atLeastOnce) -> Claim {
        ClaimTests.claim(owner, token, delivery)
    }

    private func granted(_ claim: Claim) -> Claim {
        var claim = claim
        claim.grant = Claim.Grant(revision: 1, until: 10_000)
        return claim
    }

    @Test("Two jobs are never at one event at once, whoever owns it")
    func oneAtATime() {
        let table = Table()
        #expect(table.hold([claim("A", "1")], now: 0))
        #expect(!table.hold([claim("A", "2")], now: 0) && !table.hold([claim("B", "3")], now: 0))
        #expect(table.hold([claim("A", "1")], now: 0), "the same one may come again")
        table.release([claim("A", "2")])
        #expect(!table.hold([claim("A", "2")], now: 0))
        table.release([claim("A", "1")])
        #expect(table.hold([claim("A", "2")], now: 0))
    }

    @Test("What is done and not written yet is known; it is written once, and again when that failed")
    func done() {
        let table = Table()
        let done = granted(claim("A", "1"))
        table.settle(Settlement.of(done, .done))
        #expect(table.hold([claim("B", "2")], now: 0))
        #expect(table.takeKnown(claim("B", "2"), now: 0) == .duplicate)
        table.release([claim("B", "2")])
        let taken = table.takeUnsettled(limit: 10)
        #expect(taken.count == 1 && !table.hasUnsettled)
        #expect(!table.hold([claim("B", "2")], now: 0), "nobody knows what it will be while it is written")
        table.settled(taken, failed: taken)
        #expect(table.takeUnsettled(limit: 10) == taken)
        table.settled(taken, failed: [])
        #expect(!table.hasUnsettled && table.hold([claim("B", "2")], now: 0))
    }

    @Test("A claim ahead of its turn is used once, by its owner, while it lasts; what is made at most once is not claimed ahead")
    func ahead() {
        let table = Table()
        #expect(table.wantedAhead([claim("A", "1", .atMostOnce)], limit: 5, now: 0).isEmpty)
        #expect(table.wantedAhead([claim("A", "1"), claim("A", "2")], limit: 5, now: 0).map(\.token) == ["1"])
        let verdict = ClaimVerdict.granted(.init(revision: 3, until: 10_000))
        table.keepAhead(claim("A", "1"), verdict, now: 0)
        #expect(!table.hold([claim("B", "9")], now: 9_999) && table.hold([claim("B", "9")], now: 10_000))
        table.release([claim("B", "9")])
        #expect(table.hold([claim("A", "1")], now: 5))
        #expect(table.takeKnown(claim("A", "1"), now: 5) == verdict && table.takeKnown(claim("A", "1"), now: 5) == nil)
    }

    @Test("What was to be given back and is wanted again stays; done goes before all else; marks of root events only rise")
    func merging() {
        let table = Table()
        let once = granted(claim("A", "1", .atMostOnce))
        table.settle(Settlement.of(once, .released))
        #expect(table.hold([once], now: 0) && !table.hasUnsettled)
        let claim = granted(claim("A", "2"))
        table.settle(Settlement.of(claim, .done))
        table.settle(Settlement.of(claim, .extended(until: 5)))
        #expect(table.takeUnsettled(limit: 10).map(\.kind) == [.done])
        for time in [5, 9, 7] as [Int64] { table.settle(Settlement.of(ClaimTests.claim("A", "3", key: nil, root: time), .done, marksRoot: true)) }
        #expect(table.takeUnsettled(limit: 10).map(\.claim.root?.time) == [9])
    }
}
