import ArgumentParser
import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Offsets

extension HandoverCommand {
    /// What is looked at before anything is moved, and what is done all the same.
    struct CheckOptions: ParsableArguments {
        @Flag(help: "Only show what would move, and what would be refused.") var dryRun = false

        @Option(help: ArgumentHelp(
            "Move although events would be missing or repeated, or the mirror is far behind; why, for the history. Nothing is looked at before.",
            valueName: "reason"))
        var acceptLoss: String?

        func validate() throws {
            guard let acceptLoss, acceptLoss.allSatisfy(\.isWhitespace) else { return }
            throw ValidationError("--accept-loss is empty; say why, for whoever looks at this later")
        }

        /// What the history says.
        func reason(_ reason: String) -> String {
            guard let acceptLoss else { return reason }
            return (reason.isEmpty ? "" : reason + "; ") + "loss accepted: \(acceptLoss)"
        }
    }

    /// How far behind its origin a mirror may be, in milliseconds, before a handover is refused: events would wait for as long.
    static let mirrorLimit: Int64 = 60_000
    /// How long a look may take.
    private static let lookLimit = Duration.seconds(15)
    /// A forced handover is in a hurry, and a datacenter that is gone never answers.
    private static let contactLimit = Duration.milliseconds(1_500)

    /// Looks at what the handover would meet; false: it was only a look.
    ///
    /// - Throws: `Failure` where it would lose something and nobody has accepted that; 1 with `--dry-run` too.
    static func preflight(
        _ key: AssignmentKey, to target: Datacenter, _ slice: Slice, _ scope: HandoverScope?, _ options: StoreOptions, _ check: CheckOptions,
        isForced: Bool, _ store: any SharedStore
    ) async throws -> Bool {
        guard check.dryRun || check.acceptLoss == nil else { return true }
        guard try await mayBegin(key, to: target, slice, scope, isForced: isForced, store) else { return !check.dryRun }
        guard let config = options.config else {
            if check.dryRun { try await sayScope(key, to: target, scope, store) }
            return !check.dryRun
        }
        guard let scope else {
            if check.dryRun { Console.line("\(key): which partitions would move is not known: its owner has not reported them, or there is nothing to move") }
            return !check.dryRun
        }
        let reader = SnapshotReader(
            try WorkerConfiguration.load(path: config), store: store, timeout: lookLimit, contactTimeout: isForced ? contactLimit : nil,
            logger: makeLogger("switchback.handover", level: .critical))
        let plan: FailoverPlan
        do { plan = try await look(reader, key, to: target, scope) } catch {
            let why = (error as? SnapshotReader.ProblemText)?.text ?? "\(error)"
            if isForced, !check.dryRun {
                // Who forces it has his reasons, and what is missing becomes a gap event all the same.
                Console.note("not looked at before: what it would meet in \(target) can't be told (\(why))")
                return true
            }
            throw Failure("\(key) is not moved: what it would meet in \(target) can't be told (\(why)); mend that, or say --accept-loss REASON")
        }
        let problems = problems(plan)
        if check.dryRun {
            OutputOptions.table.sayTable(plan.sheet)
            Console.line(plan.summary)
        }
        for line in problems { Console.note(line) }
        guard problems.isEmpty else {
            let count = "\(problems.count) problem\(problems.count == 1 ? "" : "s") above"
            throw Failure("\(key) \(check.dryRun ? "would not be" : "is not") moved: \(count); mend them, or say --accept-loss REASON ('offsets plan' shows more)")
        }
        if check.dryRun { Console.note("nothing was changed (--dry-run)") }
        return !check.dryRun
    }

