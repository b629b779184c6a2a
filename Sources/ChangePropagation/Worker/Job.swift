import Checkpoints
import KafkaLog

/// One event that something is to be done about, copied out of its batch.
struct Job: Sendable {
    enum Step: Sendable {
        /// What a rule wants sent.
        case act(Rule, [ActionRequest])
        /// Into a retry topic or the error topic.
        case park(ParkedEvent)
    }

    let partition: TopicPartition
    /// Of the partition's work when the job was made; results for an older one are dropped.
    let generation: Int
    let ticket: PrefixTracker.Ticket
    let offset: Int64
    let timestamp: MillisecondTimestamp?
    let fingerprint: Fingerprint
    /// What is still to be done, in the order of the rules.
    var steps: [Step]
    /// Jobs of one lane start in log order, one after the other. nil: no order is asked for.
    let lane: UInt64?
    /// Bytes that it keeps in memory, roughly.
    let size: Int
    /// What it takes to park the event. nil: no rule that wants it may fail.
    var origin: Origin?
    /// Monotonic nanoseconds before which nothing is begun; 0: at once.
    var dueAt: UInt64 = 0
    /// Monotonic nanoseconds before which it is not begun, though it waits in its place; 0: at once.
    var notBefore: UInt64 = 0
    /// What its rules claim before they act, at most one each; none of those that don't ask for it.
    var claims: [Claim] = []
    /// Monotonic nanoseconds of when it was read.
    var readAt: UInt64 = 0

    /// The event as it was read first, and how often it was tried since.
    struct Origin: Sendable {
        let source: ParkedEvent.Source
        let payload: ParkedEvent.Payload
        let key: [UInt8]?
        /// nil: not tried by its rule yet.
        let attempts: RetryAttempts?
    }
}
