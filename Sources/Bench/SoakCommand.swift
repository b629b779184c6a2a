import ArgumentParser
import Demo
import Foundation
import Handover
import KafkaLog
import Logging

/// `make soak`: two datacenters under load for as long as wanted, with handovers to and fro and rolling kills.
struct SoakCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "soak", abstract: "Keeps two datacenters under load, with handovers and kills, and judges whether memory and descriptors stay flat.")

    @Option(help: "How long, in minutes (at least 5).") var minutes = 30.0
    @Option(help: "Events per second.") var rate = 500.0
    @Option(help: "Partitions (1 to 1000).") var partitions: Int32 = 8
    @Option(help: "Seconds between two handovers (at least 5).") var moveEvery = 15.0
    @Option(help: "Seconds between two kills; each datacenter's worker is killed every other time. Default: a tenth of the run, at least 100.")
    var killEvery: Double?
    @Option(help: "Seed of the events and of the called service's delays. Default: a new one, which is printed.") var seed: UInt64?
    @Option(help: "Where the plot goes.") var plot = ".build/soak.svg"
    @Option(help: "Keep the run's logs and data here (a new directory).") var keep: String?

    func validate() throws {
        guard minutes >= 5, rate > 0, (1...1000).contains(partitions), moveEvery >= 5, killEvery ?? 100 >= 100 else {
            throw ValidationError("minutes at least 5, rate above 0, partitions 1 to 1000, at least 5 s between moves and 100 between kills would be right")
        }
    }

    func run() async throws {
        let seed = seed ?? UInt64(UInt32.random(in: 0 ... .max))
        // Now, not after half an hour.
        try FileManager.default.createDirectory(at: URL(filePath: plot).deletingLastPathComponent(), withIntermediateDirectories: true)
        let stand = try SitesStand.prepare(in: keep, for: "soak")
        defer { stand.store.kill() }
        var settings = TwoSites.Settings(executable: stand.executable, directory: stand.directory, seed: seed, etcd: [stand.port])
        settings.partitions = partitions
        settings.lag = .milliseconds(300)
        settings.lease = .seconds(2)
        settings.checkpointInterval = .seconds(1)
        settings.commitInterval = .milliseconds(500)
        settings.sessionTimeout = .seconds(10)
        settings.concurrency = 64
        settings.rate = rate
        settings.eventSize = 400
        settings.patience = .seconds(90)
        let soak = Soak(sites: try await TwoSites(settings), minutes: minutes, moveEvery: moveEvery, killEvery: killEvery ?? max(100, minutes * 6))
        let outcome: Soak.Outcome
        do { outcome = try await soak.run() } catch {
            await soak.sites.tearDown()
            try? write(soak, "soak that failed")
            print("logs and data of the run: \(stand.directory.path)")
            throw error
        }
        await soak.sites.tearDown()
        if keep == nil { try? FileManager.default.removeItem(at: stand.directory) }
        print("soak: \(minutes) minutes, \(Int(rate)) events/s, \(partitions) partitions, \(outcome.moves) handovers, \(outcome.kills) kills, seed \(seed)")
        print(outcome.lines.joined(separator: "\n"))
        try write(soak, "soak: \(minutes) minutes, \(outcome.moves) handovers, \(outcome.kills) kills")
        guard outcome.complaints.isEmpty else {
            for complaint in outcome.complaints { print(complaint) }
            throw ExitCode(1)
        }
        print("memory and descriptors are flat after warm-up, nothing was lost")
    }

    private func write(_ soak: Soak, _ title: String) throws {
        try SoakPlot(samples: soak.samples, parts: Soak.parts, title: title).svg.write(toFile: plot, atomically: true, encoding: .utf8)
        print("plot: \(plot)")
    }
}

/// The run itself.
struct Soak {
    struct Outcome {
        var moves = 0
        var kills = 0
        var lines: [String] = []
        var complaints: [String] = []
    }

    /// Whose memory is judged: workers, and the mirrors, which live for the whole run.
    static let parts: [TwoSites.Part] = [.worker(TwoSites.home), .worker(TwoSites.away), .mirror(TwoSites.home), .mirror(TwoSites.away)]
    private static let sampleEvery = Duration.seconds(1)
    /// A killed worker is away for so long, and joins within as long again.
    private static let away = Duration.seconds(2)
    private static let joining = Duration.seconds(5)

