import Checkpoints
import KafkaLog
import LocalKafka
import TestSupport
import Testing

@testable import ChangePropagation

@Suite("Drain proof")
struct DrainProofTests {
    private static let here = ClusterID("here")

    private func checkpoint(_ offset: Int64, in cluster: ClusterID = here) -> Checkpoint {
        let done = DonePrefix(
            witness: nil, disorder: 0, tail: [], beyond: [], beyondSpan: 0, position: Position(offset, in: cluster), timestampType: .none)
        return Checkpoint(
            done: done, partitionCount: 1, identity: "record", epoch: 1, worker: "w", writtenAt: MillisecondTimestamp(clamped: 0))
    }

    @Test("What is done is said of the cluster that processes, never of another one's offsets")
    func done() {
        let end = Position(10, in: Self.here)
        #expect(DrainProof.done(checkpoint(10), start: 0, end: end) == .all)
        #expect(DrainProof.done(checkpoint(7), start: 0, end: end) == .open(3))
        guard case .unknown = DrainProof.done(checkpoint(10, in: ClusterID("there")), start: 0, end: end),
            case .unknown = DrainProof.done(checkpoint(11), start: 0, end: end), case .unknown = DrainProof.done(nil, start: 0, end: end)
        else {
            Issue.record("a guess")
            return
        }
        #expect(DrainProof.done(nil, start: 10, end: end) == .all, "an empty log")
    }

    @Test("What the origin still holds lies past the last record that came")
    func unmirrored() {
        let last = LastRecord(offset: 104, fingerprint: Fingerprint(bits: 1), timestamp: nil)
        #expect(DrainProof.unmirrored(last: last, found: 4, origin: (0, 5)) == .none)
        #expect(DrainProof.unmirrored(last: last, found: 4, origin: (0, 9)) == .records(4))
        #expect(DrainProof.unmirrored(last: nil, found: nil, origin: (3, 9)) == .records(6))
        #expect(DrainProof.unmirrored(last: nil, found: nil, origin: (3, 3)) == .none)
        guard case .differs = DrainProof.unmirrored(last: last, found: nil, origin: (0, 9)) else {
            Issue.record("other logs pass for the same")
            return
        }
    }

    /// A configuration for the clusters of `world`, one of which may be one that does not answer.
    private func configuration(_ world: WorkerWorld, eqiad: String? = nil, codfw: String? = nil, topics: String = "[s]") throws -> WorkerConfiguration {
        try WorkerConfiguration.parse(
            """
            service: test
            datacenter: codfw
            datacenters:
              eqiad: {bootstrap: '\(eqiad ?? world.clusters[WorkerWorld.eqiad]?.bootstrapServers ?? "")'}
              codfw: {bootstrap: '\(codfw ?? world.clusters[WorkerWorld.codfw]?.bootstrapServers ?? "")'}
            store: {sqlite: unused.db}
            rules:
              rule: {topics: \(topics), origins: [eqiad], exec: {uri: 'http://sink/x'}}
            """, file: "worker.yaml")
    }

    @Test("After a handover: all done, then so many not mirrored, then unknown since the last that came")
    func throughAHandover() async throws {
        try await WorkerWorld.run { world in
            let home = try await world.start(WorkerWorld.eqiad)
            let away = try await world.start(WorkerWorld.codfw)
            try await world.waitForCalls(try world.produce(0..<20))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            try await world.controller.beginSwitchover(world.key, to: WorkerWorld.codfw)
            _ = try await world.controller.carryThrough(world.key, timeout: .seconds(20))
            try await world.waitForCalls(try world.produce(20..<30))
            let prover = DrainProver(try configuration(world), store: world.store, logger: WorkerWorld.quiet)
            try await eventually("it is proven") { try await prover.prove(world.key).allSatisfy(\.isProven) }
            #expect(try await prover.prove(world.key).map(\.datacenter) == ["codfw", "codfw"])

            // Even numbers are of partition 0: three of them stay in eqiad.
            for number in [30, 32, 34] { try world.append(number, to: WorkerWorld.eqiad) }
            let behind = try await prover.prove(world.key)
            #expect(behind.map(\.unmirrored) == [.records(3), .none])
            #expect(!behind[0].isProven && behind[1].isProven)

            let gone = DrainProver(try configuration(world, eqiad: "127.0.0.1:\(try freePort())"), store: world.store, logger: WorkerWorld.quiet)
            let unknown = try await gone.prove(world.key)
            #expect(unknown.map(\.unmirrored) == [.unknownSince(1_700_000_000_028), .unknownSince(1_700_000_000_029)])
            #expect(unknown.allSatisfy { $0.done == .all && !$0.isProven })

            // An owner that can't be asked is no reason to say nothing of the others.
            let lonely = DrainProver(try configuration(world, codfw: "127.0.0.1:\(try freePort())"), store: world.store, logger: WorkerWorld.quiet)
            #expect(try await lonely.prove(world.key).map(\.done) == [.unknown("no answer from codfw"), .unknown("no answer from codfw")])
            try await home.stop()
            try await away.stop()
        }
    }

