import Checkpoints
import Foundation
import KafkaLog

/// One canary that the origin's cluster acknowledged.
struct ProducedEvent: Codable, Sendable, Hashable {
    var id: String
    var partition: Int32
    /// In the origin's cluster.
    var offset: Int64
    /// Seconds since the drill began.
    var at: Double
    /// When it is due; nil: at once.
    var due: Double?
}

/// One call of the target that the rule's action makes.
struct TargetCall: Codable, Sendable, Hashable {
    var id: String
    var datacenter: String
    var at: Double
    /// It was answered with 503, so that the event is tried again.
    var refused: Bool
}

/// What the canaries' ids come to. Pure: an event is *lost* when it was acknowledged and no call for it was accepted; it is *repeated* by each
/// call after the first accepted one.
struct DrillAccount: Sendable {
    let events: [String: ProducedEvent]
    private let calls: [String: [TargetCall]]
    private let strangers: Int
    private let state: DrillState
    private let origin: String
    private let target: String

    static let method =
        "Each canary has an id of its own. The drill writes down every id that the origin's cluster acknowledged, and every call that reached the "
        + "target, before it is answered. Lost: acknowledged, and no call was accepted. Repeated: each call after the first accepted one. Known: "
        + "a repeat of what the checkpoint that stood in the store at the cut named as done, in a partition where the new "
        + "side had found that checkpoint's end; of events that went through the retry topic it can't be told."

    /// - Parameter sent: ids of all canaries, also of those that nobody acknowledged.
    init(produced: [ProducedEvent], sent: Set<String>, calls: [TargetCall], state: DrillState) {
        events = Dictionary(produced.map { ($0.id, $0) }) { first, _ in first }
        self.state = state
        origin = state.setting?.origin ?? ""
        target = state.setting?.target ?? ""
        var byID: [String: [TargetCall]] = [:]
        var strangers = 0
        for call in calls {
            if events[call.id] != nil { byID[call.id, default: []].append(call) } else if !sent.contains(call.id) { strangers += 1 }
        }
        self.calls = byID.mapValues { $0.sorted { $0.at < $1.at } }
        self.strangers = strangers
    }

    private var cut: Double { state.marks[.cut] ?? .infinity }
    private var home: Double { state.marks[.homeAsked] ?? .infinity }

    private func accepted(_ id: String) -> [TargetCall] { (calls[id] ?? []).filter { !$0.refused } }

    // MARK: Lost and repeated

    private enum Cause { case before, bySwitch, byHome, byInterruption }

    private func cause(_ call: TargetCall, after first: TargetCall) -> Cause {
        if state.interruptions.contains(where: { first.at <= $0.stopped + Self.interruptionSlack && call.at >= $0.resumed }) { return .byInterruption }
        return call.at >= home ? .byHome : call.at >= cut ? .bySwitch : .before
    }

    /// The journal's last line may be older than the last calls before an interruption.
    private static let interruptionSlack = 3600.0
    private static let sampleLimit = 20

    func counts(isComplete: Bool) -> DrillReport.Counts {
        var counts = DrillReport.Counts()
        counts.produced = events.count
        counts.strangers = strangers
        counts.gaps = state.gaps
        counts.method = Self.method
        for event in events.values.sorted(by: { ($0.at, $0.id) < ($1.at, $1.id) }) {
            let accepted = accepted(event.id)
            guard let first = accepted.first else {
                guard isComplete else { continue }
                counts.lost += 1
                if counts.lostSamples.count < Self.sampleLimit { counts.lostSamples.append(sample(event)) }
                continue
            }
            counts.acted += 1
            for call in accepted.dropFirst() {
                switch cause(call, after: first) {
                case .before: counts.repeats.before += 1
                case .byHome: counts.repeats.byHome += 1
                case .byInterruption: counts.repeats.byInterruption += 1
                case .bySwitch:
                    counts.repeats.bySwitch += 1
                    if isKnown(event) { counts.repeats.known += 1 }
                }
            }
            if accepted.count > 1, counts.repeatSamples.count < Self.sampleLimit { counts.repeatSamples.append(sample(event)) }
        }
        counts.stranded = state.stranded
        counts.fencedActions = fencedActions
        return counts
    }

    private func sample(_ event: ProducedEvent) -> DrillReport.Sample {
        let actions = (calls[event.id] ?? []).map {
            "\($0.datacenter) at \(String(format: "%.3f", $0.at))\($0.refused ? " (refused)" : "")"
        }
        return .init(id: event.id, partition: event.partition, offset: event.offset, producedAt: event.at, actions: actions)
    }

