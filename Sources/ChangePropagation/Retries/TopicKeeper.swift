import KafkaLog
import Logging

/// Sees to it that the topics into which a worker parks events are there: without them a failing event would hold its partition up.
actor TopicKeeper {
    private var configuration: WorkerConfiguration
    private let admin: KafkaAdmin
    private let logger: Logger

    /// Between two looks: a stream may appear, and its retry topics with it.
    static let interval = Duration.seconds(5)
    private static let timeout = Duration.seconds(10)

    init(_ configuration: WorkerConfiguration, admin: KafkaAdmin, logger: Logger) {
        self.configuration = configuration
        self.admin = admin
        self.logger = logger
    }

    /// What has to be made in a cluster that has `topics` (name → partitions). A retry topic has as many partitions as its stream has, so that
    /// an event and its retries are in partitions of one number; streams that are not there yet are left for later. Every datacenter's retry
    /// topic is made, since a mirror may take minutes to make it, and a handover before that would have to wait for it.
    static func missing(_ configuration: WorkerConfiguration, in topics: [String: Int32]) -> [NewTopic] {
        let names = RetryTopics(service: configuration.service)
        let datacenters = Set(configuration.datacenters.keys)
        var wanted: [String: Int32] = [:]
        func want(_ origin: Datacenter, _ stream: String, _ count: Int32) {
            let topic = OriginTopic(origin: origin, stream: stream).topic
            wanted[topic] = max(count, wanted[topic] ?? 0)
        }
        for (name, count) in topics {
            guard let topic = OriginTopic(topic: name, known: datacenters) else { continue }
            let rules = configuration.rules.filter { $0.reads(topic) }
            let isRetried = rules.contains(where: \.usesRetryTopics)
            if isRetried || rules.contains(where: { $0.onFailure == .deadLetter }) { want(configuration.datacenter, names.errorStream, count) }
            guard isRetried else { continue }
            for origin in datacenters { want(origin, names.retryStream(of: topic.stream), count) }
        }
        return wanted.filter { topics[$0.key] == nil }.map { NewTopic($0.key, partitions: $0.value) }.sorted { $0.name < $1.name }
    }

    /// Makes what is missing. Throws `StartFailure` when it can't be made: better now than when the first event fails.
    func makeAtStart() async throws {
        let failed: [(NewTopic, KafkaLogError)]
        do { failed = try await make() } catch { throw Worker.StartFailure(description: "the cluster's topics can't be read: \(error)") }
        guard let (topic, error) = failed.first else { return }
        throw Worker.StartFailure(
            description: "the topic \(topic.name) is missing and can't be made (\(error)); make it with \(topic.partitions) partitions, "
                + "or let this worker's user create topics")
    }

    /// Makes what new rules need, and looks after that from now on. Throws `StartFailure`; then the old rules count.
    func take(_ new: WorkerConfiguration) async throws {
        let old = configuration
        configuration = new
        do { try await makeAtStart() } catch {
            configuration = old
            throw error
        }
    }

    /// Looks again and again until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: Self.interval) } catch { return }
            do throws(KafkaLogError) {
                for (topic, error) in try await make() {
                    logger.error(
                        "A topic for retries and dead letters is missing and can't be made; make it by hand",
                        metadata: ["topic": "\(topic.name)", "partitions": "\(topic.partitions)", "error": "\(error)"])
                }
            } catch {
                logger.debug("The cluster's topics could not be read; looking again", metadata: ["error": "\(error)"])
            }
        }
    }

    /// What could not be made.
    private func make() async throws(KafkaLogError) -> [(NewTopic, KafkaLogError)] {
        let metadata = try await admin.metadata(.all, timeout: Self.timeout)
        let present = metadata.topics.filter { $0.failure == nil }
        let missing = Self.missing(configuration, in: Dictionary(present.map { ($0.name, Int32($0.partitions.count)) }) { $1 })
        guard !missing.isEmpty else { return [] }
        let results = try await admin.createTopics(missing, timeout: Self.timeout)
        var failed: [(NewTopic, KafkaLogError)] = []
        for topic in missing {
            guard case .failure(let error)? = results[topic.name], !error.isTopicAlreadyThere else { continue }
            failed.append((topic, error))
        }
        if missing.count > failed.count {
            logger.info("Made topics for retries and dead letters", metadata: ["topics": "\(missing.map(\.name))"])
        }
        return failed
    }
}
