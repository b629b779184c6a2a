import CRdKafka

/// Where to start reading for a time, as Docs/Design.md 3 step 2 asks for it.
public struct OffsetLookup: Hashable, Sendable {
    /// The first record whose timestamp is at or after the time; without one, the high watermark that was read
    /// before the time was looked up: a concrete offset, so nothing that arrives meanwhile is skipped.
    public let start: Position
    /// Whether there is such a record. false: caught up, mirror behind, or an empty partition.
    public let found: Bool
    /// The log's first offset, read after the lookup: when it is above `start`, the log was trimmed meanwhile.
    public let low: Position
    /// The offset after the last record (high watermark), read before the lookup.
    public let high: Position

    public init(start: Position, found: Bool, low: Position, high: Position) {
        self.start = start
        self.found = found
        self.low = low
        self.high = high
    }
}

/// The ends of a partition's log.
public struct Watermarks: Hashable, Sendable {
    public let low: Position
    public let high: Position

    public init(low: Position, high: Position) {
        self.low = low
        self.high = high
    }
}

extension ClientHandle {
    /// Kafka's ListOffsets times with a meaning of their own.
    static let latest: Int64 = -1
    static let earliest: Int64 = -2

    typealias Offsets = [TopicPartition: Result<Int64, KafkaLogError>]

    /// One ListOffsets round for many partitions at once, each with its own time (ms, or `latest`, `earliest`): one request per leading
    /// broker and `PartitionList.callLimit` partitions. -1 in an answer to a time: no such record.
    /// Every partition asked for is in the answer. Blocks the client's thread, at most `timeout`.
    func listOffsets(_ times: [TopicPartition: Int64], timeout: Duration) -> Offsets {
        let deadline = ContinuousClock.now + timeout
        var answers: Offsets = [:]
        answers.reserveCapacity(times.count)
        for part in PartitionList.parts(of: times.keys) {
            listOffsets(part.map { ($0, times[$0] ?? Self.latest) }, timeout: max(.zero, ContinuousClock.now.duration(to: deadline)), &answers)
        }
        for partition in times.keys where answers[partition] == nil {
            answers[partition] = .failure(
                .partitionFailed(partition, LibraryFailure(RD_KAFKA_RESP_ERR__FAIL, operation: "list offsets")))
        }
        return answers
    }

    private func listOffsets(_ times: [(TopicPartition, Int64)], timeout: Duration, _ answers: inout Offsets) {
        let list = PartitionList(capacity: times.count)
        for (partition, time) in times { list.add(partition, offset: time) }
        // librdkafka leaves a partition as it is when its broker has not answered in time, and reports success: the time asked for
        // would pass for an offset. An answered partition's error field is overwritten, so this one shows who wasn't.
        for index in 0..<list.count { list.list.pointee.elems[index].err = RD_KAFKA_RESP_ERR__IN_PROGRESS }
        let code = rd_kafka_offsets_for_times(client, list.list, timeout.timeoutMilliseconds)
        list.forEach { element in
            let error =
                code == RD_KAFKA_RESP_ERR_NO_ERROR
                ? element.error : element.error == RD_KAFKA_RESP_ERR_NO_ERROR || element.error == RD_KAFKA_RESP_ERR__IN_PROGRESS
                    ? code : element.error
            if error == RD_KAFKA_RESP_ERR_NO_ERROR {
                answers[element.partition] = .success(element.offset)
            } else {
                answers[element.partition] = .failure(
                    .partitionFailed(element.partition, LibraryFailure(error, operation: "list offsets")))
            }
        }
    }

    /// Runs a whole plan on the client's own actor, which other calls may use between two attempts.
    func lookUp(
        _ times: [TopicPartition: MillisecondTimestamp?], until deadline: ContinuousClock.Instant, cluster: ClusterID,
        isolation: isolated any Actor = #isolation
    ) async -> [TopicPartition: Result<OffsetLookup, KafkaLogError>] {
        var plan = OffsetLookupPlan(times, cluster: cluster)
        for attempt in 1...OffsetLookupPlan.attemptLimit {
            let isLast = attempt == OffsetLookupPlan.attemptLimit || ContinuousClock.now >= deadline
            plan.attempt(self, until: deadline, isLast: isLast)
            if plan.isDone || isLast { break }
            do {
                try await Task.sleep(for: OffsetLookupPlan.pause * attempt)
            } catch {
                plan.giveUp(.deadlineExceeded(what: "look up offsets: cancelled"))
                break
            }
            let refresh = min(ContinuousClock.now.duration(to: deadline), OffsetLookupPlan.refreshLimit)
            do throws(KafkaLogError) {
                plan.regroup(try metadata(.all, timeout: refresh))
            } catch {
                context.logger.notice("metadata refresh for a lookup failed", metadata: ["error": "\(error)"])
            }
        }
        plan.giveUp(.deadlineExceeded(what: "look up offsets"))
        return plan.done
    }
}
