import Hummingbird
import Logging
import ServiceLifecycle

/// Serves until the task is cancelled, and then ends in order: listening stops, and what has been accepted is answered. A server whose own task is
/// cancelled drops connections that it has accepted and not looked at yet, and NIO ends the process for that ("Deinited NIOAsyncWriter").
package enum GracefulServer {
    /// What is not answered by then is cut off.
    private static let limit = Duration.seconds(2)

    /// - Throws: why it can't listen.
    package static func run(_ application: some ApplicationProtocol, logger: Logger) async throws {
        var configuration = ServiceGroupConfiguration(
            services: [.init(service: application, successTerminationBehavior: .gracefullyShutdownGroup, failureTerminationBehavior: .cancelGroup)],
            logger: logger)
        configuration.maximumGracefulShutdownDuration = limit
        let group = ServiceGroup(configuration: configuration)
        // A task of its own: it does not hear of the cancelling.
        let serving = Task { try await group.run() }
        try await withTaskCancellationHandler {
            try await serving.value
        } onCancel: {
            Task { await group.triggerGracefulShutdown() }
        }
    }
}
