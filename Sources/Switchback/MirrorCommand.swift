import ArgumentParser
import KafkaLog
import Logging

/// `switchback mirror`: the development mirror.
struct MirrorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mirror", abstract: "Copy one datacenter's topics into another's cluster, for development.")

    func run() async throws { throw Failure("not yet") }
}
