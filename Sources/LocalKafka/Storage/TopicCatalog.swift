import Foundation
import Logging
import Synchronization

/// One topic: its partitions and its configuration.
final class Topic: Sendable {
    let name: String
    let id: KafkaUUID
    let directory: String
    private struct State {
        var partitions: [PartitionLog]
        var configuration: TopicConfiguration
    }
    private let state: Mutex<State>

    init(name: String, id: KafkaUUID, directory: String, partitions: [PartitionLog], configuration: TopicConfiguration) {
        self.name = name
        self.id = id
        self.directory = directory
        state = Mutex(State(partitions: partitions, configuration: configuration))
    }

    var partitions: [PartitionLog] { state.withLock { $0.partitions } }
    var configuration: TopicConfiguration { state.withLock { $0.configuration } }

    func partition(_ number: Int32) -> PartitionLog? {
        state.withLock { $0.partitions.indices.contains(Int(number)) ? $0.partitions[Int(number)] : nil }
    }

    fileprivate func add(_ more: [PartitionLog]) { state.withLock { $0.partitions += more } }
    fileprivate func configure(_ change: (inout TopicConfiguration) -> Void) { state.withLock { change(&$0.configuration) } }

    /// Writes what is kept of the topic beside its records.
    fileprivate func save() throws {
        let file = TopicFile(
            name: name, id: id, configuration: configuration, partitions: partitions.map(\.facts))
        try DataDirectory.write(file, to: directory + "/topic.json")
    }
}

/// `topic.json`
private struct TopicFile: Codable {
    var name: String
    var id: KafkaUUID
    var configuration: TopicConfiguration
    var partitions: [PartitionFacts]
}

/// All topics of a cluster. One lock guards the changes to the set of topics; reading a topic takes it only to find it.
final class TopicCatalog: Sendable {
    private let topics: Mutex<[String: Topic]>
    /// Held over each change that is written to disk, so that two changes of one topic can't overwrite each other's file.
    private let changing = Mutex(())
    private let directory: String
    private let options: PartitionLog.Options
    private let brokerCount: Int32

