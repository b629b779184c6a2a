import ArgumentParser
import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging
import TextTable

/// `switchback handover`: look at assignments and move origins between datacenters.
struct HandoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handover",
        abstract: "Show which datacenter processes what, and move it.",
        discussion: """
            Example:
              switchback handover show --config worker.yaml
              switchback handover switchover --config worker.yaml --group purge --origin eqiad --to codfw
              switchback handover failover --store sqlite:/var/lib/switchback/store.db --group purge --origin eqiad --to codfw
              switchback handover switchback --config worker.yaml --group purge --origin eqiad
            """,
        subcommands: [Show.self, Switchover.self, Failover.self, Switchback.self, Cancel.self, Resume.self, History.self])

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
            if case .sqlite(let path) = configuration, !FileManager.default.fileExists(atPath: path) {
                throw Failure("there is no store at \(path); start a worker first, or check the path", code: 2)
            }
            return try await configuration.open(logger: makeLogger("switchback.store", level: .error))
        }
    }

    /// Which assignment.
    struct TargetOptions: ParsableArguments {
        @Option(name: .shortAndLong, help: "The consumer group.")
        var group: String

        @Option(help: ArgumentHelp("The datacenter whose topics are meant.", valueName: "dc"))
        var origin: String

        func key() throws -> AssignmentKey {
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

    static func controller(_ store: any SharedStore, reason: String = "") -> HandoverController {
        let name = (ProcessInfo.processInfo.environment["USER"] ?? "operator") + "@" + ProcessInfo.processInfo.hostName
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

    /// Refuses a target that nobody knows: the work would be handed to no one. Known are the configuration's datacenters,
    /// or, without one, those that own something in the store.
    static func target(_ name: String, _ options: StoreOptions, _ store: any SharedStore) async throws -> Datacenter {
        guard let target = Datacenter(name) else { throw Failure("--to \(name) is no datacenter's name", code: 2) }
        var known: Set<Datacenter> = []
        if let config = options.config { known = Set(try WorkerConfiguration.load(path: config).datacenters.keys) } else {
            let assignments = AssignmentStore(store)
            for group in try await assignments.groups() {
                for (origin, stored) in try await assignments.load(group: group) { known.formUnion([origin, stored.assignment.owner]) }
            }
        }
        guard known.contains(target) || known.isEmpty else {
            throw Failure("--to \(name): no such datacenter; \(known.sorted().map(\.name).joined(separator: ", ")) would be right", code: 2)
        }
        return target
    }

    /// - Parameter target: who is to act in the end; nil: whoever does.
    static func carryThrough(
        _ controller: HandoverController, _ key: AssignmentKey, _ wait: WaitOptions, to target: Datacenter? = nil
    ) async throws {
        guard wait.timeout > 0 else { return Console.line("\(key): begun") }
        let started = ContinuousClock.now
        let end = try await controller.carryThrough(key, timeout: .seconds(wait.timeout)) { progress in
            let seconds = started.duration(to: .now) / .seconds(1)
            let at = String(format: "%5.1f s", seconds)
            switch progress {
            case .draining(let sealed, let total, _): Console.line("\(at)  draining: \(sealed) of \(total) partitions sealed")
            case .epochRaised(let epoch, let owner): Console.line("\(at)  epoch \(epoch): \(owner) owns it")
            case .resuming(let done, let total): Console.line("\(at)  resuming: \(done) of \(total) partitions")
            case .stable(let epoch, let owner): Console.line("\(at)  stable: \(owner) acts, epoch \(epoch)")
            }
        }
        if let target, end.owner != target {
            throw Failure("\(key): \(end.owner) acts, not \(target): somebody cancelled or changed this handover ('handover history' says who)")
        }
        Console.line("\(key): \(end.owner) acts")
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show all assignments.", discussion: "Example:\n  switchback handover show --store sqlite:/var/lib/switchback/store.db")
        @OptionGroup var store: StoreOptions

        func run() async throws {
            try await withStore(store) { store in
                let assignments = AssignmentStore(store)
                var rows: [Row] = []
                for group in try await assignments.groups() {
                    for (origin, stored) in try await assignments.load(group: group).sorted(by: { $0.key < $1.key }) {
                        rows += Row.rows(group: group, origin: origin.name, stored.assignment)
                    }
                }
                guard !rows.isEmpty else { return Console.line("no assignments yet: start a worker first") }
                Row.table().print(rows, style: Style.plain)
            }
        }
    }

    struct Switchover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move an origin in order: drain, seal, hand over.",
            discussion: "Example:\n  switchback handover switchover --config worker.yaml --group purge --origin eqiad --to codfw")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var wait: WaitOptions
        @Option(help: ArgumentHelp("The datacenter that is to act.", valueName: "dc")) var to: String

        func run() async throws {
            let key = try target.key()
            try await withStore(store) { opened in
                let to = try await HandoverCommand.target(to, store, opened)
                let controller = controller(opened, reason: wait.reason)
                try await controller.beginSwitchover(key, to: to)
                try await carryThrough(controller, key, wait, to: to)
            }
        }
    }

    struct Switchback: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take an origin's work home, in order.",
            discussion: "Example:\n  switchback handover switchback --config worker.yaml --group purge --origin eqiad")
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var wait: WaitOptions

        func run() async throws {
            try await withStore(store) { store in
                let key = try target.key()
                let controller = controller(store, reason: wait.reason)
                try await controller.beginSwitchover(key, to: key.origin)
                try await carryThrough(controller, key, wait, to: key.origin)
            }
        }
    }

    struct Failover: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Force an origin over: its datacenter is gone.",
            discussion: """
                Raises the epoch at once, which fences the old side's writes. The new side waits until the old lease has surely run
                out, unless --now.

                Example:
                  switchback handover failover --config worker.yaml --group purge --origin eqiad --to codfw
                """)
        @OptionGroup var store: StoreOptions
        @OptionGroup var target: TargetOptions
        @OptionGroup var wait: WaitOptions
        @Option(help: ArgumentHelp("The datacenter that is to act.", valueName: "dc")) var to: String
        @Flag(help: "Don't wait for the old lease: only when the old side is known to be dead.") var now = false

        func run() async throws {
            let key = try target.key()
            try await withStore(store) { opened in
                let to = try await HandoverCommand.target(to, store, opened)
                let controller = controller(opened, reason: wait.reason)
                let stored = try await controller.failover(key, to: to, now: now)
                Console.line("\(key): epoch \(stored.assignment.epoch), \(to) owns it; the old side is fenced")
                try await carryThrough(controller, key, wait, to: to)
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

        func run() async throws {
            try await withStore(store) { store in
                let key = try target.key()
                let states = try await AssignmentStore(store).history(key)
                guard !states.isEmpty else { throw Failure("\(HandoverRefusal.unknown(key))") }
                Row.table().print(states.flatMap { Row.rows(group: key.group, origin: key.origin.name, $0) }, style: Style.plain)
            }
        }
    }
}
