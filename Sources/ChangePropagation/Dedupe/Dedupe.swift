import Checkpoints

/// How a rule keeps from acting on one event twice: `dedupe`, `claim_ttl`, `root_claim_ttl` and `delivery` in worker.yaml.
public struct Dedupe: Sendable, Equatable {
    /// What makes two records one event.
    public enum Key: String, Sendable, CaseIterable {
        /// `meta.id`.
        case id
        /// The whole value.
        case content
    }

    /// What a crash in the middle of an action does to it.
    public enum Delivery: String, Sendable, CaseIterable {
        /// It is repeated.
        case atLeastOnce = "at-least-once"
        /// It is lost: the claim says that it is done before it is begun.
        case atMostOnce = "at-most-once"
    }

    /// nil: events are told apart by their root event alone.
    public var key: Key?
    /// Leaves out what an older root event led to when a newer one of the same signature has been acted on.
    public var byRoot = false
    public var delivery = Delivery.atLeastOnce
    /// For how long what is done is remembered.
    public var window = Duration.seconds(3600)
    /// The same for root events.
    public var rootWindow = Duration.seconds(86_400)

    /// A window is no longer: what is remembered takes room in the store.
    public static let longestWindow = Duration.seconds(30 * 86_400)
}

extension WorkerConfiguration.CheckpointSettings {
    /// How long ago an event can have been acted on that a resume gives to the rules again, as far as settings tell: what was not written yet
    /// (the interval, and the lease within which a store that takes nothing stops the work), the time until another worker takes over, the
    /// hold, and how far a lookup by time steps back. Downtime of all workers comes on top of it.
    func longestRewind(lease: Duration, sessionTimeout: Duration) -> Duration {
        let planner = ResumePlanner.Settings()
        let step = max(Duration.milliseconds(planner.disorderBound), slack) + .milliseconds(planner.appendTimeBound)
        return interval + lease + sessionTimeout + hold + step
    }
}
