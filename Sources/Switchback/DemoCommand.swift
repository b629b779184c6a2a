import ArgumentParser
import ChangePropagation
import Demo
import Foundation
import LocalKafka

/// `switchback demo`.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Two datacenters at work: one is killed, the other goes on, the first takes its work home again.",
        discussion: """
            Runs real processes on this machine for about 45 seconds: two Kafka clusters, two mirrors, two workers, a shared store and
            a service that the workers call. Exit status 1 when an event was lost, or repeated without an excuse.

            Example:
              switchback demo
              switchback demo --store sqlite --seed 7
              switchback demo --output json > result.json
            """)

    enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

    @Option(help: "The shared store: etcd or sqlite. Default: etcd where it is installed.")
    var store: String?
    @Option(help: "Repeats the ids, sizes and delays of an earlier run. Default: a new one, which is printed.")
    var seed: UInt64?
    @Option(help: ArgumentHelp("Recorded events, one JSON object a line, from which load is made.", valueName: "file"))
    var events = "Tests/Fixtures/recentchange-recorded.jsonl"
    @Option(help: ArgumentHelp("Keep everything that the run writes here (an empty or new directory).", valueName: "directory"))
    var keep: String?
    @Option(help: "text, or json: the result as one object on stdout, progress on stderr.")
    var output = Output.text

    private func storeKind(etcd: String?) throws -> DemoConfiguration.StoreKind {
        guard let store else { return etcd == nil ? .sqlite : .etcd }
        guard let kind = DemoConfiguration.StoreKind(rawValue: store) else {
            throw Failure("--store \(store): etcd or sqlite would be right", code: 2)
        }
        guard kind != .etcd || etcd != nil else {
            throw Failure("--store etcd: there is no etcd on the PATH; install it ('make deps' does) or use --store sqlite", code: 2)
        }
        return kind
    }

    private func directory() throws -> URL {
        guard let keep else {
            return FileManager.default.temporaryDirectory.appending(path: "switchback-demo-\(UUID().uuidString.prefix(8).lowercased())")
        }
        if let inside = try? FileManager.default.contentsOfDirectory(atPath: keep), !inside.isEmpty {
            throw Failure("--keep \(keep): the directory is not empty; name a new one", code: 2)
        }
        return URL(fileURLWithPath: keep)
    }

    func run() async throws {
        let etcd = DemoConfiguration.installedEtcd()
        let kind = try storeKind(etcd: etcd)
        let templates = try EventTemplate.load(events)
        let directory = try directory()
        guard let executable = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") else {
            throw Failure("can't tell where this program is: /proc is not mounted")
        }
        LocalKafkaCluster.Configuration.raiseOpenFileLimit()
        let display = DemoDisplay(stream: output == .json ? .standardError : .standardOutput)
        let interrupted = Task {
            for await _ in Signals.stop() {
                display.finish()
                Console.note("switchback: interrupted; all processes of the demonstration are ended")
                if keep == nil { try? FileManager.default.removeItem(at: directory) }
                _exit(130)
            }
        }
        defer { interrupted.cancel() }
        do {
            let demo = try await Demo(
                DemoConfiguration(
                    store: kind, executable: executable, etcd: etcd ?? "", events: templates, directory: directory,
                    seed: seed ?? UInt64(UInt32.random(in: 0 ... .max)))
            ) { display.show($0) }
            let result = try await demo.run()
            display.finish()
            try report(result)
            if keep == nil, result.complaints.isEmpty { try? FileManager.default.removeItem(at: directory) } else {
                Console.note("logs and data of the run: \(directory.path)")
            }
            if !result.complaints.isEmpty { throw ExitCode(1) }
        } catch let error as ExitCode { throw error } catch {
            display.finish()
            throw Failure("\(error)\nlogs and data of the run: \(directory.path)")
        }
    }

    private func report(_ result: DemoResult) throws {
        switch output {
        case .text: Console.line(DemoReport(result).text)
        case .json:
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            Console.line(String(decoding: try encoder.encode(DemoReport(result).json), as: UTF8.self))
        }
    }
}
