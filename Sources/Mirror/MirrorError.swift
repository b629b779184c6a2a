import KafkaLog

/// Why a mirror does not run, or did not go on.
public enum MirrorError: Error, Sendable, Hashable, CustomStringConvertible {
    /// `from` and `to` are the same datacenter.
    case sameDatacenter(Datacenter)
    /// Both bootstrap lists lead to one cluster: the mirror would copy its own copies for ever.
    case sameCluster(ClusterID)
    case invalidConfiguration(String)
    /// A second `run` of one mirror.
    case alreadyRunning
    /// A partition's records could not be written or read. `isRetriable`: tried again after a while by itself.
    case partition(TopicPartition, Side, KafkaLogError)
    /// A topic could not be made, or not be given its partitions, in the target.
    case topic(String, KafkaLogError)
    /// The target's log ends before what was acknowledged: it was truncated, or the topic was made anew.
    case targetMoved(TopicPartition, expected: Int64, actual: Int64)
    /// A client of one of the clusters failed as a whole.
    case client(Side, KafkaLogError)

    /// Which cluster an error came from.
    public enum Side: String, Sendable, Hashable { case source, target }

    /// false: somebody has to change something; `run` throws it.
    public var isRetriable: Bool {
        switch self {
        case .sameDatacenter, .sameCluster, .invalidConfiguration, .alreadyRunning: false
        case .partition, .topic, .targetMoved, .client: true
        }
    }

    /// Short and stable, for metrics and logs.
    public var label: String {
        switch self {
        case .sameDatacenter: "same_datacenter"
        case .sameCluster: "same_cluster"
        case .invalidConfiguration: "invalid_configuration"
        case .alreadyRunning: "already_running"
        case .targetMoved: "target_moved"
        case .partition(_, _, let error), .topic(_, let error), .client(_, let error): error.label
        }
    }

    public var description: String {
        switch self {
        case .sameDatacenter(let datacenter):
            "the mirror's source and target are both \(datacenter): name two datacenters"
        case .sameCluster(let cluster):
            "source and target are one cluster (id \(cluster)): its topics would be copied into themselves for ever; "
                + "check both bootstrap addresses"
        case .invalidConfiguration(let text): text
        case .alreadyRunning: "this mirror is already running"
        case .partition(let partition, let side, let error): "\(partition) in the \(side.rawValue): \(error)"
        case .topic(let topic, let error): "topic \(topic) in the target: \(error)"
        case .targetMoved(let partition, let expected, let actual):
            "\(partition): the target wrote offset \(actual) where \(expected) was next: its log was truncated or made anew"
        case .client(let side, let error): "\(side.rawValue) cluster: \(error)"
        }
    }
}
