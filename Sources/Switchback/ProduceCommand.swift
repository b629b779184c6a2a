import ArgumentParser

/// `switchback produce`.
struct ProduceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "produce", abstract: "Write JSON lines as events.")
    func run() async throws { throw Failure("not yet") }
}
