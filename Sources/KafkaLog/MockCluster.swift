import CRdKafka

/// librdkafka's own mock cluster, for tests of this room: it serves groups, but can't look offsets up by time.
@_spi(Testing)
public final class MockCluster: @unchecked Sendable {
    // @unchecked: librdkafka's mock calls are safe from any thread; the pointers never change.
    private let client: OpaquePointer
    private let cluster: OpaquePointer
    public let bootstrapServers: String

    public init(brokers: Int32 = 1) throws(KafkaLogError) {
        let settings = ClientSettings()
        let template = settings.pointer
        try settings.set("log_level", "0")
        guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_dup(template), nil, 0) else {
            throw .failed(LibraryFailure(rd_kafka_last_error(), operation: "create mock"))
        }
        guard let cluster = rd_kafka_mock_cluster_new(client, brokers),
            let servers = rd_kafka_mock_cluster_bootstraps(cluster)
        else {
            rd_kafka_destroy(client)
            throw .failed(LibraryFailure(RD_KAFKA_RESP_ERR__FAIL, operation: "create mock"))
        }
        self.client = client
        self.cluster = cluster
        bootstrapServers = String(cString: servers)
    }

    deinit {
        rd_kafka_mock_cluster_destroy(cluster)
        rd_kafka_destroy(client)
    }

    public func createTopic(_ name: String, partitions: Int32) {
        rd_kafka_mock_topic_create(cluster, name, partitions, 1)
    }

    public func setBroker(_ id: Int32, isUp: Bool) {
        if isUp { rd_kafka_mock_broker_set_up(cluster, id) } else { rd_kafka_mock_broker_set_down(cluster, id) }
    }
}
