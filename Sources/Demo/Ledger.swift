import Checkpoints
import KafkaLog

/// What was produced and what the sink was called with, and what follows from it. Pure: times come in, in seconds since
/// the run began.
public struct Ledger: Sendable {
    struct Event: Sendable {
        let origin: Datacenter
        let producedAt: Double
        let isWanted: Bool
        /// Where the broker put it in its origin's cluster; nil: it was never acknowledged.
        var place: (partition: TopicPartition, offset: Int64)?
        var calls: [Call] = []
    }

    struct Call: Sendable {
        let datacenter: Datacenter
        let at: Double
    }

    private(set) var events: [String: Event] = [:]
    /// Ids that the sink was called with and nobody sent.
    private(set) var strangers = 0
    private(set) var counts: [Datacenter: (produced: Int, acted: Int)] = [:]

    mutating func sent(_ id: String, origin: Datacenter, isWanted: Bool, at: Double) {
        events[id] = Event(origin: origin, producedAt: at, isWanted: isWanted)
    }

    mutating func acknowledged(_ id: String, partition: TopicPartition, offset: Int64) {
        guard events[id]?.place == nil, let origin = events[id]?.origin else { return }
        events[id]?.place = (partition, offset)
        counts[origin, default: (0, 0)].produced += 1
    }

    mutating func called(_ id: String, by datacenter: Datacenter, at: Double) {
        guard let event = events[id] else { return strangers += 1 }
        events[id]?.calls.append(Call(datacenter: datacenter, at: at))
        if event.calls.isEmpty { counts[event.origin, default: (0, 0)].acted += 1 }
    }

    /// Acknowledged events of `origin` that a rule wants and nobody acted on yet.
    func waiting(_ origin: Datacenter, upTo: Double = .infinity) -> Int {
        events.values.count { $0.origin == origin && $0.isWanted && $0.place != nil && $0.calls.isEmpty && $0.producedAt <= upTo }
    }

    /// The first call for an event of `origin` by `datacenter` from `at` on.
    func firstCall(_ origin: Datacenter, by datacenter: Datacenter, from at: Double) -> Double? {
        calls(origin).filter { $0.datacenter == datacenter && $0.at >= at }.map(\.at).min()
    }

    /// The last call for an event of `origin` by `datacenter` up to `at`.
    func lastCall(_ origin: Datacenter, by datacenter: Datacenter, upTo at: Double) -> Double? {
        calls(origin).filter { $0.datacenter == datacenter && $0.at <= at }.map(\.at).max()
    }

    private func calls(_ origin: Datacenter) -> [Call] { events.values.lazy.filter { $0.origin == origin }.flatMap(\.calls) }

    /// What became of the events of one origin.
    public struct Account: Sendable, Equatable {
        /// Acknowledged by the broker.
        public var produced = 0
        /// Of those, not wanted by any rule.
        public var skipped = 0
        public var acted = 0
        /// Wanted, acknowledged, and never acted on.
        public var lost = 0
        /// Acted on although no rule wants them.
        public var unwanted = 0
        /// Written, as it turned out, without the producer hearing of it; acted on all the same.
        public var unacknowledged = 0
        /// Further calls, by when they came.
        public var repeatsBefore = 0
        public var repeatsAfterFailover = 0
        public var repeatsAfterSwitchback = 0
        /// Of the repeats after the failover: events that the stored checkpoint already named as done.
        public var repeatsKnown = 0
    }

    /// - Parameters:
    ///   - failover: when the origin's datacenter was killed; `switchback`: when the planned way home began.
    ///   - checkpoints: what was stored when the datacenter was killed, measured in the origin's own cluster.
    func account(
        _ origin: Datacenter, failover: Double, switchback: Double, checkpoints: [TopicPartition: Checkpoint]
    ) -> Account {
        var account = Account()
        for (id, event) in events where event.origin == origin {
            if event.place != nil { account.produced += 1 }
            if event.place == nil, !event.calls.isEmpty { account.unacknowledged += 1 }
            guard event.isWanted else {
                if event.place != nil { account.skipped += 1 }
                if !event.calls.isEmpty { account.unwanted += 1 }
                continue
            }
            if event.calls.isEmpty {
                if event.place != nil { account.lost += 1 }
                continue
            }
            account.acted += 1
            for call in event.calls.sorted(by: { $0.at < $1.at }).dropFirst() {
                if call.at >= switchback { account.repeatsAfterSwitchback += 1 } else if call.at < failover {
                    account.repeatsBefore += 1
                } else {
                    account.repeatsAfterFailover += 1
                    if isKnown(id, event, checkpoints) { account.repeatsKnown += 1 }
                }
            }
        }
        return account
    }

    private func isKnown(_ id: String, _ event: Event, _ checkpoints: [TopicPartition: Checkpoint]) -> Bool {
        guard let place = event.place, let checkpoint = checkpoints[place.partition] else { return false }
        return place.offset < checkpoint.position.offset || checkpoint.beyond.contains(Fingerprint.ofIdentity(id))
    }
}
