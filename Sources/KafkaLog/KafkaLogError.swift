import CRdKafka
import Logging

/// What can go wrong between this process and a Kafka cluster, with the facts.
public enum KafkaLogError: Error, Hashable, Sendable {
    /// librdkafka does not know the setting, or refuses its value. `reason` is librdkafka's own text.
    case invalidSetting(name: String, value: String, reason: String)
    /// A setting that this library keeps for itself, because positions would be wrong with another value.
    case reservedSetting(name: String, value: String, required: String)
    /// A position of another cluster. An offset means nothing there: look its time up instead.
    case wrongCluster(TopicPartition?, expected: ClusterID, actual: ClusterID)
    /// No broker told its cluster's id within the timeout.
    case clusterUnknown(bootstrapServers: String)
    /// A call failed as a whole.
    case failed(LibraryFailure)
    /// One partition of a call, or of the log, failed. Others are not touched by it.
    case partitionFailed(TopicPartition, LibraryFailure)
    /// Several partitions of one call failed; the others of the call were done.
    case partitionsFailed([TopicPartition: LibraryFailure])
    /// The position is outside the log: retention passed it, or the log was truncated. The partition stands still until
    /// `seek`: this library never chooses another position by itself. `text` is librdkafka's.
    case offsetOutOfRange(TopicPartition, text: String)
    /// `acceptAssignment` was called without a position for these partitions.
    case missingPositions([TopicPartition])
    /// These partitions are not assigned to this consumer (any more).
    case notAssigned([TopicPartition])
    /// `acceptAssignment` or `completeRevocation` without the event that asks for it.
    case noRebalancePending
    /// A second `nextEvent` while one is waiting.
    case concurrentRead
    /// `what` was not done when its deadline came.
    case deadlineExceeded(what: String)
    /// The client was closed.
    case closed
    /// The system gave no thread (pthread_create's errno).
    case threadUnavailable(errno: Int32)
    /// A name, count or pattern that can't be sent, such as an empty topic name.
    case invalidArgument(String)

    /// Whether the same call may succeed later without anybody changing anything.
    public var isRetriable: Bool {
        switch self {
        case .failed(let failure), .partitionFailed(_, let failure): failure.isRetriable
        case .partitionsFailed(let failures): failures.values.allSatisfy(\.isRetriable)
        case .clusterUnknown, .deadlineExceeded, .threadUnavailable: true
        default: false
        }
    }

    /// Whether the client can't go on: close it and make a new one (such as a static member that was fenced).
    public var isFatal: Bool {
        switch self {
        case .failed(let failure), .partitionFailed(_, let failure): failure.isFatal
        case .partitionsFailed(let failures): failures.values.contains(where: \.isFatal)
        case .closed: true
        default: false
        }
    }

    /// Short and stable, for metrics and logs.
    public var label: String {
        switch self {
        case .invalidSetting: "invalid_setting"
        case .reservedSetting: "reserved_setting"
        case .wrongCluster: "wrong_cluster"
        case .clusterUnknown: "cluster_unknown"
        case .failed(let failure), .partitionFailed(_, let failure): failure.label
        case .partitionsFailed: "partitions_failed"
        case .offsetOutOfRange: "offset_out_of_range"
        case .missingPositions: "missing_positions"
        case .notAssigned: "not_assigned"
        case .noRebalancePending: "no_rebalance_pending"
        case .concurrentRead: "concurrent_read"
        case .deadlineExceeded: "deadline_exceeded"
        case .closed: "closed"
        case .threadUnavailable: "thread_unavailable"
        case .invalidArgument: "invalid_argument"
        }
    }

    /// The group is changing its members: nothing is wrong, and it passes.
    public var isRebalance: Bool { code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS.rawValue }

    /// Somebody else made the topic first.
    public var isTopicAlreadyThere: Bool { code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS.rawValue }

    /// The record is larger than the client or the broker takes: sending it again gives the same.
    public var isRecordTooLarge: Bool {
        code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE.rawValue || code == RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE.rawValue
    }

    /// How loud a client's error is in the log: one connection that fails is everyday life of a cluster, and librdkafka goes
    /// on with the others; no broker at all is not.
    public var severity: Logger.Level {
        switch code {
        case RD_KAFKA_RESP_ERR__TRANSPORT.rawValue, RD_KAFKA_RESP_ERR__RESOLVE.rawValue: .info
        default: isFatal ? .error : .warning
        }
    }

