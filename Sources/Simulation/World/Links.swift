import KafkaLog

/// Which connections are cut, in which direction, and until when.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Links: @unchecked Sendable {
    enum Direction: CaseIterable { case requests, answers }

    private struct Cut: Hashable {
        let host: String
        let peer: String
        let direction: Direction
    }

    private let time: SimulatedTime
    private var cuts: [Cut: Moment] = [:]
    /// Until when the store is slow.
    var storeIsSlowUntil: Moment = 0

    init(time: SimulatedTime) { self.time = time }

    static let store = "store"

    func cut(_ host: String, from peer: String, _ directions: [Direction], until: Moment) {
        for direction in directions {
            let key = Cut(host: host, peer: peer, direction: direction)
            cuts[key] = max(cuts[key] ?? 0, until)
        }
    }

    func passes(_ host: String, _ peer: String, _ direction: Direction) -> Bool {
        time.now >= cuts[Cut(host: host, peer: peer, direction: direction)] ?? 0
    }

    func heal() {
        cuts = [:]
        storeIsSlowUntil = 0
    }
}
