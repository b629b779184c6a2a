import KafkaLog
import Logging

/// The group workers of one process: starts them, replaces their rules, and ends them together.
actor WorkerFleet {
    struct Key: Hashable, Comparable, Sendable {
        let group: String
        let role: GroupWorker.Setup.Role

        static func < (a: Key, b: Key) -> Bool { (a.group, a.role == .retries ? 1 : 0) < (b.group, b.role == .retries ? 1 : 0) }
    }

    private struct Member {
        let worker: GroupWorker
        let task: Task<Void, Never>
    }

    private enum Event: Sendable {
        case ended(Key, (any Error)?)
        case failed(any Error)
        case stop
    }

    /// Makes a worker that has not touched anything yet, in a process with so many groups.
    private let make: @Sendable (Key, [Rule], Int) throws -> GroupWorker
    private let logger: Logger
    private var members: [Key: Member] = [:]
    /// Those that end because their rules are gone.
    private var leaving: Set<Key> = []
    private var isStopping = false
    private let events: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation

    init(logger: Logger, make: @escaping @Sendable (Key, [Rule], Int) throws -> GroupWorker) {
        self.make = make
        self.logger = logger
        (events, continuation) = AsyncStream.makeStream()
    }

    var workers: [GroupWorker] { members.sorted { $0.key < $1.key }.map(\.value.worker) }

    /// Which workers rules need: those whose events may be tried again later need one that reads the retry topics.
    static func wanted(_ rules: [Rule]) -> [Key: [Rule]] {
        var wanted: [Key: [Rule]] = [:]
        for (group, rules) in Dictionary(grouping: rules, by: \.group) {
            for role in Worker.roles(of: rules) { wanted[Key(group: group, role: role)] = rules }
        }
        return wanted
    }

    /// Readers of retry topics don't count: they have little to do.
    static func groups(of rules: [Rule]) -> Int { Set(rules.map(\.group)).count }

    /// Works until `stop`, or until a worker ends by itself: a supervisor's restart is better than half a worker. Throws why that was.
    func run(_ rules: [Rule]) async throws {
        guard !isStopping else { return }
        let wanted = Self.wanted(rules)
        let workers = try wanted.map { ($0.key, try make($0.key, $0.value, Self.groups(of: rules))) }
        for (key, worker) in workers.sorted(by: { $0.0 < $1.0 }) { start(key, worker) }
        var failure: (any Error)?
        for await event in events {
            switch event {
            case .stop: await stopAll()
            case .failed(let error):
                failure = failure ?? error
                await stopAll()
            case .ended(let key, let error):
                members[key] = nil
                failure = failure ?? error
                if leaving.remove(key) == nil || error != nil { await stopAll() }
            }
            if isStopping, members.isEmpty { break }
        }
        // Cancelled: nobody waits for anything any more.
        for member in members.values { member.task.cancel() }
        if let failure { throw failure }
    }

    /// Asks `run` to drain and to return.
    nonisolated func stop() { continuation.yield(.stop) }

    /// Something that the process can't do without has failed.
    nonisolated func fail(_ error: any Error) { continuation.yield(.failed(error)) }

    /// What keeps new rules from being taken up; the old ones stay.
    struct Refusal: Error, CustomStringConvertible {
        let description: String
    }

    /// Takes up new rules: groups that are new begin, those that are gone drain and end, the others go on with what they have. All or nothing.
    func replace(_ rules: [Rule]) async throws {
        guard !isStopping else { throw Refusal(description: "the worker is stopping") }
        let wanted = Self.wanted(rules)
        if let key = wanted.keys.first(where: leaving.contains) {
            throw Refusal(description: "group \(key.group) is still ending since the last reload; try again")
        }
        let fresh = try wanted.filter { members[$0.key] == nil }.map { ($0.key, try make($0.key, $0.value, Self.groups(of: rules))) }
        for (key, member) in members {
            if let rules = wanted[key] { await member.worker.replace(rules) } else {
                leaving.insert(key)
                await member.worker.stop()
            }
        }
        for (key, worker) in fresh { start(key, worker) }
    }

    private func start(_ key: Key, _ worker: GroupWorker) {
        let task = Task { [continuation] in
            var failure: (any Error)?
            do { try await worker.run() } catch { failure = error }
            continuation.yield(.ended(key, failure))
        }
        members[key] = Member(worker: worker, task: task)
    }

    private func stopAll() async {
        isStopping = true
        for member in members.values { await member.worker.stop() }
    }
}
