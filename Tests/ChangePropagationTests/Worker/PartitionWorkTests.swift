@testable import ChangePropagation
import Checkpoints
import KafkaLog
import TestSupport
import Testing

@Suite("One partition's work")
struct PartitionWorkTests {
    private let partition = TopicPartition(topic: "eqiad.s", partition: 0)
    private let limits = PrefixTracker.Limits()

    private func reading(
        dedupeWindow: Int = 16, checkpoint: Checkpoint? = nil, lookedUp: Int64? = nil, limits change: (inout PrefixTracker.Limits) -> Void = { _ in }
    ) throws -> PartitionWork {
        var work = PartitionWork(partition: partition, origin: try #require(Datacenter("eqiad")), dedupeWindow: dedupeWindow)
        let log = ResumePlanner.Log(cluster: ClusterID("c"), partitionCount: 1, start: 0, highWatermark: 100)
        var planner = ResumePlanner(checkpoint: checkpoint, log: log)
        _ = try planner.begin(committed: nil, identity: "record")
        if let lookedUp { _ = planner.lookedUp(lookedUp, firstTimed: lookedUp) }
        work.planner = planner
        work.stage = .reading
        var limits = limits
        change(&limits)
        work.beginTracking(limits)
        return work
    }

    private func see(_ work: inout PartitionWork, _ offset: Int64, id: UInt64? = nil) -> PrefixTracker.Ticket? {
        let seen = work.see(
            offset: offset, fingerprint: Fingerprint(bits: id ?? UInt64(offset) + 1000), hasIdentity: true, timestamp: nil,
            type: .createTime, now: 0, limits: limits)
        if case .event(let ticket) = seen { return ticket }
        return nil
    }

    private func job(_ work: PartitionWork, _ offset: Int64, _ ticket: PrefixTracker.Ticket, lane: UInt64? = nil) -> Job {
        Job(
            partition: partition, generation: work.generation, ticket: ticket, offset: offset, timestamp: nil,
            fingerprint: Fingerprint(bits: UInt64(offset) + 1000), steps: [], lane: lane, size: 100)
    }

    private func enqueue(_ work: inout PartitionWork, _ offset: Int64, lane: UInt64? = nil) throws {
        let ticket = see(&work, offset)
        work.enqueue(job(work, offset, try #require(ticket), lane: lane))
    }

    private func take(_ work: inout PartitionWork) throws -> Job {
        let job = work.takeJob()
        return try #require(job)
    }

    private func seen(_ work: inout PartitionWork, _ offset: Int64, id: UInt64) throws -> PrefixTracker.Ticket {
        let ticket = see(&work, offset, id: id)
        return try #require(ticket)
    }

    @Test("A partition that stops at a record waits for none behind it: one that was interrupted there is read again later")
    func haltWithInterrupted() throws {
        var work = try reading { $0.beyond = 2 }
        for offset in 0..<5 { try enqueue(&work, Int64(offset)) }
        let jobs = try (0..<4).map { _ in try take(&work) }
        work.ended(jobs[1], .finished)
        work.ended(jobs[2], .finished)
        work.ended(jobs[0], .halt("it fails"))
        #expect(work.stage == .halting("it fails"), "one is still running")
        work.ended(jobs[3], .again)
        #expect(work.stage == .halted("it fails"))
    }

    @Test("What a former holder wrote late is adopted: not begun here, and named on; records of the same contents further on are acted on")
    func adopted() throws {
        var work = try reading(dedupeWindow: 0)
        work.epoch = 1
        for offset in 0..<4 { try enqueue(&work, Int64(offset)) }
        let running = try take(&work)
        #expect(running.offset == 0)
        // It finished 0 and 1, past them 3, and 5 and 6, which have not been read here.
        let names = [1003, 1005, 1006].map { Fingerprint(bits: $0) }
        var found = Checkpoint(
            done: DonePrefix(
                witness: nil, disorder: 0, tail: [Fingerprint(bits: 1001)], beyond: names, beyondSpan: 5,
                position: Position(2, in: ClusterID("c")), timestampType: .createTime),
            partitionCount: 1, identity: "record", epoch: 2, worker: "other", writtenAt: MillisecondTimestamp(clamped: 1))
        let before = work.done()
        work.adopt(found)
        #expect(work.done() == before, "of another epoch nothing is taken")
        found.epoch = 1
        work.adopt(found)
        work.ended(running, .finished)
        let next = try take(&work)
        #expect(next.offset == 2, "1 was finished by the other")
        let none = work.takeJob()
        #expect(none == nil, "so was 3")
        #expect(Set(work.done()?.beyond ?? []) == Set(names))
        var due: [Int64] = []
        for offset in Int64(4)..<8 where see(&work, offset) != nil { due.append(offset) }
        #expect(due == [4, 7])
        // A name is good for one record.
        _ = try seen(&work, 8, id: 1005)
        work.ended(next, .finished)
        #expect(work.done()?.position.offset == 4)
        #expect(Set(work.done()?.beyond ?? []) == Set(names.dropFirst()))
    }

    @Test("Of a former holder that was behind, nothing is adopted: its names may have gone by")
    func notAdopted() throws {
        var work = try reading(dedupeWindow: 0)
        work.epoch = 1
        for offset in 0..<4 { try enqueue(&work, Int64(offset)) }
        for _ in 0..<2 { work.ended(try take(&work), .finished) }
        let found = Checkpoint(
            done: DonePrefix(
                witness: nil, disorder: 0, tail: [], beyond: [Fingerprint(bits: 1001), Fingerprint(bits: 1003)], beyondSpan: 4,
                position: Position(1, in: ClusterID("c")), timestampType: .createTime),
            partitionCount: 1, identity: "record", epoch: 1, worker: "other", writtenAt: MillisecondTimestamp(clamped: 1))
        work.adopt(found)
        // Another record of the same contents.
        _ = try seen(&work, 4, id: 1001)
        let rest = [try take(&work), try take(&work)]
        #expect(rest.map(\.offset) == [2, 3])
    }

    @Test("A cancelled drain goes on in the new epoch: drained again at once, it is sealed in that one")
    func undrainedEpoch() throws {
        var work = try reading()
        work.epoch = 1
        work.drain()
        let goesOn = work.undrain(in: 2)
        #expect(goesOn && work.epoch == 2)
    }

    @Test("Jobs of one lane start one after the other, in log order; others pass them")
    func lanes() throws {
        var work = try reading()
        for (offset, lane) in [(0, 7), (1, 7), (2, 8), (3, 7)] as [(Int64, UInt64)] { try enqueue(&work, offset, lane: lane) }
        let first = work.takeJob(), second = work.takeJob(), third = work.takeJob()
        #expect(first?.offset == 0 && second?.offset == 2 && third == nil)
        work.ended(try #require(first), .finished)
        let value1 = work.takeJob()?.offset
        #expect(value1 == 1)
        let value2 = work.takeJob()
        #expect(value2 == nil)
    }

    @Test("Results of dropped work are thrown away, and nothing is planned anew before it has ended (trap 25)")
    func dropped() throws {
        var work = try reading()
        try enqueue(&work, 0)
        let old = try take(&work)
        work.drop(to: .standby)
        #expect(work.hasOrphans)
        var planner = ResumePlanner(checkpoint: nil, log: .init(cluster: ClusterID("c"), partitionCount: 1, start: 0, highWatermark: 9))
        _ = try planner.begin(committed: nil, identity: "record")
        work.planner = planner
        work.stage = .reading
        try enqueue(&work, 0)
        let new = try take(&work)
        let value8 = work.ended(old, .finished)
        #expect(value8 == false)
        #expect(!work.hasOrphans)
        #expect(work.done()?.position.offset == 0, "the old job's end must not finish the new one")
        let value9 = work.ended(new, .finished)
        #expect(value9 == true)
        #expect(work.done()?.position.offset == 1)
    }

    @Test("A partition that was lost and came back does not take an earlier job's end for its own")
    func lostAndBack() throws {
        var before = try reading(), after = try reading()
        try enqueue(&before, 0)
        try enqueue(&after, 0)
        let old = try take(&before)
        _ = after.takeJob()
        let value10 = after.ended(old, .finished)
        #expect(value10 == false)
        #expect(after.done()?.position.offset == 0)
    }

    @Test("A mirror's repeats are dropped by id, and never make `beyond` name the record that they repeat")
    func repeats() throws {
        var work = try reading()
        let first = try seen(&work, 0, id: 5)
        let value4 = see(&work, 1, id: 6)
        #expect(value4 != nil)
        let value5 = see(&work, 2, id: 5)
        #expect(value5 == nil)
        #expect(work.repeats == 1)
        #expect(work.done()?.beyond.isEmpty == true, "the first one is still running: a crash now has to repeat it")
        work.finishSkipped(first)
        #expect(work.done()?.position.offset == 1)
    }

    @Test("What was read and not finished is no repeat when it is read again after planning anew")
    func readAgain() throws {
        var work = try reading()
        let value6 = see(&work, 0, id: 5)
        #expect(value6 != nil)
        work.drop(to: .standby)
        var planner = ResumePlanner(checkpoint: nil, log: .init(cluster: ClusterID("c"), partitionCount: 1, start: 0, highWatermark: 9))
        _ = try planner.begin(committed: nil, identity: "record")
        work.planner = planner
        work.stage = .reading
        let value7 = see(&work, 0, id: 5)
        #expect(value7 != nil)
    }

    @Test("An interrupted job is begun again; a failed one stops the partition and keeps what is done before it")
    func endings() throws {
        var work = try reading()
        for offset in 0..<3 { try enqueue(&work, Int64(offset)) }
        let first = try take(&work)
        work.ended(first, .again)
        let again = try take(&work)
        #expect(again.offset == 0)
        work.ended(again, .finished)
        work.ended(try take(&work), .halt("no"))
        #expect(work.stage == .halted("no"), "what was read after it is left")
        let value3 = work.takeJob()
        #expect(value3 == nil)
        #expect(work.toWrite()?.position.offset == 1)
    }

    @Test("With as much finished past the prefix as may be, the record that holds everything back still begins")
    func fullAndWaiting() throws {
        var work = try reading(limits: { $0.beyond = 2 })
        for offset in 0..<4 { try enqueue(&work, Int64(offset)) }
        let jobs = try (0..<3).map { _ in try take(&work) }
        work.ended(jobs[1], .finished)
        work.ended(jobs[2], .finished)
        let none = work.takeJob()
        #expect(none == nil, "full: nothing further begins")
        work.ended(jobs[0], .again)
        let again = try take(&work)
        #expect(again.offset == 0)
        work.ended(again, .finished)
        #expect(work.done()?.position.offset == 3)
        let next = try take(&work)
        #expect(next.offset == 3)
    }

    @Test("A scan that gives up reads again, and what it has seen by then is no repeat")
    func givesUpScanning() throws {
        var tail = DonePrefix(
            witness: MillisecondTimestamp(clamped: 1_000), disorder: 0, tail: [Fingerprint(bits: 999)], beyond: [], beyondSpan: 0,
            position: Position(7, in: ClusterID("other")), timestampType: .createTime)
        tail.beyondSpan = 0
        let checkpoint = Checkpoint(
            done: tail, partitionCount: 1, identity: "record", epoch: 1, worker: "w", writtenAt: MillisecondTimestamp(clamped: 0))
        var work = try reading(checkpoint: checkpoint, lookedUp: 0)
        for offset in 0..<3 as Range<Int64> {
            let ticket = see(&work, offset)
            #expect(ticket == nil, "scanning: nothing is acted on")
        }
        let first = work.reachedEnd(now: 0)
        #expect(first == nil, "it holds")
        let gaveUp = work.reachedEnd(now: 31_000_000_000)
        #expect(gaveUp != nil)
        for offset in 0..<3 as Range<Int64> {
            let ticket = see(&work, offset)
            #expect(ticket != nil, "offset \(offset) was never acted on")
        }
        #expect(work.repeats == 0)
    }

    @Test("A cancelled drain goes on only when no record is left behind")
    func undrains() throws {
        var whole = try reading()
        try enqueue(&whole, 0)
        try enqueue(&whole, 1)
        let running = try take(&whole)
        whole.drain()
        let goesOn = whole.undrain(in: 2)
        #expect(goesOn)
        // Its next request was refused, since the epoch is another one now.
        whole.ended(running, .again)
        #expect(whole.waiting.map(\.offset) == [0, 1])

        var failed = try reading()
        try enqueue(&failed, 0)
        let job = try take(&failed)
        failed.drain()
        failed.ended(job, .halt("no"))
        let goesOnToo = failed.undrain(in: 2)
        #expect(!goesOnToo, "planned anew, it meets the failed record again")
    }

    @Test("A poison record stops the partition at itself: what was read before it is still done, what came after is not")
    func poison() throws {
        var work = try reading()
        for offset in 0..<3 { try enqueue(&work, Int64(offset)) }
        let running = try take(&work)
        _ = see(&work, 3)
        work.halt("poison", at: 3)
        #expect(work.stage == .halting("poison"))
        let late = see(&work, 4)
        #expect(late == nil, "nothing is read any more")
        work.ended(running, .finished)
        for _ in 0..<2 { work.ended(try take(&work), .finished) }
        #expect(work.stage == .halted("poison"))
        #expect(work.toWrite()?.position.offset == 3)
        #expect(work.tracker?.running == 1, "the poison itself is not finished")
    }

    @Test("A halted partition is tried again, less and less often until it moves on")
    func retries() throws {
        var work = try reading()
        var pauses: [UInt64] = []
        for _ in 0..<5 {
            work.halt("no", at: nil)
            work.planRetry(now: 1_000, first: 2, last: 9)
            pauses.append((work.retryAt ?? 0) - 1_000)
            let early = work.takeRetry(now: 1_001)
            #expect(!early)
            let due = work.takeRetry(now: 1_009)
            #expect(due)
        }
        #expect(pauses == [4, 8, 9, 9, 9])
    }

    @Test("Paused past its limits and resumed with some distance")
    func room() throws {
        var work = try reading()
        for offset in 0..<PartitionWork.waitingLimit { try enqueue(&work, Int64(offset)) }
        #expect(work.isOverfull && !work.hasRoom)
        while !work.hasRoom {
            let job = try take(&work)
            work.ended(job, .finished)
        }
        #expect(work.waiting.count == PartitionWork.waitingLimit / 4)
    }

    @Test("A checkpoint of the same epoch that is further on is not written over until it is passed")
    func storedAhead() throws {
        var work = try reading()
        for offset in 0..<4 { try enqueue(&work, Int64(offset)) }
        work.storedAhead = Position(2, in: ClusterID("c"))
        for expected in [nil, 2, 3, 4] as [Int64?] {
            work.ended(try take(&work), .finished)
            #expect(work.toWrite()?.position.offset == expected)
        }
    }

    private func delayed(_ work: inout PartitionWork, _ offset: Int64, due: UInt64) throws {
        let ticket = see(&work, offset)
        var job = job(work, offset, try #require(ticket))
        job.dueAt = due
        work.enqueue(job)
    }

    @Test("Jobs that are not due hold nothing up, and come in the order of their due times")
    func dueTimes() throws {
        var work = try reading()
        for (offset, due) in [(0, 300), (1, 100), (2, 200), (3, 0)] as [(Int64, UInt64)] { try delayed(&work, offset, due: due) }
        work.releaseDue(now: 50)
        let now = work.takeJob()
        #expect(now?.offset == 3)
        let none = work.takeJob()
        #expect(none == nil)
        work.releaseDue(now: 250)
        let offsets = [work.takeJob()?.offset, work.takeJob()?.offset]
        #expect(offsets == [1, 2])
        let last = work.takeJob()
        #expect(last == nil && work.delayed.count == 1)
    }

    @Test("The oldest one that is not due for long makes room when as much is done beyond it as can be named; one that is nearly due does not")
    func parkedAnew() throws {
        var work = try reading { $0.beyond = 2 }
        let long = PartitionWork.nearlyDue + 1_000
        try delayed(&work, 0, due: long + 500)
        for offset in 1...2 as ClosedRange<Int64> {
            try delayed(&work, offset, due: 0)
            let none = work.takeParkedAnew(now: 0)
            #expect(none == nil)
            let taken = work.takeJob()
            let job = try #require(taken)
            work.ended(job, .finished)
        }
        let tooLate = work.takeParkedAnew(now: 1_500)
        #expect(tooLate == nil, "it is due soon")
        let taken = work.takeParkedAnew(now: 0)
        let job = try #require(taken)
        #expect(job.offset == 0 && work.delayed.isEmpty && !work.isIdle)
        work.ended(job, .finished)
        #expect(work.done()?.position.offset == 3)
    }

    @Test("Delayed jobs fill the memory: the partition is paused, and the oldest makes room after a while; dropped work forgets them")
    func delayedAreBounded() throws {
        var work = try reading()
        for offset in 0..<PartitionWork.delayedLimit { try delayed(&work, Int64(offset), due: PartitionWork.delayedHold * 100) }
        #expect(work.isOverfull && !work.hasRoom)
        let tooSoon = work.takeParkedAnew(now: PartitionWork.delayedHold - 1)
        #expect(tooSoon == nil)
        let first = work.takeParkedAnew(now: PartitionWork.delayedHold)
        #expect(first?.offset == 0)
        work.stopBeginning(.revoking)
        #expect(work.delayed.isEmpty)
    }
}
