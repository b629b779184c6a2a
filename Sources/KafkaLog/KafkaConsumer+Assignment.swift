import CRdKafka
import Glibc

extension KafkaConsumer {
    // MARK: Group

    /// Joins the group for these topics; a name that begins with `^` is a POSIX extended regular expression over topics' names.
    /// What the group gives comes as `assigned` events. Replaces an earlier subscription.
    public func subscribe(to topics: [String]) throws(KafkaLogError) {
        guard configuration.groupID != nil else { throw .invalidArgument("subscribe needs a group id in the configuration") }
        guard !topics.isEmpty, topics.allSatisfy({ !$0.isEmpty }) else { throw .invalidArgument("no topic to subscribe to") }
        let handle = try openHandle()
        let list = PartitionList(topics.map { TopicPartition(topic: $0, partition: -1) })
        try KafkaLogError.check(rd_kafka_subscribe(handle.client, list.list), "subscribe")
        if configuration.assignmentStrategy.contains("cooperative-sticky") { handle.context.expectsFirstAssignment() }
    }

    /// Leaves the group; the assignment is revoked by events as usual.
    public func unsubscribe() throws(KafkaLogError) {
        try KafkaLogError.check(rd_kafka_unsubscribe(try openHandle().client), "unsubscribe")
    }

    /// Answers `assigned`: from here on the partitions flow, each from its position.
    ///
    /// - Parameters:
    ///   - positions: concrete positions of this cluster, for every assigned partition that is not in `paused`.
    ///   - paused: partitions of which nothing is handed out until `resume`. Those without a position need a `seek` first.
    /// - Throws: `noRebalancePending`, `missingPositions`, `wrongCluster` (nothing is assigned then: call again),
    ///   `failed`, `partitionsFailed`.
    public func acceptAssignment(
        _ positions: [TopicPartition: Position], paused: Set<TopicPartition> = []
    ) throws(KafkaLogError) {
        let handle = try openHandle()
        guard let rebalance = pendingRebalance, rebalance.kind == .assign else { throw .noRebalancePending }
        let missing = rebalance.partitions.filter { positions[$0] == nil && !paused.contains($0) }
        guard missing.isEmpty else { throw .missingPositions(missing) }
        let wanted = positions.filter { rebalance.partitions.contains($0.key) }
        try checkCluster(wanted)
        let list = PartitionList(capacity: rebalance.partitions.count)
        // A held partition needs some number: nothing is handed out from it before a seek.
        for partition in rebalance.partitions { list.add(partition, offset: wanted[partition]?.offset ?? 0) }
        if rebalance.isCooperative {
            try KafkaLogError.check(consuming: rd_kafka_incremental_assign(handle.client, list.list), "accept assignment")
        } else {
            try KafkaLogError.check(rd_kafka_assign(handle.client, list.list), "accept assignment")
            partitions.removeAll()
        }
        isCooperative = rebalance.isCooperative
        relief?.expectDrops()
        pendingRebalance = nil
        for partition in rebalance.partitions {
            partitions.add(partition, next: wanted[partition]?.offset, isPaused: paused.contains(partition))
        }
        try pauseInLibrary(rebalance.partitions.filter { paused.contains($0) }, handle)
        try list.checkPartitions("accept assignment")
    }

    /// Answers `revoking` and `lost`: gives the partitions of that event up. Before this no other member gets them.
    public func completeRevocation() throws(KafkaLogError) {
        let handle = try openHandle()
        guard let rebalance = pendingRebalance, rebalance.kind != .assign else { throw .noRebalancePending }
        pendingRebalance = nil
        relief?.expectDrops()
        defer { partitions.remove(rebalance.partitions) }
        try Self.giveUp(rebalance, handle)
    }

    static func giveUp(_ rebalance: CallbackContext.Rebalance, _ handle: ClientHandle) throws(KafkaLogError) {
        handle.context.join.expectJoin()
        if rebalance.isCooperative {
            let list = PartitionList(rebalance.partitions)
            try KafkaLogError.check(consuming: rd_kafka_incremental_unassign(handle.client, list.list), "complete revocation")
        } else {
            try KafkaLogError.check(rd_kafka_assign(handle.client, nil), "complete revocation")
        }
    }

    // MARK: By hand

