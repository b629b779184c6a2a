import KafkaLog
import Testing

@testable import Mirror

@Suite struct ResumePlanTests {
    private let eqiad = ClusterID("e")

    private func plan(_ committed: (source: Int64, target: Int64)?, source: (Int64, Int64), target: (Int64, Int64), of cluster: String = "e")
        -> ResumePlan
    {
        ResumePlan.make(
            committed: committed.map {
                CommittedProgress(source: Position($0.source, in: ClusterID(cluster)), targetEnd: $0.target)
            }, sourceCluster: eqiad, source: LogEnds(low: source.0, high: source.1), target: LogEnds(low: target.0, high: target.1))
    }

    @Test func aCommittedPlaceAtTheTargetsEndNeedsNoComparison() {
        let plan = plan((50, 40), source: (0, 90), target: (0, 40))
        #expect(plan.reason == .committed && plan.start == 50 && plan.run == nil && plan.lost == nil)
    }

    @Test func whatWasWrittenAfterTheCommitIsCompared() {
        let plan = plan((50, 40), source: (0, 90), target: (0, 45))
        #expect(plan.reason == .unfinished && plan.run == 40..<45 && plan.compareSource == 50 && plan.start == 50)
    }

    @Test func anEmptyTargetStartsAtTheSourcesStart() {
        let plan = plan(nil, source: (7, 90), target: (0, 0))
        #expect(plan.reason == .fresh && plan.start == 7 && plan.run == nil)
    }

    @Test func retentionPastThePlaceIsAGapLessWhatTheRunHolds() {
        let plan = plan((50, 40), source: (60, 90), target: (0, 43))
        #expect(plan.lost == 50..<60 && plan.start == 60 && plan.skipsInRun == 10 && plan.run == 40..<43)
    }

    @Test(arguments: [
        // Never a place that could skip: each starts at the source's start unless a comparison tells more.
        ("e", Int64(95), Int64(40), Int64(45), ResumePlan.Reason.sourceTruncated),
        ("other", 50, 40, 45, .otherSource),
        ("e", 50, 48, 45, .targetTruncated),
    ])
    func aPlaceThatMeansNothingIsFoundByComparingFromTheStart(
        _ cluster: String, _ source: Int64, _ committedEnd: Int64, _ targetEnd: Int64, _ reason: ResumePlan.Reason
    ) {
        let plan = plan((source, committedEnd), source: (3, 90), target: (2, targetEnd), of: cluster)
        #expect(plan.reason == reason && plan.start == 3 && plan.compareSource == 3 && plan.run == 2..<targetEnd)
    }

    @Test func committedProgressIsReadBackAndNothingElseIsTakenForIt() {
        let progress = CommittedProgress(source: Position(12, in: ClusterID("abc_-")), targetEnd: 9)
        #expect(CommittedProgress(targetOffset: 9, metadata: progress.metadata) == progress)
        for text in ["", "x", "switchback-mirror v2 source=a next=1", "switchback-mirror v1 source= next=1", "switchback-mirror v1 source=a next=-1", "switchback-mirror v1 source=a next=99999999999999999999"] {
            #expect(CommittedProgress(targetOffset: 9, metadata: text) == nil, "\(text)")
        }
        #expect(CommittedProgress(targetOffset: 9, metadata: nil) == nil)
    }

    @Test func aCopyIsKnownByContentAndTimeUnlessTheTargetStampsItsOwn() {
        let original = RecordPrint(content: 1, timestamp: 5)
        #expect(RecordPrint(content: 1, timestamp: 5).isCopy(of: original))
        #expect(!RecordPrint(content: 1, timestamp: 6).isCopy(of: original))
        #expect(!RecordPrint(content: 2, timestamp: 5).isCopy(of: original))
        #expect(RecordPrint(content: 1, timestamp: nil).isCopy(of: original))
    }

    @Test func arrivalsAreTheFirstMomentThatShowsTheRecord() {
        var arrivals = ArrivalTimes()
        let start = ContinuousClock.now
        for step in 1...1000 { arrivals.note(end: Int64(step * 10), at: start + .seconds(step)) }
        #expect(arrivals.arrival(of: 9_999) == start + .seconds(1000))
        #expect(arrivals.arrival(of: 10_000) == nil)
        // Never earlier than it was, however many moments were forgotten.
        for offset in stride(from: Int64(0), to: 10_000, by: 37) {
            let arrival = arrivals.arrival(of: offset) ?? start
            #expect(arrival >= start + .seconds(Int(offset / 10) + 1))
        }
        arrivals.forget(below: 9_990)
        #expect(arrivals.arrival(of: 9_995) == start + .seconds(1000))
    }
}
