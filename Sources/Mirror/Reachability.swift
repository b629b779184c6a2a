import Logging
import Synchronization

/// Says once that a cluster does not answer, and once that it does again.
final class Reachability: Sendable {
    private struct State { var since: [MirrorError.Side: ContinuousClock.Instant] = [:] }
    private let state = Mutex(State())
    private let logger: Logger

    init(logger: Logger) { self.logger = logger }

    func failed(_ side: MirrorError.Side, servers: [String], _ error: any Error) {
        let isNew = state.withLock { state in
            if state.since[side] != nil { return false }
            state.since[side] = .now
            return true
        }
        guard isNew else { return }
        logger.warning(
            "cluster does not answer; the mirror keeps its place and tries for ever",
            metadata: ["side": "\(side.rawValue)", "servers": "\(servers.joined(separator: ","))", "error": "\(error)"])
    }

    func answered(_ side: MirrorError.Side) {
        guard let since = state.withLock({ $0.since.removeValue(forKey: side) }) else { return }
        let away = since.duration(to: .now).wholeMilliseconds
        logger.notice("cluster answers again", metadata: ["side": "\(side.rawValue)", "away_ms": "\(away)"])
    }

    func isUp(_ side: MirrorError.Side) -> Bool { state.withLock { $0.since[side] == nil } }
}
