import ArgumentParser
import Demo
import Drill
import Foundation
import LocalKafka

/// `switchback drill`: the rehearsal.
struct DrillCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drill",
        abstract: "Rehearse a switchover, a failover or a fault, and prove what came of it.",
        discussion: """
            Against two datacenters of its own (nothing else is needed), or against real clusters with canaries (--live). Writes report.json,
            report.md and report.html. Docs/Drill.md says what is measured, and how.

            Exit status: 0 the verdict is met, 1 it is not (the report says why), 2 wrong use, 130 interrupted.

            Example:
              switchback drill run --scenario dc-loss
              switchback drill scenarios
            """,
        subcommands: [Run.self, Resume.self, Abort.self, Report.self, Scenarios.self])

    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    /// Where drills are kept unless a directory is named.
    static let home = "switchback-drills"

    struct OutputOptions: ParsableArguments {
        @Option(help: "text, or json: the report on stdout, progress on stderr.")
        var output = Output.text
        @Flag(help: "Keep logs and data of the embedded datacenters beside the report.")
        var keep = false
    }

    struct DirectoryOptions: ParsableArguments {
        @Argument(help: ArgumentHelp("The drill's directory. Default: the newest in \(DrillCommand.home).", valueName: "directory"))
        var directory: String?

        func url() throws -> URL {
            if let directory { return URL(fileURLWithPath: directory) }
            let names = ((try? FileManager.default.contentsOfDirectory(atPath: home)) ?? []).sorted()
            guard let last = names.last else {
                throw Failure("there is no drill in \(home); name the directory that 'switchback drill run' printed", code: 2)
            }
            return URL(fileURLWithPath: home).appending(path: last)
        }
    }

    struct Scenarios: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the built-in scenarios.", discussion: "Example:\n  switchback drill scenarios")

        func run() {
            for scenario in DrillScenario.allCases {
                Console.line(scenario.rawValue.padding(toLength: 14, withPad: " ", startingAt: 0) + scenario.summary)
            }
        }
    }

    struct Resume: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Go on with a drill that was interrupted.",
            discussion: """
                Brings up what the drill had, looks where the handover stands, and carries the phases through that are left.

                Example:
                  switchback drill resume
                  switchback drill resume switchback-drills/2026-03-03T09-00-00Z-dc-loss
                """)
        @OptionGroup var directory: DirectoryOptions
        @OptionGroup var output: OutputOptions

        func run() async throws { try await DrillCommand.carry(nil, in: try directory.url(), output) }
    }

    struct Abort: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Give an interrupted drill up, safely.",
            discussion: """
                Embedded datacenters ended with the drill: only the report is written. Of a live drill the work is taken home; canary topics and group stay for the next one.
                Exit status 0 when the end is safe.

                Example:
                  switchback drill abort
                  switchback drill abort switchback-drills/2026-03-03T09-00-00Z-dc-loss
                """)
        @OptionGroup var directory: DirectoryOptions
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let directory = try directory.url()
            do {
                let report = try await Drill.abort(directory, executable: try DrillCommand.executable()) { Console.note($0) }
                DrillCommand.removeData(directory, keep: output.keep)
                try DrillCommand.show(report, directory, output.output)
            } catch let error as DrillFailure { throw Failure(error.description, code: error.code) }
        }
    }

    struct Report: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a drill's report again, from what it wrote down.",
            discussion: """
                Works also while a drill runs, and after it was interrupted. Exit status as of the drill.

                Example:
                  switchback drill report
                  switchback drill report switchback-drills/2026-03-03T09-00-00Z-dc-loss --output json
                """)
        @OptionGroup var directory: DirectoryOptions
        @OptionGroup var output: OutputOptions

        func run() throws {
            do {
                let directory = try directory.url()
                let report = try Drill.reportOf(directory)
                try DrillCommand.show(report, directory, output.output)
                if !report.verdict.met { throw ExitCode(1) }
            } catch let error as DrillFailure { throw Failure(error.description, code: error.code) }
        }
    }

    // MARK: Carrying a drill through

    static func executable() throws -> String {
        guard let executable = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else {
            throw Failure("can't tell where this program is: /proc is not mounted")
        }
        return executable
    }

    /// - Parameter setting: of a new drill; nil: the one in the directory is gone on with.
    static func carry(_ setting: DrillSetting?, in directory: URL, _ options: OutputOptions) async throws {
        let executable = try executable()
        LocalKafkaCluster.Configuration.raiseOpenFileLimit()
        let display = DrillDisplay(options.output == .json ? .standardError : .standardOutput)
        let interrupted = Task {
            for await _ in Signals.stop() {
                display.finish()
                Console.note(
                    "switchback: interrupted; 'switchback drill resume \(directory.relativePath)' goes on, 'switchback drill abort \(directory.relativePath)' gives it up")
                _exit(130)
            }
        }
        defer { interrupted.cancel() }
        let report: DrillReport
        do {
            let drill = try await Drill(setting, in: directory, executable: executable) { display.show($0) }
            report = try await drill.run()
            display.finish()
        } catch let error as DrillFailure {
            display.finish()
            throw Failure(error.description, code: error.code)
        } catch {
            display.finish()
            throw Failure("\(error)\nwhat the drill wrote: \(directory.path)")
        }
        removeData(directory, keep: options.keep || !report.verdict.met)
        try show(report, directory, options.output)
        if !report.verdict.met { throw ExitCode(1) }
    }

    static func removeData(_ directory: URL, keep: Bool) {
        if !keep { try? FileManager.default.removeItem(at: directory.appending(path: "data")) }
    }

    static func show(_ report: DrillReport, _ directory: URL, _ output: Output) throws {
        switch output {
        case .json: Console.write(try DrillJSON(report).text, to: 1)
        case .text: Console.line(DrillSummary(report).text)
        }
        Console.note("report: \(directory.appending(path: "report.html").relativePath) (also report.md, report.json)")
    }
}

