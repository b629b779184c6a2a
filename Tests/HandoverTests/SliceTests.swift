import KafkaLog
import Testing

@testable import Handover

@Suite("Slices of an origin")
struct SliceTests {
    private let eqiad = Datacenter("eqiad").unsafelyUnwrapped
    private let codfw = Datacenter("codfw").unsafelyUnwrapped
    private let esams = Datacenter("esams").unsafelyUnwrapped
    private func author(_ name: String = "alice") -> Assignment.Author {
        Assignment.Author(name: name, reason: "test", now: MillisecondTimestamp(clamped: 7))
    }

    private var home: Assignment {
        Assignment(
            owner: eqiad, leaseMilliseconds: 5000, partitions: ["eqiad.edits": 20, "eqiad.purges": 3], by: "w",
            since: MillisecondTimestamp(clamped: 1))
    }

    private func share(_ text: String) throws -> Slice {
        let share = try #require(Slice.Share(text))
        return Slice(share: share)
    }

    private func partition(_ number: Int32, of topic: String = "eqiad.edits") -> TopicPartition { .init(topic: topic, partition: number) }

    private func moved(_ assignment: Assignment, _ slice: Slice, to target: Datacenter) throws -> Assignment {
        try assignment.draining(to: target, origin: eqiad, slice: slice, author()).handedOver(author()).settled(author())
    }

    // MARK: What a slice names

    @Test("A share is counted per topic, is at least one partition, and a larger one holds all of a smaller one")
    func shares() throws {
        var before = PartitionSet()
        for percent in [1, 5, 10, 30, 50, 99, 100] {
            let named = try Slice(share: Slice.Share(percent: percent)).partitions(of: home.partitions, origin: eqiad)
            #expect(before.isSubset(of: named), "\(percent)%")
            before = named
        }
        #expect(before == PartitionSet(home.reported))
        let tenth = try share("10%").partitions(of: home.partitions, origin: eqiad)
        #expect(tenth.filter { $0.topic == "eqiad.edits" }.count == 2)
        #expect(tenth.filter { $0.topic == "eqiad.purges" }.count == 1)
    }

    @Test("Which partitions a share names never changes: another version must find what this one moved")
    func shareFixture() throws {
        let tenth = try share("10%").partitions(of: ["eqiad.edits": 20, "eqiad.purges": 3], origin: eqiad)
        #expect(tenth.description == "eqiad.edits 13,16; eqiad.purges 1")
    }

