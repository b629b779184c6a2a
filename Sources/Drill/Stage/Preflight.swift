import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog

/// Looks at everything that a move relies on, and changes nothing. Each check is green or red and says what it found.
struct Preflight {
    let sites: any DrillSites
    let versions: [String: String]

    /// Newest records of each partition that are compared between the clusters.
    private static let sample: Int64 = 200
    /// How far a sampled record's time may be ahead of this machine's clock, in milliseconds.
    private static let clockLimit: Int64 = 2_000
    private static let timeout = Duration.seconds(10)
    /// Slowest answer of a store with a healthy quorum, in seconds.
    private static let storeLimit = 2.0

    typealias Check = DrillReport.Check

    func run() async -> [Check] {
        var checks = [Check("versions", .green, versions.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))]
        checks.append(await store())
        let assignment = await assignment(&checks)
        let partitions = (assignment?.reported ?? []).sorted()
        do {
            let origin = try await look(sites.key.origin, partitions), target = try await look(sites.target, partitions)
            checks += [clusters(origin, target), counts(origin, target), topicSettings(origin, target), timestamps(origin, target)]
            checks += [clocks(origin, target), mirror(origin, target), order(origin, target)]
            checks.append(await retention([origin, target]))
        } catch {
            checks.append(Check("clusters", .red, "\(error); is the cluster up, and does 'datacenters' name it rightly?"))
        }
        return checks
    }

    // MARK: Store and assignment

    private func store() async -> Check {
        let began = ContinuousClock.now
        do {
            _ = try await sites.store.list(under: StoreKey("assignments", sites.key.group))
            let seconds = began.duration(to: .now) / .seconds(1)
            let text = "\(sites.store.name) answered a linearizable read in \(DrillWords.seconds(seconds))"
            return Check("store", seconds < Self.storeLimit ? .green : .red, text)
        } catch { return Check("store", .red, "\(error)") }
    }

    private func assignment(_ checks: inout [Check]) async -> Assignment? {
        let name = "assignment"
        do {
            guard let assignment = try await AssignmentStore(sites.store).load(sites.key)?.assignment else {
                checks.append(Check(name, .red, "\(HandoverRefusal.unknown(sites.key))"))
                return nil
            }
            let isHome = assignment.owner == sites.key.origin && assignment.placed.isEmpty
            var problem: String?
            if assignment.phase != .stable { problem = "a handover is under way (\(assignment.handoverDescription)): wait for it, or 'handover cancel'" }
            if !isHome { problem = problem ?? "\(assignment.owner) owns it: take it home first with 'handover switchback'" }
            if assignment.reported.isEmpty { problem = problem ?? "\(assignment.owner)'s workers have not reported their partitions" }
            checks.append(
                Check(
                    name, problem == nil ? .green : .red,
                    problem ?? "\(assignment.owner) owns \(assignment.reported.count) partitions, epoch \(assignment.epoch), stable"))
            return assignment
        } catch {
            checks.append(Check(name, .red, "\(error)"))
            return nil
        }
    }

    // MARK: Clusters

    /// What one cluster says of the partitions.
    private struct View {
        let datacenter: Datacenter
        let cluster: ClusterID
        var brokers = 0
        var counts: [String: Int] = [:]
        var settings: [String: [String: String]] = [:]
        var ends: [TopicPartition: Watermarks] = [:]
        /// The newest records, oldest first.
        var newest: [TopicPartition: [Seen]] = [:]
    }

    private struct Seen: Hashable {
        let fingerprint: Fingerprint
        let time: Int64?
        let isAppendTime: Bool
    }

    private static let settingNames = ["cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type", "max.message.bytes"]

    private func look(_ datacenter: Datacenter, _ partitions: [TopicPartition]) async throws -> View {
        let admin = try KafkaAdmin(sites.client(datacenter, "preflight"))
        defer { Task { await admin.close() } }
        var view = View(datacenter: datacenter, cluster: try await admin.clusterID(timeout: Self.timeout))
        let metadata = try await admin.metadata(.all, timeout: Self.timeout)
        view.brokers = metadata.brokers.count
        for topic in metadata.topics where topic.failure == nil { view.counts[topic.name] = topic.partitions.count }
        let topics = Set(partitions.map(\.topic)).filter { view.counts[$0] != nil }
        for (topic, result) in try await admin.describeTopicConfigs(topics.sorted(), timeout: Self.timeout) {
            let found = try result.get()
            view.settings[topic] = Dictionary(uniqueKeysWithValues: Self.settingNames.compactMap { name in found[name]?.value.map { (name, $0) } })
        }
        let present = partitions.filter { Int($0.partition) < view.counts[$0.topic] ?? 0 }
        for (partition, result) in try await admin.watermarks(present, timeout: Self.timeout) { view.ends[partition] = try result.get() }
        view.newest = try await newest(datacenter, view.ends)
        return view
    }

    private func newest(_ datacenter: Datacenter, _ ends: [TopicPartition: Watermarks]) async throws -> [TopicPartition: [Seen]] {
        var found: [TopicPartition: [Seen]] = [:]
        var starts: [TopicPartition: Position] = [:]
        for (partition, end) in ends where end.low.offset < end.high.offset {
            starts[partition] = Position(max(end.low.offset, end.high.offset - Self.sample), in: end.low.cluster)
        }
        try await DrillLog.read(sites.client(datacenter, "preflight"), starts, until: ends.mapValues(\.high.offset)) { partition, record in
            found[partition, default: []].append(
                Seen(
                    fingerprint: Fingerprint.ofRecord(record), time: record.timestamp?.milliseconds,
                    isAppendTime: record.timestampType == .logAppendTime))
        }
        return found
    }

    // MARK: What follows

    private func clusters(_ origin: View, _ target: View) -> Check {
        let text = [origin, target].map { "\($0.datacenter): \($0.cluster), \($0.brokers) broker\($0.brokers == 1 ? "" : "s")" }.joined(separator: "; ")
        guard origin.cluster != target.cluster else {
            return Check("clusters", .red, "\(text): both names lead to one cluster; correct 'datacenters'")
        }
        return Check("clusters", .green, text)
    }

    private var topics: (View) -> [String] { { view in view.ends.keys.map(\.topic).sorted().reduce(into: []) { if $0.last != $1 { $0.append($1) } } } }

    private func counts(_ origin: View, _ target: View) -> Check {
        let all = Set(topics(origin)).union(topics(target)).sorted()
        let odd = all.filter { origin.counts[$0] != target.counts[$0] }
        guard odd.isEmpty, !all.isEmpty else {
            let what = odd.map { "\($0): \(origin.counts[$0] ?? 0) in \(origin.datacenter), \(target.counts[$0] ?? 0) in \(target.datacenter)" }
            return Check(
                "partition counts", .red,
                all.isEmpty ? "no topic is known" : "\(what.joined(separator: "; ")); give the mirror's topic as many as the origin's has")
        }
        return Check("partition counts", .green, all.map { "\($0): \(origin.counts[$0] ?? 0)" }.joined(separator: ", "))
    }

    private func topicSettings(_ origin: View, _ target: View) -> Check {
        var odd: [String] = []
        for topic in topics(origin) {
            for name in Self.settingNames where origin.settings[topic]?[name] != target.settings[topic]?[name] {
                odd.append("\(topic) \(name): \(origin.settings[topic]?[name] ?? "?") and \(target.settings[topic]?[name] ?? "?")")
            }
        }
        let compacted = topics(origin).filter { origin.settings[$0]?["cleanup.policy"]?.contains("compact") == true }
        if !odd.isEmpty { return Check("topic settings", .red, "they differ: \(odd.joined(separator: "; ")); make them the same in both clusters") }
        let text = "the same in both clusters" + (compacted.isEmpty ? "" : "; compacted: \(compacted.joined(separator: ", "))")
        return Check("topic settings", .green, text)
    }

    private func timestamps(_ origin: View, _ target: View) -> Check {
        for view in [origin, target] {
            let append = topics(view).filter { topic in
                view.settings[topic]?["message.timestamp.type"] == "LogAppendTime"
                    || view.newest.contains { $0.key.topic == topic && $0.value.contains(where: \.isAppendTime) }
            }
            if !append.isEmpty {
                return Check("timestamps", .red, "LogAppendTime in \(view.datacenter): \(append.joined(separator: ", ")); set message.timestamp.type=CreateTime")
            }
        }
        let absent = origin.newest.values.joined().count { $0.time == nil }
        return Check("timestamps", .green, "CreateTime" + (absent > 0 ? "; \(absent) of the sampled records have none" : ""))
    }

    private func clocks(_ origin: View, _ target: View) -> Check {
        let now = Int64(Date().timeIntervalSince1970 * 1000)
        let ahead = [origin, target].flatMap { $0.newest.values.joined().compactMap(\.time) }.map { $0 - now }.max()
        guard let ahead else { return Check("clocks", .green, "no record to see a clock by") }
        if ahead > Self.clockLimit {
            return Check("clocks", .red, "a sampled record is \(DrillWords.seconds(Double(ahead) / 1000)) ahead of this machine's clock: look at its producer's clock, and at this one")
        }
        return Check("clocks", .green, "no sampled record is ahead of this machine's clock by more than \(Self.clockLimit / 1000) s")
    }

    private func mirror(_ origin: View, _ target: View) -> Check {
        var behind = 0, lag: Int64 = 0
        for (partition, there) in origin.newest {
            let here = target.newest[partition] ?? []
            guard let last = there.last, here.last != last else { continue }
            behind += 1
            if let time = last.time { lag = max(lag, time - (here.last?.time ?? there.first?.time ?? time)) }
        }
        let missing = origin.newest.keys.filter { target.newest[$0] == nil }
        if !missing.isEmpty {
            return Check("mirror", .red, "\(target.datacenter) has nothing of \(missing.sorted().prefix(5).map(\.description).joined(separator: ", ")): does the mirror run?")
        }
        if lag > 60_000 { return Check("mirror", .red, "\(behind) partitions are up to \(DrillWords.seconds(Double(lag) / 1000)) behind: wait for the mirror") }
        return Check("mirror", .green, behind == 0 ? "has everything" : "\(behind) partitions are up to \(DrillWords.seconds(Double(lag) / 1000)) behind")
    }

    /// What both samples hold must stand in the same order.
    private func order(_ origin: View, _ target: View) -> Check {
        var compared = 0
        for (partition, there) in origin.newest {
            let here = target.newest[partition] ?? []
            let common = Set(there.map(\.fingerprint)).intersection(here.map(\.fingerprint))
            let (a, b) = (there.map(\.fingerprint).filter(common.contains), here.map(\.fingerprint).filter(common.contains))
            compared += a.count
            if a != b { return Check("mirror's order", .red, "\(partition) stands in another order or repeated in \(target.datacenter): only one mirror may write it") }
        }
        return Check("mirror's order", .green, "\(compared) sampled records stand in the same order in both clusters")
    }

    /// A checkpoint must lie inside the log of its own cluster.
    private func retention(_ views: [View]) async -> Check {
        do {
            var oldest: Int64?
            for (partition, stored) in try await CheckpointStore(sites.store).load(group: sites.key.group) {
                let checkpoint = try stored.checkpoint.get()
                guard let view = views.first(where: { $0.cluster == checkpoint.position.cluster }), let end = view.ends[partition] else { continue }
                if checkpoint.position.offset < end.low.offset {
                    return Check("retention", .red, "\(partition): retention in \(view.datacenter) has passed the checkpoint; a move would raise a gap event")
                }
                oldest = min(oldest ?? .max, checkpoint.writtenAt.milliseconds)
            }
            guard let oldest else { return Check("retention", .green, "no checkpoint yet") }
            let age = max(0, Date().timeIntervalSince1970 - Double(oldest) / 1000)
            return Check("retention", .green, "every checkpoint lies inside its log; the oldest was written \(DrillWords.seconds(age)) ago")
        } catch { return Check("retention", .red, "\(error)") }
    }
}

