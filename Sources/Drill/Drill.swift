import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// What is said while a drill runs.
public struct DrillLine: Sendable {
    public enum Message: Sendable, Hashable {
        case phase(DrillPhase, title: String)
        case phaseEnded(DrillPhase, DrillReport.PhaseOutcome, String)
        case note(String)
        /// Every quarter of a second.
        case status(produced: Int, acted: Int, waiting: Int, phase: Int, of: Int)
    }
    /// Seconds since the drill began.
    public let at: Double
    public let message: Message
}

/// One drill: carries its phases through from wherever its journal stands, and writes the report. Used once.
public actor Drill {
    let directory: URL
    let say: @Sendable (DrillLine) -> Void
    let setting: DrillSetting
    let clock: DrillClock
    let sites: any DrillSites
    let target: DrillTarget
    let produced: DrillProduced
    let configuration: WorkerConfiguration?
    private let journal: DrillJournal
    var state: DrillState
    var load: DrillLoad?
    /// A fault that was put in and not taken away: for a failure's end.
    var isBroken = false

    var plan: DrillPlan { setting.plan }
    var home: Datacenter { sites.key.origin }
    var away: Datacenter { sites.target }

    static let dataName = "data"

    /// Begins a new drill in `directory` (empty or new), or goes on with the one that is there. Starts the store and the target.
    /// - Parameters:
    ///   - setting: of a new drill; nil: the one in the directory.
    ///   - executable: `switchback`, for the processes of the datacenters.
    ///   - say: hears what happens, on any thread.
    /// - Throws: `DrillFailure`.
    public init(_ setting: DrillSetting?, in directory: URL, executable: String, say: @escaping @Sendable (DrillLine) -> Void) async throws {
        self.directory = directory
        self.say = say
        if let setting {
            do { try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true) } catch {
                // Foundation's words for it name neither the part of the path that is in the way nor what to do.
                let reason = ((error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error).map { String(cString: strerror(Int32(($0 as NSError).code))) }
                    ?? error.localizedDescription
                throw DrillFailure("the directory \(directory.path) can't be made: \(reason); --out names another one", code: 2)
            }
            journal = try DrillJournal(directory)
            self.setting = setting
            clock = DrillClock(began: setting.beganAt)
            state = DrillState()
            var entry = DrillEntry(at: 0, .began)
            entry.setting = setting
            try state.apply(entry)
            try journal.write(entry)
        } else {
            let known = try DrillJournal.load(directory)
            guard let found = known.setting else { throw DrillFailure("the drill in \(directory.path) can't be read", code: 2) }
            if let ended = known.ended {
                throw DrillFailure("the drill in \(directory.path) is over (\(ended)); its report is report.md there", code: 2)
            }
            journal = try DrillJournal(directory)
            self.setting = found
            clock = DrillClock(began: found.beganAt)
            state = known
            // It was interrupted while its datacenters were made: nothing has happened in them, and half of them is of no use.
            if found.mode == .embedded, known.phases.isEmpty { try? FileManager.default.removeItem(at: directory.appending(path: Self.dataName)) }
            let entry = DrillEntry(at: clock.now, .resumed)
            try state.apply(entry)
            try journal.write(entry)
        }
        target = try DrillTarget(directory, drill: self.setting.id, clock: clock)
        produced = try DrillProduced(directory)
        configuration = try self.setting.configuration.map { try WorkerConfiguration.load(path: $0) }
        sites = try await Self.sites(self.setting, configuration, executable, directory, target)
    }

    static func sites(
        _ setting: DrillSetting, _ configuration: WorkerConfiguration?, _ executable: String, _ directory: URL, _ target: DrillTarget
    ) async throws -> any DrillSites {
        let data = directory.appending(path: dataName)
        switch setting.mode {
        case .embedded:
            return try await EmbeddedSites(setting, executable: executable, directory: data) { try await target.call($0, $1) }
        case .liveCanary:
            guard let configuration else { throw DrillFailure("the journal names no worker.yaml", code: 2) }
            return try await LiveSites(setting, configuration, executable: executable, directory: data) { try await target.call($0, $1) }
        case .liveGroup:
            guard let configuration else { throw DrillFailure("the journal names no worker.yaml", code: 2) }
            return try await LiveGroup(setting, configuration)
        }
    }

    // MARK: The journal

    func write(_ kind: DrillEntry.Kind, _ change: (inout DrillEntry) -> Void = { _ in }) throws {
        var entry = DrillEntry(at: clock.now, kind)
        change(&entry)
        try state.apply(entry)
        try journal.write(entry)
    }

    func mark(_ mark: DrillMark, at: Double? = nil) throws {
        guard state.marks[mark] == nil else { return }
        try write(.mark) { entry in
            entry.mark = mark
            if let at { entry.at = at }
        }
    }

    func note(_ text: String) { say(DrillLine(at: clock.now, message: .note(text))) }

    // MARK: The run

    /// Carries the phases through that are left, and gives the report; it is written to the directory too.
    ///
    /// What goes wrong in a phase is in the report. Throws what keeps a report from being written, and `CancellationError`, after which the
    /// drill can be gone on with.
    public func run() async throws -> DrillReport {
        let statuses = Task {
            while !Task.isCancelled {
                status()
                try? await Task.sleep(for: .milliseconds(250))
            }
        }
        defer { statuses.cancel() }
        do {
            try await bringUp()
            while let phase = state.current { try await run(phase) }
            try write(.ended) { $0.text = "done" }
        } catch {
            if Task.isCancelled {
                await stop()
                throw error
            }
            if let refusal = error as? DrillFailure, refusal.code == 2, state.phases.isEmpty {
                // Nothing was begun: there is nothing to report on, or to go on with.
                try write(.ended) { $0.text = "refused" }
                await stop()
                try? await sites.cleanUp()
                throw refusal
            }
            try fail(error)
        }
        await stop()
        if state.ended != nil {
            do { try await sites.cleanUp() } catch { note("what the drill made could not all be removed: \(error)") }
        }
        return try report()
    }

    private func fail(_ error: any Error) throws {
        let why = "\(error)".split(separator: "\n").first.map(String.init) ?? "it failed"
        note("\(error)")
        if let phase = state.current, state.phases[phase]?.outcome == nil, state.phases[phase] != nil {
            try write(.phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, .failed, why) }
            say(DrillLine(at: clock.now, message: .phaseEnded(phase, .failed, why)))
        }
        // With real clusters somebody has to bring things home: by 'drill resume' or 'drill abort'.
        if setting.mode == .embedded || state.marks[.asked] == nil {
            try write(.ended) { $0.text = "phase \(state.current?.rawValue ?? "start") failed: \(why)" }
        }
    }

    private func groupSkips(_ phase: DrillPhase) -> String? {
        phase == .canaries ? "the group's own events take the canaries' place" : nil
    }

    private func stop() async {
        await load?.stop()
        load = nil
        await sites.end()
    }

    private func run(_ phase: DrillPhase) async throws {
        try write(.phaseStarted) { $0.phase = phase }
        say(DrillLine(at: clock.now, message: .phase(phase, title: phase.title(plan.scenario))))
        let detail: String
        if setting.mode == .liveGroup, let why = groupSkips(phase) {
            try write(.phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, .skipped, why) }
            return say(DrillLine(at: clock.now, message: .phaseEnded(phase, .skipped, why)))
        }
        switch phase {
        case .preflight: detail = try await preflight()
        case .canaries: detail = try await canaries()
        case .cut: detail = try await cut()
        case .drain: detail = plan.scenario.isForced ? try await declareUndrainable() : try await drain()
        case .fence: detail = try await fence()
        case .switchOver: detail = try await switchOver()
        case .verify: detail = try await verify()
        case .soak: detail = try await soak()
        case .home: detail = try await goHome()
        case .verifyHome: detail = try await verifyHome()
        }
        try write(.phaseEnded) { ($0.phase, $0.outcome, $0.text) = (phase, .done, detail) }
        say(DrillLine(at: clock.now, message: .phaseEnded(phase, .done, detail)))
    }

    /// Whether the origin's datacenter is lost now, by what the journal says.
    var isHomeLost: Bool { plan.scenario == .datacenterLoss && state.marks[.cut] != nil && state.marks[.homeBack] == nil }

    private func bringUp() async throws {
        let isNew = state.phases[.preflight] == nil
        note("store \(setting.store), seed \(setting.seed), in \(directory.path)")
        try await sites.begin(isNew: isNew, homeIsUp: !isHomeLost)
        if plan.scenario == .zombie, state.marks[.cut] != nil, state.marks[.faultOver] == nil {
            sites.freezeWorker()
            isBroken = true
            note("\(home)'s worker stands still again")
        }
        // A drill that was interrupted goes on under load as it left it.
        if setting.mode != .liveGroup, let current = state.current, current > .preflight, current <= .verifyHome, !isHomeLost, state.marks[.loadEnded] == nil { try startLoad() }
    }

    func startLoad() throws {
        guard load == nil else { return }
        load = try DrillLoad(plan.load, sites: sites, drill: setting.id, produced: produced, clock: clock, seed: setting.seed &+ UInt64(1 + produced.count))
    }

    private func status() {
        let phases = DrillPhase.allCases
        let number = state.current.flatMap { phases.firstIndex(of: $0) } ?? phases.count
        let (made, acted) = (produced.count, target.count)
        say(DrillLine(at: clock.now, message: .status(produced: made, acted: acted, waiting: max(0, made - acted), phase: number, of: phases.count)))
    }

    // MARK: Waiting

    func check() throws {
        try sites.check()
        if let failure = load?.failure { throw DrillFailure("the canaries can't be produced: \(failure)") }
    }

    func watch(_ seconds: Double) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            try check()
            try await Task.sleep(for: min(.milliseconds(100), ContinuousClock.now.duration(to: end)))
        }
    }

    /// Asks every 15 ms, at most for the plan's patience.
    func waitFor(_ what: String, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(plan.times.patience)
        while try await !condition() {
            try check()
            guard ContinuousClock.now < deadline else { throw DrillFailure("waited \(DrillWords.seconds(plan.times.patience)) for \(what)") }
            try await Task.sleep(for: .milliseconds(15))
        }
    }

    /// Waits until all of `ids` were acted on. Gives those that were not, once nothing of them moved for `stall` seconds.
    func missing(of ids: [String], stall: Double) async throws -> [String] {
        var missing = target.missing(of: ids)
        var moved = ContinuousClock.now
        let deadline = moved + .seconds(max(plan.times.patience, stall))
        while !missing.isEmpty, ContinuousClock.now < deadline, moved.duration(to: .now) < .seconds(stall) {
            try check()
            try await Task.sleep(for: .milliseconds(15))
            let now = target.missing(of: missing)
            if now.count < missing.count { moved = .now }
            missing = now
        }
        return missing
    }

    /// The same of the store, which may not answer for a while.
    func waitForStore(_ what: String, _ condition: () async throws -> Bool) async throws {
        try await waitFor(what) {
            do { return try await condition() } catch let error as StoreError where error.isRetriable { return false }
        }
    }
}
