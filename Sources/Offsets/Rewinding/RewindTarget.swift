import KafkaLog

/// To where an operator sets positions.
public enum RewindTarget: Sendable, Hashable {
    /// The first record that is still there.
    case earliest
    /// The log's end: everything that is there is left out.
    case latest
    /// The first record whose time is at or after this.
    case time(MillisecondTimestamp)
    /// The same offset in each partition, in the measuring datacenter's cluster.
    case offset(Int64)
    /// Where another group stands, as its checkpoints say.
    case group(String)
    /// What a file says, partition by partition.
    case positions([TopicPartition: PlanFile.Entry])

    /// For the record of it.
    public var text: String {
        switch self {
        case .earliest: "earliest"
        case .latest: "latest"
        case .time(let time): "time \(time.text)"
        case .offset(let offset): "offset \(offset)"
        case .group(let group): "group \(group)"
        case .positions: "a file"
        }
    }
}
