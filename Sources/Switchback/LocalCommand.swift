import ArgumentParser
import Foundation
import KafkaLog
import LocalKafka
import Logging

/// `switchback local`: embedded clusters for development, one per datacenter.
struct LocalCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "local",
        abstract: "Run an embedded Kafka-protocol broker per datacenter, for development and demonstrations.",
        discussion: """
            Any Kafka client can talk to it. Data are kept below --data and are there again after a restart. Production runs on
            real Kafka.

            Example:
              switchback local --dc eqiad=127.0.0.1:19092 --dc codfw=127.0.0.1:29092 \\
                  --data /tmp/switchback-local
            """)

    @Option(
        name: .customLong("dc"), parsing: .singleValue,
        help: ArgumentHelp("A datacenter and where its broker listens; a comma-separated list gives it several brokers. Repeatable.", valueName: "name=host:port"))
    var datacenters: [String]

    @Option(help: ArgumentHelp("Where the data are kept; made when it is not there.", valueName: "directory"))
    var data: String

    @Option(help: "Partitions of topics that clients make by writing to them (1 to 10000).")
    var partitions: Int32 = 3

    func validate() throws {
        guard !data.isEmpty else { throw ValidationError("--data is empty; a directory would be right") }
        guard !datacenters.isEmpty else { throw ValidationError("give at least one --dc, such as --dc eqiad=127.0.0.1:19092") }
        guard (1...10_000).contains(partitions) else { throw ValidationError("--partitions is \(partitions); 1 to 10000 would be right") }
        let names = try datacenters.map { try Self.parse($0).0 }
        guard Set(names).count == names.count else { throw ValidationError("a datacenter is named twice") }
    }

    static func parse(_ text: String) throws -> (Datacenter, [LocalKafkaCluster.Configuration.BrokerAddress]) {
        let parts = text.split(separator: "=", maxSplits: 1)
        guard parts.count == 2, let datacenter = Datacenter(String(parts[0])) else {
            throw ValidationError("--dc \(text): NAME=HOST:PORT would be right, such as eqiad=127.0.0.1:19092")
        }
        let addresses = try parts[1].split(separator: ",").map { part in
            guard let address = HostPort(String(part)) else {
                throw ValidationError("--dc \(text): '\(part)' is no HOST:PORT; 127.0.0.1:19092 would be right")
            }
            return LocalKafkaCluster.Configuration.BrokerAddress(host: address.host, port: address.port)
        }
        return (datacenter, addresses)
    }

    func run() async throws {
        LocalKafkaCluster.Configuration.raiseOpenFileLimit()
        let logger = makeLogger("switchback.local", level: .notice)
        var clusters: [LocalKafkaCluster] = []
        do {
            for text in datacenters {
                let (datacenter, addresses) = try Self.parse(text)
                let directory = URL(fileURLWithPath: data).appendingPathComponent(datacenter.name)
                var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory, brokers: addresses)
                configuration.defaultPartitions = partitions
                configuration.logger = logger
                let cluster = try await LocalKafkaCluster.start(configuration)
                clusters.append(cluster)
                Console.line("\(datacenter): Kafka at \(cluster.bootstrapServers), cluster id \(cluster.clusterID), data in \(directory.path)")
            }
        } catch {
            for cluster in clusters { await cluster.stop() }
            throw Failure("\(error)")
        }
        print("ready; Ctrl-C stops it")
        for await _ in Signals.stop() { break }
        for cluster in clusters { await cluster.stop() }
    }
}

/// `host:port`, with IPv6 in brackets.
struct HostPort {
    let host: String
    let port: Int

    init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), (0...65_535).contains(port) else {
            return nil
        }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) } else if host.contains(":") { return nil }
        guard !host.isEmpty else { return nil }
        self.host = host
        self.port = port
    }
}