extension DrillCommand {
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Run a drill.",
            discussion: """
                Example:
                  switchback drill run --scenario dc-loss
                  switchback drill run --scenario planned --store sqlite --output json
                  switchback drill run --plan Docs/drill-plan.yaml
                  switchback drill run --live --config worker.yaml --scenario planned
                  switchback drill run --live -c worker.yaml --scenario planned -g purge --yes
                """)

        @Option(help: ArgumentHelp("A built-in scenario: \(DrillScenario.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name"))
        var scenario: String?
        @Option(help: ArgumentHelp("A plan of your own, as in Docs/Drill.md.", valueName: "file"))
        var plan: String?
        @Option(help: "The embedded store: etcd or sqlite. Default: etcd where it is installed.")
        var store: String?
        @Flag(help: "On the clusters and the store of --config, with canary topics and a canary group of the drill's own.")
        var live = false
        @Option(name: .shortAndLong, help: ArgumentHelp("With --live: the worker.yaml that names clusters and store.", valueName: "file"))
        var config: String?
        @Option(name: .shortAndLong, help: "With --live: move this real group instead of canaries (scenario planned). Asks first.")
        var group: String?
        @Option(help: ArgumentHelp("With --live: whose topics. Default: those of the file's own datacenter.", valueName: "dc"))
        var origin: String?
        @Option(help: ArgumentHelp("With --live: where to. Default: the only other datacenter.", valueName: "dc"))
        var to: String?
        @Flag(help: "With --group: don't ask.")
        var yes = false
        @Option(help: "Repeats ids and lots of an earlier drill. Default: a new one, which is in the report.")
        var seed: UInt64?
        @Option(help: ArgumentHelp("Where to write (an empty or new directory). Default: a new one in \(DrillCommand.home).", valueName: "directory"))
        var out: String?
        @Option(help: "Why, for the report and the history.")
        var reason: String?
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let plan = try chosenPlan()
            let now = Date()
            let id = String(UInt32.random(in: 0 ... .max), radix: 36)
            let directory = try directory(now, plan)
            let operatorName = (ProcessInfo.processInfo.environment["USER"] ?? "operator") + "@" + ProcessInfo.processInfo.hostName
            let setting: DrillSetting
            do {
                let seed = seed ?? UInt64(UInt32.random(in: 0 ... .max)), beganAt = Int64(now.timeIntervalSince1970 * 1000)
                if let config = try liveConfiguration() {
                    setting = try DrillSetting.live(
                        id: id, plan, seed: seed, file: config, group: group, origin: origin, target: to, operatorName: operatorName, beganAt: beganAt)
                } else {
                    let etcd = DemoConfiguration.installedEtcd()
                    setting = try DrillSetting.embedded(
                        id: id, plan, seed: seed, store: try storeName(plan, etcd: etcd), etcd: etcd, operatorName: operatorName, beganAt: beganAt)
                }
            } catch let error as DrillFailure { throw Failure(error.description, code: error.code) }
            if setting.mode == .liveGroup { try ask(setting) }
            try await DrillCommand.carry(setting, in: directory, output)
        }

        /// nil: an embedded drill.
        private func liveConfiguration() throws -> String? {
            guard live else {
                let odd = [("--config", config), ("--group", group), ("--origin", origin), ("--to", to)].first { $0.1 != nil }?.0
                if let odd { throw Failure("\(odd) is for real clusters; add --live, or leave it out", code: 2) }
                return nil
            }
            if store != nil { throw Failure("--store is for embedded drills; with --live the store is the one of --config", code: 2) }
            guard let config else { throw Failure("--live takes --config worker.yaml, which names clusters and store", code: 2) }
            return config
        }

        private func ask(_ setting: DrillSetting) throws {
            if yes { return }
            guard isatty(STDIN_FILENO) == 1 else {
                throw Failure("--group \(setting.group) moves a real group, and there is no terminal to ask at: add --yes when that is meant", code: 2)
            }
            Console.write(
                "This moves the real group \(setting.group), origin \(setting.origin), to \(setting.target) and back. Ctrl-C stops it in any phase. Go on? [y/N] ",
                to: STDERR_FILENO)
            guard ["y", "yes"].contains(readLine()?.lowercased()) else { throw Failure("nothing was touched", code: 2) }
        }

        private func chosenPlan() throws -> DrillPlan {
            let names = DrillScenario.allCases.map(\.rawValue).joined(separator: ", ")
            if let file = plan {
                guard scenario == nil else { throw Failure("--scenario and --plan: the plan names its scenario; leave one of the two out", code: 2) }
                do {
                    var plan = try DrillPlan.load(path: file)
                    if let reason { plan.reason = reason }
                    return plan
                } catch let error as DrillFailure { throw Failure(error.description, code: error.code) }
            }
            guard let scenario else { throw Failure("say what to rehearse: --plan with a file, or --scenario with one of \(names)", code: 2) }
            guard let known = DrillScenario(rawValue: scenario) else {
                throw Failure("--scenario \(scenario): no such scenario; one of \(names) would be right", code: 2)
            }
            var plan = DrillPlan(known)
            if let reason { plan.reason = reason }
            return plan
        }

        private func storeName(_ plan: DrillPlan, etcd: String?) throws -> String {
            if plan.scenario == .storeLeader {
                guard etcd != nil else { throw Failure("scenario store-leader takes three members of etcd, and there is none on the PATH; 'make deps' installs it", code: 2) }
                guard store == nil || store == "etcd" else { throw Failure("--store \(store ?? ""): scenario store-leader takes etcd; leave --store out", code: 2) }
                return "etcd"
            }
            switch store {
            case nil: return etcd == nil ? "sqlite" : "etcd"
            case "sqlite"?: return "sqlite"
            case "etcd"?:
                guard etcd != nil else { throw Failure("--store etcd: there is no etcd on the PATH; 'make deps' installs it, or use --store sqlite", code: 2) }
                return "etcd"
            case let other?: throw Failure("--store \(other): etcd or sqlite would be right", code: 2)
            }
        }

        private func directory(_ now: Date, _ plan: DrillPlan) throws -> URL {
            guard let out else {
                let time = now.formatted(.iso8601).replacing(":", with: "-")
                return URL(fileURLWithPath: DrillCommand.home).appending(path: "\(time)-\(plan.scenario.rawValue)")
            }
            if let inside = try? FileManager.default.contentsOfDirectory(atPath: out), !inside.isEmpty {
                throw Failure("--out \(out): the directory is not empty; name a new one", code: 2)
            }
            return URL(fileURLWithPath: out)
        }
    }
}
