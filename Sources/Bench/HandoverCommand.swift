import ArgumentParser
import Demo
import Foundation
import KafkaLog

/// Rows about handovers: two datacenters as processes, under load, moved again and again. Docs/Design.md, section 4, says how a pause
/// is measured.
struct HandoverCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "handover", abstract: "Measures how long nobody acts at a switchover and at a failover, with two datacenters under load.")

    @Option(help: "Events per second.") var rate = 2000.0
    @Option(help: "Partitions (1 to 1000).") var partitions: Int32 = 24
    @Option(help: "Planned moves that are measured (0 or more).") var moves = 10
    @Option(help: "Forced ones (0 or more).") var failovers = 4
    @Option(help: "By how many seconds the mirrors lag.") var lag = 0.3
    @Option(help: "The lease, in seconds (at least 1).") var lease = 2.0
    @Option(help: "Seed of the events and of the called service's delays. Default: a new one, which is printed.") var seed: UInt64?
    @Option(help: "Keep the run's logs and data here (a new directory).") var keep: String?
    @OptionGroup var verdict: VerdictOptions

    /// What a pause may last beyond what can't be avoided (the mirror's lag; the lease), in seconds.
    static let allowance = 0.25

    func validate() throws {
        guard rate > 0, (1...1000).contains(partitions), moves >= 0, failovers >= 0, lag >= 0, lease >= 1 else {
            throw ValidationError("rate above 0, partitions 1 to 1000, moves, failovers and lag 0 or more, lease at least 1 would be right")
        }
    }

    func run() async throws {
        let seed = seed ?? UInt64(UInt32.random(in: 0 ... .max))
        let stand = try SitesStand.prepare(in: keep, for: "bench")
        defer { stand.store.kill() }
        var settings = TwoSites.Settings(executable: stand.executable, directory: stand.directory, seed: seed, etcd: [stand.port])
        settings.partitions = partitions
        settings.lag = .seconds(lag)
        settings.lease = .seconds(lease)
        settings.checkpointInterval = .seconds(1)
        settings.commitInterval = .milliseconds(500)
        settings.sessionTimeout = .seconds(10)
        settings.concurrency = 64
        settings.rate = rate
        settings.eventSize = 400
        let row = HandoverRow(try await TwoSites(settings), lag: lag, lease: lease)
        let outcome: HandoverRow.Outcome
        do { outcome = try await row.measure(moves: moves, failovers: failovers) } catch {
            await row.sites.tearDown()
            print("logs and data of the run: \(stand.directory.path)")
            throw error
        }
        await row.sites.tearDown()
        if keep == nil { try? FileManager.default.removeItem(at: stand.directory) }
        Figures.note(outcome.table)
        try verdict.finish(
            RowResult(
                row: "i", name: "handover",
                load: "\(Int(rate)) events/s, \(partitions) partitions, mirrors \(lag) s behind, lease \(lease) s, \(moves) planned moves, \(failovers) forced, seed \(seed)",
                goals: outcome.goals,
                remark: "A pause is a partition's: from the start of the old side's last action to that of the new side's first, less what would have been idle anyway."))
    }
}
