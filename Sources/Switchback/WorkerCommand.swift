import ArgumentParser
import ChangePropagation
import Logging

/// `switchback worker`: the process that acts.
struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "worker",
        abstract: "Run the rules of a worker.yaml in this datacenter.",
        discussion: """
            Reads its topics through the datacenter's own Kafka cluster, acts on the events of the origins that are assigned to this
            datacenter, and keeps checkpoints in the shared store. SIGTERM drains: what runs is finished, a last checkpoint is
            written. SIGHUP reads the file again and takes up its rules, all or none.

            Example:
              switchback worker --config worker.yaml
              switchback worker --config worker.yaml --check
            """)

    @Option(name: .shortAndLong, help: ArgumentHelp("The worker's configuration (Docs/Configuration.md).", valueName: "file"))
    var config: String

    @Flag(help: "Only check the configuration: exit 0 when it is good, 2 with one line per mistake when it is not.")
    var check = false

    func run() async throws {
        let configuration = try WorkerConfiguration.load(path: config)
        for warning in configuration.warnings { Console.note(warning.description) }
        _ = try configuration.store.configuration()
        if check {
            print("\(config): good (\(configuration.rules.count) rules, datacenter \(configuration.datacenter))")
            return
        }
        let logger = makeLogger("switchback.worker", level: configuration.logLevel)
        let reloading = Worker.Reloading(on: Signals.reload()) { [config] in try WorkerConfiguration.load(path: config) }
        try await Worker(configuration, logger: logger).run(until: Signals.stop(), reloading: reloading)
    }
}
