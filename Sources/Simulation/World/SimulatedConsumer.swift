import ChangePropagation
import KafkaLog

/// A member of a simulated group: what `KafkaConsumer` is over librdkafka.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class SimulatedConsumer: GroupConsumer, @unchecked Sendable {
    private struct Held {
        var next: Int64?
        var isPaused: Bool
        var isFailed = false
        var isLeaving = false
    }

    private let host: Host
    private let cluster: Cluster
    private let group: Group
    private let links: Links
    private let withIDs: Bool
    private var random: SeededRandom
    private var member: Group.Member?
    private var isSubscribed = false
    private var events: [ConsumerEvent] = []
    private var held: [TopicPartition: Held] = [:]
    /// The rebalance that the owner has to answer; others wait behind it.
    private var pending: (given: [TopicPartition]?, taken: [TopicPartition]?)?
    private var rebalances: [() -> Void] = []
    private var reader: Wait<Bool>?
    /// Told of every partition that its owner accepts.
    var onAssigned: (TopicPartition) -> Void = { _ in }
    /// Whether the group has told it anything yet.
    private(set) var wasAssigned = false

    init(host: Host, cluster: Cluster, group: Group, links: Links, withIDs: Bool, random: SeededRandom) {
        self.host = host
        self.cluster = cluster
        self.group = group
        self.links = links
        self.withIDs = withIDs
        self.random = random
        cluster.appended.append { [weak self] partition in self?.recordsCame(partition) }
    }

    private var reaches: Bool { !cluster.isDown && group.hears(host) }

    /// A round trip to a broker. False: no answer.
    private func trip(limit: Duration) async -> Bool {
        let done: Bool? = await host.wait { wait in
            host.time.after(limit.nanoseconds) { wait.fulfil(false) }
            let way: Moment = .milliseconds(random.int(1...4))
            if reaches { host.time.after(way) { [self] in if reaches { wait.fulfil(true) } } }
        }
        return done ?? false
    }

    private func noAnswer(_ what: String) -> KafkaLogError { host.isDead ? .closed : .deadlineExceeded(what: what) }

    /// Where a lookup by time answered "none": the log's end then, which a mutant resolves anew whenever it is used (trap 7).
    var noneAt: ((TopicPartition) -> Int64?)?
    /// Records before that place from which a scan begins.
    private static let room: Int64 = 40

    private func endsLate(_ partition: TopicPartition, _ offset: Int64) -> Int64 {
        guard let end = noneAt?(partition), offset <= end, offset > end - Self.room, let log = cluster.logs[partition] else { return offset }
        return offset + log.end - end
    }

    // MARK: What the group says

    func assigned(_ given: [TopicPartition]) {
        wasAssigned = true
        tell { [self] in
            pending = (given, nil)
            events.append(.assigned(given))
        }
    }

    func revoking(_ taken: [TopicPartition]) {
        tell { [self] in
            for partition in taken { held[partition]?.isLeaving = true }
            pending = (nil, taken)
            events.append(.revoking(taken))
        }
    }

    /// The group has put this member out. It knows by itself: librdkafka gives its partitions up when the coordinator has not answered for the
    /// session timeout.
    func expelled(_ lost: Set<TopicPartition>) {
        hearOfExpulsion(lost)
    }

    private func hearOfExpulsion(_ lost: Set<TopicPartition>) {
        guard !host.isDead else { return }
        guard host.isUp else {
            host.time.after(.milliseconds(100)) { [self] in hearOfExpulsion(lost) }
            return
        }
        // What was on its way is void.
        rebalances = []
        events.removeAll { if case .assigned = $0 { true } else if case .revoking = $0 { true } else { false } }
        pending = nil
        let mine = held.keys.sorted()
        for partition in mine { held[partition]?.isLeaving = true }
        wasAssigned = false
        tell { [self] in
            pending = (nil, mine)
            events.append(.lost(mine))
        }
    }

    private func tell(_ rebalance: @escaping () -> Void) {
        host.time.after(.milliseconds(random.int(1...200))) { [self] in
            host.deliver { [self] in
                rebalances.append(rebalance)
                nextRebalance()
            }
        }
    }

    private func nextRebalance() {
        guard pending == nil, !rebalances.isEmpty else { return }
        rebalances.removeFirst()()
        wake()
    }

    private func wake() {
        let waiting = reader
        reader = nil
        waiting?.fulfil(true)
    }

    private func recordsCame(_ partition: TopicPartition) {
        guard let entry = held[partition], !entry.isPaused, !entry.isLeaving else { return }
        wake()
    }

    // MARK: GroupConsumer

    func subscribe(to topics: [String]) async throws(KafkaLogError) {
        isSubscribed = true
        member = group.join(host, self)
    }

    func nextEvent(max count: Int, within limit: Duration) async throws -> ConsumerEvent? {
        if host.isDead || Task.isCancelled { throw CancellationError() }
        if !events.isEmpty { return events.removeFirst() }
        let deadline = host.time.now &+ limit.nanoseconds
        while true {
            if hasRecords, reaches {
                // A fetch takes its time.
                guard await trip(limit: limit) || !host.isDead else { throw CancellationError() }
                if !events.isEmpty { return events.removeFirst() }
                if reaches, let batch = fetch(Swift.min(count, random.int(1...24))) { return .batch(batch) }
            }
            guard host.time.now < deadline else { return nil }
            let rest = deadline - host.time.now
            let woken: Bool? = await host.wait { wait in
                reader = wait
                host.time.after(rest) { wait.fulfil(false) }
            }
            guard woken != nil else { throw CancellationError() }
            if !events.isEmpty { return events.removeFirst() }
        }
    }

    private var hasRecords: Bool {
        held.contains { partition, entry in
            guard !entry.isPaused, !entry.isLeaving, !entry.isFailed, let next = entry.next, let log = cluster.logs[partition] else { return false }
            return next < log.start || next < log.end || next > log.end
        }
    }

    private func fetch(_ count: Int) -> RecordBatch? {
        var records: [Record] = []
        let order = held.keys.sorted()
        let first = order.isEmpty ? 0 : random.int(0...order.count - 1)
        for turn in order.indices where records.count < count {
            let partition = order[(first + turn) % order.count]
            guard let entry = held[partition], !entry.isPaused, !entry.isLeaving, !entry.isFailed, let next = entry.next,
                let log = cluster.logs[partition]
            else { continue }
            guard next >= log.start, next <= log.end else {
                held[partition]?.isFailed = true
                events.append(.partitionFailed(partition, .offsetOutOfRange(partition, text: "simulated")))
                continue
            }
            let from = log.index(from: next)
            for record in log.records[from...].prefix(count - records.count) {
                records.append(self.record(record, partition))
                held[partition]?.next = record.offset + 1
            }
        }
        return RecordBatch(records)
    }

    private func record(_ record: LogRecord, _ partition: TopicPartition) -> Record {
        let stamped = cluster.appendTimeTopics.contains(partition.topic)
        return Record(
            partition: partition, position: Position(record.offset, in: cluster.id), timestamp: record.timestamp,
            timestampType: record.timestamp == nil ? .none : stamped ? .logAppendTime : .createTime,
            key: Array("k\(record.event.key)".utf8), value: record.event.value(withID: withIDs), headers: [])
    }

    func acceptAssignment(_ positions: [TopicPartition: Position], paused: Set<TopicPartition>) async throws(KafkaLogError) {
        guard let given = pending?.given else { throw .noRebalancePending }
        for partition in given { held[partition] = Held(next: positions[partition]?.offset, isPaused: paused.contains(partition)) }
        given.forEach(onAssigned)
        pending = nil
        nextRebalance()
    }

    func completeRevocation() async throws(KafkaLogError) {
        guard let taken = pending?.taken else { throw .noRebalancePending }
        for partition in taken { held[partition] = nil }
        pending = nil
        if let member, !member.isOut { group.released(member, Set(taken)) } else { rejoin() }
        nextRebalance()
    }

    /// Put out of the group: it joins anew when it can.
    private func rejoin() {
        guard isSubscribed, !host.isDead, member?.isOut != false else { return }
        guard host.isUp, reaches else {
            host.time.after(.milliseconds(100)) { [self] in rejoin() }
            return
        }
        member = group.join(host, self)
    }

    private func check(_ partitions: some Sequence<TopicPartition>) throws(KafkaLogError) {
        let unknown = partitions.filter { held[$0] == nil }
        guard unknown.isEmpty else { throw .notAssigned(unknown) }
    }

    func pause(_ partitions: [TopicPartition]) async throws(KafkaLogError) {
        try check(partitions)
        for partition in partitions { held[partition]?.isPaused = true }
    }

    func resume(_ partitions: [TopicPartition]) async throws(KafkaLogError) {
        try check(partitions)
        let missing = partitions.filter { held[$0]?.next == nil }
        guard missing.isEmpty else { throw .missingPositions(missing) }
        for partition in partitions { held[partition]?.isPaused = false }
    }

    func seek(_ positions: [TopicPartition: Position], timeout: Duration) async throws(KafkaLogError) {
        try check(positions.keys)
        guard await trip(limit: timeout) else { throw noAnswer("seek") }
        try check(positions.keys)
        for (partition, position) in positions {
            held[partition]?.next = endsLate(partition, position.offset)
            held[partition]?.isFailed = false
        }
    }

    func commit(_ offsets: [TopicPartition: CommittedOffset], timeout: Duration) async throws(KafkaLogError) {
        guard await trip(limit: timeout) else { throw noAnswer("commit") }
        guard let member, group.commit(offsets, by: member) else { throw .notAssigned(Array(offsets.keys)) }
    }

    func enqueueCommit(_ offsets: [TopicPartition: CommittedOffset]) async throws(KafkaLogError) {
        guard !host.isDead, let member, reaches else { return }
        host.time.after(.milliseconds(random.int(1...20))) { [group] in _ = group.commit(offsets, by: member) }
    }

    func committed(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>] {
        guard await trip(limit: timeout) else { throw noAnswer("committed") }
        return Dictionary(uniqueKeysWithValues: wanted.map { ($0, .success(group.committed[$0])) })
    }

    func clusterID(timeout: Duration?) async throws(KafkaLogError) -> ClusterID { cluster.id }

    func close(within limit: Duration) async throws(KafkaLogError) {
        if let member, !host.isDead { group.leave(member) }
        isSubscribed = false
        held = [:]
    }
}