    /// Throws what refuses the handover as such; false: the very same one is under way already, and has been looked at.
    private static func mayBegin(
        _ key: AssignmentKey, to target: Datacenter, _ slice: Slice, _ scope: HandoverScope?, isForced: Bool, _ store: any SharedStore
    ) async throws -> Bool {
        guard let assignment = try await AssignmentStore(store).load(key)?.assignment else { throw HandoverRefusal.unknown(key) }
        let author = Assignment.Author(name: operatorName, now: ClustersOptions.now)
        if isForced { _ = try assignment.failedOver(to: target, origin: key.origin, slice: slice, now: true, author) } else {
            if case .draining(target, let current) = assignment.phase, current == scope { return false }
            _ = try assignment.draining(to: target, origin: key.origin, slice: slice, author)
        }
        return true
    }

    private static func look(_ reader: SnapshotReader, _ key: AssignmentKey, to target: Datacenter, _ scope: HandoverScope) async throws -> FailoverPlan {
        let all: FailoverPlan
        do {
            all = try await reader.plan(key.group, to: target, filter: PartitionFilter(origins: [key.origin]), now: ClustersOptions.now)
        } catch SnapshotReader.Refusal.nothingMatches {
            // A group whose topics are not there yet has nothing to lose.
            return FailoverPlan(group: key.group, target: target.name, at: ClustersOptions.now, partitions: [])
        }
        let moving = all.partitions.filter { !$0.stays && scope.contains(TopicPartition(topic: $0.topic, partition: $0.partition)) }
        return FailoverPlan(group: key.group, target: target.name, at: ClustersOptions.now, partitions: moving)
    }

    /// What would lose events, or keep them waiting for long.
    static func problems(_ plan: FailoverPlan) -> [String] {
        var problems = plan.partitions.compactMap { line -> String? in
            let name = "\(line.topic)/\(line.partition)"
            if let refusal = line.refusal { return "\(name): would be refused: \(refusal)" }
            guard let gap = line.gap else { return nil }
            let what = gap.records.map { "\($0) records are gone" } ?? "events may be missing or repeated"
            return "\(name): gap (\(gap.reason)): \(what)"
        }
        let late = plan.partitions.filter { ($0.notMirroredMilliseconds ?? 0) > mirrorLimit }
        if let worst = late.max(by: { ($0.notMirroredMilliseconds ?? 0) < ($1.notMirroredMilliseconds ?? 0) }) {
            problems.append(
                "\(plan.target)'s mirror is behind by up to \(shortDuration(milliseconds: worst.notMirroredMilliseconds ?? 0)) in \(late.count) partitions "
                    + "(\(worst.topic)/\(worst.partition)): what it has not brought would wait")
        }
        return problems
    }

    private static func sayScope(_ key: AssignmentKey, to target: Datacenter, _ scope: HandoverScope?, _ store: any SharedStore) async throws {
        guard let assignment = try await AssignmentStore(store).load(key)?.assignment else { throw Failure("\(HandoverRefusal.unknown(key))") }
        guard let scope else { return Console.line("\(key): nothing to move, or its owner has not reported its partitions") }
        let moving = assignment.reported.filter { scope.contains($0) && assignment.owner(of: $0) != target }
        Console.line("\(key): \(moving.count) of \(assignment.reported.count) partitions would move to \(target), epoch \(assignment.epoch) to \(assignment.epoch + 1)")
        Console.note("nothing was changed (--dry-run); with --config it also shows what each partition would meet")
    }

    /// How the partitions were resumed, once all are: what an operator asks next.
    static func sayResumed(_ key: AssignmentKey, _ scope: HandoverScope?, _ assignment: Assignment, _ store: any SharedStore) async throws {
        var methods: [String: Int] = [:]
        for partition in assignment.reported.sorted() where scope?.contains(partition) == true {
            guard let report = try await ResumeReport.load(from: store, group: key.group, partition), report.epoch == assignment.epoch else { continue }
            methods[report.method, default: 0] += 1
            if report.method == ResumePlanner.Method.time.rawValue { Console.line("  \(partition): goes on at \(report.offset), unconfirmed (found by time)") }
        }
        guard !methods.isEmpty else { return }
        Console.line("  resumed: " + methods.sorted { $0.key < $1.key }.map { "\($0.value) by \($0.key)" }.joined(separator: ", "))
    }
}