    /// Opens every topic in the data directory. Throws `LocalKafkaError.storage`.
    init(data: DataDirectory, brokerCount: Int32, options: PartitionLog.Options) throws {
        self.directory = data.path + "/topics"
        self.options = options
        self.brokerCount = brokerCount
        try? FileManager.default.removeItem(atPath: data.path + "/deleted")
        var found: [String: Topic] = [:]
        do {
            for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
                let path = directory + "/" + name
                // A topic whose making was cut short has no file yet, and nobody was told that it exists.
                guard FileManager.default.fileExists(atPath: path + "/topic.json") else { continue }
                found[name] = try Self.open(path, brokerCount: brokerCount, options: options)
            }
        } catch let error as LocalKafkaError {
            throw error
        } catch {
            throw LocalKafkaError.storage(path: directory, operation: "list", reason: "\(error)")
        }
        topics = Mutex(found)
    }

    private static func open(_ path: String, brokerCount: Int32, options: PartitionLog.Options) throws -> Topic {
        let file = try DataDirectory.read(TopicFile.self, from: path + "/topic.json")
        let partitions = try file.partitions.enumerated().map { number, facts in
            var facts = facts
            if facts.leader > brokerCount { facts.leader = Int32(number) % brokerCount + 1 }
            return try PartitionLog(
                topic: file.name, partition: Int32(number), directory: "\(path)/\(number)", facts: facts, options: options)
        }
        return Topic(name: file.name, id: file.id, directory: path, partitions: partitions, configuration: file.configuration)
    }

    // MARK: Reading

    var all: [Topic] { topics.withLock { topics in topics.values.sorted { $0.name < $1.name } } }
    func topic(_ name: String) -> Topic? { topics.withLock { $0[name] } }
    func topic(id: KafkaUUID) -> Topic? { topics.withLock { topics in topics.values.first { $0.id == id } } }
    func partition(_ topic: String, _ partition: Int32) -> PartitionLog? { self.topic(topic)?.partition(partition) }

    // MARK: Changing

    static func isValidName(_ name: String) -> Bool {
        guard !name.isEmpty, name.utf8.count <= Limits.maxTopicNameLength, name != ".", name != ".." else { return false }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
    }

    /// Checks what CreateTopics with `validateOnly` checks. Throws `LocalKafkaError.topic`.
    func validateNew(_ name: String, partitions: Int32, configuration: [String: String]) throws {
        func refuse(_ code: ErrorCode, _ reason: String) -> LocalKafkaError { .topic(name: name, code: code, reason: reason) }
        guard Self.isValidName(name) else {
            throw refuse(.invalidTopic, "the name must have 1 to 249 of a-z A-Z 0-9 . _ - and not be . or ..")
        }
        guard topic(name) == nil else { throw refuse(.topicAlreadyExists, "topic '\(name)' already exists") }
        guard partitions >= 1, Int(partitions) <= Limits.maxPartitionsPerTopic else {
            throw refuse(.invalidPartitions, "the number of partitions must be 1 to \(Limits.maxPartitionsPerTopic)")
        }
        if let problem = TopicConfiguration.problem(in: configuration) { throw refuse(.invalidConfig, problem) }
    }

    /// Makes a topic. `leaders`: the broker of each partition; nil: they go round the brokers.
    @discardableResult
    func create(
        _ name: String, partitions: Int32, configuration: [String: String], leaders: [Int32]? = nil
    ) throws -> Topic {
        try changing.withLock { _ in
            try validateNew(name, partitions: partitions, configuration: configuration)
            let path = directory + "/" + name
            try? FileManager.default.removeItem(atPath: path)  // left by a making that was cut short
            let logs = try makePartitions(0..<partitions, topic: name, path: path, leaders: leaders)
            let topic = Topic(
                name: name, id: .random(), directory: path, partitions: logs, configuration: TopicConfiguration(configuration))
            try topic.save()
            topics.withLock { $0[name] = topic }
            return topic
        }
    }

    private func makePartitions(
        _ numbers: Range<Int32>, topic: String, path: String, leaders: [Int32]? = nil
    ) throws -> [PartitionLog] {
        try numbers.map { number in
            let leader = leaders?[Int(number)] ?? number % brokerCount + 1
            return try PartitionLog(
                topic: topic, partition: number, directory: "\(path)/\(number)", facts: PartitionFacts(leader: leader),
                options: options)
        }
    }

    /// Raises the number of partitions. Throws `LocalKafkaError.topic`.
    func addPartitions(_ name: String, total: Int32, validateOnly: Bool) throws {
        try changing.withLock { _ in
            guard let topic = topic(name) else {
                throw LocalKafkaError.topic(name: name, code: .unknownTopicOrPartition, reason: "no such topic")
            }
            let count = Int32(topic.partitions.count)
            guard total > count, Int(total) <= Limits.maxPartitionsPerTopic else {
                throw LocalKafkaError.topic(
                    name: name, code: .invalidPartitions, reason: "the topic has \(count) partitions, \(total) would not be more")
            }
            if validateOnly { return }
            topic.add(try makePartitions(count..<total, topic: name, path: topic.directory))
            try topic.save()
        }
    }

    func delete(_ name: String) throws {
        try changing.withLock { _ in
            guard let topic = topics.withLock({ $0.removeValue(forKey: name) }) else {
                throw LocalKafkaError.topic(name: name, code: .unknownTopicOrPartition, reason: "no such topic")
            }
            for partition in topic.partitions { partition.close() }
            let trash = (directory as NSString).deletingLastPathComponent + "/deleted"
            try FileManager.default.createDirectory(atPath: trash, withIntermediateDirectories: true)
            let grave = trash + "/" + KafkaUUID.random().description
            guard rename(topic.directory, grave) == 0 else {
                throw LocalKafkaError.system(path: topic.directory, operation: "move away")
            }
            try? FileManager.default.removeItem(atPath: grave)
        }
    }

    func configure(_ name: String, _ change: (inout TopicConfiguration) -> Void) throws {
        try changing.withLock { _ in
            guard let topic = topic(name) else {
                throw LocalKafkaError.topic(name: name, code: .unknownTopicOrPartition, reason: "no such topic")
            }
            topic.configure(change)
            try topic.save()
        }
    }

    /// Writes a topic's file after a change of one of its partitions.
    func save(_ name: String) throws {
        try changing.withLock { _ in try topic(name)?.save() }
    }

    /// Ends all: readers wake, appends are refused.
    func closeAll() {
        for topic in all {
            // The end of a log may be a hole, which only this file knows of.
            try? save(topic.name)
            for partition in topic.partitions { partition.close() }
        }
    }
}
