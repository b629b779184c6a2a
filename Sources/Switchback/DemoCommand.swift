import ArgumentParser

/// `switchback demo`.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "demo", abstract: "Two datacenters, a loss, a return.")
    func run() async throws { throw Failure("not yet") }
}
