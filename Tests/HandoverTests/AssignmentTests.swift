import Handover
import KafkaLog
import Testing

@Suite("Assignments")
struct AssignmentTests {
    private let eqiad = Datacenter("eqiad").unsafelyUnwrapped
    private let codfw = Datacenter("codfw").unsafelyUnwrapped
    private func author(_ name: String = "alice") -> Assignment.Author {
        Assignment.Author(name: name, reason: "test", now: MillisecondTimestamp(clamped: 7))
    }

    private let first = TopicPartition(topic: "eqiad.s", partition: 0)

    private var home: Assignment {
        Assignment(owner: eqiad, leaseMilliseconds: 5000, partitions: ["eqiad.s": 3], by: "w", since: MillisecondTimestamp(clamped: 1))
    }

    @Test("A switchover: drain in the old epoch, hand over in the next one, settle; the old side may not act from the drain on")
    func switchover() throws {
        let draining = try home.draining(to: codfw, origin: eqiad, author())
        #expect(draining.epoch == 1 && draining.owner == eqiad && draining.kind == .switchover)
        #expect(!draining.mayAct(on: first, in: eqiad) && !draining.mayAct(on: first, in: codfw))
        let moved = try draining.handedOver(author())
        #expect(moved.epoch == 2 && moved.owner == codfw && moved.phase == .resuming(from: eqiad, scope: .everything))
        #expect(moved.fenceMilliseconds == 0)
        #expect(moved.mayAct(on: first, in: codfw) && !moved.mayAct(on: first, in: eqiad))
        let settled = moved.settled(author("worker"))
        #expect(settled.phase == .stable && settled.epoch == 2 && settled.by == "worker" && settled.reason == "test")
        #expect(try settled.draining(to: eqiad, origin: eqiad, author()).kind == .switchback)
    }

    @Test("A second handover of the same origin is refused, and told whose the first is")
    func secondHandover() throws {
        let draining = try home.draining(to: codfw, origin: eqiad, author("bob"))
        let refusal = #expect(throws: HandoverRefusal.self) { try draining.draining(to: codfw, origin: eqiad, author()) }
        #expect("\(try #require(refusal))".contains("bob"))
        #expect(throws: HandoverRefusal.self) { try home.handedOver(author()) }
        #expect(throws: HandoverRefusal.alreadyThere(eqiad)) { try home.draining(to: eqiad, origin: eqiad, author()) }
        #expect(throws: HandoverRefusal.alreadyThere(eqiad)) { try home.failedOver(to: eqiad, origin: eqiad, now: false, author()) }
    }

    @Test("A failover raises the epoch at once, whatever the phase, and waits for the old lease unless told not to")
    func failover() throws {
        let forced = try home.failedOver(to: codfw, origin: eqiad, now: false, author())
        #expect(forced.epoch == 2 && forced.owner == codfw && forced.fenceMilliseconds == 5000 && forced.kind == .failover)
        #expect(try home.failedOver(to: codfw, origin: eqiad, now: true, author()).fenceMilliseconds == 0)
        #expect(try home.draining(to: codfw, origin: eqiad, author()).failedOver(to: codfw, origin: eqiad, now: false, author()).epoch == 2)
    }

    @Test("A cancelled drain gives the origin back to its owner in a new epoch, since some partitions may be sealed in the old one")
    func cancel() throws {
        let back = try home.draining(to: codfw, origin: eqiad, author()).cancelled(author())
        #expect(back.epoch == 2 && back.owner == eqiad && back.mayAct(on: first, in: eqiad))
        #expect(throws: HandoverRefusal.self) { try back.cancelled(author()) }
    }

    @Test("What is stored is read again; anything else is refused with a reason")
    func coding() throws {
        for assignment in [home, try home.draining(to: codfw, origin: eqiad, author()), try home.failedOver(to: codfw, origin: eqiad, now: false, author())] {
            #expect(try Assignment(decoding: assignment.encoded()) == assignment)
        }
        for bad in ["", "{}", "null", #"{"format":2}"#] {
            #expect(throws: HandoverRefusal.self) { try Assignment(decoding: Array(bad.utf8)) }
        }
        for unknown in [0, 4] {
            let other = String(decoding: home.encoded(), as: UTF8.self).replacing(#""format":1"#, with: #""format":\#(unknown)"#)
            #expect(throws: HandoverRefusal.format("format \(unknown)")) { try Assignment(decoding: Array(other.utf8)) }
        }
    }

    // MARK: Leases

    private let second: UInt64 = 1_000_000_000

    @Test("A lease counts from before the request was sent, not from its answer")
    func leaseCountsFromSending() {
        var lease = Lease(home, sent: 10 * second, answered: 14 * second)
        #expect(lease.allowsAction(on: first, at: 14 * second))
        #expect(!lease.allowsAction(on: first, at: 15 * second))
        lease.confirm(home, sent: 14 * second)
        #expect(lease.allowsAction(on: first, at: 18 * second))
        #expect(!lease.allowsAction(on: first, at: 19 * second))
    }

    @Test("A new owner acts only when the old lease has surely run out: counted from its own first sight of the epoch")
    func newOwnerWaits() throws {
        let forced = try home.failedOver(to: codfw, origin: eqiad, now: false, author())
        var lease = Lease(forced, sent: 100 * second, answered: 101 * second)
        lease.confirm(forced, sent: 105 * second)
        #expect(!lease.allowsAction(on: first, at: 105 * second))
        #expect(lease.allowsAction(on: first, at: 106 * second))
        // Whatever the old side read before the epoch rose (at 101 s at the latest) is not good any more by then.
        let old = Lease(home, sent: 101 * second, answered: 101 * second)
        #expect(!old.allowsAction(on: first, at: 106 * second))
    }

    @Test("Another epoch's confirmation is none")
    func otherEpoch() throws {
        var lease = Lease(home, sent: 0, answered: 0)
        lease.confirm(try home.failedOver(to: codfw, origin: eqiad, now: true, author()), sent: 100 * second)
        #expect(!lease.allowsAction(on: first, at: 6 * second))
    }
}