    let sites: TwoSites
    let minutes: Double
    let moveEvery: Double
    let killEvery: Double
    let samples = SoakSamples()

    func run() async throws -> Outcome {
        try await sites.startClusters()
        try await sites.startWorkers()
        try sites.start(.producer)
        let sampler = Task {
            while !Task.isCancelled {
                samples.take(Self.parts, of: sites)
                try await Task.sleep(for: Self.sampleEvery)
            }
        }
        defer { sampler.cancel() }
        var outcome = try await roll()
        sampler.cancel()
        try await sites.end(.producer)
        let produced = try sites.produced()
        // What is missing after the wait is lost, and the outcome says so.
        do { try await sites.waitForAll() } catch is DemoFailure {}
        let calls = sites.calls()
        let (lost, gaps) = (sites.missing(of: produced).count, try await sites.gaps())
        outcome.lines.append("  \(produced.count) events acknowledged, \(calls.count) actions (\(calls.count - Set(calls.map(\.id)).count) repeated), \(lost) lost")
        if lost > 0 { outcome.complaints.append("\(lost) events were lost") }
        if gaps > 0 { outcome.complaints.append("\(gaps) gap events") }
        let verdict = SoakVerdict(samples, parts: Self.parts)
        outcome.lines += verdict.lines
        outcome.complaints += verdict.complaints
        return outcome
    }

    /// Handovers, and now and then a kill.
    private func roll() async throws -> Outcome {
        var outcome = Outcome()
        var owner = TwoSites.home
        let began = ContinuousClock.now
        let end = began + .seconds(minutes * 60)
        var nextKill = began + .seconds(killEvery)
        while ContinuousClock.now < end {
            try await Task.sleep(for: .seconds(moveEvery), tolerance: .zero)
            if ContinuousClock.now >= nextKill {
                nextKill = nextKill + .seconds(killEvery)
                outcome.kills += 1
                // Each datacenter as often as the other, whoever owns the events.
                owner = try await kill(outcome.kills % 2 == 0 ? TwoSites.home : TwoSites.away, owner)
            } else {
                owner = try await move(from: owner)
                outcome.moves += 1
            }
            try sites.check()
            let left = ContinuousClock.now.duration(to: end) / .seconds(60)
            Figures.note(String(format: "%d handovers, %d kills, %d actions, %.1f minutes left", outcome.moves, outcome.kills, sites.callCount, max(0, left)))
        }
        return outcome
    }

    private func move(from owner: Datacenter) async throws -> Datacenter {
        guard let epoch = try await sites.assignment()?.epoch else { throw DemoFailure("no assignment") }
        samples.mark(kill: false)
        let command = try sites.handover("switchover", ["--to", TwoSites.other(owner).name])
        try await sites.waitForStable(TwoSites.other(owner), epoch: epoch + 1)
        try await sites.waitFor("the command's end") { !command.isRunning }
        command.kill()
        return TwoSites.other(owner)
    }

    /// Who owns the events afterwards: a killed owner's are taken over by the other side.
    private func kill(_ datacenter: Datacenter, _ owner: Datacenter) async throws -> Datacenter {
        samples.mark(kill: true)
        sites.kill(.worker(datacenter))
        var owner = owner
        if datacenter == owner {
            guard let epoch = try await sites.assignment()?.epoch else { throw DemoFailure("no assignment") }
            var logger = Logger(label: "bench")
            logger.logLevel = .error
            let controller = HandoverController(store: sites.store, logger: logger) {
                Assignment.Author(name: "bench", now: MillisecondTimestamp(clamped: Int64(Date().timeIntervalSince1970 * 1000)))
            }
            try await controller.failover(TwoSites.key, to: TwoSites.other(owner))
            try await sites.waitForStable(TwoSites.other(owner), epoch: epoch + 1)
            owner = TwoSites.other(owner)
        }
        try await Task.sleep(for: Self.away)
        try sites.start(.worker(datacenter))
        try await Task.sleep(for: Self.joining)
        return owner
    }
}
