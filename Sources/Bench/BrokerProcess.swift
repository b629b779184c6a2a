import Foundation
import LocalKafka
import Logging

/// This program again, serving a LocalKafka cluster until its standard input ends.
struct BrokerProcess {
    let servers: String
    private let process: Process
    private let input: Pipe
    private let directory: URL

    struct NotStarted: Error, CustomStringConvertible {
        var description: String { "the broker's process did not start" }
    }

    static func start() throws -> BrokerProcess {
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let process = Process()
        process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["serve", directory.path]
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        var text = ""
        while !text.contains("\n") {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { throw NotStarted() }
            text += String(decoding: data, as: UTF8.self)
        }
        return BrokerProcess(
            servers: text.trimmingCharacters(in: .whitespacesAndNewlines), process: process, input: input,
            directory: directory)
    }

    /// Ends the broker and removes its data.
    func stop() {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: directory)
    }

    static func serve(in directory: URL) async throws {
        var configuration = LocalKafkaCluster.Configuration(dataDirectory: directory)
        configuration.logger.logLevel = .error
        configuration.defaultPartitions = 1
        let cluster = try await LocalKafkaCluster.start(configuration)
        FileHandle.standardOutput.write(Data("\(cluster.bootstrapServers)\n".utf8))
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            Thread.detachNewThread {
                while !FileHandle.standardInput.availableData.isEmpty {}
                continuation.resume()
            }
        }
        await cluster.stop()
    }
}
