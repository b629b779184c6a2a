import KafkaLog
import Logging

extension MirrorSession {
    /// Topic settings that a copy needs to hold the same records. Others are the target's own affair.
    static let copiedTopicSettings: Set<String> = [
        "message.timestamp.type", "max.message.bytes", "cleanup.policy", "retention.ms", "retention.bytes",
    ]

    /// Looks for topics and partitions to copy, and at the ends of the source's logs, again and again.
    func discover(_ clusters: Clusters) async throws {
        let gauges = MirrorGauges(from: configuration.from, to: configuration.to)
        while true {
            do {
                try await discoverOnce(clusters)
            } catch MirrorError.client(let side, let error) where error.isRetriable {
                // librdkafka connects again by itself; this loop asks until it did.
                let servers = side == .source ? configuration.sourceBootstrapServers : configuration.targetBootstrapServers
                reachability.failed(side, servers: servers, error)
            }
            if let status = status() { gauges.record(status) }
            try await Task.sleep(for: configuration.discoveryInterval)
        }
    }

    private func discoverOnce(_ clusters: Clusters) async throws {
        let wanted = try await sourceTopics()
        reachability.answered(.source)
        try await noteEnds()
        var present = try await targetTopics(Set(wanted.keys))
        reachability.answered(.target)
        if try await makeMissing(wanted, present) { present = try await targetTopics(Set(wanted.keys)) }
        let active = table.active
        var ready: [TopicPartition] = []
        for (topic, partitions) in wanted {
            let there = present[topic] ?? []
            for partition in partitions where there.contains(partition) {
                let partition = TopicPartition(topic: topic, partition: partition)
                if !active.contains(partition), !table.isHeld(partition) { ready.append(partition) }
            }
        }
        guard !ready.isEmpty else { return }
        // The producer learns of new partitions here, not at its next periodic refresh.
        for topic in Set(ready.map(\.topic)) {
            _ = try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
                try await self.producer.metadata(.topic(topic), timeout: self.configuration.requestTimeout)
            }
        }
        try await resume(ready.sorted(), clusters)
    }

    /// The topics to copy, with those of their partitions that have a leader: `<from>.` and something after it. No other.
    private func sourceTopics() async throws -> [String: [Int32]] {
        let timeout = configuration.requestTimeout
        let metadata = try await MirrorError.wrapping(.source) { () async throws(KafkaLogError) in
            try await self.sourceAdmin.metadata(.all, timeout: timeout)
        }
        let from = CollectionOfOne(configuration.from)
        return metadata.topics.reduce(into: [:]) { wanted, topic in
            guard topic.failure == nil, OriginTopic(topic: topic.name, known: from) != nil else { return }
            wanted[topic.name] = topic.partitions.map(\.id)
        }
    }

    private func targetTopics(_ wanted: Set<String>) async throws -> [String: Set<Int32>] {
        let timeout = configuration.requestTimeout
        let metadata = try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.targetAdmin.metadata(.all, timeout: timeout)
        }
        return metadata.topics.reduce(into: [:]) { present, topic in
            guard wanted.contains(topic.name), topic.failure == nil else { return }
            present[topic.name] = Set(topic.partitions.map(\.id))
        }
    }

    /// Notes where the source's logs end now.
    private func noteEnds() async throws {
        let active = Array(table.active)
        guard !active.isEmpty else { return }
        let now = ContinuousClock.now
        let timeout = configuration.requestTimeout
        let marks = try await MirrorError.wrapping(.source) { () async throws(KafkaLogError) in
            try await self.sourceAdmin.watermarks(active, timeout: timeout)
        }
        for (partition, result) in marks {
            // A partition that has no leader right now keeps the end that was known.
            guard case .success(let marks) = result else { continue }
            _ = table.update(partition) {
                $0.sourceEnd = marks.high.offset
                $0.arrivals.note(end: marks.high.offset, at: now)
            }
        }
    }

    // MARK: Making topics

    /// Makes topics and partitions that the target lacks. Whether there were any.
    private func makeMissing(_ wanted: [String: [Int32]], _ present: [String: Set<Int32>]) async throws -> Bool {
        let missing = wanted.keys.filter { present[$0] == nil }.sorted()
        let grown = wanted.filter { topic, partitions in present[topic].map { $0.count < partitions.count } ?? false }
        guard !missing.isEmpty || !grown.isEmpty else { return false }
        let settings = try await sourceSettings(of: missing)
        let new = missing.map { topic in
            NewTopic(
                topic, partitions: Int32(wanted[topic]?.count ?? 1), replication: configuration.replication,
                settings: settings[topic] ?? [:])
        }
        let timeout = configuration.requestTimeout
        let made = try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.targetAdmin.createTopics(new, timeout: timeout)
        }
        let extended = try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.targetAdmin.createPartitions(grown.mapValues(\.count), timeout: timeout)
        }
        for (topic, result) in made.merging(extended, uniquingKeysWith: { $1 }) { report(topic, result) }
        return true
    }

    private func sourceSettings(of topics: [String]) async throws -> [String: [String: String]] {
        let timeout = configuration.requestTimeout
        let described = try await MirrorError.wrapping(.source) { () async throws(KafkaLogError) in
            try await self.sourceAdmin.describeTopicConfigs(topics, timeout: timeout)
        }
        return try described.mapValues { result in
            do throws(KafkaLogError) {
                let own = try result.get().filter { Self.copiedTopicSettings.contains($0.key) && !$0.value.isDefault }
                return own.compactMapValues(\.value)
            } catch { throw MirrorError.client(.source, error) }
        }
    }

    private func report(_ topic: String, _ result: Result<Void, KafkaLogError>) {
        switch result {
        case .success:
            configuration.logger.notice("the target got a topic or partitions", metadata: ["topic": "\(topic)"])
        case .failure(let error):
            // Somebody else was quicker; what is there is found by the next look.
            if error.label == "topic_already_exists" { return }
            configuration.logger.error(
                "the target can't be given a topic: it is not copied; this is tried again",
                metadata: ["topic": "\(topic)", "error": "\(error)"])
        }
    }
}
