import Checkpoints
import Foundation

/// One rule's claim to one event. Times are milliseconds, of day where they are points: that of several hosts, since another one has to know
/// when a claim of a dead worker is over. Clocks that differ by less than `startAllowance` do no harm.
struct Claim: Sendable, Equatable {
    struct Root: Sendable, Equatable {
        let key: StoreKey
        let time: Int64
    }

    /// The store has it for us.
    struct Grant: Sendable, Equatable {
        let revision: Int64
        /// Until when the action may begin under it.
        let until: Int64
    }

    let rule: String
    /// nil: nothing is claimed, only the root event is looked at.
    let key: StoreKey?
    let root: Root?
    let owner: String
    let token: String
    let delivery: Dedupe.Delivery
    let window: Int64
    let rootWindow: Int64
    /// For how long the action may run.
    let span: Int64
    var grant: Grant?

    /// From a claim to the start of its action.
    static let startAllowance: Int64 = 10_000

    /// nil: the rule does not ask for it, or the event has nothing to be told apart by.
    ///
    /// - Parameters:
    ///   - topic, partition: where the event was read first, also of a retry.
    init?(_ rule: Rule, _ event: JSONValue, requests: Int, topic: String, partition: Int32, group: String, token: String) {
        guard let dedupe = rule.dedupe else { return nil }
        let isAtMostOnce = dedupe.delivery == .atMostOnce
        var text: String?
        switch dedupe.key {
        case .id?:
            text = event["meta"]?["id"]?.plainText.flatMap { $0.isEmpty ? nil : "id\u{0}\($0)" }
            // What is acted on at most once needs a claim in any case.
            if text == nil, isAtMostOnce { text = "content\u{0}\(event.jsonText)" }
        case .content?: text = "content\u{0}\(event.jsonText)"
        case nil: break
        }
        var root: Root?
        if dedupe.byRoot, let signature = event["root_event"]?["signature"]?.string, let time = Self.time(event["root_event"]?["dt"]) {
            root = Root(key: ClaimKeys.key(group: group, rule: rule.name, "root\u{0}\(signature)"), time: time)
        }
        guard text != nil || root != nil else { return nil }
        self.rule = rule.name
        key = text.map { ClaimKeys.key(group: group, rule: rule.name, $0) }
        self.root = root
        owner = "\(topic)/\(partition)/\(ClaimKeys.digest(event.jsonText))"
        self.token = token
        delivery = dedupe.delivery
        window = dedupe.window.milliseconds
        rootWindow = dedupe.rootWindow.milliseconds
        span = rule.longestAction(requests: requests).milliseconds
    }

    init(
        rule: String, key: StoreKey?, root: Root? = nil, owner: String, token: String, delivery: Dedupe.Delivery, window: Int64, rootWindow: Int64,
        span: Int64
    ) {
        (self.rule, self.key, self.root, self.owner, self.token, self.delivery) = (rule, key, root, owner, token, delivery)
        (self.window, self.rootWindow, self.span) = (window, rootWindow, span)
    }

    /// nil: none, or not ISO 8601.
    private static func time(_ value: JSONValue?) -> Int64? {
        guard let date = value?.string.flatMap({ Date(eventTime: $0) }), abs(date.timeIntervalSince1970) < 1e11 else { return nil }
        return Int64(date.timeIntervalSince1970 * 1000)
    }

    /// As it is written now.
    func record(now: Int64) -> ClaimRecord {
        switch delivery {
        case .atLeastOnce: ClaimRecord(state: .claimed, owner: owner, token: token, expires: now + Self.startAllowance + span)
        case .atMostOnce: ClaimRecord(state: .done, owner: owner, token: token, expires: now + window)
        }
    }
}

extension Rule {
    /// For how long all requests of an event may run, with their tries in place.
    func longestAction(requests: Int) -> Duration {
        let pauses = (0..<immediateRetry.limit).reduce(Duration.zero) { $0 + immediateRetry.pause(before: $1 + 1) }
        return (timeout * (1 + immediateRetry.limit) + pauses) * max(1, requests)
    }
}

enum ClaimVerdict: Sendable, Equatable {
    /// The action may be made.
    case granted(Claim.Grant)
    /// It has been made, or is left to who claimed it.
    case duplicate
    /// Somebody else is at it, until then at most.
    case busy(until: Int64)
}