/// What `KafkaAdmin` is over librdkafka.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class SimulatedLookups: ClusterLookups, @unchecked Sendable {
    private let host: Host
    private let cluster: Cluster
    private let group: Group
    private var random: SeededRandom
    /// Where each partition's last lookup answered "none".
    private(set) var noneAt: [TopicPartition: Int64] = [:]

    init(host: Host, cluster: Cluster, group: Group, random: SeededRandom) {
        self.host = host
        self.cluster = cluster
        self.group = group
        self.random = random
    }

    private func ask<Answer: Sendable>(_ what: String, _ timeout: Duration, _ question: @escaping () -> Answer) async throws(KafkaLogError) -> Answer {
        let answer: Answer?? = await host.wait { wait in
            host.time.after(timeout.nanoseconds) { wait.fulfil(nil) }
            guard !cluster.isDown, group.hears(host) else { return }
            let way: Moment = .milliseconds(random.int(1...4)), back: Moment = .milliseconds(random.int(1...4))
            host.time.after(way) { [self] in
                guard !cluster.isDown, group.hears(host) else { return }
                let answer = question()
                host.time.after(back) { wait.fulfil(answer) }
            }
        }
        guard let answer, let answer else { throw host.isDead ? .closed : .deadlineExceeded(what: what) }
        return answer
    }

    func metadata(_ selection: TopicSelection, timeout: Duration) async throws(KafkaLogError) -> ClusterMetadata {
        try await ask("metadata", timeout) { [self] in
            let topics = Dictionary(grouping: cluster.partitions, by: \.topic).sorted { $0.key < $1.key }
            return ClusterMetadata(
                brokers: [],
                topics: topics.map { topic, partitions in
                    ClusterMetadata.Topic(name: topic, partitions: partitions.map { ClusterMetadata.Partition(id: $0.partition, leader: 1) })
                })
        }
    }

    func watermarks(
        _ wanted: [TopicPartition], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>] {
        try await ask("watermarks", timeout) { [self] in
            var answer: [TopicPartition: Result<Watermarks, KafkaLogError>] = [:]
            for partition in wanted {
                guard let log = cluster.logs[partition] else { continue }
                answer[partition] = .success(Watermarks(low: Position(log.start, in: cluster.id), high: Position(log.end, in: cluster.id)))
            }
            return answer
        }
    }

    func lookUp(
        times: [TopicPartition: MillisecondTimestamp], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        // The watermarks are read first, in a request of their own.
        let ends = try await watermarks(Array(times.keys), timeout: timeout)
        return try await ask("lookup", timeout) { [self] in
            var answer: [TopicPartition: Result<OffsetLookup, KafkaLogError>] = [:]
            for (partition, time) in times {
                guard let log = cluster.logs[partition], case .success(let before)? = ends[partition] else { continue }
                let found = log.firstOffset(from: time)
                // A lookup of time 0 only asks for the first time of all.
                if time.milliseconds > 0 { noneAt[partition] = found == nil ? before.high.offset : nil }
                answer[partition] = .success(
                    OffsetLookup(
                        start: found.map { Position($0, in: cluster.id) } ?? before.high, found: found != nil,
                        low: Position(log.start, in: cluster.id), high: before.high))
            }
            return answer
        }
    }
}
