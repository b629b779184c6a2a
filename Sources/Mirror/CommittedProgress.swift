import KafkaLog

/// How far a partition was mirrored, as it is committed in the target cluster.
///
/// The committed offset is the *target's*: every record below it was acknowledged, and was written by this mirror or is
/// older than it. The source's place goes into the metadata, with the id of the cluster in which it means something. The
/// other way round an offset of one cluster would stand in a group of the other, and Kafka's own tools would show
/// nonsense as the group's lag.
struct CommittedProgress: Hashable, Sendable {
    /// The next record to copy.
    var source: Position
    /// Where the target's log ended when every record below `source` was in it.
    var targetEnd: Int64

    static let formatVersion = 1

    var metadata: String { "switchback-mirror v\(Self.formatVersion) source=\(source.cluster) next=\(source.offset)" }

    init(source: Position, targetEnd: Int64) {
        self.source = source
        self.targetEnd = targetEnd
    }

    /// nil: not written by a mirror of this format.
    init?(targetOffset: Int64, metadata: String?) {
        let words = (metadata ?? "").split(separator: " ", omittingEmptySubsequences: false)
        guard words.count == 4, words[0] == "switchback-mirror", words[1] == "v\(Self.formatVersion)",
            words[2].hasPrefix("source="), words[3].hasPrefix("next="), targetOffset >= 0,
            let next = Int64(words[3].dropFirst("next=".count)), next >= 0
        else { return nil }
        let cluster = String(words[2].dropFirst("source=".count))
        guard !cluster.isEmpty else { return nil }
        self.init(source: Position(next, in: ClusterID(cluster)), targetEnd: targetOffset)
    }
}
