import KafkaLog
import LocalKafka
import TestSupport
import Testing

@testable import Bench
@testable import KafkaLog

@Suite("How far away a broker is", .timeLimit(.minutes(1)))
struct DistanceTests {
    @Test("A proxy close by is not taken for the broker behind it; what is chosen then is librdkafka's own")
    func proxied() async throws {
        let directory = try TemporaryDirectory()
        let proxy = try await DelayProxy.start(roundTrip: .milliseconds(8))
        let cluster = try await LocalKafkaCluster.start(
            .init(dataDirectory: directory.file("kafka"), brokers: [.init(port: try freePort(), advertisedPort: proxy.port)]))
        proxy.lead(to: cluster.brokerAddresses[0].port)
        let servers = cluster.bootstrapServers
        #expect(servers == "127.0.0.1:\(proxy.port)")
        let trip = try #require(await onOwnThread { BrokerDistance.roundTrip(to: servers, asking: true) })
        #expect(try #require(trip.answer) >= .milliseconds(8) && !trip.isNear)
        let client = KafkaClientConfiguration(bootstrapServers: [servers])
        #expect(try await onOwnThread { KafkaConsumer.speedDefaults(for: client) } == KafkaConsumer.speedDefaults)
        // Metadata leads through the proxy, too.
        let admin = try KafkaAdmin(client)
        let began = ContinuousClock.now
        _ = try await admin.metadata(.all)
        #expect(began.duration(to: .now) >= .milliseconds(8))
        await admin.close()
        await cluster.stop()
        await proxy.stop()
    }

    @Test("Who accepts and does not answer is far away; who is not there is, too")
    func silent() async throws {
        let port = try freePort()
        #expect(try await onOwnThread { BrokerDistance.roundTrip(to: "127.0.0.1:\(port)", asking: true) } == nil)
        let proxy = try await DelayProxy.start(roundTrip: .seconds(2))
        let mute = try await DelayProxy.start(roundTrip: .seconds(2))
        mute.lead(to: proxy.port)
        let mutePort = mute.port
        let trip = try await onOwnThread { BrokerDistance.roundTrip(to: "127.0.0.1:\(mutePort)", asking: true) }
        #expect(trip?.isNear != true)
        for one in [proxy, mute] { await one.stop() }
    }

    @Test("Brokers in one text are as good as brokers one by one")
    func lists() throws {
        let (port, other) = (try freePort(), try freePort())
        for servers in [["127.0.0.1:\(port)"], ["127.0.0.1:\(port), 127.0.0.1:\(other)"], ["", "127.0.0.1:\(port)"]] {
            #expect(BrokerDistance.first(of: KafkaClientConfiguration(bootstrapServers: servers)) == "127.0.0.1:\(port)")
        }
        #expect(BrokerDistance.first(of: KafkaClientConfiguration(bootstrapServers: [" ", ","])) == nil)
    }

    @Test("What is near", arguments: [(0.1, 0.3, true), (0.1, nil, true), (0.6, nil, false), (0.1, 1.2, false), (0.6, 0.3, false)] as [(Double, Double?, Bool)])
    func decision(_ connection: Double, _ answer: Double?, _ isNear: Bool) {
        let trip = BrokerDistance.RoundTrip(connection: .milliseconds(connection), answer: answer.map { .milliseconds($0) })
        #expect(trip.isNear == isNear)
    }
}
