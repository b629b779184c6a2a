import CRdKafka
import Glibc

/// One `rd_kafka_topic_partition_list_t`, freed with this value.
struct PartitionList: ~Copyable {
    let list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

    init(capacity: Int) { list = rd_kafka_topic_partition_list_new(Int32(clamping: capacity)) }

    init(_ partitions: some Collection<TopicPartition>) {
        self.init(capacity: partitions.count)
        for partition in partitions { add(partition) }
    }

    /// Takes a list that librdkafka gave away.
    init(taking list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) { self.list = list }

    deinit { rd_kafka_topic_partition_list_destroy(list) }

    /// `offset` nil leaves librdkafka's "invalid". `metadata` is copied into memory that librdkafka frees.
    func add(_ partition: TopicPartition, offset: Int64? = nil, metadata: String? = nil) {
        guard let element = rd_kafka_topic_partition_list_add(list, partition.topic, partition.partition) else { return }
        if let offset { element.pointee.offset = offset }
        if let metadata, !metadata.isEmpty {
            let bytes = Array(metadata.utf8)
            let copy = malloc(bytes.count)
            bytes.withUnsafeBytes { source in
                if let copy, let base = source.baseAddress { copy.copyMemory(from: base, byteCount: source.count) }
            }
            element.pointee.metadata = copy
            element.pointee.metadata_size = copy == nil ? 0 : bytes.count
        }
    }

    /// Most partitions of one librdkafka call that gives answers back by partition: it searches its list from the beginning for each of
    /// them, so ten thousand at once cost half a second of CPU time, twenty times five hundred next to nothing.
    static let callLimit = 500

    /// `partitions` in parts of at most `callLimit`; those of a topic stay together as far as they can.
    static func parts(of partitions: some Collection<TopicPartition>) -> [ArraySlice<TopicPartition>] {
        let sorted = partitions.count > callLimit ? partitions.sorted() : Array(partitions)
        return stride(from: 0, to: sorted.count, by: callLimit).map { sorted[$0..<min($0 + callLimit, sorted.count)] }
    }

    var count: Int { Int(list.pointee.cnt) }

    func setOffset(_ offset: Int64, error: rd_kafka_resp_err_t) {
        for index in 0..<count {
            list.pointee.elems[index].offset = offset
            list.pointee.elems[index].err = error
        }
    }

    func forEach(_ body: (Element) -> Void) { Self.forEach(list, body) }

    struct Element {
        let partition: TopicPartition
        let offset: Int64
        let error: rd_kafka_resp_err_t
        let metadata: String?

        func failure(_ operation: String) -> LibraryFailure? {
            error == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : LibraryFailure(error, operation: operation)
        }
    }

    static func forEach(_ list: UnsafePointer<rd_kafka_topic_partition_list_t>?, _ body: (Element) -> Void) {
        guard let list else { return }
        for index in 0..<Int(list.pointee.cnt) {
            let element = list.pointee.elems[index]
            guard let topic = element.topic else { continue }
            let metadata = element.metadata.map {
                String(decoding: UnsafeRawBufferPointer(start: $0, count: element.metadata_size), as: UTF8.self)
            }
            body(
                Element(
                    partition: TopicPartition(topic: String(cString: topic), partition: element.partition),
                    offset: element.offset, error: element.err, metadata: metadata))
        }
    }

    static func partitions(in list: UnsafePointer<rd_kafka_topic_partition_list_t>?) -> [TopicPartition] {
        var partitions: [TopicPartition] = []
        forEach(list) { partitions.append($0.partition) }
        return partitions
    }

    /// Throws when any partition of the list carries an error, with all of them.
    func checkPartitions(_ operation: String) throws(KafkaLogError) {
        var failures: [TopicPartition: LibraryFailure] = [:]
        forEach { if let failure = $0.failure(operation) { failures[$0.partition] = failure } }
        if !failures.isEmpty { throw .partitionsFailed(failures) }
    }
}
