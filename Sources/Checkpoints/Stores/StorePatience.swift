import KafkaLog
import Logging

/// For how long, and how often, what a person waits for is tried again where the store does not answer for a moment.
public struct StorePatience: Sendable {
    /// For so long after the first failure of a call it is made again.
    public let limit: Duration
    /// Between two tries.
    public let pause: Duration

    /// - Parameters:
    ///   - limit: 0 or more; 0: one more try.
    ///   - pause: above 0.
    public init(limit: Duration = .seconds(5), pause: Duration = .milliseconds(250)) {
        (self.limit, self.pause) = (limit, pause)
    }

    /// Makes `call`, and makes it again as long as its errors may pass. Throws its own last error, when the patience is over or the task is cancelled
    /// while it waits, too.
    ///
    /// - Parameters:
    ///   - logger: hears once (warning) that it is waited for.
    ///   - mayPass: whether `call` may be made again after this error, and could go better then.
    public func trying<Value, Failure: Error>(
        clock: HostClock, logger: Logger, where mayPass: (Failure) -> Bool, _ call: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        var deadline: UInt64?
        while true {
            do throws(Failure) { return try await call() } catch {
                let now = clock.monotonic()
                guard mayPass(error), now < deadline ?? .max else { throw error }
                if deadline == nil {
                    deadline = now &+ limit.nanoseconds
                    logger.warning("The store does not answer; trying on", metadata: ["error": "\(error)", "for": "\(limit)"])
                }
                guard (try? await clock.sleep(pause)) != nil else { throw error }
            }
        }
    }
}
