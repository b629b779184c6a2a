import ArgumentParser
import Foundation
import LocalKafka
import Logging

/// This program again, serving something until its standard input ends.
struct ServingProcess {
    /// What it wrote about itself: where it listens.
    let address: String
    private let process: Process
    private let input: Pipe
    var meter: ProcessMeter { ProcessMeter(process: String(process.processIdentifier)) }

    struct NotStarted: Error, CustomStringConvertible {
        let what: String
        var description: String { "the \(what)'s process did not start" }
    }

    static func start(_ what: String, _ arguments: [String]) throws -> ServingProcess {
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = arguments
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        var text = ""
        while !text.contains("\n") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw NotStarted(what: what) }
            text += String(decoding: data, as: UTF8.self)
        }
        return ServingProcess(address: text.trimmingCharacters(in: .whitespacesAndNewlines), process: process, input: input)
    }

    func stop() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    /// In the process itself: says where it listens, and returns when it is to end.
    static func announce(_ address: String) async {
        FileHandle.standardOutput.write(Data("\(address)\n".utf8))
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            Thread.detachNewThread {
                while !FileHandle.standardInput.availableData.isEmpty {}
                continuation.resume()
            }
        }
    }
}

/// A LocalKafka cluster in a process of its own.
struct BrokerProcess {
    var servers: String { process.address }
    /// Seconds of CPU that it has used so far.
    var cpuSeconds: Double { process.meter.cpuSeconds ?? 0 }
    private let process: ServingProcess
    private let directory: URL

    static func start(brokers: Int = 1) throws -> BrokerProcess {
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        return try start(directory, brokers: brokers)
    }

    /// Starts it again, with what it has, so far away that a round trip takes so much longer than over loopback.
    func again(roundTrip: Duration) throws -> BrokerProcess {
        process.stop()
        return try Self.start(directory, roundTrip: roundTrip)
    }

    private static func start(_ directory: URL, brokers: Int = 1, roundTrip: Duration = .zero) throws -> BrokerProcess {
        let arguments = ["serve", directory.path, "--brokers", "\(brokers)", "--round-trip", "\(roundTrip / .milliseconds(1))"]
        return BrokerProcess(process: try ServingProcess.start("broker", arguments), directory: directory)
    }

    /// Ends the broker and removes its data.
    func stop() {
        process.stop()
        try? FileManager.default.removeItem(at: directory)
    }

    /// The broker of a run, in a process of its own: it must not share the measured one's CPU time or memory.
    struct Serve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(shouldDisplay: false)
        @Argument var directory: String
        @Option var brokers = 1
        @Option(help: "Milliseconds.") var roundTrip = 0.0

        func run() async throws {
            var proxies: [DelayProxy] = []
            if roundTrip > 0 { for _ in 0..<brokers { proxies.append(try await .start(roundTrip: .microseconds(roundTrip * 1000))) } }
            var configuration = LocalKafkaCluster.Configuration(
                dataDirectory: URL(filePath: directory),
                brokers: (0..<brokers).map { .init(advertisedPort: proxies.isEmpty ? nil : proxies[$0].port) })
            configuration.logger.logLevel = .error
            configuration.defaultPartitions = 1
            let cluster = try await LocalKafkaCluster.start(configuration)
            for (proxy, address) in zip(proxies, cluster.brokerAddresses) { proxy.lead(to: address.port) }
            await ServingProcess.announce(cluster.bootstrapServers)
            for proxy in proxies { await proxy.stop() }
            await cluster.stop()
        }
    }
}