    /// librdkafka's or Kafka's error code, where there is one.
    public var code: Int32? {
        switch self {
        case .failed(let failure), .partitionFailed(_, let failure): failure.code
        default: nil
        }
    }
}

extension KafkaLogError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .invalidSetting(let name, let value, let reason):
            "Kafka setting '\(name)' = '\(value)': \(reason)"
        case .reservedSetting(let name, let value, let required):
            "Kafka setting '\(name)' = '\(value)' can't be set: it is always '\(required)' here; remove it"
        case .wrongCluster(let partition, let expected, let actual):
            "position\(partition.map { " of \($0)" } ?? "") is of cluster \(actual), this client is connected to \(expected)"
        case .clusterUnknown(let servers):
            "no broker of \(servers) answered with a cluster id: check that it is reachable"
        case .failed(let failure): failure.description
        case .partitionFailed(let partition, let failure): "\(partition): \(failure)"
        case .partitionsFailed(let failures):
            failures.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: "; ")
        case .offsetOutOfRange(let partition, let text): "\(partition): offset out of range: \(text)"
        case .missingPositions(let partitions): "no position given for \(partitions.map(\.description).joined(separator: ", "))"
        case .notAssigned(let partitions): "not assigned: \(partitions.map(\.description).joined(separator: ", "))"
        case .noRebalancePending: "no assignment or revocation is waiting to be answered"
        case .concurrentRead: "nextEvent was called while another call was waiting"
        case .deadlineExceeded(let what): "\(what): deadline exceeded"
        case .closed: "the client is closed"
        case .threadUnavailable(let number): "no thread for the client (errno \(number)): check the process's limits"
        case .invalidArgument(let text): text
        }
    }
}

/// An error code of librdkafka (negative) or of a broker (positive), and where it came up.
public struct LibraryFailure: Hashable, Sendable, CustomStringConvertible {
    /// librdkafka's `rd_kafka_resp_err_t`: negative ones are the library's own, positive ones Kafka's protocol errors.
    public let code: Int32
    /// What was being done, such as `commit`.
    public let operation: String
    /// librdkafka's text.
    public let text: String
    /// The client can't go on.
    public let isFatal: Bool

    init(_ code: rd_kafka_resp_err_t, operation: String, text: String? = nil, isFatal: Bool = false) {
        self.code = code.rawValue
        self.operation = operation
        self.text = text ?? String(cString: rd_kafka_err2str(code))
        self.isFatal = isFatal || code == RD_KAFKA_RESP_ERR__FATAL
    }

    /// librdkafka's name of the code, such as `_TIMED_OUT` or `NOT_LEADER_FOR_PARTITION`.
    public var name: String { String(cString: rd_kafka_err2name(rd_kafka_resp_err_t(rawValue: code))) }
    /// The name in lower case without leading underscores.
    public var label: String { String(name.lowercased().drop { $0 == "_" }) }
    public var isRetriable: Bool { !isFatal && Self.retriable.contains(code) }
    public var description: String { "\(operation): \(text) (\(name))" }

    /// Codes after which the same request may succeed: transport, leadership, coordination, throttling.
    private static let retriable: Set<Int32> = Set(
        [
            RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__RESOLVE,
            RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT,
            RD_KAFKA_RESP_ERR__WAIT_COORD, RD_KAFKA_RESP_ERR__WAIT_CACHE, RD_KAFKA_RESP_ERR__IN_PROGRESS,
            RD_KAFKA_RESP_ERR__QUEUE_FULL, RD_KAFKA_RESP_ERR__RETRY, RD_KAFKA_RESP_ERR__OUTDATED,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
            RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
            RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
            RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, RD_KAFKA_RESP_ERR_NOT_CONTROLLER,
        ].map(\.rawValue))
}

extension KafkaLogError {
    /// Throws when `code` is an error.
    static func check(
        _ code: rd_kafka_resp_err_t, _ operation: @autoclosure () -> String
    ) throws(KafkaLogError) {
        guard code != RD_KAFKA_RESP_ERR_NO_ERROR else { return }
        throw .failed(LibraryFailure(code, operation: operation()))
    }

    /// Takes librdkafka's error object (freed here); nil is success.
    static func check(consuming error: OpaquePointer?, _ operation: @autoclosure () -> String) throws(KafkaLogError) {
        guard let error else { return }
        defer { rd_kafka_error_destroy(error) }
        throw .failed(
            LibraryFailure(
                rd_kafka_error_code(error), operation: operation(), text: String(cString: rd_kafka_error_string(error)),
                isFatal: rd_kafka_error_is_fatal(error) != 0))
    }
}