/// Reads logs from place to place, without a group.
enum DrillLog {
    private static let patience = Duration.seconds(20)

    /// Reads from `starts` up to the ends that were given.
    static func read(
        _ client: KafkaClientConfiguration, _ starts: [TopicPartition: Position], until ends: [TopicPartition: Int64],
        _ take: (TopicPartition, borrowing RecordView) -> Void
    ) async throws {
        var open = starts.filter { $0.value.offset < ends[$0.key] ?? 0 }.mapValues { _ in true }
        guard !open.isEmpty else { return }
        let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        do {
            try await consumer.assign(starts.filter { open[$0.key] != nil })
            let deadline = ContinuousClock.now + patience
            while !open.isEmpty {
                guard let batch = try await consumer.nextBatch(deadline: deadline) else {
                    throw DrillFailure("\(open.keys.min()?.description ?? "a log") can't be read to its end within \(patience.components.seconds) s")
                }
                for run in batch.runs {
                    batch.forEach(in: run) { record in
                        let end = ends[run.partition] ?? 0
                        if record.offset < end { take(run.partition, record) }
                        if record.offset >= end - 1 { open[run.partition] = nil }
                    }
                }
            }
        } catch {
            try? await consumer.close(within: .seconds(2))
            throw error
        }
        try? await consumer.close(within: .seconds(2))
    }

    /// The keys of all records of a topic in one cluster: the canaries' ids.
    static func keys(_ client: KafkaClientConfiguration, topic: String, partitions: Int32) async throws -> Set<String> {
        let admin = try KafkaAdmin(client)
        let wanted = (0..<partitions).map { TopicPartition(topic: topic, partition: $0) }
        let ends: [TopicPartition: Watermarks]
        do { ends = try await admin.watermarks(wanted).mapValues { try $0.get() } } catch {
            await admin.close()
            throw error
        }
        await admin.close()
        var found: Set<String> = []
        try await read(client, ends.mapValues(\.low), until: ends.mapValues(\.high.offset)) { _, record in
            if let key = record.withKey({ key in key.map { String(decoding: $0, as: UTF8.self) } }) { found.insert(key) }
        }
        return found
    }
}
