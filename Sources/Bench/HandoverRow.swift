import Demo
import Foundation
import Handover
import KafkaLog
import Logging

/// Moves eqiad's events to and fro under load, and computes from the sink's times how long nobody acted (`TwoSites.pauses`).
struct HandoverRow {
    let sites: TwoSites
    let lag: Double
    let lease: Double

    init(_ sites: TwoSites, lag: Double, lease: Double) {
        self.sites = sites
        self.lag = lag
        self.lease = lease
    }

    struct Outcome {
        var lines: [String] = []
        var goals: [RowResult.Goal] = []
        var table: String { lines.joined(separator: "\n") }
    }

    struct Failure: Error, CustomStringConvertible { let description: String }

    /// One move: which calls belong to it.
    private struct Move {
        let isForced: Bool
        let from: Datacenter
        let to: Datacenter
        let firstCall: Int
        /// When it was asked for.
        let began: ContinuousClock.Instant
        /// Seconds from there until the assignment was stable.
        let stableAfter: Double
    }

    /// Between two moves: the new side catches up and everything flows again.
    private static let rest = Duration.seconds(2)

    func measure(moves: Int, failovers: Int) async throws -> Outcome {
        try await sites.startClusters()
        try await sites.startWorkers()
        try sites.start(.producer)
        try await Task.sleep(for: .seconds(3))
        var done: [Move] = []
        var owner = TwoSites.home
        for number in 0..<(moves + failovers) {
            let isForced = number >= moves
            let move = try await self.move(to: TwoSites.other(owner), from: owner, isForced: isForced)
            Figures.note(
                "\(isForced ? "failover" : "switchover") \(number + 1) of \(moves + failovers): to \(move.to), stable after "
                    + String(format: "%.2f s", move.stableAfter))
            owner = move.to
            done.append(move)
            try await Task.sleep(for: Self.rest)
            if isForced {
                try sites.start(.worker(move.from))
                try await Task.sleep(for: Self.rest)
            }
            try sites.check()
        }
        try await sites.end(.producer)
        let produced = try sites.produced()
        // What is missing after the wait is lost, and the outcome says so.
        do { try await sites.waitForAll() } catch is DemoFailure {}
        try await Task.sleep(for: .seconds(1))
        return try await account(done, produced: produced)
    }

    private func move(to: Datacenter, from: Datacenter, isForced: Bool) async throws -> Move {
        guard let epoch = try await sites.assignment()?.epoch else { throw Failure(description: "no assignment") }
        let firstCall = sites.callCount
        let began = ContinuousClock.now
        if isForced {
            var logger = Logger(label: "bench")
            logger.logLevel = .error
            let controller = HandoverController(store: sites.store, logger: logger) {
                Assignment.Author(name: "bench", now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
            }
            sites.kill(.worker(from))
            try await controller.failover(TwoSites.key, to: to)
            try await sites.waitForStable(to, epoch: epoch + 1)
        } else {
            let command = try sites.handover("switchover", ["--to", to.name])
            try await sites.waitForStable(to, epoch: epoch + 1)
            try await sites.waitFor("the command's end") { !command.isRunning }
            command.kill()
        }
        return Move(
            isForced: isForced, from: from, to: to, firstCall: firstCall, began: began, stableAfter: began.duration(to: .now) / .seconds(1))
    }

    // MARK: Accounting

    private func account(_ moves: [Move], produced: [String]) async throws -> Outcome {
        let places = try await sites.places(in: TwoSites.home)
        let calls = sites.calls()
        var outcome = Outcome()
        var repeats = 0, repeatsForced = 0
        let forcedFrom = moves.first(where: \.isForced)?.firstCall ?? calls.count
        var seen: Set<String> = []
        for (index, call) in calls.enumerated() where !seen.insert(call.id).inserted {
            if index < forcedFrom { repeats += 1 } else { repeatsForced += 1 }
        }
        let lost = sites.missing(of: produced).count
        outcome.lines.append("  \(produced.count) events acknowledged, \(calls.count) actions, \(lost) lost, \(repeats) repeated by planned moves, \(repeatsForced) after the kills")
        for (what, count) in [("events lost", lost), ("events repeated by planned moves", repeats), ("gap events", try await sites.gaps())] {
            outcome.goals.append(.init(what: what, value: Double(count), atMost: 0))
        }
        for (isForced, to, what, bound) in [
            (false, TwoSites.away, "switchover to the mirror's side", lag + HandoverCommand.allowance),
            (false, TwoSites.home, "switchback", lag + HandoverCommand.allowance),
            (true, TwoSites.away, "failover to the mirror's side", lease + HandoverCommand.allowance),
            (true, TwoSites.home, "failover home", lease + HandoverCommand.allowance),
        ] {
            let chosen = moves.enumerated().filter { $0.element.isForced == isForced && $0.element.to == to }
            guard !chosen.isEmpty else { continue }
            var pauses: [Double] = []
            for (index, move) in chosen {
                let end = index + 1 < moves.count ? moves[index + 1].firstCall : calls.count
                let found = TwoSites.pauses(from: move.from, before: calls[..<move.firstCall], calls[move.firstCall..<end], places)
                pauses += found.values
            }
            guard !pauses.isEmpty else { throw Failure(description: "no action after a move") }
            let stable = Self.percentile(0.5, chosen.map(\.element.stableAfter))
            outcome.lines.append(Self.line(what, pauses, bound: bound, stable: stable))
            outcome.goals.append(.init(what: "\(what), 99 % of the pauses", value: Self.percentile(0.99, pauses), atMost: bound, unit: " s"))
            outcome.goals.append(.init(what: "\(what), half of the pauses", value: Self.percentile(0.5, pauses), unit: " s"))
        }
        return outcome
    }

    private static func line(_ name: String, _ values: [Double], bound: Double, stable: Double) -> String {
        "  " + name.padding(toLength: 32, withPad: " ", startingAt: 0)
            + String(
                format: "%4d pauses  50%% %.3f  90%% %.3f  99%% %.3f  most %.3f s  (bound %.3f)  stable after %.2f s", values.count,
                percentile(0.5, values), percentile(0.9, values), percentile(0.99, values), values.max() ?? 0, bound, stable)
    }

    /// The smallest value that at least this part of them does not exceed.
    private static func percentile(_ part: Double, _ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted[min(sorted.count - 1, max(0, Int((part * Double(sorted.count)).rounded(.up)) - 1))]
    }
}
