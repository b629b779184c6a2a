import ArgumentParser
import Foundation
import KafkaLog
import Logging
import Mirror

/// `switchback mirror`: the development mirror.
struct MirrorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mirror",
        abstract: "Copy one datacenter's topics into another's cluster, for development (production: MirrorMaker 2).",
        discussion: """
            Copies the topics <from>.* of the first cluster into the second: same partition, order, key, headers and time; never a
            topic of another datacenter. Goes on where it stopped. One process per direction; a second one in the same direction
            writes everything twice. deploy/mirrormaker2 has the configuration for production.

            Example:
              switchback mirror --from eqiad=127.0.0.1:19092 --to codfw=127.0.0.1:29092
              switchback mirror --from codfw=127.0.0.1:29092 --to eqiad=127.0.0.1:19092 \\
                  --lag 2.5
            """)

    @Option(help: ArgumentHelp("The datacenter whose topics are copied, and its cluster.", valueName: "dc=host:port,…"))
    var from: String
    @Option(help: ArgumentHelp("The datacenter whose cluster gets the copies.", valueName: "dc=host:port,…"))
    var to: String
    @Option(help: ArgumentHelp("Write each record this long after it came at the earliest (0 to 86400). What waits is bounded by 32 MiB: with more it comes later.", valueName: "seconds"))
    var lag: Double = 0
    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp("A librdkafka setting of both clients, such as security.protocol=ssl. Repeatable.", valueName: "name=value"))
    var settings: [String] = []

    /// How often a line says how far it is.
    private static let reportInterval = Duration.seconds(10)

    func validate() throws {
        let (source, target) = (try Self.endpoint("--from", from), try Self.endpoint("--to", to))
        guard source.datacenter != target.datacenter else {
            throw ValidationError("--from and --to are both \(source.datacenter); two datacenters would be right")
        }
        guard lag >= 0, lag <= 86_400 else { throw ValidationError("--lag is \(lag); 0 to 86400 seconds would be right") }
        _ = try parsedSettings()
    }

    private static func endpoint(_ option: String, _ text: String) throws -> (datacenter: Datacenter, servers: [String]) {
        let parts = text.split(separator: "=", maxSplits: 1)
        let servers = parts.count == 2 ? parts[1].split(separator: ",").map(String.init) : []
        guard parts.count == 2, let datacenter = Datacenter(String(parts[0])), !servers.isEmpty,
            servers.allSatisfy({ (HostPort($0)?.port ?? 0) > 0 })
        else { throw ValidationError("\(option) \(text): NAME=HOST:PORT would be right, such as eqiad=127.0.0.1:19092") }
        return (datacenter, servers)
    }

    private func parsedSettings() throws -> [String: String] {
        var parsed: [String: String] = [:]
        for text in settings {
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, !parts[0].isEmpty else {
                throw ValidationError("--set \(text): NAME=VALUE would be right, such as --set security.protocol=ssl")
            }
            parsed[String(parts[0])] = String(parts[1])
        }
        return parsed
    }

    func run() async throws {
        let (source, target) = (try Self.endpoint("--from", from), try Self.endpoint("--to", to))
        var configuration = MirrorConfiguration(
            from: source.datacenter, sourceBootstrapServers: source.servers, to: target.datacenter,
            targetBootstrapServers: target.servers, lag: .seconds(lag))
        configuration.sourceSettings = try parsedSettings()
        configuration.targetSettings = configuration.sourceSettings
        configuration.logger = makeLogger("switchback.mirror", level: .notice)
        let mirror = Mirror(configuration)
        let stopper = Task {
            for await _ in Signals.stop() { mirror.stop() }
        }
        let reporter = Task {
            while !Task.isCancelled {
                try await Task.sleep(for: Self.reportInterval)
                let status = mirror.snapshot()
                Console.line("\(status.from) -> \(status.to): \(status.copied) copied, \(status.recordsBehind) behind\(Self.remarks(status))")
            }
        }
        defer {
            stopper.cancel()
            reporter.cancel()
        }
        Console.line("mirroring \(source.datacenter).* from \(source.servers.joined(separator: ",")) to \(target.datacenter); Ctrl-C stops it")
        do { try await mirror.run() } catch let error as MirrorError where !error.isRetriable {
            throw Failure("\(error)", code: 2)
        }
        Console.line("stopped: \(mirror.snapshot().copied) records copied")
    }

    private static func remarks(_ status: MirrorStatus) -> String {
        var remarks: [String] = []
        if !status.isSourceReachable { remarks.append("\(status.from)'s cluster does not answer, trying on") }
        if !status.isTargetReachable { remarks.append("\(status.to)'s cluster does not answer, trying on") }
        let held = status.partitions.count { $0.held != nil }
        if held > 0 { remarks.append("\(held) partitions held, see the log") }
        if status.lost > 0 { remarks.append("\(status.lost) offsets lost to retention") }
        return remarks.isEmpty ? "" : " (\(remarks.joined(separator: "; ")))"
    }
}
