import Checkpoints
import KafkaLog
import TestSupport
import Testing

@Suite("The done-prefix tracker")
struct PrefixTrackerTests {
    private static let cluster = ClusterID("c")

    private func tracker(at offset: Int64 = 0, beyond: Int = 96, tail: Int = 16) -> PrefixTracker {
        var limits = PrefixTracker.Limits()
        limits.beyond = beyond
        limits.tail = tail
        return PrefixTracker(resuming: nil, at: Position(offset, in: Self.cluster), limits: limits)
    }

    private func begin(_ tracker: inout PrefixTracker, _ offset: Int64, time: Int64? = nil) throws -> PrefixTracker.Ticket {
        let ticket = tracker.began(
            offset: offset, fingerprint: Fingerprint(bits: UInt64(offset)), timestamp: time.flatMap(MillisecondTimestamp.init),
            type: .createTime)
        return try #require(ticket)
    }

    @Test("Records 1 and 2 are done and 0 is running: nothing passes 0 (trap 1)")
    func outOfOrder() throws {
        var tracker = tracker()
        let tickets = try (0..<3).map { try begin(&tracker, $0) }
        tracker.finished(tickets[1], .acted)
        tracker.finished(tickets[2], .skipped)
        #expect(tracker.position.offset == 0)
        #expect(tracker.done().beyond == [Fingerprint(bits: 1)], "what a rule skipped need not be remembered")
        #expect(tracker.oldestRunning?.offset == 0)
        tracker.finished(tickets[0], .acted)
        #expect(tracker.position.offset == 3)
        #expect(tracker.done().beyond.isEmpty)
        #expect(tracker.done().tail == [0, 1, 2].map { Fingerprint(bits: $0) })
        #expect(tracker.running == 0)
    }

    @Test("A record finished twice, and a repeated or overlapping batch, change nothing")
    func repeatedCalls() throws {
        var tracker = tracker()
        let first = try begin(&tracker, 5), second = try begin(&tracker, 9)
        #expect(tracker.began(offset: 9, fingerprint: Fingerprint(bits: 1), timestamp: nil, type: .none) == nil)
        #expect(tracker.began(offset: 6, fingerprint: Fingerprint(bits: 1), timestamp: nil, type: .none) == nil)
        #expect(tracker.finished(second, .acted) == true)
        #expect(tracker.finished(second, .acted) == false)
        #expect(tracker.finished(first, .acted) == true)
        #expect(tracker.finished(first, .acted) == false)
        #expect(tracker.position.offset == 10)
    }

    @Test("The witness is the oldest of the last sixteen times; records without a time don't count")
    func witness() throws {
        var tracker = tracker()
        for (offset, time) in ([3_600_000, 50] + Array(repeating: 100, count: 15)).enumerated() {
            tracker.finished(try begin(&tracker, Int64(offset * 2), time: Int64(time)), .acted)
            tracker.finished(try begin(&tracker, Int64(offset * 2 + 1)), .skipped)
        }
        #expect(tracker.done().witness == MillisecondTimestamp(50))
        tracker.finished(try begin(&tracker, 100, time: 101), .acted)
        #expect(tracker.done().witness == MillisecondTimestamp(100))
        #expect(tracker.done().disorder == 3_599_950, "the whole of it: how far a lookup goes back for it is the planner's to bound")
    }

    @Test("A wild timestamp's disorder is forgotten after two generations of records")
    func disorderIsForgotten() throws {
        var tracker = tracker()
        tracker.finished(try begin(&tracker, 0, time: 50_000), .skipped)
        for offset in 1...Int64(4096) { tracker.finished(try begin(&tracker, offset, time: 1000 + offset), .skipped) }
        #expect(tracker.done().disorder == 0)
    }

    @Test("Full when as many records are finished past the prefix as a checkpoint may name")
    func full() throws {
        var tracker = tracker(beyond: 3)
        let tickets = try (0..<5).map { try begin(&tracker, $0) }
        for ticket in tickets[1...2] { tracker.finished(ticket, .acted) }
        #expect(!tracker.isFull)
        tracker.finished(tickets[3], .acted)
        #expect(tracker.isFull)
        tracker.finished(tickets[0], .acted)
        #expect(!tracker.isFull && tracker.position.offset == 4)
    }

    @Test("Any completion order, a look at every step: the prefix is exactly the unbroken ground, over holes and from any start")
    func property() throws {
        let seed = Seed.fresh("the prefix tracker")
        for run in 0..<400 {
            var random = SeededGenerator(seed: seed &+ UInt64(run))
            let first = Int64.random(in: 0...1_000_000, using: &random)
            var tracker = tracker(at: first, tail: Int.random(in: 1...16, using: &random))
            var offsets: [Int64] = [], tickets: [PrefixTracker.Ticket] = [], open: [Int] = [], done: Set<Int> = [], acted: Set<Int> = []
            var next = first
            let count = Int.random(in: 1...60, using: &random)
            while done.count < count {
                if offsets.count < count, open.isEmpty || random.chance(0.5) {
                    next += random.chance(0.2) ? Int64.random(in: 1...5, using: &random) : 0
                    tickets.append(try begin(&tracker, next, time: Int64.random(in: 0...100, using: &random)))
                    open.append(offsets.count)
                    offsets.append(next)
                    next += 1
                } else {
                    let index = open.remove(at: Int.random(in: 0..<open.count, using: &random))
                    let didAct = random.chance(0.7)
                    tracker.finished(tickets[index], didAct ? .acted : .skipped)
                    done.insert(index)
                    if didAct { acted.insert(index) }
                }
                let unbroken = (0...offsets.count).first { !done.contains($0) } ?? offsets.count
                let expected = unbroken == 0 ? first : offsets[unbroken - 1] + 1
                let state = tracker.done()
                #expect(state.position.offset == expected, "seed \(seed &+ UInt64(run))")
                #expect(state.tail == offsets[..<unbroken].suffix(tracker.limits.tail).map { Fingerprint(bits: UInt64($0)) })
                #expect(Set(state.beyond.map { Int64($0.bits) }) == Set(acted.filter { $0 >= unbroken }.map { offsets[$0] }))
                #expect(tracker.running == offsets.count - done.count)
            }
        }
    }
}
