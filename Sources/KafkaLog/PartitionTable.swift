import CRdKafka

/// What a consumer knows of its partitions: where each goes on, and whether its records may be handed out.
struct PartitionTable {
    struct Entry {
        let partition: TopicPartition
        /// No record below this offset is handed out (overlaps, repeats); nil: assigned without a position, held.
        var next: Int64?
        var isPaused: Bool
        var isRevoking = false
        /// A record was dropped while paused: librdkafka stands behind it and must be sent back on resume.
        var needsSeek = false
    }

    private struct Source: Hashable {
        let topic: OpaquePointer?
        let partition: Int32
    }

    private(set) var entries: [Entry] = []
    private var indices: [TopicPartition: Int] = [:]
    /// librdkafka's topic handles live as long as the assignment they came with; cleared with every change of it.
    private var sources: [Source: Int] = [:]

    var isEmpty: Bool { entries.isEmpty }
    var all: [TopicPartition] { entries.map(\.partition) }

    subscript(partition: TopicPartition) -> Entry? { indices[partition].map { entries[$0] } }

    mutating func update(_ partition: TopicPartition, _ change: (inout Entry) -> Void) {
        if let index = indices[partition] { change(&entries[index]) }
    }

    mutating func setNext(_ offset: Int64, at index: Int) { entries[index].next = offset }
    mutating func setNeedsSeek(at index: Int) { entries[index].needsSeek = true }

    mutating func add(_ partition: TopicPartition, next: Int64?, isPaused: Bool) {
        sources.removeAll(keepingCapacity: true)
        let entry = Entry(partition: partition, next: next, isPaused: isPaused)
        if let index = indices[partition] {
            entries[index] = entry
        } else {
            indices[partition] = entries.count
            entries.append(entry)
        }
    }

    mutating func remove(_ partitions: some Collection<TopicPartition>) {
        let gone = Set(partitions)
        sources.removeAll(keepingCapacity: true)
        entries.removeAll { gone.contains($0.partition) }
        indices = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.partition, $0) })
    }

    mutating func removeAll() { self = PartitionTable() }

    mutating func markRevoking(_ partitions: [TopicPartition]) {
        for partition in partitions { update(partition) { $0.isRevoking = true } }
    }

    /// The entry of a message's partition; nil: not assigned (any more).
    mutating func index(topic: OpaquePointer?, partition: Int32) -> Int? {
        let source = Source(topic: topic, partition: partition)
        if let index = sources[source] { return index }
        guard let topic, let name = rd_kafka_topic_name(topic) else { return nil }
        guard let index = indices[TopicPartition(topic: String(cString: name), partition: partition)] else { return nil }
        sources[source] = index
        return index
    }
}

/// Sorts what one call of `rd_kafka_consume_batch_queue` gave: records to hand out stay in the array, in order and without holes;
/// stale ones and errors are freed.
struct SortedBatch {
    let messages: UnsafeMutablePointer<MessagePointer?>
    let count: Int
    private(set) var kept = 0
    /// Of keys and values, of all records that were taken off the queue.
    private(set) var bytes = 0
    private(set) var runs: [RecordBatch.Run] = []
    private(set) var failures: [(TopicPartition, KafkaLogError)] = []
    private(set) var clientFailures: [(code: rd_kafka_resp_err_t, text: String?)] = []

    init(messages: UnsafeMutablePointer<MessagePointer?>, count: Int) {
        self.messages = messages
        self.count = count
    }

    mutating func sort(into table: inout PartitionTable) {
        var index = 0
        while index < count {
            guard let first = messages[index] else {
                index += 1
                continue
            }
            if first.pointee.err != RD_KAFKA_RESP_ERR_NO_ERROR {
                takeFailure(first, table)
                index += 1
                continue
            }
            index = sortRun(from: index, first, into: &table)
        }
    }

    /// Neighbouring records of one partition are checked in a tight loop. Returns the index after them.
    private mutating func sortRun(from start: Int, _ first: MessagePointer, into table: inout PartitionTable) -> Int {
        let topic = first.pointee.rkt
        let partition = first.pointee.partition
        let entryIndex = table.index(topic: topic, partition: partition)
        let entry = entryIndex.map { table.entries[$0] }
        let next = entry?.next
        let isOpen = entry.map { !$0.isPaused && !$0.isRevoking } ?? false
        var expected = isOpen ? next ?? .max : .max
        let runStart = kept
        var index = start
        var taken = 0
        while index < count, let message = messages[index], message.pointee.rkt == topic,
            message.pointee.partition == partition, message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR
        {
            let offset = message.pointee.offset
            taken &+= message.pointee.len &+ message.pointee.key_len
            if offset >= expected, offset < .max {
                expected = offset + 1
                messages[kept] = message
                kept += 1
            } else {
                rd_kafka_message_destroy(message)
            }
            index += 1
        }
        bytes += taken
        if let entryIndex, let entry {
            if !isOpen { table.setNeedsSeek(at: entryIndex) }
            if kept > runStart {
                table.setNext(expected, at: entryIndex)
                runs.append(RecordBatch.Run(partition: entry.partition, range: runStart..<kept))
            }
        }
        return index
    }

    private mutating func takeFailure(_ message: MessagePointer, _ table: PartitionTable) {
        defer { rd_kafka_message_destroy(message) }
        let code = message.pointee.err
        let text = rd_kafka_message_errstr(message).map { String(cString: $0) }
        guard let topic = message.pointee.rkt, let name = rd_kafka_topic_name(topic), message.pointee.partition >= 0 else {
            clientFailures.append((code, text))
            return
        }
        let partition = TopicPartition(topic: String(cString: name), partition: message.pointee.partition)
        guard code == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || code == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE else {
            failures.append((partition, .partitionFailed(partition, LibraryFailure(code, operation: "consume", text: text))))
            return
        }
        // A partition that is held at no position was fetched from 0 for a moment: that is nobody's concern.
        if let entry = table[partition], entry.next != nil {
            failures.append((partition, .offsetOutOfRange(partition, text: text ?? "")))
        }
    }
}