    /// Where the mirror had not brought the checkpoint's end nobody could know what it named. Of an event that went through the retry topic the stream's checkpoint says that it was parked, not that it was acted on.
    private func isKnown(_ event: ProducedEvent) -> Bool {
        let found = state.resumes[.switchOver]?.first { $0.partition == event.partition }?.method
        guard found == "tail" || found == "same cluster" else { return false }
        guard event.due == nil, calls[event.id]?.contains(where: \.refused) != true else { return false }
        guard let stored = state.snapshot.first(where: { $0.partition == event.partition }) else { return false }
        return event.offset < stored.offset || stored.beyond.contains(Fingerprint.ofIdentity(event.id).bits)
    }

    private var fencedActions: Int {
        guard let raised = state.marks[.raised], state.setting?.plan.scenario.isForced == true else { return 0 }
        let over = state.marks[.leaseOver] ?? raised
        let end = state.marks[.homeRaised] ?? .infinity
        return calls.values.joined().count { $0.datacenter == origin && $0.at > over && $0.at < end }
    }

    // MARK: Retries and delayed events

    /// - Parameter delayed: those that were not due at the cut; else those that had been refused and not accepted.
    func moved(delayed: Bool, isComplete: Bool) -> DrillReport.Moved {
        var moved = DrillReport.Moved()
        for event in events.values where isPending(event, delayed: delayed) {
            moved.pending += 1
            if let first = accepted(event.id).first {
                if first.at < home, first.datacenter == target { moved.byNewSide += 1 } else { moved.afterHome += 1 }
            } else if isComplete { moved.lost += 1 }
        }
        return moved
    }

    private func isPending(_ event: ProducedEvent, delayed: Bool) -> Bool {
        guard cut < .infinity, event.at < cut, accepted(event.id).first.map({ $0.at >= cut }) ?? true else { return false }
        if delayed { return (event.due ?? 0) > cut }
        return event.due == nil && calls[event.id]?.first.map { $0.refused && $0.at < cut } == true
    }

    // MARK: Moves

    func moves() -> [DrillReport.Move] {
        guard let plan = state.setting?.plan else { return [] }
        var moves: [DrillReport.Move] = []
        if state.marks[.cut] != nil { moves.append(switchMove(isForced: plan.scenario.isForced)) }
        if state.marks[.homeAsked] != nil { moves.append(homeMove()) }
        return moves
    }

    private func switchMove(isForced: Bool) -> DrillReport.Move {
        let marks = state.marks
        var partitions = partitions(.switchOver, from: origin, to: target, begin: cut, end: home, forcedAt: isForced ? cut : nil)
        for index in partitions.indices { count(repeatsOf: &partitions[index], in: cut..<home) }
        let first = partitions.compactMap(\.pauseEnd).max()
        var intervals: [DrillReport.Interval] = []
        func add(_ name: String, _ start: Double?, _ end: Double?) {
            if let start, let end { intervals.append(.init(name, start, end)) }
        }
        if isForced { add("detect", cut, marks[.detected]) }
        add("decide", isForced ? marks[.detected] : cut, marks[.asked])
        if !isForced { add("drain", marks[.asked], marks[.sealed]) }
        add("fence", isForced ? marks[.asked] : marks[.sealed], isForced ? marks[.leaseOver] : marks[.raised])
        add("resolve", marks[.raised], marks[.resolved])
        let ready = [isForced ? marks[.leaseOver] : marks[.raised], marks[.resolved]].compactMap(\.self).max()
        add("first action", ready, first)
        add("caught up", first, first.map { max($0, caughtUp(raised: marks[.raised] ?? cut, by: target, until: home)) })
        return .init(
            name: .switchOver, kind: isForced ? "failover" : "switchover", from: origin, to: target, epoch: state.epochs[.switchOver],
            withoutOwner: worst(partitions), intervals: intervals, partitions: partitions)
    }

    private func homeMove() -> DrillReport.Move {
        let marks = state.marks
        var partitions = partitions(.home, from: target, to: origin, begin: home, end: .infinity, forcedAt: nil)
        for index in partitions.indices { count(repeatsOf: &partitions[index], in: home..<Double.infinity) }
        let first = partitions.compactMap(\.pauseEnd).max()
        var intervals: [DrillReport.Interval] = []
        func add(_ name: String, _ start: Double?, _ end: Double?) {
            if let start, let end { intervals.append(.init(name, start, end)) }
        }
        add("drain", marks[.homeAsked], marks[.homeSealed])
        add("fence", marks[.homeSealed], marks[.homeRaised])
        add("resolve", marks[.homeRaised], marks[.homeResolved])
        add("first action", marks[.homeResolved], first)
        add("caught up", first, first.map { max($0, caughtUp(raised: marks[.homeRaised] ?? home, by: origin, until: .infinity)) })
        return .init(
            name: .home, kind: "switchback", from: target, to: origin, epoch: state.epochs[.home], withoutOwner: worst(partitions),
            intervals: intervals, partitions: partitions)
    }