    @Test("Shares that are none are told from those that are", arguments: ["0%", "101%", "150%", "ten", "10", "", "%", "-5%", "+5%", "1.5%", "10 %", "99999999999999999999%"])
    func badShares(_ text: String) { #expect(Slice.Share(text) == nil) }

    @Test("Topics go by stream or whole name; one that the owner does not have is refused, with those that it has")
    func topics() throws {
        for name in ["purges", "eqiad.purges"] {
            #expect(try Slice(topics: [name]).partitions(of: home.partitions, origin: eqiad).description == "eqiad.purges 0-2")
        }
        #expect(throws: HandoverRefusal.unknownTopic("purge", known: ["edits", "purges"])) {
            try home.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["edits", "purge"]), author())
        }
    }

    // MARK: Moving

    @Test("A slice moves and the rest does not: it may be acted on all the while")
    func slice() throws {
        let draining = try home.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["purges"]), author())
        let inside = partition(0, of: "eqiad.purges"), outside = partition(0), later = partition(9, of: "eqiad.purges")
        #expect(draining.epoch == 1)
        #expect(!draining.mayAct(on: inside, in: eqiad) && !draining.mayAct(on: inside, in: codfw))
        #expect(draining.mayAct(on: outside, in: eqiad) && draining.mayAct(on: later, in: eqiad))
        let moved = try draining.handedOver(author())
        #expect(moved.epoch == 2 && moved.owner == eqiad && moved.owner(of: inside) == codfw)
        #expect(moved.mayAct(on: inside, in: codfw) && !moved.mayAct(on: inside, in: eqiad))
        #expect(moved.mayAct(on: outside, in: eqiad) && !moved.mayAct(on: outside, in: codfw))
        #expect(moved.isResuming(inside) && !moved.isResuming(outside))
        #expect(moved.ownsAny(codfw) && moved.ownsAny(eqiad) && !moved.ownsAny(esams))
        // What appears later is the base owner's.
        #expect(moved.owner(of: later) == eqiad && moved.owner(of: partition(0, of: "eqiad.new")) == eqiad)
        let back = try self.moved(moved.settled(author()), .all, to: eqiad)
        #expect(back.placed.isEmpty && back.owner == eqiad && back.epoch == 3)
    }

    @Test("10%, then 30%: only what is not there yet moves; then everything, and the target is the base owner")
    func rising() throws {
        let tenth = try moved(home, share("10%"), to: codfw)
        #expect(tenth.shares == [eqiad: 20, codfw: 3])
        let draining = try tenth.draining(to: codfw, origin: eqiad, slice: share("30%"), author())
        for there in try #require(tenth.placed[codfw]).sorted { #expect(draining.mayAct(on: there, in: codfw), "\(there) has no pause") }
        let third = try draining.handedOver(author()).settled(author())
        #expect(third.shares == [eqiad: 16, codfw: 7])
        #expect(throws: HandoverRefusal.nothingToMove(target: codfw, from: nil)) {
            try third.draining(to: codfw, origin: eqiad, slice: share("10%"), author())
        }
        for rest in [Slice.all, try share("100%")] {
            let last = try third.draining(to: codfw, origin: eqiad, slice: rest, author())
            #expect(last.isDraining(partition(0, of: "eqiad.new")), "what appears meanwhile must not change hands without a drain")
            let away = try last.handedOver(author())
            #expect(away.owner == codfw && away.placed.isEmpty)
        }
    }

    @Test("A second handover is refused whatever its slice, with the author and the slice of the first")
    func second() throws {
        let first = try home.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["purges"]), author("bob"))
        for slice in [Slice.all, Slice(topics: ["edits"]), try share("10%")] {
            let refusal = #expect(throws: HandoverRefusal.self) { try first.draining(to: codfw, origin: eqiad, slice: slice, author()) }
            let text = "\(try #require(refusal))"
            #expect(text.contains("draining 3 of 23 partitions (eqiad.purges 0-2) from eqiad to codfw, begun by bob"), "\(text)")
        }
        // The same while it is being resumed, by whoever raised the epoch.
        let resuming = try first.handedOver(author("worker"))
        let refusal = #expect(throws: HandoverRefusal.self) {
            try resuming.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["edits"]), author())
        }
        #expect("\(try #require(refusal))".contains("begun by bob"))
        // But all of it can go back, or on.
        for slice in [Slice.all, Slice(topics: ["purges"])] {
            let back = try moved(resuming, slice, to: eqiad)
            #expect(back.placed.isEmpty)
        }
        #expect(throws: HandoverRefusal.self) { try resuming.draining(to: eqiad, origin: eqiad, slice: share("10%"), author()) }
    }

    @Test("A cancelled slice: its owner goes on in a new epoch, and nothing else was touched")
    func cancel() throws {
        let back = try home.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["purges"]), author()).cancelled(author())
        #expect(back.epoch == 2 && back.placed.isEmpty)
        #expect(back.isResuming(partition(0, of: "eqiad.purges")) && !back.isResuming(partition(0)))
        #expect(back.mayAct(on: partition(0, of: "eqiad.purges"), in: eqiad))
    }

    // MARK: Failing over

    @Test("A failover of a slice: only the slice waits for the old lease")
    func failover() throws {
        let second: UInt64 = 1_000_000_000
        let away = try moved(home, Slice(topics: ["purges"]), to: codfw)
        let forced = try away.failedOver(to: eqiad, origin: eqiad, slice: Slice(topics: ["purges"]), now: false, author())
        let lease = Lease(forced, sent: 10 * second, answered: 10 * second)
        #expect(!lease.allowsAction(on: partition(0, of: "eqiad.purges"), at: 11 * second))
        #expect(lease.allowsAction(on: partition(0), at: 11 * second))
        #expect(!lease.allowsAction(on: partition(0), at: 15 * second), "the deadline is for all")
    }

    @Test("A failover takes all that the dead datacenter owns; of several owners it must be said which one is gone")
    func several() throws {
        let three = try moved(try moved(home, Slice(topics: ["purges"]), to: codfw), share("10%"), to: esams)
        #expect(three.shares == [eqiad: 18, codfw: 2, esams: 3])
        #expect(throws: HandoverRefusal.severalOwners([codfw, esams])) { try three.failedOver(to: eqiad, origin: eqiad, now: false, author()) }
        let home = try three.failedOver(to: eqiad, origin: eqiad, slice: Slice(from: codfw), now: false, author())
        #expect(home.shares == [eqiad: 20, esams: 3])
        // The base owner's place is taken with all that it may get later; esams keeps what it has.
        let base = try three.failedOver(to: codfw, origin: eqiad, slice: Slice(from: eqiad), now: false, author())
        #expect(base.owner == codfw && base.shares == [codfw: 20, esams: 3])
        #expect(!base.isResuming(try #require(three.placed[esams]?.sorted.first)))
        #expect(throws: HandoverRefusal.nothingToMove(target: esams, from: codfw)) {
            try home.failedOver(to: esams, origin: eqiad, slice: Slice(from: codfw), now: false, author())
        }
    }

    @Test("A failover during another slice's handover: that one's partitions stay where they are and are resumed, with the wait they had")
    func folded() throws {
        let purges = partition(0, of: "eqiad.purges")
        let draining = try home.draining(to: codfw, origin: eqiad, slice: Slice(topics: ["purges"]), author())
        let forced = try draining.failedOver(to: codfw, origin: eqiad, slice: Slice(topics: ["edits"]), now: true, author())
        #expect(forced.owner(of: purges) == eqiad && forced.isResuming(purges) && !forced.isDraining(purges))
        let waiting = try home.failedOver(to: codfw, origin: eqiad, slice: Slice(topics: ["purges"]), now: false, author())
        let both = try waiting.failedOver(to: codfw, origin: eqiad, slice: try share("10%"), now: true, author())
        #expect(both.fenceMilliseconds == 5000 && both.isResuming(purges), "its old owner's lease may still be good")
    }

    // MARK: The stored form

    /// As the first version wrote it.
    private static let format1 = """
        {"by":"w","epoch":3,"fenceMilliseconds":0,"format":1,"kind":"switchover","leaseMilliseconds":5000,"other":"codfw","owner":"eqiad",\
        "partitions":{"eqiad.s":4},"phase":"draining","reason":"why","since":7}
        """
    private static let format2 = """
        {"begunBy":"alice","by":"w","epoch":5,"fenceMilliseconds":5000,"format":2,"kind":"failover","leaseMilliseconds":5000,"other":"codfw",\
        "owner":"eqiad","partitions":{"eqiad.s":9},"phase":"resuming","placed":{"codfw":{"eqiad.s":"0"},"esams":{"eqiad.s":"1-3,7"}},\
        "reason":"why","scope":{"eqiad.s":"2-3"},"since":7}
        """

    @Test("Fixtures of both formats are read, and written again byte for byte")
    func fixtures() throws {
        let old = try Assignment(decoding: Array(Self.format1.utf8))
        #expect(old.phase == .draining(target: codfw, scope: .everything) && old.placed.isEmpty && old.begunBy == "w")
        #expect(String(decoding: old.encoded(), as: UTF8.self) == Self.format1)
        let new = try Assignment(decoding: Array(Self.format2.utf8))
        #expect(new.shares == [eqiad: 4, codfw: 1, esams: 4] && new.begunBy == "alice")
        #expect(new.phase == .resuming(from: codfw, scope: .only(PartitionSet([partition(2, of: "eqiad.s"), partition(3, of: "eqiad.s")]))))
        #expect(String(decoding: new.encoded(), as: UTF8.self) == Self.format2)
    }

    @Test("Format 2 stands exactly where there is something of it: a worker that does not know slices refuses those, and no others")
    func formats() throws {
        func format(_ assignment: Assignment) -> Bool { String(decoding: assignment.encoded(), as: UTF8.self).contains(#""format":2"#) }
        let slice = Slice(topics: ["purges"])
        let draining = try home.draining(to: codfw, origin: eqiad, slice: slice, author())
        let back = try draining.cancelled(author())
        let moved = try moved(home, slice, to: codfw)
        let rest = try moved.draining(to: codfw, origin: eqiad, author())
        for new in [draining, back, moved, rest] { #expect(format(new), "\(new)") }
        let all = try home.draining(to: codfw, origin: eqiad, author())
        for old in [home, all, back.settled(author()), try rest.handedOver(author()).settled(author())] { #expect(!format(old), "\(old)") }
    }

    @Test("A stored form that gives a partition two owners, or names partitions in another way, is refused", arguments: [
        (#""codfw":{"eqiad.s":"0"}"#, #""codfw":{"eqiad.s":"0-1"}"#), (#""codfw":{"#, #""eqiad":{"#), (#""1-3,7""#, #""7,1-3""#),
        (#""1-3,7""#, #""1-3,3""#), (#""1-3,7""#, #""1,2,3,7""#), (#""1-3,7""#, #""3-1""#), (#""1-3,7""#, #""""#), (#""1-3,7""#, #""1-""#),
        (#""1-3,7""#, #""+1-3""#), (#""1-3,7""#, #""0-2000000000""#), (#""1-3,7""#, #""99999999999""#), (#""2-3""#, #""x""#),
        (#""scope":"#, #""except":{},"scope":"#),
    ])
    func damaged(_ what: String, _ with: String) {
        let damaged = Self.format2.replacing(what, with: with)
        #expect(damaged != Self.format2)
        #expect(throws: HandoverRefusal.self) { try Assignment(decoding: Array(damaged.utf8)) }
    }

    // MARK: Rewinds

    @Test("A rewind raises the epoch twice, moves nothing, waits out old leases, and is stored in a format that older versions refuse")
    func rewind() throws {
        let sliced = try moved(home, try share("30%"), to: codfw)
        let wanted = PartitionSet([partition(0), partition(13)])
        let begun = try sliced.rewinding(wanted, author())
        #expect(begun.epoch == sliced.epoch + 1 && begun.kind == .rewind && begun.placed == sliced.placed && begun.owner == eqiad)
        #expect(begun.isDraining(partition(0)) && begun.isDraining(partition(13)) && !begun.isDraining(partition(1)))
        let ended = try begun.handedOver(author("w"))
        #expect(ended.epoch == sliced.epoch + 2 && ended.placed == sliced.placed && ended.owner == eqiad && ended.begunBy == "alice")
        #expect(ended.isResuming(partition(0)) && !ended.isResuming(partition(1)) && ended.fenceMilliseconds == 5000)
        for assignment in [begun, ended] {
            #expect(try Assignment(decoding: assignment.encoded()) == assignment)
            #expect(String(decoding: assignment.encoded(), as: UTF8.self).contains(#""format":3"#))
        }
    }

    @Test("A rewind is refused while a handover drains, takes a resume that is under way with it, and may be begun again")
    func rewindBesides() throws {
        let wanted = PartitionSet([partition(0)])
        let draining = try home.draining(to: codfw, origin: eqiad, author())
        #expect(throws: HandoverRefusal.self) { try draining.rewinding(wanted, author()) }
        let resuming = try home.failedOver(to: codfw, origin: eqiad, slice: try share("10%"), now: true, author())
        let both = try resuming.rewinding(wanted, author())
        #expect(both.isDraining(partition(0)) && both.isDraining(partition(13)) && both.placed == resuming.placed)
        let again = try both.rewinding(wanted, author())
        #expect(again.epoch == both.epoch + 1 && again.isDraining(partition(13)))
        #expect(try both.cancelled(author()).placed == resuming.placed)
    }
}
