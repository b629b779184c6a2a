import Checkpoints
import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// How a partition's place was found when it was last taken over; kept in the store for the CLI and the reports, under
/// `resumes/<group>/<topic>/<partition>`.
public struct ResumeReport: Codable, Sendable, Hashable {
    public var datacenter: String
    public var epoch: Int64
    /// `ResumePlanner.Method`.
    public var method: String
    /// First offset acted on, in `cluster`.
    public var offset: Int64
    public var cluster: String
    /// Where the checkpoint stood, in the cluster where it was measured. nil: there was none.
    public var checkpointOffset: Int64?
    public var checkpointCluster: String?
    /// Milliseconds since 1970, by the worker's clock.
    public var at: Int64

    public static func key(group: String, _ partition: TopicPartition) -> StoreKey {
        StoreKey("resumes", group, partition.topic, String(partition.partition))
    }

    /// nil: the partition was never taken over, or not yet reported.
    public static func load(from store: any SharedStore, group: String, _ partition: TopicPartition) async throws -> ResumeReport? {
        guard let value = try await store.get(key(group: group, partition)) else { return nil }
        return try JSONDecoder().decode(ResumeReport.self, from: Data(value.bytes))
    }
}

/// A gap event as it is kept in the store, under `gaps/<group>/<topic>/<partition>/<epoch>-<time>`.
public struct GapReport: Codable, Sendable, Hashable {
    public var reason: String
    public var from: Int64?
    public var fromCluster: String?
    public var to: Int64
    public var toCluster: String
    /// nil: unknown.
    public var records: Int64?
    /// Milliseconds since 1970: the checkpoint's witness. nil: it had none.
    public var since: Int64?
    public var epoch: Int64
    public var at: Int64

    init(_ gap: GapEvent, epoch: Int64, at: MillisecondTimestamp) {
        reason = gap.reason.rawValue
        from = gap.from?.offset
        fromCluster = gap.from?.cluster.id
        to = gap.to.offset
        toCluster = gap.to.cluster.id
        records = gap.records
        since = gap.since?.milliseconds
        self.epoch = epoch
        self.at = at.milliseconds
    }

    static func key(group: String, _ partition: TopicPartition, epoch: Int64, at: Int64) -> StoreKey {
        StoreKey("gaps", group, partition.topic, String(partition.partition), "\(epoch)-\(at)")
    }

    /// The gap events of `group`, by partition, oldest first; those that can't be read are left out.
    public static func load(from store: any SharedStore, group: String) async throws(StoreError) -> [TopicPartition: [GapReport]] {
        var found: [TopicPartition: [GapReport]] = [:]
        for (key, value) in try await store.list(under: StoreKey("gaps", group)).entries {
            guard key.segments.count == 5, let number = Int32(key.segments[3]), number >= 0,
                let report = try? JSONDecoder().decode(GapReport.self, from: Data(value.bytes))
            else { continue }
            found[TopicPartition(topic: key.segments[2], partition: number), default: []].append(report)
        }
        return found.mapValues { $0.sorted { $0.at < $1.at } }
    }
}

extension GroupWorker {
    /// Writes the reports of how partitions were gone on with, as many in a transaction as the store takes: a worker that takes thousands
    /// of partitions over must not send the store as many requests while it waits for the first checkpoints.
    func publishResumeReports() async {
        let reports = resumeReports
        resumeReports = [:]
        guard !reports.isEmpty else { return }
        let entries = reports.map { (ResumeReport.key(group: setup.group, $0.key), $0.value as any Encodable) }
        let most = max(1, checkpointStore.store.maximumTransactionSize)
        for first in stride(from: 0, to: entries.count, by: most) {
            // A store that does not answer is not asked for each of them.
            guard await publish(Array(entries[first..<min(first + most, entries.count)])) else { return }
        }
    }

    func publish(_ report: GapReport, _ partition: TopicPartition) async {
        _ = await publish([(GapReport.key(group: setup.group, partition, epoch: report.epoch, at: report.at), report)])
    }

    /// Tries to write reports that no decision rests on. False: they are not known to be written.
    private func publish(_ reports: [(key: StoreKey, value: any Encodable)]) async -> Bool {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        do {
            var transaction = StoreTransaction()
            for (key, value) in reports { transaction.writes[key] = .put(Array(try encoder.encode(value))) }
            _ = try await checkpointStore.store.commit(transaction)
            return true
        } catch {
            logger.warning(
                "Reports could not be written to the store",
                metadata: ["reports": "\(reports.count)", "first": "\(reports.first?.key.description ?? "")", "error": "\(error)"])
            return false
        }
    }
}

/// What a commit to Kafka carries beside the offset: which epoch it belongs to, and the record before it.
public enum CommitMetadata {
    static func write(epoch: Int64, last: Fingerprint?) -> String {
        "sb1 e=\(epoch)" + (last.map { " f=\($0)" } ?? "")
    }

    /// nil for commits that are not Switchback's: another tool's offset says nothing about what this group has done.
    public static func parse(_ committed: CommittedOffset?) -> ResumePlanner.Committed? {
        guard let committed, let metadata = committed.metadata else { return nil }
        let words = metadata.split(separator: " ")
        guard words.first == "sb1" else { return nil }
        func field(_ name: String) -> Substring? { words.first { $0.hasPrefix(name) }?.dropFirst(name.count) }
        guard let epoch = field("e=").flatMap({ Int64($0) }) else { return nil }
        let last = field("f=").flatMap { UInt64($0, radix: 16) }.map(Fingerprint.init(bits:))
        return ResumePlanner.Committed(offset: committed.position.offset, epoch: epoch, last: last)
    }
}

extension EventIdentity {
    /// The fingerprint of a record, and whether it is over an id of its own: a record without one is fingerprinted as a whole.
    ///
    /// - Parameter event: the parsed value; only `json` identities look at it.
    public func fingerprint(of record: borrowing RecordView, event: JSONValue?) -> (Fingerprint, hasIdentity: Bool) {
        if self != .record {
            let headers = needsHeaders ? (try? record.headers()) ?? [] : []
            let bytes = bytes(event: event) { name in headers.last { $0.name == name }?.value }
            if let bytes { return (bytes.withUnsafeBytes { Fingerprint.ofIdentity($0) }, true) }
        }
        return (Fingerprint.ofRecord(record), false)
    }

    /// The same for a record whose value nobody has parsed.
    public func fingerprint(of record: borrowing RecordView) -> Fingerprint {
        var event: JSONValue?
        if case .json = self { event = record.withValue { bytes in bytes.flatMap { try? parseEvent($0) } } }
        return fingerprint(of: record, event: event).0
    }

    /// As it is written in worker.yaml and in checkpoints.
    public var text: String {
        switch self {
        case .record: "record"
        case .header(let name): "header:\(name)"
        case .json(let path): "json:\(path)"
        }
    }
}
