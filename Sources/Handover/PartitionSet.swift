import KafkaLog

/// A set of partitions of one origin's topics.
public struct PartitionSet: Hashable, Sendable, CustomStringConvertible {
    /// By topic; no set is empty.
    private var numbers: [String: Set<Int32>] = [:]

    public init() {}
    public init(_ partitions: some Sequence<TopicPartition>) { for partition in partitions { insert(partition) } }

    public var isEmpty: Bool { numbers.isEmpty }
    public var count: Int { numbers.values.reduce(0) { $0 + $1.count } }
    public func contains(_ partition: TopicPartition) -> Bool { numbers[partition.topic]?.contains(partition.partition) == true }

    /// By topic, then by number.
    public var sorted: [TopicPartition] {
        numbers.keys.sorted().flatMap { topic in (numbers[topic] ?? []).sorted().map { TopicPartition(topic: topic, partition: $0) } }
    }

    public mutating func insert(_ partition: TopicPartition) { numbers[partition.topic, default: []].insert(partition.partition) }

    public mutating func formUnion(_ other: PartitionSet) { numbers.merge(other.numbers) { $0.union($1) } }

    public mutating func subtract(_ other: PartitionSet) {
        for (topic, taken) in other.numbers {
            guard let left = numbers[topic]?.subtracting(taken) else { continue }
            numbers[topic] = left.isEmpty ? nil : left
        }
    }

    public func union(_ other: PartitionSet) -> PartitionSet {
        var result = self
        result.formUnion(other)
        return result
    }

    public func subtracting(_ other: PartitionSet) -> PartitionSet {
        var result = self
        result.subtract(other)
        return result
    }

    public func filter(_ isIncluded: (TopicPartition) -> Bool) -> PartitionSet { PartitionSet(sorted.filter(isIncluded)) }
    public func isSubset(of other: PartitionSet) -> Bool { numbers.allSatisfy { $1.isSubset(of: other.numbers[$0] ?? []) } }
    public func isDisjoint(with other: PartitionSet) -> Bool { numbers.allSatisfy { $1.isDisjoint(with: other.numbers[$0] ?? []) } }

    // MARK: The written form

    /// Such as `eqiad.edits 0-2,7; eqiad.purges 0`.
    public var description: String { ranges.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: "; ") }

    /// By topic: numbers and ranges of them, rising, with commas between: `0-2,7`. The stored form.
    var ranges: [String: String] {
        numbers.mapValues { numbers in
            var runs: [ClosedRange<Int32>] = []
            for number in numbers.sorted() {
                if let last = runs.last, last.upperBound + 1 == number { runs[runs.count - 1] = last.lowerBound...number } else {
                    runs.append(number...number)
                }
            }
            return runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ",")
        }
    }

    /// nil where `ranges` is not what `ranges` writes: no number twice, none below 0, none past `largest`.
    init?(ranges: [String: String], largest: Int32) {
        for (topic, text) in ranges {
            var numbers: Set<Int32> = []
            var next: Int32 = 0
            for run in text.split(separator: ",", omittingEmptySubsequences: false) {
                let ends = run.split(separator: "-", omittingEmptySubsequences: false).map { Int32($0) }
                guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1],
                    first >= next, last >= first, last < largest
                else { return nil }
                numbers.formUnion(first...last)
                next = last + 1
            }
            self.numbers[topic] = numbers
        }
        guard self.ranges == ranges else { return nil }
    }
}

/// Which partitions a handover is about.
public enum HandoverScope: Hashable, Sendable {
    /// All of the origin but these, also such as nobody has reported yet. What it leaves out is named in the assignment's `placed`.
    case all(except: PartitionSet)
    case only(PartitionSet)

    public static let everything = HandoverScope.all(except: PartitionSet())

    public func contains(_ partition: TopicPartition) -> Bool {
        switch self {
        case .all(let others): !others.contains(partition)
        case .only(let partitions): partitions.contains(partition)
        }
    }

    /// Whether each partition of `other` is in this scope too.
    public func covers(_ other: HandoverScope) -> Bool {
        switch (self, other) {
        case (.all(let left), .all(let leftThere)): left.isSubset(of: leftThere)
        case (.all(let left), .only(let partitions)): left.isDisjoint(with: partitions)
        case (.only, .all): false
        case (.only(let mine), .only(let partitions)): partitions.isSubset(of: mine)
        }
    }

    public func union(_ other: HandoverScope) -> HandoverScope {
        switch (self, other) {
        case (.all(let left), .all(let leftThere)): .all(except: left.filter(leftThere.contains))
        case (.all(let left), .only(let partitions)), (.only(let partitions), .all(let left)): .all(except: left.subtracting(partitions))
        case (.only(let mine), .only(let partitions)): .only(mine.union(partitions))
        }
    }
}