    /// Reads exactly these partitions from these positions, without a group's doing. Replaces what was assigned; empty: nothing.
    public func assign(_ positions: [TopicPartition: Position], paused: Set<TopicPartition> = []) throws(KafkaLogError) {
        let handle = try openHandle()
        try checkCluster(positions)
        let list = PartitionList(capacity: positions.count)
        for (partition, position) in positions { list.add(partition, offset: position.offset) }
        try KafkaLogError.check(rd_kafka_assign(handle.client, list.list), "assign")
        lookForLeaders(of: positions.keys, handle)
        relief?.expectDrops()
        isCooperative = false
        partitions.removeAll()
        for (partition, position) in positions {
            partitions.add(partition, next: position.offset, isPaused: paused.contains(partition))
        }
        try pauseInLibrary(positions.keys.filter { paused.contains($0) }, handle)
        try list.checkPartitions("assign")
    }

    /// librdkafka looks for the leaders of assigned partitions that are new to it once a second only: this makes it look now. Nobody waits for
    /// the answer. After the assignment, not before it: where the leader is known already, each partition that starts wakes its thread, which then
    /// goes through all that it has.
    private func lookForLeaders(of partitions: some Collection<TopicPartition>, _ handle: ClientHandle) {
        let fresh = partitions.filter { !lookedFor.contains($0) }
        guard !fresh.isEmpty else { return }
        lookedFor.formUnion(fresh)
        var answer: UnsafePointer<rd_kafka_metadata>?
        // Of all topics that this client knows. The request goes out at once when a broker is connected; else it is made by connecting.
        if rd_kafka_metadata(handle.client, 0, nil, &answer, 1) == RD_KAFKA_RESP_ERR_NO_ERROR, let answer { rd_kafka_metadata_destroy(answer) }
    }

    /// The partitions that this consumer reads or holds now.
    public var assignedPartitions: Set<TopicPartition> { Set(partitions.all) }

    /// Where each assigned partition goes on: after the last record that was handed out. A held partition has none.
    public func positions() throws(KafkaLogError) -> [TopicPartition: Position] {
        guard !partitions.isEmpty else { return [:] }
        let cluster = try clusterID()
        var result: [TopicPartition: Position] = [:]
        for entry in partitions.entries { if let next = entry.next { result[entry.partition] = Position(next, in: cluster) } }
        return result
    }

    /// Goes on reading from these positions; nothing from before the seek is handed out after it. Events already taken are the
    /// caller's.
    /// - Throws: `partitionsFailed` with the partitions that could not be moved; the others were.
    public func seek(_ positions: [TopicPartition: Position], timeout: Duration = .seconds(10)) throws(KafkaLogError) {
        let handle = try openHandle()
        try checkAssigned(positions.keys)
        try checkCluster(positions)
        try seekInLibrary(positions.mapValues(\.offset), handle, timeout: timeout)
    }

    /// Stops handing out records of these partitions. Call `nextEvent` all the same.
    public func pause(_ partitions: some Collection<TopicPartition>) throws(KafkaLogError) {
        let handle = try openHandle()
        try checkAssigned(partitions)
        for partition in partitions { self.partitions.update(partition) { $0.isPaused = true } }
        try pauseInLibrary(Array(partitions), handle)
    }

    /// Goes on where each partition stood when it was paused, or where it was moved since by `seek`.
    /// - Throws: `missingPositions` when one is held without a position.
    public func resume(_ partitions: some Collection<TopicPartition>, timeout: Duration = .seconds(10)) throws(KafkaLogError) {
        let handle = try openHandle()
        try checkAssigned(partitions)
        let held = partitions.filter { self.partitions[$0]?.next == nil }
        guard held.isEmpty else { throw .missingPositions(Array(held)) }
        var back: [TopicPartition: Int64] = [:]
        for partition in partitions { if let entry = self.partitions[partition], entry.needsSeek { back[partition] = entry.next } }
        try seekInLibrary(back, handle, timeout: timeout)
        let list = PartitionList(Array(partitions))
        relief?.expectDrops()
        try KafkaLogError.check(rd_kafka_resume_partitions(handle.client, list.list), "resume")
        for partition in partitions { self.partitions.update(partition) { $0.isPaused = false } }
        try list.checkPartitions("resume")
    }

    private func checkAssigned(_ wanted: some Collection<TopicPartition>) throws(KafkaLogError) {
        let unknown = wanted.filter { partitions[$0] == nil }
        guard unknown.isEmpty else { throw .notAssigned(Array(unknown)) }
    }

    private func pauseInLibrary(_ wanted: [TopicPartition], _ handle: ClientHandle) throws(KafkaLogError) {
        guard !wanted.isEmpty else { return }
        relief?.expectDrops()
        let list = PartitionList(wanted)
        try KafkaLogError.check(rd_kafka_pause_partitions(handle.client, list.list), "pause")
        try list.checkPartitions("pause")
    }

