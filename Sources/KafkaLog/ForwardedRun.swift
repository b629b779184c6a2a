import CRdKafka
import Synchronization

/// Neighbouring records of one partition that a client read from one cluster, to be sent to another as they are.
public struct ForwardedRun: Sendable {
    public let batch: RecordBatch
    public let run: RecordBatch.Run

    /// `run` is one of `batch`'s own.
    public init(_ run: RecordBatch.Run, of batch: RecordBatch) {
        precondition(batch.runs.contains { $0.range == run.range }, "a run of another batch")
        self.batch = batch
        self.run = run
    }

    /// What became of a run.
    public struct Outcome: Sendable {
        /// Records from the run's start on that the broker has, without a gap.
        public var acknowledged: Int
        /// Where the first of them stands, and the place after the last; nil: the broker did not tell (it had them from an earlier try).
        public var first: Position?
        public var end: Position?
        /// Why the record after them was not acknowledged; nil: all were. Those that follow it may be written or not.
        public var failure: KafkaLogError?
        /// Records whose headers could not be read: they were sent without any.
        public var unreadableHeaders = 0
    }
}

/// Runs under way.
public final class Forwarding: Sendable {
    private struct State {
        var outcomes: [ForwardedRun.Outcome]?
        var waiting: [CheckedContinuation<[ForwardedRun.Outcome], Never>] = []
    }
    private let state = Mutex(State())

    init() {}

    /// What became of each run, in their order, when every one is acknowledged or has failed.
    public var outcomes: [ForwardedRun.Outcome] {
        get async {
            await withCheckedContinuation { continuation in
                let outcomes = state.withLock { state in
                    if state.outcomes == nil { state.waiting.append(continuation) }
                    return state.outcomes
                }
                if let outcomes { continuation.resume(returning: outcomes) }
            }
        }
    }

    func settle(_ outcomes: [ForwardedRun.Outcome]) {
        let waiting = state.withLock { state in
            state.outcomes = outcomes
            defer { state.waiting.removeAll() }
            return state.waiting
        }
        for continuation in waiting { continuation.resume(returning: outcomes) }
    }
}

/// The runs of one `forward`, until the last of them has its outcome. Touched by the producer's thread alone.
final class ForwardCall {
    let forwarding = Forwarding()
    private var outcomes: [ForwardedRun.Outcome?]
    private var open: Int
    /// Lives until all is told: librdkafka reads what it was lent, and somebody waits for the outcomes.
    private var producer: KafkaProducer?

    init(count: Int, of producer: KafkaProducer) {
        outcomes = Array(repeating: nil, count: count)
        open = count
        self.producer = producer
    }

    func settle(_ place: Int, _ outcome: ForwardedRun.Outcome) {
        outcomes[place] = outcome
        open -= 1
        guard open == 0 else { return }
        forwarding.settle(outcomes.map { $0 ?? ForwardedRun.Outcome(acknowledged: 0, failure: .closed) })
        producer = nil
    }
}

/// The partitions of which a forwarded record failed: no more of them is handed over. Touched by the producer's thread alone.
final class BrokenPartitions {
    private(set) var failures: [TopicPartition: KafkaLogError] = [:]

    func note(_ partition: TopicPartition, _ error: KafkaLogError) {
        if failures[partition] == nil { failures[partition] = error }
    }
}

/// One run of a `forward`. librdkafka gets the values where they lie, so the batch lives until each record's report is there.
final class RunSubmission: Submission {
    private let batch: RecordBatch
    private let run: RecordBatch.Run
    /// Which of the batch's runs it is.
    private let runIndex: Int
    private let place: Int
    private let call: ForwardCall
    private let broken: BrokenPartitions
    /// The first record of the run that librdkafka has not got.
    private var next = 0
    private(set) var open: Int
    /// Records from the run's start on that are acknowledged, all of them.
    private var prefix = 0
    /// The first record known to have failed; the run's count: none.
    private var failedAt: Int
    private var failure: KafkaLogError?
    /// Of the records before `failedAt`: the first and the last whose offset was told.
    private var firstTold: (index: Int, offset: Int64)?
    private var lastTold: (index: Int, offset: Int64)?
    private var unreadableHeaders = 0
    private var cluster: ClusterID?

