import CRdKafka

/// What a group has committed in Kafka for one partition.
public struct CommittedOffset: Hashable, Sendable {
    public var position: Position
    /// Any text that goes with the commit; Kafka keeps at most 4096 bytes unless set otherwise. nil or empty: none.
    public var metadata: String?

    public init(_ position: Position, metadata: String? = nil) {
        self.position = position
        self.metadata = metadata
    }
}

extension KafkaConsumer {
    // MARK: Commits

    /// Commits to the group and waits for the broker's answer. Reading goes on meanwhile.
    ///
    /// - Throws: `partitionsFailed` with what was not committed (the others were), `failed` (with `isRebalance` while the group
    ///   changes its members: nothing was sent, a later commit covers it), `wrongCluster`;
    ///   `deadlineExceeded` when no answer came: it may have been committed or not.
    public func commit(
        _ offsets: [TopicPartition: CommittedOffset], timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) {
        guard !offsets.isEmpty else { return }
        let result: Result<Void, KafkaLogError> = await withCheckedContinuation { continuation in
            let id = replies.add {
                continuation.resume(returning: Self.commitResult($0))
            } orFail: {
                continuation.resume(returning: .failure($0))
            }
            do throws(KafkaLogError) {
                try sendCommit(offsets, id: id)
            } catch {
                replies.fail(id, error)
                return
            }
            expire(id, after: timeout, what: "commit")
        }
        try result.get()
    }

    /// Commits to the group without waiting. A failure comes as a `failed` event; throws as `commit` while a rebalance goes on.
    public func enqueueCommit(_ offsets: [TopicPartition: CommittedOffset]) throws(KafkaLogError) {
        guard !offsets.isEmpty else { return }
        try sendCommit(offsets, id: 0)
    }

    private func sendCommit(_ offsets: [TopicPartition: CommittedOffset], id: UInt) throws(KafkaLogError) {
        guard configuration.groupID != nil else { throw .invalidArgument("a commit needs a group id in the configuration") }
        let handle = try openHandle()
        try checkCluster(offsets.mapValues(\.position))
        guard !handle.context.join.isJoining else {
            throw .failed(LibraryFailure(RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, operation: "commit"))
        }
        let list = PartitionList(capacity: offsets.count)
        for (partition, offset) in offsets { list.add(partition, offset: offset.position.offset, metadata: offset.metadata) }
        let code = rd_kafka_commit_queue(
            handle.client, list.list, handle.replyQueue, nil, UnsafeMutableRawPointer(bitPattern: id))
        try KafkaLogError.check(code, "commit")
    }

    private static func commitResult(_ event: borrowing ReplyEvent) -> Result<Void, KafkaLogError> {
        var failures: [TopicPartition: LibraryFailure] = [:]
        PartitionList.forEach(rd_kafka_event_topic_partition_list(event.event)) { element in
            if let failure = element.failure("commit") { failures[element.partition] = failure }
        }
        if !failures.isEmpty { return .failure(.partitionsFailed(failures)) }
        if let failure = event.failure("commit") { return .failure(.failed(failure)) }
        return .success(())
    }

    func serveReplies() {
        guard let handle else { return }
        while let event = rd_kafka_queue_poll(handle.replyQueue, 0) {
            let reply = ReplyEvent(event)
            if replies.deliver(reply) || reply.type != RD_KAFKA_EVENT_OFFSET_COMMIT { continue }
            if case .failure(let error) = Self.commitResult(reply) { pendingEvents.append(.failed(error)) }
        }
    }

    private func expire(_ id: UInt, after timeout: Duration, what: String) {
        Task { [weak self] in
            try? await Task.sleep(for: timeout)
            await self?.failReply(id, .deadlineExceeded(what: what))
        }
    }

    private func failReply(_ id: UInt, _ error: KafkaLogError) { replies.fail(id, error) }

    /// What the group has committed; nil: nothing for that partition. Blocks reading, at most `timeout`.
    public func committed(
        _ wanted: some Collection<TopicPartition>, timeout: Duration = .seconds(10)
    ) throws(KafkaLogError) -> [TopicPartition: Result<CommittedOffset?, KafkaLogError>] {
        guard !wanted.isEmpty else { return [:] }
        guard configuration.groupID != nil else { throw .invalidArgument("committed needs a group id in the configuration") }
        let handle = try openHandle()
        let deadline = ContinuousClock.now + timeout
        let cluster = try clusterID(timeout: timeout)
        var result: [TopicPartition: Result<CommittedOffset?, KafkaLogError>] = [:]
        for part in PartitionList.parts(of: wanted) {
            let remaining = max(.milliseconds(1), ContinuousClock.now.duration(to: deadline))
            try committed(part, handle, cluster, timeout: remaining, &result)
        }
        return result
    }

    private func committed(
        _ wanted: ArraySlice<TopicPartition>, _ handle: ClientHandle, _ cluster: ClusterID, timeout: Duration,
        _ result: inout [TopicPartition: Result<CommittedOffset?, KafkaLogError>]
    ) throws(KafkaLogError) {
        let list = PartitionList(wanted)
        try KafkaLogError.check(rd_kafka_committed(handle.client, list.list, timeout.timeoutMilliseconds), "committed")
        list.forEach { element in
            if let failure = element.failure("committed") {
                result[element.partition] = .failure(.partitionFailed(element.partition, failure))
            } else if element.offset < 0 {
                result[element.partition] = .success(nil)
            } else {
                result[element.partition] = .success(
                    CommittedOffset(Position(element.offset, in: cluster), metadata: element.metadata))
            }
        }
    }

    // MARK: Log ends and times

    /// Where to start for each partition's time; see `OffsetLookup`. One request per leading broker and 500 partitions, not per partition; what
    /// fails is tried again after a metadata refresh, at most `OffsetLookupPlan.attemptLimit` times and until `timeout`.
    /// Every partition asked for is in the answer.
    public func lookUp(
        times: [TopicPartition: MillisecondTimestamp], timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        try await runLookup(times.mapValues { Optional($0) }, timeout: timeout)
    }

    /// The first offset and the high watermark of each partition. Otherwise as `lookUp`.
    public func watermarks(
        _ wanted: some Collection<TopicPartition>, timeout: Duration = .seconds(10)
    ) async throws(KafkaLogError) -> [TopicPartition: Result<Watermarks, KafkaLogError>] {
        let none: MillisecondTimestamp? = nil
        let times = Dictionary(wanted.map { ($0, none) }, uniquingKeysWith: { first, _ in first })
        return try await runLookup(times, timeout: timeout).mapValues { $0.map { Watermarks(low: $0.low, high: $0.high) } }
    }

    private func runLookup(
        _ times: [TopicPartition: MillisecondTimestamp?], timeout: Duration
    ) async throws(KafkaLogError) -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        guard !times.isEmpty else { return [:] }
        let deadline = ContinuousClock.now + timeout
        let cluster = try clusterID(timeout: timeout)
        return await (try openHandle()).lookUp(times, until: deadline, cluster: cluster)
    }

    // MARK: Metadata

    /// Topics and their partitions. Blocks reading, at most `timeout`.
    public func metadata(_ selection: TopicSelection = .all, timeout: Duration = .seconds(10)) throws(KafkaLogError)
        -> ClusterMetadata
    {
        try openHandle().metadata(selection, timeout: timeout)
    }
}
