import ArgumentParser
import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging
import Offsets

/// `switchback handover`: look at assignments and move origins between datacenters.
struct HandoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handover",
        abstract: "Show which datacenter processes what, and move it.",
        discussion: """
            Example:
              switchback handover show --config worker.yaml
              switchback handover standby --config worker.yaml --group purge
              switchback handover switchover --config worker.yaml --group purge \\
                  --origin eqiad --to codfw
              switchback handover switchover --config worker.yaml --group purge \\
                  --origin eqiad --to codfw --share 10%
              switchback handover failover --store sqlite:/var/lib/switchback/store.db \\
                  --group purge --origin eqiad --to codfw
              switchback handover switchback --config worker.yaml --group purge \\
                  --origin eqiad
              switchback handover proof --config worker.yaml --group purge --origin eqiad
            """,
        subcommands: [
            Show.self, Switchover.self, Failover.self, Switchback.self, Cancel.self, Resume.self, History.self, Proof.self, StandbyTable.self,
        ])

    /// Which store: given by name, or by the configuration of a worker.
    struct StoreOptions: ParsableArguments {
        @Option(help: ArgumentHelp("The shared store: sqlite:/path/to/store.db or etcd://host:2379,host:2379.", valueName: "url"))
        var store: String?

        @Option(name: .shortAndLong, help: ArgumentHelp("Take the store from this worker.yaml.", valueName: "file"))
        var config: String?

        func validate() throws {
            guard (store == nil) != (config == nil) else {
                throw ValidationError("say which store: --config worker.yaml, or --store sqlite:/path or --store etcd://host:2379")
            }
        }

        func open() async throws -> any SharedStore {
            let configuration: StoreConfiguration
            if let config { configuration = try WorkerConfiguration.load(path: config).store.configuration() } else {
                configuration = try StoreConfiguration(parsing: store ?? "")
            }
            return try await HandoverCommand.open(configuration)
        }
    }

    /// Opens a store that a worker has made. To look must not make one. Where it does not answer for a moment, it is waited for.
    static func open(_ configuration: StoreConfiguration) async throws -> any SharedStore {
        if case .sqlite(let path) = configuration, !FileManager.default.fileExists(atPath: path) {
            throw Failure("there is no store at \(path); start a worker first, or check the path", code: 2)
        }
        let store = try await configuration.open(logger: makeLogger("switchback.store", level: .error))
        return PatientStore(store, logger: makeLogger("switchback.store", level: .warning))
    }

    /// Which assignment.
    struct TargetOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: "The consumer group.")
        var group: String

        @Option(help: ArgumentHelp("The datacenter whose topics are meant.", valueName: "dc"))
        var origin: String

        func key() throws -> AssignmentKey {
            guard !group.isEmpty else { throw Failure("--group is empty", code: 2) }
            guard let datacenter = Datacenter(origin) else { throw Failure("--origin \(origin) is no datacenter's name", code: 2) }
            return AssignmentKey(group: group, origin: datacenter)
        }
    }

    struct WaitOptions: ParsableArguments {
        @Option(help: ArgumentHelp("How long to wait for the end, in seconds (0: begin it and return).", valueName: "seconds"))
        var timeout: Double = 120

        @Option(help: "Why, for the history.")
        var reason: String = ""

        func validate() throws {
            guard (0...86_400).contains(timeout) else {
                throw ValidationError("--timeout is \(timeout); 0 to 86400 seconds would be right")
            }
        }
    }

    /// Which part of it.
    struct SliceOptions: ParsableArguments {
        @Option(help: ArgumentHelp(
            "Only this share of each topic's partitions, the same ones each time: 30% holds those of 10%.", valueName: "percent"))
        var share: String?

        @Option(name: .customLong("topic"), help: ArgumentHelp("Only this stream or topic; may be given more than once.", valueName: "name"))
        var topics: [String] = []

        func validate() throws {
            guard let share, Slice.Share(share) == nil else { return }
            throw ValidationError("--share \(share): a whole number of percent from 1% to 100% would be right, such as 10%")
        }

        func slice(from: Datacenter? = nil) -> Slice { Slice(topics: topics, share: share.flatMap { Slice.Share($0) }, from: from) }
    }

    /// Who is at the keyboard, for histories.
    static var operatorName: String { (ProcessInfo.processInfo.environment["USER"] ?? "operator") + "@" + ProcessInfo.processInfo.hostName }

    static func controller(_ store: any SharedStore, reason: String = "") -> HandoverController {
        let name = operatorName
        return HandoverController(store: store, logger: makeLogger("switchback.handover", level: .warning)) {
            Assignment.Author(name: name, reason: reason, now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
        }
    }

    /// Opens the store for the length of `body`.
    static func withStore<Result>(_ options: StoreOptions, _ body: (any SharedStore) async throws -> Result) async throws -> Result {
        let store = try await options.open()
        do {
            let result = try await body(store)
            await store.close()
            return result
        } catch {
            await store.close()
            throw error
        }
    }

    /// Refuses a datacenter that nobody knows: the work would be handed to no one. Known are the configuration's datacenters,
    /// or, without one, those that own something in the store.
    static func datacenter(
        _ name: String, option: String, _ options: StoreOptions, _ store: any SharedStore
    ) async throws -> Datacenter {
        guard let target = Datacenter(name) else { throw Failure("\(option) \(name) is no datacenter's name", code: 2) }
        var known: Set<Datacenter> = []
        if let config = options.config { known = Set(try WorkerConfiguration.load(path: config).datacenters.keys) } else {
            let assignments = AssignmentStore(store)
            for group in try await assignments.groups() {
                for (origin, stored) in try await assignments.load(group: group) {
                    known.formUnion([origin, stored.assignment.owner])
                    known.formUnion(stored.assignment.placed.keys)
                }
            }
        }
        guard known.contains(target) || known.isEmpty else {
            throw Failure("\(option) \(name): no such datacenter; \(known.sorted().map(\.name).joined(separator: ", ")) would be right", code: 2)
        }
        return target
    }

    /// What `slice` comes to as things stand, for the look at the end; nil: the controller will say why not. What is wrong with the
    /// options is told as such, before anything is touched.
    static func scope(
        of slice: Slice, _ key: AssignmentKey, to target: Datacenter, _ store: any SharedStore
    ) async throws -> HandoverScope? {
        guard let assignment = try await AssignmentStore(store).load(key)?.assignment, !assignment.partitions.isEmpty else { return nil }
        do throws(HandoverRefusal) { return try assignment.scope(of: slice, to: target, origin: key.origin) } catch {
            if case .unknownTopic = error { throw Failure("\(error)", code: 2) }
            return nil
        }
    }

    /// - Parameters: `scope` is to be at `target` in the end; nil: wherever it is.
    static func carryThrough(
        _ controller: HandoverController, _ key: AssignmentKey, _ wait: WaitOptions, scope: HandoverScope? = nil, to target: Datacenter? = nil,
        _ store: (any SharedStore)? = nil
    ) async throws {
        guard wait.timeout > 0 else { return Console.line("\(key): begun") }
        let started = ContinuousClock.now
        let end = try await controller.carryThrough(key, timeout: .seconds(wait.timeout)) { progress in
            let seconds = started.duration(to: .now) / .seconds(1)
            let at = String(format: "%5.1f s", seconds)
            switch progress {
            case .draining(let sealed, let total, let open):
                // The last ones by name: it is they that hold everything up.
                let names = sealed > 0 && (1...5).contains(open.count) ? ", open: " + open.map(\.description).joined(separator: ", ") : ""
                Console.line("\(at)  draining: \(sealed) of \(total) partitions sealed\(names)")
            case .epochRaised(let epoch, let owner): Console.line("\(at)  epoch \(epoch): \(owner) owns \(sliced(scope) ? "the slice" : "it")")
            case .resuming(let done, let total): Console.line("\(at)  resuming: \(done) of \(total) partitions")
            case .stable(let epoch, _): Console.line("\(at)  stable: epoch \(epoch)")
            }
        }
        if let scope, let target, !end.hasArrived(scope, at: target) {
            throw Failure(
                "\(key): \(acting(end)), not as asked for: somebody cancelled or changed this handover ('handover history' says who)")
        }
        Console.line("\(key): \(acting(end))")
        if let store { try await sayResumed(key, scope, end, store) }
    }

    private static func sliced(_ scope: HandoverScope?) -> Bool {
        guard case .only? = scope else { return false }
        return true
    }

    /// Such as `codfw acts`, or `eqiad acts on 27 of 30 partitions, codfw on 3`.
    private static func acting(_ assignment: Assignment) -> String {
        guard !assignment.placed.isEmpty else { return "\(assignment.owner) acts" }
        let shares = assignment.shares
        let others = shares.keys.filter { $0 != assignment.owner }.sorted()
        return "\(assignment.owner) acts on \(shares[assignment.owner] ?? 0) of \(assignment.reported.count) partitions"
            + others.map { ", \($0) on \(shares[$0] ?? 0)" }.joined()
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show all assignments.", discussion: "Example:\n  switchback handover show --store sqlite:/var/lib/switchback/store.db")
        @OptionGroup var store: StoreOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await withStore(store) { store in
                let assignments = AssignmentStore(store)
                var rows: [Row] = []
                for group in try await assignments.groups() {
                    for (origin, stored) in try await assignments.load(group: group).sorted(by: { $0.key < $1.key }) {
                        rows.append(Row(group: group, origin: origin.name, stored.assignment))
                    }
                }
                if rows.isEmpty, output.output == .table { return Console.line("no assignments yet: start a worker first") }
                try output.say(json: rows, sheet: Row.sheet(rows), csv: Row.csv(rows))
            }
        }
    }

    struct Switchover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move an origin, or a slice of it, in order: drain, seal, hand over.",
            discussion: """
                With --share or --topic only those partitions move; the others go on meanwhile. One handover of an origin at a time.
                With --config, what the target would meet is looked at first: a gap, a partition that would be refused, or a mirror more than a
                minute behind is refused, unless --accept-loss says why. --dry-run only looks.

                Example:
                  switchback handover switchover --config worker.yaml --group purge \\
                      --origin eqiad --to codfw --share 10%
                """)
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var slice: SliceOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var check: CheckOptions
        @Option(help: ArgumentHelp("The datacenter that is to act.", valueName: "dc")) var to: String

        func run() async throws {
            let key = try target.key()
            try await withStore(store) { opened in
                let to = try await datacenter(to, option: "--to", store, opened)
                let controller = controller(opened, reason: check.reason(wait.reason))
                let scope = try await scope(of: slice.slice(), key, to: to, opened)
                guard try await preflight(key, to: to, slice.slice(), scope, store, check, isForced: false, opened) else { return }
                try await controller.beginSwitchover(key, to: to, slice: slice.slice())
                try await carryThrough(controller, key, wait, scope: scope, to: to, opened)
            }
        }
    }

    struct Switchback: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take an origin's work home, or a slice of it, in order.",
            discussion: "Example:\n  switchback handover switchback --config worker.yaml --group purge --origin eqiad")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var slice: SliceOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var check: CheckOptions

        func run() async throws {
            try await withStore(store) { opened in
                let key = try target.key()
                let controller = controller(opened, reason: check.reason(wait.reason))
                let scope = try await scope(of: slice.slice(), key, to: key.origin, opened)
                guard try await preflight(key, to: key.origin, slice.slice(), scope, store, check, isForced: false, opened) else { return }
                try await controller.beginSwitchover(key, to: key.origin, slice: slice.slice())
                try await carryThrough(controller, key, wait, scope: scope, to: key.origin, opened)
            }
        }
    }

    struct Failover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Force an origin over: its datacenter is gone.",
            discussion: """
                Raises the epoch at once, which fences the old side's writes. The new side waits until the old lease has surely run
                out, unless --now. A handover of other partitions that is under way is taken back by it. With --config it is refused where
                events would be missing, unless --accept-loss says why; --dry-run only looks.

                Example:
                  switchback handover failover --config worker.yaml --group purge \\
                      --origin eqiad --to codfw
                """)
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var slice: SliceOptions
        @OptionGroup var wait: WaitOptions
        @OptionGroup var check: CheckOptions
        @Option(help: ArgumentHelp("The datacenter that is to act.", valueName: "dc")) var to: String
        @Option(help: ArgumentHelp("Only what this datacenter owns: which one is gone, where several own partitions.", valueName: "dc"))
        var from: String?
        @Flag(help: "Don't wait for the old lease: only when the old side is known to be dead.") var now = false

        func run() async throws {
            let key = try target.key()
            try await withStore(store) { opened in
                let to = try await datacenter(to, option: "--to", store, opened)
                var gone: Datacenter?
                if let from { gone = try await datacenter(from, option: "--from", store, opened) }
                let controller = controller(opened, reason: check.reason(wait.reason))
                let slice = slice.slice(from: gone)
                let scope = try await scope(of: slice, key, to: to, opened)
                guard try await preflight(key, to: to, slice, scope, store, check, isForced: true, opened) else { return }
                let stored = try await controller.failover(key, to: to, slice: slice, now: now)
                Console.line("\(key): epoch \(stored.assignment.epoch), \(to) owns \(sliced(scope) ? "the slice" : "it"); the old side is fenced")
                try await carryThrough(controller, key, wait, scope: scope, to: to, opened)
            }
        }
    }

    struct Cancel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take a drain back: the old side goes on.",
            discussion: "Example:\n  switchback handover cancel --config worker.yaml --group purge --origin eqiad")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var wait: WaitOptions

        func run() async throws {
            try await withStore(store) { store in
                let controller = controller(store, reason: wait.reason)
                try await controller.cancel(try target.key())
                try await carryThrough(controller, try target.key(), wait)
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Go on with a handover that somebody began.",
            discussion: "Example:\n  switchback handover resume --config worker.yaml --group purge --origin eqiad")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var wait: WaitOptions

        func run() async throws {
            try await withStore(store) { store in
                try await carryThrough(controller(store, reason: wait.reason), try target.key(), wait)
            }
        }
    }

    struct History: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show every state that an assignment has had.",
            discussion: "Example:\n  switchback handover history --config worker.yaml --group purge --origin eqiad")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            try await withStore(store) { store in
                let key = try target.key()
                let states = try await AssignmentStore(store).history(key)
                guard !states.isEmpty else { throw Failure("\(HandoverRefusal.unknown(key))") }
                let rows = states.map { Row(group: key.group, origin: key.origin.name, $0) }
                try output.say(json: rows, sheet: Row.sheet(rows), csv: Row.csv(rows))
            }
        }
    }
}
