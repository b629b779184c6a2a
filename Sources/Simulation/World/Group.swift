import ChangePropagation
import KafkaLog

/// One consumer group in one cluster: who is a member, which partitions are whose, and what was committed. Cooperative: partitions
/// that stay are not taken away, and what moves is given only when its last holder has let go or is gone.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Group: @unchecked Sendable {
    // @unchecked: the whole simulation runs on one thread (JobQueue).
    final class Member: @unchecked Sendable {
        let host: Host
        weak var consumer: SimulatedConsumer?
        let number: Int
        /// What is its own as the coordinator knows.
        fileprivate(set) var owned: Set<TopicPartition> = []
        /// What it was asked to give back.
        fileprivate(set) var leaving: Set<TopicPartition> = []
        fileprivate(set) var isOut = false
        /// Since when nothing was heard from it.
        fileprivate var silentSince: Moment?

        fileprivate init(host: Host, consumer: SimulatedConsumer, number: Int) {
            self.host = host
            self.consumer = consumer
            self.number = number
        }
    }

    private let cluster: Cluster
    private let time: SimulatedTime
    private let links: Links
    private let trace: Trace
    private var random: SeededRandom
    private let sessionTimeout: Moment
    private var members: [Member] = []
    private var nextNumber = 0
    private var isRebalancing = false
    private(set) var committed: [TopicPartition: CommittedOffset] = [:]
    /// Commits of members that are out of the group count too (a mutant).
    var believesAnyone = false

    init(_ cluster: Cluster, sessionTimeout: Moment, time: SimulatedTime, links: Links, trace: Trace, random: SeededRandom) {
        self.cluster = cluster
        self.sessionTimeout = sessionTimeout
        self.time = time
        self.links = links
        self.trace = trace
        self.random = random
    }

    /// Begins in this order, whatever a dictionary says.
    var order: String { cluster.datacenter.name }

    func begin() { watch() }

    /// Heartbeats: whoever has been silent for the session timeout is out.
    private func watch() {
        time.after(.milliseconds(250)) { [self] in
            for member in members {
                let isHeard = member.host.isUp && !cluster.isDown && hears(member.host)
                if isHeard { member.silentSince = nil } else if member.silentSince == nil { member.silentSince = time.now }
                if !cluster.isDown, let since = member.silentSince, time.now &- since >= sessionTimeout { expel(member) }
            }
            watch()
        }
    }

    func hears(_ host: Host) -> Bool {
        Links.Direction.allCases.allSatisfy { links.passes(host.name, cluster.datacenter.name, $0) }
    }

    func join(_ host: Host, _ consumer: SimulatedConsumer) -> Member {
        nextNumber += 1
        let member = Member(host: host, consumer: consumer, number: nextNumber)
        members.append(member)
        rebalanceSoon()
        return member
    }

    func leave(_ member: Member) {
        guard !member.isOut else { return }
        member.isOut = true
        member.owned = []
        members.removeAll { $0 === member }
        rebalanceSoon()
    }

    private func expel(_ member: Member) {
        trace.note("expelled", Int64(member.number), words: "the group in \(cluster.datacenter) puts \(member.host.name) out: its session timed out")
        let lost = member.owned.union(member.leaving)
        leave(member)
        member.consumer?.expelled(lost)
    }

    private func rebalanceSoon() {
        guard !isRebalancing else { return }
        isRebalancing = true
        time.after(.milliseconds(random.int(20...300))) { [self] in
            isRebalancing = false
            rebalance()
        }
    }

    private func rebalance() {
        guard !members.isEmpty else { return }
        for (member, target) in targets() {
            let taken = member.owned.subtracting(target).subtracting(member.leaving)
            guard !taken.isEmpty else { continue }
            member.leaving.formUnion(taken)
            member.consumer?.revoking(taken.sorted())
        }
        assignFree()
    }

    private func targets() -> [(Member, Set<TopicPartition>)] {
        var targets = members.map { ($0, Set<TopicPartition>()) }
        for (index, partition) in cluster.partitions.enumerated() { targets[index % targets.count].1.insert(partition) }
        return targets
    }

    private func assignFree() {
        let held = members.reduce(into: Set<TopicPartition>()) { $0.formUnion($1.owned) }
        for (member, target) in targets() {
            let free = target.subtracting(held)
            guard !free.isEmpty || !(member.consumer?.wasAssigned ?? true) else { continue }
            member.owned.formUnion(free)
            member.consumer?.assigned(free.sorted())
        }
    }

    /// It has given back what it was asked for.
    func released(_ member: Member, _ partitions: Set<TopicPartition>) {
        guard !member.isOut else { return }
        member.owned.subtract(partitions)
        member.leaving.subtract(partitions)
        rebalanceSoon()
    }

    /// False: refused, since it is not a member any more or the partition is not its own.
    func commit(_ offsets: [TopicPartition: CommittedOffset], by member: Member) -> Bool {
        guard believesAnyone || (!member.isOut && offsets.keys.allSatisfy { member.owned.contains($0) }) else { return false }
        for (partition, offset) in offsets { committed[partition] = offset }
        return true
    }
}
