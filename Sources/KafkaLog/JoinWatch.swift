import CRdKafka
import Synchronization

/// Knows whether the client is joining its group at the moment: from its JoinGroup request to the answer to its SyncGroup.
///
/// A commit in that time carries the old generation, waits behind the JoinGroup on the connection, and is refused; librdkafka
/// below 2.10 then takes all partitions for lost (its issue 4059). librdkafka tells the state nowhere, but shows the requests.
final class JoinWatch: Sendable {
    private let joining = Atomic<Bool>(false)
    /// Monotonic nanoseconds. Until then a JoinGroup is expected that has not been sent yet.
    private let expectedUntil = Atomic<UInt64>(0)
    /// A JoinGroup that is expected and does not come in this time (the client has left) holds no commit up any longer.
    private static let expectation: UInt64 = 10_000_000_000

    var isJoining: Bool {
        joining.load(ordering: .acquiring) || monotonicNanoseconds() < expectedUntil.load(ordering: .acquiring)
    }

    /// Partitions were given back: librdkafka joins anew as soon as it has seen to that, before anything is on the wire.
    func expectJoin() { expectedUntil.store(monotonicNanoseconds() &+ Self.expectation, ordering: .releasing) }

    private func joined() {
        expectedUntil.store(0, ordering: .releasing)
        joining.store(false, ordering: .releasing)
    }

    /// Kafka's request numbers (https://kafka.apache.org/protocol#protocol_api_keys).
    private static let joinGroup: Int16 = 11
    private static let syncGroup: Int16 = 14

    /// Has `settings`' client report to this, which must outlive it.
    func install(_ settings: borrowing ClientSettings) {
        let opaque = Unmanaged.passUnretained(self).toOpaque()
        rd_kafka_conf_interceptor_add_on_new(
            settings.pointer, "switchback-join",
            { client, _, opaque, _, _ in
                rd_kafka_interceptor_add_on_request_sent(
                    client, "switchback-join",
                    { _, _, _, _, key, _, _, _, opaque in
                        if key == JoinWatch.joinGroup { JoinWatch.of(opaque)?.joining.store(true, ordering: .releasing) }
                        return RD_KAFKA_RESP_ERR_NO_ERROR
                    }, opaque)
                return rd_kafka_interceptor_add_on_response_received(
                    client, "switchback-join",
                    { _, _, _, _, key, _, _, _, _, error, opaque in
                        guard key == JoinWatch.syncGroup, error == RD_KAFKA_RESP_ERR_NO_ERROR else { return RD_KAFKA_RESP_ERR_NO_ERROR }
                        JoinWatch.of(opaque)?.joined()
                        return RD_KAFKA_RESP_ERR_NO_ERROR
                    }, opaque)
            }, opaque)
    }

    private static func of(_ opaque: UnsafeMutableRawPointer?) -> JoinWatch? {
        opaque.map { Unmanaged<JoinWatch>.fromOpaque($0).takeUnretainedValue() }
    }
}
