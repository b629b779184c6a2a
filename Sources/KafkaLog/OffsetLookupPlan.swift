import CRdKafka

/// Looks times or watermarks up for many partitions, again where it may help: librdkafka 2.0.2 doesn't refresh a moved leader for
/// these requests, so the metadata is refreshed between attempts, and then asked leader by leader, so that one
/// broker that is gone fails its own partitions only.
struct OffsetLookupPlan {
    static let attemptLimit = 6
    /// Between attempts, so that a new leader can be elected.
    static let pause: Duration = .milliseconds(100)

    /// The longest wait for the metadata between attempts.
    static let refreshLimit: Duration = .seconds(2)

    private(set) var open: [TopicPartition: MillisecondTimestamp?]
    private(set) var done: [TopicPartition: Result<OffsetLookup, KafkaLogError>] = [:]
    private var groups: [[TopicPartition]]
    private let cluster: ClusterID

    /// A nil time asks for the watermarks only (`found` false, `start` the high one).
    init(_ times: [TopicPartition: MillisecondTimestamp?], cluster: ClusterID) {
        open = times
        groups = [Array(times.keys)]
        self.cluster = cluster
    }

    var isDone: Bool { open.isEmpty }

    /// One attempt at everything open. Blocks the client's thread.
    mutating func attempt(_ handle: ClientHandle, until deadline: ContinuousClock.Instant, isLast: Bool) {
        for group in groups {
            let remaining = ContinuousClock.now.duration(to: deadline)
            // Half of what is left for one group: a broker that doesn't answer leaves time for the others and for another try.
            let timeout = max(.milliseconds(50), groups.count == 1 && isLast ? remaining : remaining / 2)
            resolve(group.filter { open[$0] != nil }, handle, timeout: timeout, isLast: isLast)
        }
    }

    /// After a failed attempt: what the cluster says now decides how to ask again.
    mutating func regroup(_ metadata: ClusterMetadata) {
        var byLeader: [Int32?: [TopicPartition]] = [:]
        var leaders: [TopicPartition: Int32] = [:]
        for topic in metadata.topics {
            for partition in topic.partitions {
                if let leader = partition.leader { leaders[TopicPartition(topic: topic.name, partition: partition.id)] = leader }
            }
        }
        for partition in open.keys { byLeader[leaders[partition], default: []].append(partition) }
        // A partition without a leader or that isn't there makes librdkafka fail the whole call: each of these alone.
        let lost = byLeader.removeValue(forKey: nil) ?? []
        groups = Array(byLeader.values) + lost.map { [$0] }
    }

    /// `error` becomes the answer of everything that has none.
    mutating func giveUp(_ error: KafkaLogError) {
        for partition in open.keys { done[partition] = .failure(error) }
        open = [:]
    }

    private mutating func resolve(_ group: [TopicPartition], _ handle: ClientHandle, timeout: Duration, isLast: Bool) {
        guard !group.isEmpty else { return }
        // The order matters: what arrives after the high watermark was read is above it, so it can't be skipped.
        let high = handle.listOffsets(Dictionary(uniqueKeysWithValues: group.map { ($0, ClientHandle.latest) }), timeout: timeout)
        let reached = group.filter { settle($0, high[$0], isLast: isLast) }
        guard !reached.isEmpty else { return }
        var times: [TopicPartition: Int64] = [:]
        for partition in reached { if case .some(.some(let time)) = open[partition] { times[partition] = time.milliseconds } }
        let found = times.isEmpty ? [:] : handle.listOffsets(times, timeout: timeout)
        let answered = reached.filter { times[$0] == nil || settle($0, found[$0], isLast: isLast) }
        guard !answered.isEmpty else { return }
        let low = handle.listOffsets(
            Dictionary(uniqueKeysWithValues: answered.map { ($0, ClientHandle.earliest) }), timeout: timeout)
        for partition in answered where settle(partition, low[partition], isLast: isLast) {
            guard case .success(let highOffset)? = high[partition], case .success(let lowOffset)? = low[partition] else { continue }
            var start = highOffset
            if case .success(let offset)? = found[partition], offset >= 0 { start = offset }
            let isFound = times[partition] != nil && (try? found[partition]?.get()).map { $0 >= 0 } ?? false
            guard highOffset >= 0, lowOffset >= 0 else {
                let failure = LibraryFailure(
                    RD_KAFKA_RESP_ERR__BAD_MSG, operation: "list offsets", text: "a watermark below 0")
                _ = settle(partition, .failure(.partitionFailed(partition, failure)), isLast: isLast)
                continue
            }
            done[partition] = .success(
                OffsetLookup(
                    start: Position(start, in: cluster), found: isFound, low: Position(lowOffset, in: cluster),
                    high: Position(highOffset, in: cluster)))
            open[partition] = nil
        }
    }

    /// true: `answer` is good. A failure that can't change by itself, or in the last attempt, becomes the partition's result.
    private mutating func settle(_ partition: TopicPartition, _ answer: Result<Int64, KafkaLogError>?, isLast: Bool) -> Bool {
        guard case .failure(let error)? = answer else { return answer != nil }
        if isLast || !(error.isRetriable || Self.mayBeStaleMetadata(error)) {
            done[partition] = .failure(error)
            open[partition] = nil
        }
        return false
    }

    /// librdkafka's "unknown partition" may mean that it has not heard of it yet.
    private static func mayBeStaleMetadata(_ error: KafkaLogError) -> Bool {
        error.code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION.rawValue || error.code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC.rawValue
    }
}
