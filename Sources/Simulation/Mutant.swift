/// Mistakes that such a protocol can make, each put in where the real code meets its world: the simulator has to find every one of them.
/// The first eight are those of the fault catalogue.
public enum Mutant: String, CaseIterable, Sendable {
    /// Checkpoint writes don't compare the assignment's revision.
    case noEpochCompare = "no-epoch-compare"
    /// An event is reported finished before its action has taken effect.
    case acknowledgeFirst = "acknowledge-first"
    /// A checkpoint says one record more than was finished.
    case offByOne = "off-by-one"
    /// The witness is the latest timestamp of anything finished, past the prefix too, and no step back is made for disorder.
    case latestWitness = "latest-witness"
    /// "No such record" becomes the log's end as it is when it is used.
    case noneAsEnd = "none-as-end"
    /// The prefix goes on past records that are still running.
    case pendingIgnored = "pending-ignored"
    /// A commit whose answer was lost is undone by writing back what stood there.
    case rewindWhenAmbiguous = "rewind-when-ambiguous"
    /// The clock of the lease stands still while the process does.
    case pauseForgotten = "pause-forgotten"
    /// A forced failover does not wait for the old lease.
    case noFenceWait = "no-fence-wait"
    /// The store is read from a follower that is behind.
    case staleReads = "stale-reads"
    /// Partitions are sealed as soon as the drain begins.
    case sealEarly = "seal-early"
    /// A mirror that leaves out a record now and then (the world's mistake: the checks must see the loss).
    case lossyMirror = "lossy-mirror"

    /// Whether other faults would excuse what it does.
    var hidesBehindFaults: Bool { self == .sealEarly || self == .noneAsEnd || self == .latestWitness }

    /// Found within so many seeds.
    public var seeds: Int {
        switch self {
        case .noneAsEnd, .latestWitness: 1000
        default: 300
        }
    }
}
