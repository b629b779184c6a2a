import Checkpoints
import Handover
import KafkaLog
@testable import Offsets

/// Fixed models, so that every output can be compared letter by letter.
enum Models {
    static let now = MillisecondTimestamp(clamped: 1_772_330_584_000)
    static let eqiad = Datacenter("eqiad") ?? fallback
    static let codfw = Datacenter("codfw") ?? fallback
    private static var fallback: Datacenter { preconditionFailure("these are names") }
    static let clusterE = ClusterID("cluster-e")
    static let clusterC = ClusterID("cluster-c")

    static func mark(_ offset: Int64, secondsAgo: Int64, type: TimestampType = .createTime) -> RecordMark {
        RecordMark(offset: offset, timestamp: now.moved(by: -secondsAgo * 1000), timestampType: type, fingerprint: Fingerprint(bits: UInt64(offset)))
    }

    static func checkpoint(
        at offset: Int64, in cluster: ClusterID = clusterE, epoch: Int64 = 3, sealed: Bool = false, secondsAgo: Int64 = 2, tail: [UInt64] = [1], count: Int32 = 4
    ) -> Checkpoint {
        let done = DonePrefix(
            witness: now.moved(by: -secondsAgo * 1000 - 5000), disorder: 0, tail: tail.map(Fingerprint.init(bits:)), beyond: [], beyondSpan: 0,
            position: Position(offset, in: cluster), timestampType: .createTime)
        return Checkpoint(
            done: done, partitionCount: count, identity: "record", epoch: epoch, sealed: sealed, worker: "w1/7/abc", writtenAt: now.moved(by: -secondsAgo * 1000))
    }

    /// In eqiad's cluster records 10 to `end`, the newest ten seconds old; codfw's mirror holds them at other offsets.
    static func facts(
        _ partition: Int32, checkpoint: Checkpoint?, start: Int64 = 10, end: Int64 = 100, next: RecordMark? = nil, mirrorBehind: Int64 = 0
    ) -> PartitionFacts {
        var facts = PartitionFacts(origin: OriginTopic(origin: eqiad, stream: "page.change"), partition: partition, owner: eqiad, epoch: 3)
        facts.checkpoint = checkpoint.map { .success($0) }
        facts.next = next
        var home = PartitionFacts.Log()
        (home.cluster, home.start, home.end, home.last) = (clusterE, start, end, mark(end - 1, secondsAgo: 10))
        var away = PartitionFacts.Log()
        (away.cluster, away.start, away.end) = (clusterC, 0, end - 10 - mirrorBehind)
        var last = mark(end - 1 - mirrorBehind, secondsAgo: 10 + mirrorBehind)
        last.offset -= 10
        away.last = last
        away.originPast = mirrorBehind + 1
        facts.logs = [eqiad: home, codfw: away]
        return facts
    }

    static func state(_ facts: PartitionFacts) -> PartitionState {
        facts.state(now: now, stuckAfter: 30_000, datacenters: [clusterE: eqiad, clusterC: codfw])
    }

    static var snapshot: GroupSnapshot {
        var gone = facts(3, checkpoint: checkpoint(at: 4, secondsAgo: 7200), next: mark(10, secondsAgo: 9000))
        gone.logs[codfw]?.problem = "its ends can't be read"
        gone.logs[codfw]?.end = nil
        let states = [
            facts(0, checkpoint: checkpoint(at: 100)), facts(1, checkpoint: checkpoint(at: 60), next: mark(60, secondsAgo: 25), mirrorBehind: 3),
            facts(2, checkpoint: checkpoint(at: 60, sealed: true, secondsAgo: 4000), next: mark(60, secondsAgo: 5000)), gone,
            facts(4, checkpoint: checkpoint(at: 7, in: ClusterID("elsewhere"))),
        ].map(state)
        return GroupSnapshot(
            group: "demo-purge", at: now,
            clusters: [.init(datacenter: "codfw", cluster: "cluster-c"), .init(datacenter: "eqiad", cluster: "cluster-e")], partitions: states)
    }

    static var plan: FailoverPlan {
        func line(_ partition: Int32) -> FailoverPlan.Line {
            FailoverPlan.Line(
                origin: "eqiad", topic: "eqiad.page.change", partition: partition, owner: "eqiad", stays: false, waitsForMirror: false, drain: .open)
        }
        var exact = line(0)
        (exact.resumeOffset, exact.method, exact.repeatsAtMost, exact.repeatMilliseconds, exact.notMirrored, exact.openRecords) = (90, "tail", 12, 3400, 2, 14)
        var waits = line(1)
        (waits.resumeOffset, waits.method, waits.waitsForMirror, waits.repeatsAtMost, waits.repeatMilliseconds, waits.notMirrored, waits.openRecords) = (70, "time", true, 20, 65_000, 500, 520)
        waits.notMirroredMilliseconds = 61_000
        var gap = line(2)
        (gap.resumeOffset, gap.method, gap.repeatsAtMost, gap.drain) = (40, "log start", 60, .sealed)
        gap.gap = .init(reason: "retention", records: 7, at: nil)
        var refused = line(3)
        refused.drain = .unknown
        refused.refusal = "the topic had 4 partitions"
        var stays = line(4)
        (stays.owner, stays.stays) = ("codfw", true)
        return FailoverPlan(group: "demo-purge", target: "codfw", at: now, partitions: [exact, waits, gap, refused, stays])
    }
}