    private func worst(_ partitions: [DrillReport.PartitionMove]) -> Double? {
        guard !partitions.isEmpty, partitions.allSatisfy({ $0.pause != nil }) else { return nil }
        return partitions.compactMap(\.pause).max()
    }

    /// - Parameter forcedAt: when the old side was cut off; nil: the pause begins with its last action, less what would have been idle anyway
    ///   (by how much later the new side's first event was produced).
    private func partitions(
        _ name: DrillReport.MoveName, from old: String, to new: String, begin: Double, end: Double, forcedAt: Double?
    ) -> [DrillReport.PartitionMove] {
        var last: [Int32: TargetCall] = [:], first: [Int32: TargetCall] = [:]
        for call in calls.values.joined().sorted(by: { $0.at < $1.at }) where call.at < end {
            guard let event = events[call.id] else { continue }
            // A retry or a delayed event does not say since when there was work.
            if forcedAt == nil, event.due != nil || calls[call.id]?.first != call { continue }
            let partition = event.partition
            if call.datacenter == new, call.at >= begin, first[partition] == nil { first[partition] = call }
            if call.datacenter == old, first[partition] == nil { last[partition] = call }
        }
        let count = state.setting?.plan.load.partitions ?? 0
        return (0..<count).map { partition in
            var move = DrillReport.PartitionMove(
                partition: partition, resumption: state.resumes[name]?.first { $0.partition == partition }, repeats: 0, repeatSeconds: 0)
            guard let first = first[partition] else { return move }
            move.pauseEnd = first.at
            if let forcedAt { move.pauseStart = forcedAt } else if let last = last[partition] { move.pauseStart = last.at }
            guard let start = move.pauseStart else { return move }
            var idle = 0.0
            if forcedAt == nil, let last = last[partition], let before = events[last.id], let after = events[first.id] {
                idle = max(0, after.at - before.at)
            }
            let pause = max(0, first.at - start - idle)
            (move.pause, move.pauseStart) = (pause, first.at - pause)
            return move
        }
    }

    private func count(repeatsOf move: inout DrillReport.PartitionMove, in range: Range<Double>) {
        var times: [Double] = []
        for event in events.values where event.partition == move.partition {
            let again = accepted(event.id).dropFirst().filter { range.contains($0.at) }
            move.repeats += again.count
            if !again.isEmpty { times.append(event.at) }
        }
        move.repeatSeconds = (times.max() ?? 0) - (times.min() ?? 0)
    }

    /// When the last of the events was acted on that were waiting when the epoch went up and that the new side found.
    private func caughtUp(raised: Double, by new: String, until end: Double) -> Double {
        let back = state.marks[.homeBack] ?? .infinity
        return events.values.compactMap { event -> Double? in
            guard event.at < raised, event.due == nil, let calls = calls[event.id], let first = calls.first, !calls.contains(where: \.refused),
                first.datacenter == new, first.at >= raised, first.at < min(end, new == target ? back : end)
            else { return nil }
            return first.at
        }.max() ?? 0
    }

    // MARK: The drawing

    func timeline(end: Double, isComplete: Bool) -> DrillReport.Timeline {
        var timeline = DrillReport.Timeline()
        timeline.end = end
        timeline.bucket = max(0.25, (end / 160 * 4).rounded(.up) / 4)
        let buckets = max(1, Int((end / timeline.bucket).rounded(.up)))
        for partition in 0..<(state.setting?.plan.load.partitions ?? 0) {
            var lane = DrillReport.Timeline.Lane(partition: partition, produced: [], actions: [:], repeats: [], moved: [], lost: [])
            for datacenter in [origin, target] { lane.actions[datacenter] = Array(repeating: 0, count: buckets) }
            lane.produced = Array(repeating: 0, count: buckets)
            func bucket(_ at: Double) -> Int { min(buckets - 1, max(0, Int(at / timeline.bucket))) }
            for event in events.values where event.partition == partition {
                let accepted = accepted(event.id)
                lane.produced[bucket(event.at)] += 1
                for call in calls[event.id] ?? [] { lane.actions[call.datacenter]?[bucket(call.at)] += 1 }
                lane.repeats += accepted.dropFirst().map(\.at)
                if isPending(event, delayed: true) || isPending(event, delayed: false), let first = accepted.first { lane.moved.append(first.at) }
                if accepted.isEmpty, isComplete { lane.lost.append(event.at) }
            }
            lane.repeats.sort()
            lane.moved.sort()
            lane.lost.sort()
            timeline.lanes.append(lane)
        }
        return timeline
    }
}