    @Test("Nothing is proven while the origin has a topic or a partition that nobody reported, or one more of the same record")
    func unseen() async throws {
        try await WorkerWorld.run { world in
            let away = try await world.start(WorkerWorld.codfw)
            try await eventually("there is an assignment") { try await world.assignment() != nil }
            try await world.controller.failover(world.key, to: WorkerWorld.codfw, now: true)
            try await world.waitForCalls(try world.produce(0..<4))
            let prover = DrainProver(try configuration(world, topics: "[s, late]"), store: world.store, logger: WorkerWorld.quiet)
            try await eventually("it is proven") {
                let proofs = try await prover.prove(world.key)
                return !proofs.isEmpty && proofs.allSatisfy(\.isProven)
            }
            let eqiad = try #require(world.clusters[WorkerWorld.eqiad])
            let record = RawRecord(timestamp: 1_700_000_000_000, value: Array(#"{"id":"late"}"#.utf8))

            // The mirror has made neither in codfw yet, so that no worker there can know them.
            try eqiad.createTopic("eqiad.late", partitions: 1)
            try eqiad.append([record], to: "eqiad.late", 0)
            try eqiad.addPartitions(WorkerWorld.topic, total: 3)
            try eqiad.append([record, record], to: WorkerWorld.topic, 2)
            // As number 2, the last of partition 0, in contents and time.
            try world.append(2, to: WorkerWorld.eqiad)
            let proofs = try await prover.prove(world.key)
            #expect(proofs.map { "\($0.topic)/\($0.partition)" } == ["eqiad.late/0", "eqiad.s/0", "eqiad.s/1", "eqiad.s/2"])
            #expect(proofs.map(\.unmirrored) == [.records(1), .records(1), .none, .records(2)])
            #expect(proofs.map(\.done) == [.all, .all, .all, .all])

            // Mirrored, and twice at that: it is the same place.
            for _ in 0..<2 { try world.append(2, to: WorkerWorld.codfw) }
            try await eventually("partition 0 is proven") { try await prover.prove(world.key)[1].isProven }
            try await away.stop()
        }
    }

    @Test("A heartbeat that the mirror brought bounds what is unknown when the origin is gone")
    func heartbeat() async throws {
        try await WorkerWorld.run { world in
            let home = try await world.start(WorkerWorld.eqiad)
            try await world.waitForCalls(try world.produce(0..<4))
            try await eventually("the assignment knows its partitions") { try await world.assignment()?.partitions.isEmpty == false }
            try await world.controller.failover(world.key, to: WorkerWorld.codfw)
            try await home.stop()
            let cluster = try #require(world.clusters[WorkerWorld.eqiad])
            try cluster.createTopic(Heartbeat.topic(of: WorkerWorld.eqiad), partitions: 1)
            let producer = try KafkaProducer(KafkaClientConfiguration(bootstrapServers: [cluster.bootstrapServers], logger: WorkerWorld.quiet))
            let origin = OriginProducer(datacenter: WorkerWorld.eqiad, known: [WorkerWorld.codfw], producer: producer)
            let beating = Task { await Heartbeat(origin, interval: .milliseconds(50), worker: "w", logger: WorkerWorld.quiet).run() }
            let topic = TopicPartition(topic: Heartbeat.topic(of: WorkerWorld.eqiad), partition: 0)
            let admin = try KafkaAdmin(KafkaClientConfiguration(bootstrapServers: [cluster.bootstrapServers], logger: WorkerWorld.quiet))
            try await eventually("it beats") { try await admin.watermarks([topic], timeout: .seconds(5))[topic]?.get().high.offset ?? 0 >= 3 }
            beating.cancel()
            await beating.value

            // The mirror has brought one beat.
            try world.clusters[WorkerWorld.codfw]?.createTopic(topic.topic, partitions: 1)
            try world.clusters[WorkerWorld.codfw]?.append([RawRecord(timestamp: 1_700_000_005_000, value: Array("{}".utf8))], to: topic.topic, 0)
            let gone = DrainProver(try configuration(world, eqiad: "127.0.0.1:\(try freePort())"), store: world.store, logger: WorkerWorld.quiet)
            #expect(try await gone.prove(world.key).allSatisfy { $0.unmirrored == .unknownSince(1_700_000_005_000) })
            await admin.close()
            try await producer.close(within: .seconds(5))
        }
    }
}
