import KafkaLog
import LocalKafka
import TestSupport
import Testing

@testable import Bench
@testable import KafkaLog

@Suite("How far away a broker is", .timeLimit(.minutes(1)))
struct DistanceTests {
    /// More than a busy machine takes for anything here.
    private static let long = Duration.seconds(20)

    @Test("A proxy close by is not taken for the broker behind it")
    func proxied() async throws {
        let directory = try TemporaryDirectory()
        let proxy = try await DelayProxy.start(roundTrip: .milliseconds(8))
        let cluster = try await LocalKafkaCluster.start(
            .init(dataDirectory: directory.file("kafka"), brokers: [.init(port: try freePort(), advertisedPort: proxy.port)]))
        proxy.lead(to: cluster.brokerAddresses[0].port)
        var failure: (any Error)?
        do { try await look(through: proxy, cluster.bootstrapServers) } catch { failure = error }
        await cluster.stop()
        await proxy.stop()
        if let failure { throw failure }
    }

    private func look(through proxy: DelayProxy, _ servers: String) async throws {
        #expect(servers == "127.0.0.1:\(proxy.port)")
        let trip = try #require(await onOwnThread { BrokerDistance.roundTrip(to: servers, asking: true, within: Self.long) })
        let answer = try #require(trip.answer)
        #expect(answer >= .milliseconds(8) && answer < Self.long && !trip.isNear)
        // Metadata leads through the proxy, too.
        let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [servers]))
        let began = ContinuousClock.now
        _ = try await admin.metadata(.all)
        #expect(began.duration(to: .now) >= .milliseconds(8))
        await admin.close()
    }

    @Test("Who accepts and then closes is far away; who is not there is nowhere")
    func closed() async throws {
        let port = try freePort()
        #expect(try await onOwnThread { BrokerDistance.roundTrip(to: "127.0.0.1:\(port)", asking: true, within: Self.long) } == nil)
        // A proxy that leads nowhere yet closes what comes.
        let proxy = try await DelayProxy.start(roundTrip: .milliseconds(1))
        let servers = "127.0.0.1:\(proxy.port)"
        let trip = try await onOwnThread { BrokerDistance.roundTrip(to: servers, asking: true, within: Self.long) }
        await proxy.stop()
        #expect(trip?.isNear != true)
    }

    @Test(
        "What a server's text says",
        arguments: [
            ("kafka1:19092", "kafka1", "19092"), ("kafka1", "kafka1", "9092"), ("[::1]:19092", "::1", "19092"), ("[::1]", "::1", "9092"), ("::1", "::1", "9092"),
            ("PLAINTEXT://kafka1:19092", "kafka1", "19092"), ("SASL_SSL://[::1]:9093", "::1", "9093"),
        ])
    func parts(_ server: String, _ host: String, _ port: String) { #expect(BrokerDistance.parts(of: server) == (host, port)) }

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

    /// MiB and records; nil: what one consumer alone has.
    @Test(
        "Many consumers of a process have less each",
        arguments: [
            (1, true, nil, nil), (8, true, nil, nil), (9, true, 7, 26_666), (32, true, 2, 7_500), (64, true, 1, 5_000), (1000, true, 1, 5_000), (0, true, nil, nil),
            (1, false, nil, nil), (4, false, nil, nil), (5, false, 51, 80_000), (64, false, 4, 10_000), (1000, false, 4, 10_000),
        ] as [(Int, Bool, Int?, Int?)])
    func shares(_ sharers: Int, _ isNear: Bool, _ size: Int?, _ records: Int?) {
        let share = BrokerDistance.share(of: sharers, isNear: isNear)
        #expect(share["queued.max.messages.kbytes"] == size.map { "\($0 * 1024)" } && share["queued.min.messages"] == records.map(String.init))
        #expect(share.count == (size == nil ? 0 : 2))
    }

    @Test("A consumer among many goes by its share, unless something else is set by hand; how much a fetch brings is not measured then")
    func goesByIt() async throws {
        // Nobody listens, so it is not known to be near.
        let servers = ["127.0.0.1:\(try freePort())"]
        func setting(_ name: String, of settings: [String: String], _ sharers: Int) async throws -> String? {
            let consumer = try KafkaConsumer(KafkaConsumerConfiguration(client: .init(bootstrapServers: servers, settings: settings), sharers: sharers))
            let value = await consumer.handle?.setting(name)
            try await consumer.close()
            return value
        }
        #expect(try await setting("queued.max.messages.kbytes", of: [:], 1) == "65536")
        #expect(try await setting("queued.max.messages.kbytes", of: [:], 100) == "4096")
        #expect(try await setting("queued.max.messages.kbytes", of: ["queued.max.messages.kbytes": "77"], 100) == "77")
        #expect(try await setting("queued.min.messages", of: [:], 100) == "10000")
        #expect(try await setting("fetch.max.bytes", of: [:], 1) == "52428800")
        #expect(try await setting("fetch.max.bytes", of: [:], 100) == "4194304")
        #expect(try await setting("fetch.max.bytes", of: ["fetch.max.bytes": "3000000"], 100) == "3000000")
        #expect(KafkaConsumer.speedDefaults(for: .init(bootstrapServers: servers, settings: ["fetch.message.max.bytes": "1000"])) == KafkaConsumer.speedDefaults)
    }

    @Test(
        "A fetch is bounded so that librdkafka takes all settings together",
        arguments: [
            ([:], "52428800"), (["fetch.max.bytes": "8388608"], "8388608"), (["fetch.max.bytes": "8388608", "queued.max.messages.kbytes": "1024"], "1048576"),
            (["fetch.max.bytes": "8388608", "queued.max.messages.kbytes": "65536"], "8388608"), (["fetch.max.bytes": "8388608", "message.max.bytes": "60000000"], "60000000"),
            (["queued.max.messages.kbytes": "1"], "1000000"), (["receive.message.max.bytes": "2000000"], "1999488"),
            (["fetch.max.bytes": "8388608", "receive.message.max.bytes": "10000000"], "8388608"),
        ] as [([String: String], String)])
    func fits(_ given: [String: String], _ limit: String) throws {
        let settings = ClientSettings()
        for (name, value) in given { try settings.set(name, value) }
        try settings.fitFetchLimit()
        #expect(settings.number("fetch.max.bytes").map(String.init) == limit)
    }

    @Test("Large records may be allowed, wherever the brokers are and however many read", arguments: [1, 100])
    func largeRecords(_ sharers: Int) async throws {
        let directory = try TemporaryDirectory()
        let cluster = try await LocalKafkaCluster.start(.init(dataDirectory: directory.file("kafka"), brokers: [.init(port: try freePort())]))
        var failure: (any Error)?
        do {
            for servers in [cluster.bootstrapServers, "127.0.0.1:\(try freePort())"] {
                let client = KafkaClientConfiguration(bootstrapServers: [servers], settings: ["message.max.bytes": "60000000"])
                try await KafkaConsumer(KafkaConsumerConfiguration(client: client, sharers: sharers)).close()
            }
        } catch { failure = error }
        await cluster.stop()
        if let failure { throw failure }
    }
}
