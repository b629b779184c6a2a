import Checkpoints

/// What one worker knows of its claims: which events it is at, what it has claimed ahead, and what is still to be written. A state machine
/// without I/O; times are milliseconds since 1970.
struct ClaimTable: Sendable {
    private struct Ahead: Sendable {
        let owner: String
        let verdict: ClaimVerdict
        /// When it is forgotten.
        let until: Int64
    }

    /// Settlements that wait to be written; past it, nothing new is claimed.
    static let settlementLimit = 10_000
    /// Claims of events that wait for a slot.
    static let aheadLimit = 1_024

    private var made: UInt64 = 0
    /// Keys of events that a job is at, and its token.
    private var held: [StoreKey: String] = [:]
    private var ahead: [StoreKey: Ahead] = [:]
    private var unsettled: [StoreKey: Settlement] = [:]
    /// Those that are being written.
    private var settling: Set<StoreKey> = []

    mutating func nextToken(of worker: String) -> String {
        made += 1
        return "\(worker)#\(made)"
    }

    var isFull: Bool { unsettled.count + settling.count >= Self.settlementLimit }
    var hasUnsettled: Bool { !unsettled.isEmpty }

    // MARK: Jobs

    /// Takes the keys of a job's claims, all or none. False: another job of this worker is at one of them, or claimed it ahead.
    mutating func hold(_ claims: [Claim], now: Int64) -> Bool {
        for claim in claims {
            guard let key = claim.key else { continue }
            if let token = held[key], token != claim.token { return false }
            if settling.contains(key) { return false }
            if let found = ahead[key], found.owner != claim.owner, found.until > now, case .granted = found.verdict { return false }
        }
        for claim in claims {
            guard let key = claim.key else { continue }
            held[key] = claim.token
            // What was to be given back is wanted after all.
            if let waiting = unsettled[key], waiting.kind == .released, waiting.claim.token == claim.token { unsettled[key] = nil }
        }
        return true
    }

    mutating func release(_ claims: [Claim]) {
        for claim in claims {
            if let key = claim.key, held[key] == claim.token { held[key] = nil }
        }
    }

    /// What is known of a held claim without asking the store; nil: nothing.
    mutating func takeKnown(_ claim: Claim, now: Int64) -> ClaimVerdict? {
        guard let key = claim.key else { return nil }
        if unsettled[key]?.kind == .done { return .duplicate }
        guard let found = ahead.removeValue(forKey: key), found.until > now else { return nil }
        if case .granted = found.verdict, found.owner != claim.owner { return nil }
        return found.verdict
    }

    // MARK: Claims ahead of their turn

    /// Those of `claims` that may be asked for before their events' turn, at most `limit`. What is acted on at most once is claimed right before:
    /// a crash loses all that is claimed.
    mutating func wantedAhead(_ claims: some Sequence<Claim>, limit: Int, now: Int64) -> [Claim] {
        if ahead.count >= Self.aheadLimit / 2 { ahead = ahead.filter { $0.value.until > now } }
        var wanted: [StoreKey: Claim] = [:]
        var order: [Claim] = []
        for claim in claims {
            guard order.count < limit, ahead.count + order.count < Self.aheadLimit else { break }
            guard claim.delivery == .atLeastOnce, claim.grant == nil, let key = claim.key, wanted[key] == nil, held[key] == nil, ahead[key] == nil,
                unsettled[key] == nil, !settling.contains(key)
            else { continue }
            wanted[key] = claim
            order.append(claim)
        }
        return order
    }

    mutating func keepAhead(_ claim: Claim, _ verdict: ClaimVerdict, now: Int64) {
        guard let key = claim.key, held[key] == nil else { return }
        switch verdict {
        case .granted(let grant): ahead[key] = Ahead(owner: claim.owner, verdict: verdict, until: grant.until)
        case .duplicate: ahead[key] = Ahead(owner: claim.owner, verdict: verdict, until: now + Claim.startAllowance)
        case .busy: break
        }
    }

    // MARK: What became of them

    mutating func settle(_ settlements: [Settlement]) {
        for settlement in settlements { unsettled[settlement.key] = Self.merged(unsettled[settlement.key], settlement) }
    }

    /// Of two for one key the one that says more.
    private static func merged(_ old: Settlement?, _ new: Settlement) -> Settlement {
        guard let old else { return new }
        if old.kind == .root, new.kind == .root { return (old.claim.root?.time ?? 0) > (new.claim.root?.time ?? 0) ? old : new }
        return old.kind == .done ? old : new
    }

    mutating func takeUnsettled(limit: Int) -> [Settlement] {
        // In the order of their keys, so that the same work makes the same transactions.
        let taken = unsettled.values.filter { !settling.contains($0.key) }.sorted { $0.key < $1.key }.prefix(limit)
        for settlement in taken {
            unsettled[settlement.key] = nil
            settling.insert(settlement.key)
        }
        return Array(taken)
    }

    /// - Parameter failed: those that are to be written again.
    mutating func settled(_ taken: [Settlement], failed: [Settlement]) {
        for settlement in taken { settling.remove(settlement.key) }
        for settlement in failed {
            // What was said since says more, but for what is done.
            unsettled[settlement.key] = unsettled[settlement.key].map { Self.merged(settlement, $0) } ?? settlement
        }
    }
}
