import NIOCore

/// Fetch (1): whole batches as they were stored, sent from the file; waits for the smallest size that the client wants.
/// Fetch sessions are never made: every answer carries session id 0, which tells the client to go on with full requests.
enum FetchHandler {
    /// From this many bytes on a run of batches is sent with sendfile(2); below, reading it is cheaper.
    static let sendfileThreshold = 32 * 1024

    static let handler = APIHandler(.fetch, versions: 4...12, firstFlexible: 12) { context, reader in
        let request = try Request(reader, version: context.apiVersion)
        var writer = context.response()
        writer.int32(0)  // throttle time
        if context.apiVersion >= 7 {
            // A session that this broker would have to know: there are none.
            let hasSession = request.sessionID != 0 && request.sessionEpoch > 0
            let error: ErrorCode = hasSession ? .fetchSessionIDNotFound : (try context.injectedError() ?? .none)
            writer.error(error)
            writer.int32(0)  // session id
            if hasSession {
                writer.arrayCount(0)
                writer.noTaggedFields()
                return writer
            }
        }
        let results = try await wait(for: request, context: context)
        do {
            try write(results, request: request, context: context, to: &writer)
        } catch {
            writer.discard()
            throw error
        }
        return writer
    }

    struct Partition: Sendable {
        var topic: String
        var number: Int32
        var leaderEpoch: Int32 = -1
        var offset: Int64
        var maxBytes: Int32
    }

    struct Request: Sendable {
        var maxWait: Int32
        var minBytes: Int32
        var maxBytes: Int32
        var readsCommitted: Bool
        var sessionID: Int32 = 0
        var sessionEpoch: Int32 = -1
        /// In the order of the request; partitions of one topic stand together as they came.
        var topics: [[Partition]]
        /// The name of each element of `topics`, also when it has no partitions.
        var names: [String]

        init(_ source: WireReader, version: Int16) throws {
            var reader = source
            _ = try reader.int32()  // replica id
            maxWait = try reader.int32()
            minBytes = try reader.int32()
            maxBytes = try reader.int32()
            readsCommitted = try reader.int8() == 1
            if version >= 7 {
                sessionID = try reader.int32()
                sessionEpoch = try reader.int32()
            }
            let parsed = try reader.array("topics") { reader in
                let name = try reader.string("topic")
                let partitions = try reader.array("partitions") { reader in
                    let number = try reader.int32()
                    let leaderEpoch = version >= 9 ? try reader.int32() : -1
                    let offset = try reader.int64()
                    if version >= 12 { _ = try reader.int32() }  // last fetched epoch
                    if version >= 5 { _ = try reader.int64() }  // log start offset of a follower
                    let maxBytes = try reader.int32()
                    try reader.skipTaggedFields()
                    return Partition(topic: name, number: number, leaderEpoch: leaderEpoch, offset: offset, maxBytes: maxBytes)
                }
                try reader.skipTaggedFields()
                return (name, partitions)
            }
            topics = parsed.map(\.1)
            names = parsed.map(\.0)
            // Forgotten topics (7) and the rack (11) follow; without sessions and racks they mean nothing.
        }
    }

    /// Reads what is there; when that is too little, waits for appends until the client's time is over.
    private static func wait(for request: Request, context: RequestContext) async throws -> [[PartitionLog.ReadResult]] {
        let wait = Duration.milliseconds(max(0, min(request.maxWait, Limits.maxFetchWaitMilliseconds)))
        let deadline = ContinuousClock.now + wait
        var injected: [[ErrorCode?]] = []
        for topic in request.topics {
            injected.append(try topic.map { try context.injectedError(topic: $0.topic, partition: $0.number) })
        }
        var found = collect(request, injected: injected, context: context)
        guard !isEnough(found, minBytes: request.minBytes), wait > .zero else { return found }

        let logs = request.topics.joined().compactMap { context.cluster.topics.partition($0.topic, $0.number) }
        let waker = WakeUp()
        for log in logs { log.addWaiter(waker) }
        defer { for log in logs { log.removeWaiter(waker) } }
        while true {
            found = collect(request, injected: injected, context: context)
            let left = ContinuousClock.now.duration(to: deadline)
            if isEnough(found, minBytes: request.minBytes) || left <= .zero || Task.isCancelled { return found }
            await waker.wait(timeout: left, on: context.cluster.eventLoop)
        }
    }

    private static func isEnough(_ results: [[PartitionLog.ReadResult]], minBytes: Int32) -> Bool {
        var bytes = 0
        for result in results.joined() {
            if result.error != .none { return true }
            bytes += result.slice?.count ?? 0
        }
        return bytes >= Int(minBytes)
    }

    private static func collect(
        _ request: Request, injected: [[ErrorCode?]], context: RequestContext
    ) -> [[PartitionLog.ReadResult]] {
        var left = min(Int(max(0, request.maxBytes)), Limits.maxFetchResponseBytes)
        var isFirst = true
        return zip(request.topics, injected).map { partitions, injected in
            let topic = partitions.first.flatMap { context.cluster.topics.topic($0.topic) }
            return zip(partitions, injected).map { partition, injected in
                if let injected { return PartitionLog.ReadResult(error: injected) }
                guard let log = topic?.partition(partition.number) else {
                    return PartitionLog.ReadResult(error: .unknownTopicOrPartition)
                }
                let result = log.read(
                    from: partition.offset, maxBytes: min(left, Int(max(0, partition.maxBytes))), atLeastOne: isFirst,
                    broker: context.brokerID, leaderEpoch: partition.leaderEpoch)
                if let slice = result.slice {
                    isFirst = false
                    left = max(0, left - slice.count)
                }
                return result
            }
        }
    }

    private static func write(
        _ results: [[PartitionLog.ReadResult]], request: Request, context: RequestContext, to writer: inout WireWriter
    ) throws {
        let version = context.apiVersion
        writer.arrayCount(request.topics.count)
        for (number, partitions) in request.topics.enumerated() {
            writer.string(request.names[number])
            writer.arrayCount(partitions.count)
            for (partition, result) in zip(partitions, results[number]) {
                writer.int32(partition.number)
                writer.error(result.error)
                writer.int64(result.highWatermark)
                writer.int64(result.highWatermark)  // last stable offset: there are no transactions
                if version >= 5 { writer.int64(result.logStart) }
                if request.readsCommitted { writer.arrayCount(0) } else { writer.nullArray() }  // aborted transactions
                if version >= 11 { writer.int32(-1) }  // preferred read replica
                try write(result.slice, to: &writer)
                writer.noTaggedFields()
            }
            writer.noTaggedFields()
        }
        writer.noTaggedFields()
    }

    private static func write(_ slice: PartitionLog.Slice?, to writer: inout WireWriter) throws {
        writer.bytesLength(slice?.count ?? 0)
        guard let slice else { return }
        if slice.count >= sendfileThreshold {
            writer.append(try slice.file.region(position: Int(slice.position), count: slice.count))
        } else {
            try slice.file.read(at: slice.position, count: slice.count, into: &writer.buffer)
        }
    }
}
