import Checkpoints
import Handover
import KafkaLog

/// Knows the truth of the whole world, and says when something that must always hold does not (Docs/Design.md section 3,
/// Docs/Simulator.md).
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Checker: @unchecked Sendable {
    /// What was found wrong, first first.
    private(set) var violations: [String] = []
    private let scenario: Scenario
    private let time: SimulatedTime
    private let trace: Trace
    private let clusters: [Datacenter: Cluster]
    private let key: AssignmentKey

    /// All that happened to the events of one id: one event, or several that can't be told apart.
    struct Fate {
        var due = 0
        /// Of those, how many retention took before any mirror had them.
        var excused = 0
        var partition: TopicPartition
        var starts: [(at: Moment, host: String)] = []
        /// Actions that took effect.
        var effects = 0
        /// When a stored checkpoint first said that it is finished.
        var coveredAt: Moment?
    }

    private(set) var fates: [String: Fate] = [:]
    private var idOfFingerprint: [Fingerprint: String] = [:]
    /// What a gap event names: what lies before `to` in the cluster that went on there, and not before `from` in that in which it was measured.
    private struct Gap {
        let from: Position?
        let to: Position
    }
    private var gaps: [TopicPartition: [Gap]] = [:]
    var gapCount: Int { gaps.values.reduce(0) { $0 + $1.count } }
    /// Whether a mirror wrote something twice.
    var mirrorsRepeated = false
    /// Kills, stops, cuts, forced failovers: each may cost repeats.
    var disruptions = 0

    init(scenario: Scenario, time: SimulatedTime, trace: Trace, clusters: [Datacenter: Cluster]) {
        self.scenario = scenario
        self.time = time
        self.trace = trace
        self.clusters = clusters
        key = AssignmentKey(group: World.group, origin: scenario.origin)
    }

    func fail(_ what: String) {
        trace.note("violation", words: "VIOLATION: \(what)")
        if violations.count < 20 { violations.append(what) }
    }

    // MARK: Events

    func id(_ event: Event) -> String { scenario.hasIDs ? "e\(event.number)" : "c\(event.contents)" }

    func produced(_ event: Event, _ partition: TopicPartition) {
        guard event.isWanted else { return }
        let id = id(event)
        fates[id, default: Fate(partition: partition)].due += 1
        if scenario.hasIDs { idOfFingerprint[Fingerprint.ofIdentity(id)] = id }
    }

    func started(_ id: String, on host: Host, in datacenter: Datacenter) {
        guard var fate = fates[id] else { return fail("\(host.name) acts on \(id), which no rule wants") }
        checkGate(host, datacenter, fate.partition)
        checkKnownRepeat(id, fate, host, datacenter)
        // Another datacenter's, which was forced out without a wait, is the gate's to judge.
        if let epoch = sealedIn[fate.partition], epoch == current?.epoch, current?.owner(of: fate.partition) == datacenter {
            fail("\(host.name) begins \(id) of \(fate.partition), which is sealed in epoch \(epoch)")
        }
        fate.starts.append((time.now, host.name))
        fates[id] = fate
    }

    /// It reached no other cluster and is gone from its own.
    func neverMirrored(_ event: Event, _ partition: TopicPartition) {
        tailMayNeverCome.insert(partition)
        let id = id(event)
        fates[id]?.excused += 1
    }
    /// Retention took something of these before a mirror had it: a sealed tail may never come, and is waited for until an operator decides.
    private(set) var tailMayNeverCome: Set<TopicPartition> = []

    func tookEffect(_ id: String) { fates[id]?.effects += 1 }

    func hasEffect(_ event: Event) -> Bool { event.isWanted && (fates[id(event)]?.effects ?? 0) > 0 }

    private func isFinished(_ event: Event) -> Bool {
        guard event.isWanted else { return true }
        guard let fate = fates[id(event)] else { return true }
        // Of several that can't be told apart, one at least; none where retention took them before any mirror had them, for no other
        // datacenter can know of those.
        return fate.effects >= min(fate.due - fate.excused, 1)
    }

    // MARK: Ownership

    private struct Reign {
        let assignment: Assignment
        let from: Moment
        var until: Moment?
        let isForcedNow: Bool
        var lease: Moment
        var epoch: Int64 { assignment.epoch }
        /// How long its owner's first action waits for the lease before.
        var wait: Moment { if case .resuming = assignment.phase { .milliseconds(Int(assignment.fenceMilliseconds)) } else { 0 } }
    }

    /// Operators who force a failover without waiting: they take the risk.
    var forcedNow: Set<String> = []
    private var reigns: [Reign] = []
    /// First start of each epoch in each partition.
    private var lastStart: [TopicPartition: (epoch: Int64, datacenter: Datacenter)] = [:]
    private var current: Assignment?

    func put(_ stored: StoreKey, before: StoredValue?, now value: StoredValue) {
        switch stored.segments.first {
        case "assignments"?: changedAssignment(value)
        case "checkpoints"?: wroteCheckpoint(stored, before: before, now: value)
        default: break
        }
    }

    private func changedAssignment(_ value: StoredValue) {
        guard let next = try? Assignment(decoding: value.bytes) else { return fail("an assignment was written that can't be read") }
        defer { current = next }
        trace.note(
            "assignment", next.epoch, Int64(next.leaseMilliseconds), Int64(next.fenceMilliseconds),
            words: "assignment: epoch \(next.epoch), owner \(next.owner)\(next.placed.map { ", \($0) has \($1)" }.joined()), \(next.phase), \(next.kind.rawValue), by \(next.by)")
        if let before = current {
            if next.epoch < before.epoch { fail("the assignment's epoch goes back from \(before.epoch) to \(next.epoch)") }
            if next.epoch == before.epoch, next.owner != before.owner || next.placed != before.placed {
                fail("an owner changes within epoch \(next.epoch)")
            }
            if next.epoch == before.epoch {
                // The lease may grow within an epoch.
                if let last = reigns.indices.last { reigns[last].lease = max(reigns[last].lease, .milliseconds(Int(next.leaseMilliseconds))) }
                return
            }
        }
        if let last = reigns.indices.last { reigns[last].until = time.now }
        let isForcedNow = forcedNow.contains(next.by)
        reigns.append(
            Reign(
                assignment: next, from: time.now, until: nil, isForcedNow: isForcedNow,
                lease: .milliseconds(Int(next.leaseMilliseconds))))
    }

    /// No action begins after the lease's end, and none of an older epoch after one of a newer.
    private func checkGate(_ host: Host, _ datacenter: Datacenter, _ partition: TopicPartition) {
        // One that is still to wait for an older lease acts, if it does, by an older right of its own.
        let own = reigns.last { reign in
            reign.assignment.owner(of: partition) == datacenter && (reign.until.map { $0 &+ reign.lease >= time.now } ?? true)
                && reign.from &+ reign.wait <= time.now
        }
        guard let own else { return fail("\(host.name) begins an action on \(partition) though \(datacenter) has not owned it for longer than a lease") }
        if let last = lastStart[partition], last.epoch > own.epoch, last.datacenter != datacenter {
            let forced = reigns.contains { $0.epoch >= own.epoch && $0.epoch <= last.epoch && $0.isForcedNow }
            if !forced { fail("\(host.name) begins an action on \(partition) in epoch \(own.epoch) after \(last.datacenter) did in epoch \(last.epoch)") }
        }
        if own.epoch > lastStart[partition]?.epoch ?? 0 { lastStart[partition] = (own.epoch, datacenter) }
    }

    // MARK: Repeats

    /// When each worker was last given a partition: from then on it reads what is stored.
    private var givenAt: [String: [TopicPartition: Moment]] = [:]
    func given(_ host: Host, _ partition: TopicPartition) { givenAt[host.name, default: [:]][partition] = time.now }

    private func checkKnownRepeat(_ id: String, _ fate: Fate, _ host: Host, _ datacenter: Datacenter) {
        guard scenario.hasIDs, !mirrorsRepeated, let covered = fate.coveredAt, let given = givenAt[host.name]?[fate.partition],
            let own = reigns.last(where: { $0.assignment.owner(of: fate.partition) == datacenter })
        else { return }
        if covered < max(given, own.from) {
            fail("\(host.name) repeats \(id), which a checkpoint named since \(Double(covered / 1_000_000) / 1000) s, before it took \(fate.partition)")
        }
    }

    /// A worker says how it found a partition's place.
    func resumed(_ partition: TopicPartition, how: String) {
        if how == "time" || how == "log start" || how == "anchor" { forgetCovered(partition) }
    }

    /// No tail confirmed the place: repeats are to be expected there, until a checkpoint names again what is finished.
    private func forgetCovered(_ partition: TopicPartition) {
        for id in fates.keys where fates[id]?.partition == partition { fates[id]?.coveredAt = nil }
        for cluster in coveredTo.keys { coveredTo[cluster]?[partition] = nil }
    }

    // MARK: Gaps

    /// - Parameters: `from` and `to` as the event gives them; what can't be read excuses nothing.
    func gap(_ partition: TopicPartition, from: String?, to: String?) {
        forgetCovered(partition)
        guard let to = position(to) else { return fail("a gap event of \(partition) does not say where it ends") }
        gaps[partition, default: []].append(Gap(from: position(from), to: to))
    }

    private func position(_ text: String?) -> Position? {
        guard let text, let cluster = clusters.values.first(where: { text.contains($0.id.description) }),
            let offset = text.split(whereSeparator: { !$0.isNumber }).compactMap({ Int64($0) }).last
        else { return nil }
        return Position(offset, in: cluster.id)
    }

    /// Where the log of `cluster` has its last copy of each event, by number.
    private func lastCopies(_ partition: TopicPartition, in cluster: ClusterID) -> [Int: Int64] {
        let records = self.cluster(cluster)?.logs[partition]?.records ?? []
        return Dictionary(records.map { ($0.event.number, $0.offset) }, uniquingKeysWith: max)
    }

    /// Numbers of the wanted events that a gap event of the partition speaks of.
    private func lostInGaps(_ partition: TopicPartition) -> [Int: Event] {
        var lost: [Int: Event] = [:]
        for gap in gaps[partition] ?? [] {
            let from = gap.from.map { lastCopies(partition, in: $0.cluster) } ?? [:]
            for record in cluster(gap.to.cluster)?.logs[partition]?.records ?? [] where record.event.isWanted {
                guard record.offset < gap.to.offset else { break }
                if let first = gap.from, let place = from[record.event.number], place < first.offset { continue }
                lost[record.event.number] = record.event
            }
        }
        return lost
    }

    private func excusedByGaps() -> [String: Int] {
        var excused: [String: Int] = [:]
        for partition in gaps.keys { for event in lostInGaps(partition).values { excused[id(event), default: 0] += 1 } }
        return excused
    }

    // MARK: Checkpoints

    /// The epoch in which each partition was sealed last.
    private var sealedIn: [TopicPartition: Int64] = [:]
    /// Index of the first record of each log that is not known to be finished.
    private var finishedTo: [ClusterID: [TopicPartition: Int]] = [:]
    private var coveredTo: [ClusterID: [TopicPartition: Int]] = [:]
    private(set) var checkpointsWritten = 0

    private func wroteCheckpoint(_ stored: StoreKey, before: StoredValue?, now value: StoredValue) {
        guard stored.segments.count == 4, let number = Int32(stored.segments[3]),
            let checkpoint = try? CheckpointCodec.decode(value.bytes)
        else { return fail("a checkpoint was written that can't be read") }
        checkpointsWritten += 1
        let partition = TopicPartition(topic: stored.segments[2], partition: number)
        trace.note(
            "checkpoint", Int64(number), checkpoint.position.offset, checkpoint.epoch, checkpoint.sealed ? 1 : 0,
            words: "checkpoint of \(partition): \(checkpoint.position), epoch \(checkpoint.epoch)\(checkpoint.sealed ? ", sealed" : ""), \(checkpoint.beyond.count) beyond, by \(checkpoint.worker)")
        if let current, checkpoint.epoch != current.epoch {
            fail("a checkpoint of epoch \(checkpoint.epoch) lands in epoch \(current.epoch) (\(partition), by \(checkpoint.worker))")
        }
        if let owner = current?.owner(of: partition), !checkpoint.worker.hasPrefix(owner.name) {
            fail("\(checkpoint.worker) writes a checkpoint of \(partition), which \(owner) owns")
        }
        let old = before.flatMap { try? CheckpointCodec.decode($0.bytes) }
        if let old { checkOrder(partition, old, checkpoint) }
        checkPrefix(partition, checkpoint)
        if checkpoint.sealed { sealedIn[partition] = checkpoint.epoch }
        // What is passed on as it stands was said by another host's clock.
        if checkpoint.caughtUpAt != old?.caughtUpAt { checkHonest(partition, checkpoint) }
        // One that is passed on as it stands names nothing anew: after a start that nothing confirmed, its writer may be further back.
        let writer = clusters.first { checkpoint.worker.hasPrefix($0.key.name + "-") }
        if writer?.value.id == checkpoint.position.cluster { cover(partition, checkpoint) }
    }

    private func checkOrder(_ partition: TopicPartition, _ old: Checkpoint, _ new: Checkpoint) {
        if new.epoch < old.epoch { fail("the checkpoint of \(partition) goes from epoch \(old.epoch) back to \(new.epoch)") }
        guard new.epoch == old.epoch else { return }
        if old.sealed, !new.sealed { fail("the sealed checkpoint of \(partition) is opened again in epoch \(new.epoch)") }
        if let distance = old.position.distance(to: new.position), distance < 0 {
            fail("the checkpoint of \(partition) goes back by \(-distance) within epoch \(new.epoch)")
        }
    }

    private func cluster(_ id: ClusterID) -> Cluster? { clusters.values.first { $0.id == id } }

    /// Everything below a checkpoint is finished.
    private func checkPrefix(_ partition: TopicPartition, _ checkpoint: Checkpoint) {
        let id = checkpoint.position.cluster
        guard let log = cluster(id)?.logs[partition] else { return fail("a checkpoint speaks of the cluster \(id), which there is not") }
        var index = finishedTo[id]?[partition] ?? 0
        while index < log.records.count, log.records[index].offset < checkpoint.position.offset {
            let record = log.records[index]
            if !isFinished(record.event), lostInGaps(partition)[record.event.number] == nil {
                return fail(
                    "the checkpoint \(checkpoint.position) of \(partition) by \(checkpoint.worker) covers \(self.id(record.event)) at \(record.offset), which is not finished")
            }
            index += 1
        }
        finishedTo[id, default: [:]][partition] = index
    }

    /// "Caught up" is not said while something is unseen.
    private func checkHonest(_ partition: TopicPartition, _ checkpoint: Checkpoint) {
        guard let caughtUp = checkpoint.caughtUpAt, let cluster = cluster(checkpoint.position.cluster), let log = cluster.logs[partition],
            let host = hosts[checkpoint.worker]
        else { return }
        for record in log.records.reversed() where record.offset >= log.start {
            let at = host.wall(at: record.appendedAt)
            guard at.milliseconds < caughtUp.milliseconds - 1 else { continue }
            if !isFinished(record.event) { fail("\(checkpoint.worker) says that \(partition) was caught up at \(caughtUp), and \(id(record.event)) of \(at) is not finished") }
            return
        }
    }

    /// Workers by the name that they write into checkpoints.
    var hosts: [String: Host] = [:]

    private func cover(_ partition: TopicPartition, _ checkpoint: Checkpoint) {
        let id = checkpoint.position.cluster
        guard let log = cluster(id)?.logs[partition] else { return }
        var index = coveredTo[id]?[partition] ?? 0
        let inGaps = lostInGaps(partition)
        while index < log.records.count, log.records[index].offset < checkpoint.position.offset {
            let event = log.records[index].event
            let name = self.id(event)
            // What a gap event speaks of is passed, and nobody knows whether it was done.
            if fates[name] != nil, fates[name]?.coveredAt == nil, inGaps[event.number] == nil { fates[name]?.coveredAt = time.now }
            index += 1
        }
        coveredTo[id, default: [:]][partition] = index
        for fingerprint in checkpoint.beyond {
            guard let name = idOfFingerprint[fingerprint], fates[name]?.coveredAt == nil else { continue }
            fates[name]?.coveredAt = time.now
        }
    }

    // MARK: The end

    /// Wanted events that were not acted on, other than those that a gap event speaks of.
    func unfinished() -> [String] {
        let open = fates.filter { $0.value.effects < $0.value.due - $0.value.excused }
        guard !open.isEmpty, !gaps.isEmpty else { return open.keys.sorted() }
        let excused = excusedByGaps()
        return open.filter { $0.value.effects < $0.value.due - $0.value.excused - (excused[$0.key] ?? 0) }.keys.sorted()
    }

    /// Whether the world may end as it is: what is left are partitions that wait for what can't come, on purpose.
    var waitsForOperator: Bool {
        !tailMayNeverCome.isEmpty && unfinished().allSatisfy { fates[$0].map { tailMayNeverCome.contains($0.partition) } ?? false }
    }

    var repeats: Int { fates.values.reduce(0) { $0 + max(0, $1.starts.count - $1.due) } }

    func checkEnd() {
        let lost = unfinished()
        if !lost.isEmpty { fail("lost \(lost.count): \(lost.prefix(5).joined(separator: ", ")), and no gap event") }
        if scenario.isClean, scenario.failingActions == 0 {
            // Of two that can't be told apart the first is taken for the tail's end, which may cost the second.
            let repeated = fates.filter { $0.value.starts.count > $0.value.due && $0.value.due == 1 }
            if !repeated.isEmpty {
                fail("planned handovers alone repeated \(repeated.count): \(repeated.keys.sorted().prefix(5).joined(separator: ", "))")
            }
        }
        if !mirrorsRepeated, scenario.hasIDs {
            // A gap event says that events may be repeated there.
            for (name, fate) in fates.sorted(by: { $0.key < $1.key })
            where gaps[fate.partition] == nil && fate.starts.count > fate.due + disruptions + (scenario.failingActions > 0 ? fate.starts.count : 0) {
                fail("\(name) was begun \(fate.starts.count) times after \(disruptions) disruptions")
            }
        }
        if case .stable? = current?.phase {} else if current != nil { fail("the assignment is not stable in the end") }
    }
}