    private func seekInLibrary(
        _ offsets: [TopicPartition: Int64], _ handle: ClientHandle, timeout: Duration
    ) throws(KafkaLogError) {
        if !offsets.isEmpty { relief?.expectDrops() }
        let deadline = ContinuousClock.now + timeout
        var stopped: [TopicPartition: Int64] = [:]
        var failures: [TopicPartition: LibraryFailure] = [:]
        for part in PartitionList.parts(of: offsets.keys) {
            var open = part
            var pause = Self.firstSeekPause
            while true {
                let remaining = Swift.max(.milliseconds(1), ContinuousClock.now.duration(to: deadline))
                open = try seekInLibrary(open, offsets, handle, timeout: remaining, &stopped, &failures)
                guard !open.isEmpty else { break }
                guard remaining > pause else { throw .deadlineExceeded(what: "seek") }
                // Blocks this client's thread, as the seek itself does.
                usleep(UInt32(clamping: pause.nanoseconds / 1000))
                pause = Swift.min(pause * 2, Self.lastSeekPause)
            }
        }
        try restart(stopped, handle)
        if !failures.isEmpty { throw .partitionsFailed(failures) }
    }

    /// Between two tries of a seek that librdkafka gave up too early.
    private static let firstSeekPause = Duration.milliseconds(5)
    private static let lastSeekPause = Duration.milliseconds(100)

    /// Returns those that have no answer yet: librdkafka 2.0.2 waits for each answer for a thousandth of the time that it was given, and with
    /// many partitions its main thread may be busy for longer. Seeking again to the same offset does no harm.
    private func seekInLibrary(
        _ part: ArraySlice<TopicPartition>, _ offsets: [TopicPartition: Int64], _ handle: ClientHandle, timeout: Duration,
        _ stopped: inout [TopicPartition: Int64], _ failures: inout [TopicPartition: LibraryFailure]
    ) throws(KafkaLogError) -> ArraySlice<TopicPartition> {
        let list = PartitionList(capacity: part.count)
        for partition in part { list.add(partition, offset: offsets[partition]) }
        let milliseconds = Swift.max(1, timeout.timeoutMilliseconds)
        do { try KafkaLogError.check(consuming: rd_kafka_seek_partitions(handle.client, list.list, milliseconds), "seek") } catch {
            guard error.code == RD_KAFKA_RESP_ERR__TIMED_OUT.rawValue else { throw error }
        }
        for index in 0..<list.count where list.list.pointee.elems[index].err == RD_KAFKA_RESP_ERR__STATE {
            list.list.pointee.elems[index].err = RD_KAFKA_RESP_ERR_NO_ERROR
            let element = list.list.pointee.elems[index]
            guard let topic = element.topic else { continue }
            let partition = TopicPartition(topic: String(cString: topic), partition: element.partition)
            stopped[partition] = offsets[partition]
        }
        var open: [TopicPartition] = []
        list.forEach { element in
            guard element.error != RD_KAFKA_RESP_ERR__IN_PROGRESS else { return open.append(element.partition) }
            failures[element.partition] = element.failure("seek")
            guard element.error == RD_KAFKA_RESP_ERR_NO_ERROR, let offset = offsets[element.partition] else { return }
            partitions.update(element.partition) {
                $0.next = offset
                $0.needsSeek = false
            }
        }
        return open[...]
    }

    /// librdkafka can't seek a partition that it has stopped, after an offset out of range or when it has just been assigned:
    /// assigning it anew starts it. The others go on where their records ended.
    private func restart(_ stopped: [TopicPartition: Int64], _ handle: ClientHandle) throws(KafkaLogError) {
        guard !stopped.isEmpty else { return }
        let again = isCooperative ? partitions.entries.filter { stopped[$0.partition] != nil } : partitions.entries
        let list = PartitionList(capacity: again.count)
        for entry in again { list.add(entry.partition, offset: entry.next ?? 0) }
        if isCooperative {
            try KafkaLogError.check(consuming: rd_kafka_incremental_unassign(handle.client, list.list), "seek")
            try KafkaLogError.check(consuming: rd_kafka_incremental_assign(handle.client, list.list), "seek")
        } else {
            try KafkaLogError.check(rd_kafka_assign(handle.client, list.list), "seek")
        }
        try pauseInLibrary(again.filter(\.isPaused).map(\.partition), handle)
        try list.checkPartitions("seek")
    }
}
