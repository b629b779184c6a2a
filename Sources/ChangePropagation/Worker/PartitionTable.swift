import KafkaLog

/// The work of each partition that a group gave to its worker, in a place of its own: an event asks and changes its partition's work a dozen times, and
/// a dictionary of these values would move all of it out and back each time. Copies share the places: one owner has one table.
struct PartitionTable: Sequence {
    private final class Place {
        /// nil only while it is being taken out.
        var work: PartitionWork?
        init(_ work: PartitionWork) { self.work = work }
    }

    private var places: [TopicPartition: Place] = [:]

    var count: Int { places.count }
    var isEmpty: Bool { places.isEmpty }
    var keys: some Collection<TopicPartition> { places.keys }
    var values: some Sequence<PartitionWork> { places.values.lazy.compactMap(\.work) }

    /// Jobs that wait for a slot, of all partitions.
    var waiting: Int { places.values.reduce(0) { $0 + ($1.work?.waiting.count ?? 0) } }

    subscript(partition: TopicPartition) -> PartitionWork? {
        _read {
            if let place = places[partition] { yield place.work } else { yield nil }
        }
        _modify {
            if let place = places[partition] {
                yield &place.work
                if place.work == nil { places[partition] = nil }
            } else {
                var work: PartitionWork?
                yield &work
                if let work { places[partition] = Place(work) }
            }
        }
    }

    func makeIterator() -> AnyIterator<(key: TopicPartition, value: PartitionWork)> {
        var rest = places.makeIterator()
        return AnyIterator {
            while let (partition, place) = rest.next() { if let work = place.work { return (partition, work) } }
            return nil
        }
    }
}
