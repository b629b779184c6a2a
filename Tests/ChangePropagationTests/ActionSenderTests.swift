import Foundation
import KafkaLog
import LocalKafka
import Logging
import NIOCore
import NIOPosix
import TestSupport
import Testing

@testable import ChangePropagation

/// Actions of switchback's own, against a real broker, a real socket and a real file.
@Suite("Actions of our own") struct ActionSenderTests {
    private let rule: Rule
    private let directory: TemporaryDirectory

    init() throws {
        rule = try ChangePropagationTests.rule("topic: a")
        directory = try TemporaryDirectory()
    }

    private func withSender(_ events: OriginProducer? = nil, _ body: (ActionSender) async throws -> Void) async throws {
        let sender = ActionSender(
            http: HTTPAction(version: "1", connections: 1), events: events, now: { Date(timeIntervalSince1970: 1_700_000_000) })
        var failure: (any Error)?
        do { try await body(sender) } catch { failure = error }
        await sender.close()
        if let failure { throw failure }
    }

    private func request(_ target: ActionRequest.Target) -> ActionRequest { ActionRequest(method: "POST", url: "/", target: target) }

    @Test("Events go to the local datacenter's topics, are acknowledged, and get the time that they lack")
    func produces() async throws {
        var settings = LocalKafkaCluster.Configuration(dataDirectory: directory.file("kafka"))
        settings.logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let cluster = try await LocalKafkaCluster.start(settings)
        try cluster.createTopic("eqiad.one", partitions: 4)
        let eqiad = try #require(Datacenter("eqiad")), codfw = try #require(Datacenter("codfw"))
        let client = KafkaClientConfiguration(
            bootstrapServers: [cluster.bootstrapServers], settings: ["message.timeout.ms": "2000"], logger: settings.logger)
        let origin = OriginProducer(datacenter: eqiad, known: [eqiad, codfw], producer: try KafkaProducer(client))
        let reader = try KafkaConsumer(KafkaConsumerConfiguration(client: client))
        do {
            try await withSender(origin) { sender in
                let events = [
                    StreamEvent(stream: "one", partition: 2, key: [65], value: ["meta": ["id": "a"]]),
                    StreamEvent(stream: "one", partition: 2, value: ["meta": ["dt": "then"]]), StreamEvent(stream: "one", partition: 2, value: 5),
                ]
                #expect(await sender.send(request(.produce(events)), for: rule) == .done(status: 201))
                let values = try await read(reader, TopicPartition(topic: "eqiad.one", partition: 2), count: 3)
                #expect(
                    values == [#"{"meta":{"id":"a","dt":"2023-11-14T22:13:20.000Z"}}"#, #"{"meta":{"dt":"then"}}"#, "5"])
                // No topic has two writers.
                let other = await sender.send(request(.produce([StreamEvent(stream: "codfw.one", value: 1)])), for: rule)
                guard case .failed(.badRequest(let why)) = other else {
                    Issue.record("\(other)")
                    return
                }
                #expect(why.contains("'codfw.one' names a datacenter"))
                await cluster.stop()
                let down = await sender.send(request(.produce([StreamEvent(stream: "one", value: 1)])), for: rule)
                guard case .retriable(.notWritten) = down else {
                    Issue.record("\(down)")
                    return
                }
            }
        } catch {
            await cluster.stop()
            throw error
        }
        try? await reader.close(within: .seconds(2))
    }

    private func read(_ reader: KafkaConsumer, _ partition: TopicPartition, count: Int) async throws -> [String] {
        let cluster = try await reader.clusterID(timeout: .seconds(5))
        try await reader.assign([partition: Position(0, in: cluster)])
        var values: [String] = []
        while values.count < count, let batch = try await reader.nextBatch(deadline: .now + .seconds(10)) {
            for index in 0..<batch.count {
                batch.withRecord(at: index) { record in
                    values.append(record.withValue { $0.map { String(decoding: $0, as: UTF8.self) } ?? "" })
                }
            }
        }
        return values
    }

    @Test("A purge leaves as one datagram a URL")
    func purges() async throws {
        let (datagrams, continuation) = AsyncStream<[UInt8]>.makeStream()
        let cache = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Receiver(continuation)) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(cache.localAddress?.port)
        let service = PurgeService(host: "localhost", port: port)
        try await withSender { sender in
            #expect(await sender.send(request(.purge(["http://h/a", "http://h/b"], service)), for: rule) == .done(status: 201))
            var seen: [[UInt8]] = []
            for await datagram in datagrams {
                seen.append(datagram)
                if seen.count == 2 { break }
            }
            #expect(seen == ["http://h/a", "http://h/b"].enumerated().compactMap { HTCP.clear($1, transaction: UInt32($0 + 1), format: .squid) })
            let nowhere = await sender.send(request(.purge(["http://h/"], PurgeService(host: "cache.invalid", port: 1))), for: rule)
            guard case .retriable(.connection) = nowhere else {
                    Issue.record("\(nowhere)")
                    return
                }
        }
        try await cache.close()
    }

    private final class Receiver: ChannelInboundHandler, Sendable {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        private let datagrams: AsyncStream<[UInt8]>.Continuation
        init(_ datagrams: AsyncStream<[UInt8]>.Continuation) { self.datagrams = datagrams }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { datagrams.yield(Array(unwrapInboundIn(data).data.readableBytesView)) }
    }

    @Test("A line is appended to a file that may be rotated away; a file that can't be written is worth another try")
    func logs() async throws {
        let file = directory.file("seen.jsonl")
        try await withSender { sender in
            for line in ["{\"a\":1}", "{}"] {
                #expect(await sender.send(request(.log(file: file.path, line: Array(line.utf8))), for: rule) == .done(status: 201))
            }
            #expect(try String(contentsOf: file, encoding: .utf8) == "{\"a\":1}\n{}\n")
            try FileManager.default.removeItem(at: file)
            #expect(await sender.send(request(.log(file: file.path, line: [65])), for: rule) == .done(status: 201))
            #expect(try String(contentsOf: file, encoding: .utf8) == "A\n")
            let nowhere = await sender.send(request(.log(file: directory.file("no/such.jsonl").path, line: [65])), for: rule)
            guard case .retriable(.notWritten(let why)) = nowhere else {
                    Issue.record("\(nowhere)")
                    return
                }
            #expect(why.contains("No such file"))
        }
    }
}
