import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

extension Drill {
    private static let homeTimeout = Duration.seconds(120)

    /// Gives a drill up that was interrupted, and brings things to a safe end. Embedded datacenters ended with the drill. Of a live drill
    /// the work is taken home, and if that can't be done within two minutes the drill stays as it was.
    /// - Parameter say: hears what is done, a line each.
    public static func abort(_ directory: URL, executable: String, say: @Sendable (String) -> Void) async throws -> DrillReport {
        var state = try DrillJournal.load(directory)
        if let ended = state.ended { throw DrillFailure("the drill in \(directory.path) is over (\(ended)); its report is report.md there", code: 2) }
        guard let setting = state.setting else { throw DrillFailure("the drill in \(directory.path) can't be read", code: 2) }
        let journal = try DrillJournal(directory)
        let clock = DrillClock(began: setting.beganAt)
        func write(_ kind: DrillEntry.Kind, _ change: (inout DrillEntry) -> Void) throws {
            var entry = DrillEntry(at: clock.now, kind)
            change(&entry)
            try state.apply(entry)
            try journal.write(entry)
        }
        switch setting.mode {
        case .embedded: say("the embedded datacenters ended with the drill: nothing runs any more")
        case .liveCanary:
            let sites = try await live(setting, directory, executable)
            do {
                // The canaries' workers have to be there to take their work home.
                try await sites.begin(isNew: false, homeIsUp: true)
                try await takeHome(sites, setting, say)
            } catch {
                await sites.end()
                throw error
            }
            await sites.end()
            try await sites.cleanUp()
        case .liveGroup where state.marks[.asked] == nil: say("the drill had not moved anything")
        case .liveGroup:
            let sites = try await live(setting, directory, executable)
            do { try await takeHome(sites, setting, say) } catch {
                await sites.store.close()
                throw error
            }
            try await sites.cleanUp()
        }
        if let phase = state.current, state.phases[phase] != nil, state.phases[phase]?.outcome == nil {
            try write(.phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, .aborted, "the drill was interrupted here, and given up") }
        }
        try write(.ended) { $0.text = "aborted" }
        return try reportOf(directory)
    }

    private static func live(_ setting: DrillSetting, _ directory: URL, _ executable: String) async throws -> any DrillSites {
        let configuration = try setting.configuration.map { try WorkerConfiguration.load(path: $0) }
        let target = try DrillTarget(directory, drill: setting.id, clock: DrillClock(began: setting.beganAt))
        return try await sites(setting, configuration, executable, directory, target)
    }

    /// Takes a drain back, or a move.
    private static func takeHome(_ sites: any DrillSites, _ setting: DrillSetting, _ say: @Sendable (String) -> Void) async throws {
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        let controller = HandoverController(store: sites.store, patience: .ofDrills, logger: logger) {
            Assignment.Author(
                name: setting.operatorName, reason: "drill \(setting.id) aborted",
                now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
        }
        guard let now = try await AssignmentStore(sites.store).load(sites.key)?.assignment else { throw HandoverRefusal.unknown(sites.key) }
        if case .draining(let target, _) = now.phase, target != sites.key.origin {
            say("taking the drain toward \(target) back")
            try await controller.cancel(sites.key)
        } else if now.owner != sites.key.origin {
            say("taking \(sites.key.origin)'s work home from \(now.owner)")
            try await controller.beginSwitchover(sites.key, to: sites.key.origin)
        }
        let end = try await controller.carryThrough(sites.key, timeout: homeTimeout)
        guard end.owner == sites.key.origin else { throw DrillFailure("\(end.owner) owns it: run 'switchback handover switchback' to take it home") }
        say("\(end.owner) acts on its own topics, epoch \(end.epoch)")
    }
}
