import Checkpoints
import Handover
import KafkaLog
import Logging

/// Where the search for expired claims is.
struct ClaimSweep {
    /// Monotonic nanoseconds of the next look.
    var dueAt: UInt64 = 0
    var turn = 0

    static let interval: UInt64 = 2_000_000_000
    /// Ranges that are looked through at once.
    static let shardsAtOnce = 4
    /// Claims that are deleted at once, of each range.
    static let deletionLimit = 512

    /// Of the ranges of claims, those that whoever acts on `partition` of `count` looks through.
    static func shards(of partition: Int32, count: Int32) -> [Int] {
        count > 0 ? Array(stride(from: Int(partition), to: ClaimKeys.shards, by: Int(count))) : []
    }
}

/// Deletes claims that have expired, a few at a time.
extension GroupWorker {
    func sweepClaims() async {
        let names = rules.filter { $0.dedupe != nil }.map(\.name)
        // A store of their own lets them expire by itself.
        guard !names.isEmpty, setup.role == .events, claimStore is any SharedStore, clock.monotonic() >= claimWork.sweep.dueAt else { return }
        claimWork.sweep.dueAt = clock.monotonic() &+ ClaimSweep.interval
        let ranges = sweptShards.flatMap { shard in names.map { ClaimKeys.shard(shard, group: setup.group, rule: $0) } }
        for _ in 0..<min(ClaimSweep.shardsAtOnce, ranges.count) {
            let range = ranges[claimWork.sweep.turn % ranges.count]
            claimWork.sweep.turn = (claimWork.sweep.turn + 1) % ranges.count
            do throws(StoreError) { try await sweep(range) } catch {
                logger.debug("Expired claims could not be deleted; the next look does", metadata: ["error": "\(error)"])
                return
            }
        }
    }

    /// One topic's partitions share the ranges out: each is looked through by one worker.
    private var sweptShards: [Int] {
        guard let topic = topicPartitionCounts.keys.filter({ OriginTopic(topic: $0, known: setup.datacenters) != nil }).min(),
            let count = topicPartitionCounts[topic]
        else { return [] }
        return order.filter { $0.topic == topic && partitions[$0]?.isActing == true }
            .flatMap { ClaimSweep.shards(of: $0.partition, count: count) }
    }

    private func sweep(_ range: StoreKey) async throws(StoreError) {
        let store = checkpointStore.store
        // Another host's clock may be behind.
        let now = clock.wall().milliseconds - Claim.startAllowance
        let expired = try await store.list(under: range).entries.filter { ClaimRecord($0.value.bytes).map { $0.expires <= now } ?? false }
        let keys = expired.keys.sorted().prefix(ClaimSweep.deletionLimit)
        let most = max(1, store.maximumTransactionSize / 2)
        for first in stride(from: 0, to: keys.count, by: most) {
            var transaction = StoreTransaction()
            for key in keys[first..<min(first + most, keys.count)] {
                transaction.expected[key] = expired[key]?.revision
                transaction.writes[key] = .delete
            }
            // Claimed anew meanwhile, all of them are left for the next look.
            _ = try await store.commit(transaction)
        }
    }
}
