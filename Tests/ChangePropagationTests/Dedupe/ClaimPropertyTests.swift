import KafkaLog
import TestSupport
import Testing

@testable import ChangePropagation
@testable import Checkpoints

/// Workers that claim the same events from one store, in any interleaving, with lost, late and refused transactions, crashes, and claims that
/// expire.
private struct ClaimWorld {
    enum Stage {
        case idle
        case claiming(ClaimBatch<Claim>)
        case acting(until: Int64)
        case settling(ClaimBatch<Settlement>)
    }

    /// One record of an event, at one worker.
    struct Attempt {
        var claim: Claim
        var stage = Stage.idle
        /// What is to be written when the store takes it.
        var unsettled: Settlement?
        var isOver = false
    }

    let delivery: Dedupe.Delivery
    let store = InMemoryStore()
    var random: SeededGenerator
    var now: Int64 = 1_000
    var attempts: [Attempt] = []
    var late: [StoreTransaction] = []
    var tokens = 0
    /// Actions that were begun and that were ended, by event.
    var begun: [StoreKey: Int] = [:]
    var ended: [StoreKey: Int] = [:]
    var wrongDuplicates = 0
    var faults = 0.3

    init(_ delivery: Dedupe.Delivery, seed: UInt64, events: Int) {
        self.delivery = delivery
        random = SeededGenerator(seed: seed)
        for event in 0..<events {
            for owner in ["A", "B"] { attempts.append(Attempt(claim: fresh(ClaimKeys.key(group: "g", rule: "r", "\(event)"), owner))) }
        }
    }

    mutating func fresh(_ key: StoreKey, _ owner: String) -> Claim {
        tokens += 1
        // Longer than the whole run: what comes after the window is another event.
        return Claim(
            rule: "r", key: key, owner: owner, token: "t\(tokens)", delivery: delivery, window: 1 << 50, rootWindow: 0, span: 3_000)
    }

    mutating func step() {
        // Without faults claims don't expire while their actions run.
        now += Int64.random(in: 0...(faults > 0 ? 800 : 60), using: &random)
        if random.chance(0.05), !late.isEmpty { store.apply(late.remove(at: Int.random(in: late.indices, using: &random))) }
        let index = Int.random(in: attempts.indices, using: &random)
        // Also what is over is read again after a rewind.
        if random.chance(faults / (attempts[index].isOver ? 4 : 20)) { return crash(index) }
        guard !attempts[index].isOver else { return }
        advance(index)
    }

    /// The process is gone; the record is read again by whoever has its partition now.
    mutating func crash(_ index: Int) {
        guard let key = attempts[index].claim.key else { return }
        attempts[index] = Attempt(claim: fresh(key, attempts[index].claim.owner))
    }

    mutating func advance(_ index: Int) {
        switch attempts[index].stage {
        case .idle:
            // What was to be given back, and perhaps is on its way, is wanted after all.
            if attempts[index].unsettled?.kind == .released, random.chance(0.5) { attempts[index].unsettled = nil }
            if let settlement = attempts[index].unsettled {
                attempts[index].stage = .settling(ClaimBatch([settlement], known: settlement.known))
            } else {
                attempts[index].claim.grant = nil
                attempts[index].stage = .claiming(ClaimBatch([attempts[index].claim]))
            }
        case .claiming(var batch):
            if exchange(&batch) { attempts[index].stage = .claiming(batch) } else { claimed(index, batch.verdicts[0]) }
        case .acting(let until): act(index, until)
        case .settling(var batch):
            if exchange(&batch) { return attempts[index].stage = .settling(batch) }
            attempts[index].stage = .idle
            guard batch.verdicts[0] != nil, let kind = attempts[index].unsettled?.kind else { return }
            attempts[index].unsettled = nil
            if kind == .done { attempts[index].isOver = true }
        }
    }

    /// False: the batch is at its end.
    mutating func exchange<Intent: ClaimIntent>(_ batch: inout ClaimBatch<Intent>) -> Bool {
        guard let transaction = batch.next(now: now) else { return false }
        guard random.chance(faults) else {
            batch.answered(store.apply(transaction), now: now)
            return true
        }
        let kind: StoreError.Kind = random.chance(0.3) ? .unavailable : .ambiguous
        if kind == .ambiguous {
            if random.chance(0.5) { store.apply(transaction) } else if random.chance(0.7) { late.append(transaction) }
        }
        return batch.failed(StoreError(kind, store: "s", message: ""))
    }

    mutating func claimed(_ index: Int, _ verdict: ClaimVerdict?) {
        attempts[index].stage = .idle
        let key = attempts[index].claim.key ?? StoreKey("none")
        switch verdict {
        case .granted(let grant)?:
            attempts[index].claim.grant = grant
            if delivery == .atMostOnce, random.chance(0.4) {
                attempts[index].unsettled = Settlement.of(attempts[index].claim, .released).first
                return
            }
            guard grant.until > now else { return }
            begun[key, default: 0] += 1
            attempts[index].stage = .acting(until: now + Int64.random(in: 0...3_000, using: &random))
        case .duplicate?:
            attempts[index].isOver = true
            if ended[key] == nil { wrongDuplicates += 1 }
        case .busy?, nil: break
        }
    }

    mutating func act(_ index: Int, _ until: Int64) {
        guard now >= until, let key = attempts[index].claim.key else { return }
        ended[key, default: 0] += 1
        attempts[index].unsettled = Settlement.of(attempts[index].claim, .done).first
        attempts[index].stage = .idle
        if attempts[index].unsettled == nil { attempts[index].isOver = true }
    }
}

@Suite("Claims under any interleaving") struct ClaimPropertyTests {
    @Test("At most once: no event is begun twice, whatever is lost, late, given back or repeated")
    func atMostOnce() {
        let seed = Seed.fresh("claims, at most once")
        var begun = 0
        for run in 0..<1_500 {
            var world = ClaimWorld(.atMostOnce, seed: seed &+ UInt64(run), events: 3)
            world.faults = 0.5
            for _ in 0..<300 { world.step() }
            #expect(world.begun.values.allSatisfy { $0 == 1 }, "seed \(seed &+ UInt64(run))")
            begun += world.begun.count
        }
        #expect(begun > 2_000, "most are acted on all the same: \(begun)")
    }

    @Test("At least once: nothing is left out that was not acted on, and all is acted on in the end; without faults once")
    func atLeastOnce() {
        let seed = Seed.fresh("claims, at least once")
        for run in 0..<400 {
            var world = ClaimWorld(.atLeastOnce, seed: seed &+ UInt64(run), events: 3)
            if run % 4 == 0 { world.faults = 0 }
            for _ in 0..<300 { world.step() }
            world.faults = 0
            for _ in 0..<5_000 where !world.attempts.allSatisfy(\.isOver) { world.step() }
            let place = "seed \(seed &+ UInt64(run))"
            #expect(world.wrongDuplicates == 0, "\(place)")
            #expect(world.attempts.allSatisfy(\.isOver) && world.ended.count == 3, "\(place)")
            if run % 4 == 0 { #expect(world.begun.values.allSatisfy { $0 == 1 }, "\(place)") }
        }
    }
}