    var lent: RecordBatch? { batch }

    init(_ forwarded: ForwardedRun, place: Int, of call: ForwardCall, _ broken: BrokenPartitions) {
        batch = forwarded.batch
        run = forwarded.run
        runIndex = forwarded.batch.runs.firstIndex { $0.range == forwarded.run.range } ?? 0
        self.place = place
        self.call = call
        self.broken = broken
        open = run.range.count
        failedAt = run.range.count
    }

    func pump(id: UInt32, _ handle: ClientHandle, _ cluster: ClusterID?) -> Bool {
        self.cluster = cluster
        if let error = broken.failures[run.partition] {
            giveUp(error)
            return true
        }
        guard let topic = handle.topic(named: run.partition.topic) else {
            giveUp(.invalidArgument("'\(run.partition.topic)' is not a topic's name"))
            return true
        }
        let opaque = UInt(id) << 32
        while next < run.range.count {
            let code = produce(run.range.lowerBound + next, topic, opaque: opaque | UInt(next), handle)
            if code == RD_KAFKA_RESP_ERR__QUEUE_FULL { return false }
            guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
                giveUp(.failed(LibraryFailure(code, operation: "produce to \(run.partition.topic)")))
                return true
            }
            next += 1
        }
        return true
    }

    func report(_ index: Int, _ message: UnsafePointer<rd_kafka_message_t>) {
        open -= 1
        guard index < failedAt else { return }
        let code = message.pointee.err
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
            return fail(at: index, .partitionFailed(run.partition, LibraryFailure(code, operation: "produce")))
        }
        if index == prefix { prefix += 1 }
        let offset = message.pointee.offset
        guard offset >= 0 else { return }
        if index < firstTold?.index ?? .max { firstTold = (index, offset) }
        if index > lastTold?.index ?? -1 { lastTold = (index, offset) }
    }

    func finish() {
        // The client closed before every report was there.
        if open > 0, prefix < failedAt { (failedAt, failure) = (prefix, .closed) }
        var outcome = ForwardedRun.Outcome(acknowledged: failedAt, failure: failure, unreadableHeaders: unreadableHeaders)
        if let cluster, let firstTold, firstTold.index < failedAt {
            outcome.first = Position(firstTold.offset - Int64(firstTold.index), in: cluster)
        }
        if let cluster, let lastTold, lastTold.index < failedAt {
            outcome.end = Position(lastTold.offset + Int64(failedAt - lastTold.index), in: cluster)
        }
        call.settle(place, outcome)
    }

    private func fail(at index: Int, _ error: KafkaLogError) {
        if index < failedAt { (failedAt, failure) = (index, error) }
        broken.note(run.partition, error)
    }

    /// Hands over no more of this run.
    private func giveUp(_ error: KafkaLogError) {
        fail(at: next, error)
        open -= run.range.count - next
        next = run.range.count
    }

    private func produce(_ index: Int, _ topic: OpaquePointer, opaque: UInt, _ handle: ClientHandle) -> rd_kafka_resp_err_t {
        batch.withRecord(at: index, run: runIndex) { record in
            // librdkafka takes 0 for "now": one millisecond later is as near as it can be.
            let time = record.timestamp.map { $0.milliseconds == 0 ? 1 : $0.milliseconds } ?? -1
            let headers = copyHeaders(of: record)
            let message = record.message
            let code = switchback_produce(
                handle.client, topic, run.partition.partition, 0, message.pointee.payload, message.pointee.len, message.pointee.key,
                message.pointee.key_len, headers, time, UnsafeMutableRawPointer(bitPattern: opaque))
            if code != RD_KAFKA_RESP_ERR_NO_ERROR, let headers { rd_kafka_headers_destroy(headers) }
            return code
        }
    }

    /// librdkafka's own list, the caller's to free; nil: there are none, or none that can be read.
    private func copyHeaders(of record: borrowing RecordView) -> OpaquePointer? {
        do throws(KafkaLogError) { return try record.headerList() } catch {
            unreadableHeaders += 1
            return nil
        }
    }
}