extension Claim: ClaimIntent {
    func step(_ view: ClaimView) -> ClaimStep<ClaimVerdict> {
        var looks: [StoreKey] = []
        if let root {
            switch view.found(root.key) {
            case .unknown: looks.append(root.key)
            case .record(let mark):
                // Leaves of one root event have its time, and are all acted on.
                if mark.expires > view.now, let time = mark.rootTime, time > root.time { return .settled(.duplicate) }
            case .absent, .unreadable: break
            }
        }
        guard let key else { return looks.isEmpty ? .settled(committed(at: 0, now: view.now)) : .change(looks: looks, writes: [:]) }
        if case .record(let record) = view.found(key), let verdict = verdict(on: record, now: view.now) { return .settled(verdict) }
        // Written anew also where it is ours already: a delete of it that was sent before and is still on its way must not land.
        return .change(looks: looks, writes: [key: .put(record(now: view.now).bytes)])
    }

    /// nil: it is to be had.
    private func verdict(on record: ClaimRecord, now: Int64) -> ClaimVerdict? {
        // Ours, by a write whose answer was lost or that was not made use of.
        if record.token == token { return nil }
        guard record.expires > now else { return nil }
        switch (record.state, delivery) {
        case (.done, _), (.claimed, .atMostOnce): return .duplicate
        case (.claimed, .atLeastOnce): return record.owner == owner ? nil : .busy(until: record.expires)
        }
    }

    func committed(at revision: Int64, now: Int64) -> ClaimVerdict { .granted(Grant(revision: revision, until: now + Self.startAllowance)) }
}

/// What is to become of a claim after its action.
struct Settlement: ClaimIntent, Equatable {
    enum Kind: Sendable, Equatable {
        case done
        /// The event waits for a retry: the claim has to last until then.
        case extended(until: Int64)
        /// Nothing was done: whoever comes next may have it.
        case released
        /// Leaves of older root events need not be acted on any more.
        case root

        var isExtension: Bool { if case .extended = self { true } else { false } }
    }

    let claim: Claim
    let kind: Kind
    let key: StoreKey

    init(_ claim: Claim, _ kind: Kind, key: StoreKey) {
        self.claim = claim
        self.kind = kind
        self.key = key
    }

    /// What a claim's action came to, as its settlements. None where nothing is to be written.
    ///
    /// - Parameter marksRoot: whether older root events need not be acted on any more.
    static func of(_ claim: Claim, _ kind: Kind, marksRoot: Bool = false) -> [Settlement] {
        var settlements: [Settlement] = []
        // What is acted on at most once is done already; it can only be given back.
        if let key = claim.key, claim.grant != nil, claim.delivery == .atLeastOnce || kind == .released {
            settlements.append(Settlement(claim, kind, key: key))
        }
        if marksRoot, let root = claim.root { settlements.append(Settlement(claim, .root, key: root.key)) }
        return settlements
    }

    /// What the store is believed to hold, from the grant.
    var known: [StoreKey: StoredValue?] {
        guard kind != .root, let grant = claim.grant else { return [:] }
        return [key: StoredValue(bytes: claim.record(now: grant.until).bytes, revision: grant.revision)]
    }

    func step(_ view: ClaimView) -> ClaimStep<Bool> {
        let found = view.found(key)
        // Only what stands there can be given back or last longer.
        if found == .unknown, kind == .released || kind.isExtension { return .change(looks: [key], writes: [:]) }
        switch kind {
        case .root: return rootStep(found, view.now)
        case .released:
            guard case .record(let record) = found, record.token == claim.token else { return .settled(false) }
            return .change(looks: [], writes: [key: .delete])
        case .extended(let until):
            guard case .record(let record) = found, record.state == .claimed, record.owner == claim.owner else { return .settled(false) }
            return put(ClaimRecord(state: .claimed, owner: claim.owner, token: claim.token, expires: max(until, record.expires)))
        case .done:
            switch found {
            case .record(let record):
                if record.state == .done { return .settled(true) }
                // Our own has expired meanwhile, and somebody else is at it.
                if record.owner != claim.owner, record.expires > view.now { return .settled(false) }
            case .unknown, .absent, .unreadable: break
            }
            return put(ClaimRecord(state: .done, owner: claim.owner, token: claim.token, expires: view.now + claim.window))
        }
    }

    private func rootStep(_ found: ClaimView.Found, _ now: Int64) -> ClaimStep<Bool> {
        guard let root = claim.root else { return .settled(false) }
        if case .record(let mark) = found, let time = mark.rootTime, time >= root.time {
            // Leaves of the same root event come by the thousand: its mark is written again only when half of its time is over.
            if mark.expires - now > claim.rootWindow / 2 || time > root.time { return .settled(true) }
        }
        return put(
            ClaimRecord(state: .done, owner: claim.owner, token: claim.token, expires: now + claim.rootWindow, rootTime: root.time))
    }

    private func put(_ record: ClaimRecord) -> ClaimStep<Bool> { .change(looks: [], writes: [key: .put(record.bytes)]) }

    func committed(at revision: Int64, now: Int64) -> Bool { true }
}
