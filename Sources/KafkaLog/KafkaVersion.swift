import CRdKafka

/// Which librdkafka this process runs.
public enum KafkaVersion {
    /// Such as `2.0.2`.
    public static let text = String(cString: rd_kafka_version_str())
}
