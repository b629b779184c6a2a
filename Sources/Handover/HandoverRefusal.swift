import KafkaLog

/// Why a handover is not begun. Each says the next step.
public enum HandoverRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    case underway(epoch: Int64, description: String, by: String)
    case alreadyThere(Datacenter)
    /// All of the slice is at the target; where `from` is named, it owns none of it.
    case nothingToMove(target: Datacenter, from: Datacenter?)
    /// `--topic` names none that the owner has reported; `known` are the streams that it has.
    case unknownTopic(String, known: [String])
    /// A failover would fence more than one datacenter.
    case severalOwners([Datacenter])
    case notDraining(epoch: Int64)
    /// Nobody has worked on this group and origin yet.
    case unknown(AssignmentKey)
    /// The owner has not said yet which partitions it holds, so nobody could know what must be sealed.
    case notReported(AssignmentKey, owner: Datacenter)
    /// Others changed the assignment again and again meanwhile.
    case busy(AssignmentKey)
    /// The store answered for another format than this version knows.
    case format(String)

    public var description: String {
        switch self {
        case .underway(let epoch, let description, let by):
            "a handover is under way (epoch \(epoch): \(description), begun by \(by)); wait for it, cancel it, or force a failover"
        case .alreadyThere(let owner): "\(owner) owns it already"
        case .nothingToMove(let target, nil): "nothing to move: \(target) owns these partitions already"
        case .nothingToMove(_, let from?): "nothing to move: \(from) owns none of these partitions"
        case .unknownTopic(let name, let known):
            "--topic \(name): no such topic of this origin; \(known.joined(separator: ", ")) would be right"
        case .severalOwners(let owners):
            "\(owners.map(\.name).joined(separator: " and ")) both own partitions of these: say which is gone with --from"
        case .notDraining(let epoch):
            "no drain is under way in epoch \(epoch); what was handed over goes back by a switchover of the same slice"
        case .unknown(let key): "the store knows no assignment of \(key): start a worker of that group first, or check the names"
        case .notReported(let key, let owner):
            "\(owner) has not reported the partitions of \(key) yet: wait until its workers have joined, or force a failover"
        case .busy(let key): "the assignment of \(key) kept changing: try again"
        case .format(let what): "the stored assignment can't be read (\(what)): it was written by another version"
        }
    }
}
