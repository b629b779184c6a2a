import KafkaLog
import Logging

/// Knows which topics the group's rules read: the named ones, and those of the cluster that an expression matches.
extension GroupWorker {
    /// Between two looks at the cluster's topics, for rules with expressions.
    static let topicInterval = Duration.seconds(2)
    /// A topic that is gone for so many looks is not read any more. One answer says nothing: a broker that has just come up knows few topics.
    static let topicAbsenceLimit = 10

    /// Whether some rule may come to read topics that are not there yet.
    var isOpen: Bool { rules.contains { $0.selection.isOpen } }

    /// Whether this worker reads `topic`, which carries its datacenter's prefix.
    func reads(_ topic: String) -> Bool { topics.role(of: topic) == setup.role }

    private var namedTopics: Set<String> { topics.named(setup.role) }

    /// Rules that have only expressions, and a cluster without such a topic: then there is nothing to subscribe to yet.
    func subscribeAtStart() async throws {
        if isOpen { await refreshTopics() }
        subscribed = namedTopics.union(topicPartitionCounts.keys.filter(reads))
        if !subscribed.isEmpty { try await consumer.subscribe(to: subscribed.sorted()) }
    }

    /// Looks for topics that have come to match. Their partitions have no checkpoint, so they are read from their beginning.
    func topicLoop() async {
        while !Task.isCancelled, !isStopping {
            do { try await clock.sleep(Self.topicInterval) } catch { return }
            await refreshTopics()
            await subscribeToWhatMatches()
        }
    }

    func subscribeToWhatMatches() async {
        guard !isStopping else { return }
        // With other rules than when they were subscribed to, topics may not be wanted any more.
        let gone = topicAbsences.filter { $0.value >= Self.topicAbsenceLimit }.map(\.key)
        let wanted = subscribed.union(topicPartitionCounts.keys).filter(reads).subtracting(gone).union(namedTopics)
        guard wanted != subscribed, !wanted.isEmpty else { return }
        do {
            try await consumer.subscribe(to: wanted.sorted())
            logger.info(
                "The topics that the rules' expressions match have changed",
                metadata: ["new": "\(wanted.subtracting(subscribed).sorted())", "gone": "\(subscribed.subtracting(wanted).sorted())"])
            for topic in gone { topicPartitionCounts[topic] = nil }
            subscribed = wanted
            topicAbsences = [:]
            assignmentHint?.yield()
        } catch {
            logger.warning("Subscribing to new topics failed; trying again", metadata: ["error": "\(error)"])
        }
    }

    func refreshTopics() async {
        do {
            let metadata = try await lookups.metadata(.all, timeout: .seconds(5))
            var found: Set<String> = []
            let topics = topics
            for topic in metadata.topics where topic.failure == nil && (topics.role(of: topic.name) != nil || topic.name == parking?.errorTopic) {
                topicPartitionCounts[topic.name] = Int32(topic.partitions.count)
                found.insert(topic.name)
            }
            for topic in subscribed { topicAbsences[topic] = found.contains(topic) ? nil : topicAbsences[topic, default: 0] + 1 }
        } catch {
            logger.warning("The cluster's topics could not be read", metadata: ["error": "\(error)"])
        }
    }
}
