import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// What happens in the demonstration.
extension Demo {
    func setUp() async throws {
        step("0. Two datacenters start, each with Kafka, mirror, worker")
        note("store \(configuration.store.rawValue), seed \(configuration.seed)")
        try home.startBroker()
        try away.startBroker()
        for site in [home, away] {
            let admin = try KafkaAdmin(site.client("admin"))
            try await answer("\(site.datacenter)'s Kafka") { _ = try await admin.clusterID(timeout: .seconds(2)) }
            let results = try await admin.createTopics([NewTopic(site.topic, partitions: configuration.partitions)])
            for (topic, result) in results { if case .failure(let error) = result { throw DemoFailure("\(topic): \(error)") } }
            try await ageLog(site, admin)
            await admin.close()
        }
        try home.startMirror()
        try away.startMirror()
        for (site, topic) in [(home, away.topic), (away, home.topic)] {
            let admin = try KafkaAdmin(site.client("admin"))
            try await answer("the copy of \(topic) in \(site.datacenter)") {
                guard try await admin.metadata(.all).topics.first(where: { $0.name == topic })?.partitions.count == Int(configuration.partitions) else {
                    throw DemoFailure("not there yet")
                }
            }
            await admin.close()
        }
        for site in [home, away] { try site.startWorker(store: storeText, sink: sink.port) }
        let assignments = AssignmentStore(store)
        try await answer("the workers") {
            let found = try await assignments.load(group: DemoConfiguration.group)
            let isReady = [home, away].allSatisfy { found[$0.datacenter]?.assignment.partitions.isEmpty == false }
            guard isReady else { throw DemoFailure("no assignment yet") }
        }
        owner = DemoConfiguration.home
        isHomeUp = true
        note("an event has different offsets in the two: each log has a past of its own")
    }

    /// Gives each partition a past that retention has taken: the same event then has another offset in the other cluster.
    func ageLog(_ site: Site, _ admin: KafkaAdmin) async throws {
        let producer = try KafkaProducer(site.client("past"))
        var ends: [TopicPartition: Position] = [:]
        let cluster = try await admin.clusterID()
        for number in 0..<configuration.partitions {
            let count = 50 + Int(random.next() % 400)
            let records = (0..<count).map { ProducerRecord(topic: site.topic, partition: number, key: nil, value: Array("past \($0)".utf8)) }
            for result in await producer.send(contentsOf: records) { _ = try result.get() }
            ends[TopicPartition(topic: site.topic, partition: number)] = Position(Int64(count), in: cluster)
        }
        for (_, result) in try await admin.deleteRecords(before: ends) { _ = try result.get() }
        try await producer.close(within: .seconds(5))
    }

    func startHome() async throws {
        try home.startBroker()
        let admin = try KafkaAdmin(home.client("admin"))
        try await answer("eqiad's Kafka") { _ = try await admin.clusterID(timeout: .seconds(2)) }
        await admin.close()
        try home.startMirror()
        try home.startWorker(store: storeText, sink: sink.port)
        isHomeUp = true
    }

    func startLoad(home isHome: Bool) throws {
        let site = isHome ? home : away
        let load = try Load(
            configuration, datacenter: site.datacenter, client: site.client("producer"),
            rate: isHome ? configuration.rates.home : configuration.rates.away, seed: random.next(), book: book)
        if isHome { homeLoad = load } else { awayLoad = load }
    }

    /// Begins a handover and carries it through.
    func carry(_ begin: (HandoverController, AssignmentKey) async throws -> Void) async throws {
        var logger = Logger(label: "switchback.demo.handover")
        logger.logLevel = .error
        let controller = HandoverController(store: store, interval: .milliseconds(50), logger: logger) {
            Assignment.Author(name: "demo", reason: "demonstration", now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
        }
        try await begin(controller, key)
        let end = try await controller.carryThrough(key, timeout: configuration.patience) { [say, book] step in
            func note(_ text: String) { say(DemoLine(at: book.now, message: .note(text))) }
            switch step {
            case .draining(let sealed, let total, _): note("draining: \(sealed) of \(total) partitions sealed")
            case .epochRaised(let epoch, let owner): note("epoch \(epoch): \(owner) owns eqiad.*")
            case .resuming(let done, let total): note("\(done) of \(total) partitions resumed")
            case .stable(let epoch, let owner): note("stable: \(owner) acts on eqiad.*, epoch \(epoch)")
            }
        }
        owner = end.owner
    }
}
