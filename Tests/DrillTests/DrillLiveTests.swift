import Checkpoints
import Demo
import Foundation
import Handover
import KafkaLog
import TestSupport
import Testing

@testable import Drill

/// Live drills against clusters, mirrors, a store and workers that are there already, as an operator would have them.
@Suite("Live drills", .serialized)
struct DrillLiveTests {
    /// Two datacenters with a group at work; `worker.yaml` of eqiad.
    private static func withSites(_ body: (TwoSites, String, TemporaryDirectory) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        var settings = TwoSites.Settings(executable: try Executable.switchback(), directory: directory.file("sites"), seed: Seed.fresh("live drill"), etcd: [])
        let store = directory.file("store.db").path
        (settings.storeLines, settings.storeAddress) = ("  sqlite: '\(store)'", "sqlite:\(store)")
        settings.launch = { try TestSupport.launch($0) }
        settings.patience = .seconds(60)
        settings.rate = 20
        let sites = try await TwoSites(settings)
        do {
            try await sites.startClusters()
            try await sites.startWorkers()
            try sites.start(.producer)
            try await sites.waitFor("the first actions") { sites.callCount > 20 }
            try await body(sites, directory.file("sites/eqiad/worker.yaml").path, directory)
        } catch {
            await sites.tearDown()
            throw error
        }
        await sites.tearDown()
    }

    private static let quick = "scenario: planned\nload: {rate: 40, partitions: 2}\ntimes: {canaries: 2s, soak: 1s, settle: 1s}\n"

    private static func plan(_ directory: TemporaryDirectory, _ text: String = quick) throws -> String {
        let file = directory.file("plan.yaml")
        try Data(text.utf8).write(to: file)
        return file.path
    }

    @Test("Canaries are moved and counted, the real group is not touched, and the next drill uses the same canary topics")
    func canaries() async throws {
        try await Self.withSites { sites, config, directory in
            let before = try await AssignmentStore(sites.store).load(TwoSites.key)
            let groups = try await AssignmentStore(sites.store).groups()
            for (name, scenario) in [("first", "planned"), ("second", "dc-loss")] {
                let plan = try Self.plan(directory, Self.quick.replacing("planned", with: scenario))
                let run = directory.file(name)
                let output = try await DrillStage.drill(["run", "--live", "--config", config, "--plan", plan, "--out", run.path, "--output", "json"])
                #expect(output.status == 0, "\(output.output.suffix(2000)) \(output.errors.suffix(3000))")
                let report = try DrillStage.report(run)
                #expect(report.mode == .liveCanary && report.counts.lost == 0 && report.counts.produced > 100 && report.counts.strangers == 0)
                #expect(report.group == "switchback.drill-canary")
            }
            #expect(try await AssignmentStore(sites.store).load(TwoSites.key) == before, "the real group's assignment is as it was")
            #expect(Set(try await AssignmentStore(sites.store).groups()) == Set(groups + ["switchback.drill-canary"]))
            try await sites.waitForAll()
        }
    }

    @Test("A canary drill that was killed keeps others out, and abort takes its work home")
    func abort() async throws {
        try await Self.withSites { sites, config, directory in
            let plan = try Self.plan(directory, Self.quick.replacing("soak: 1s", with: "soak: 60s"))
            let run = directory.file("run")
            let process = try LeashedProcess(
                "drill", try Executable.switchback(), ["drill", "run", "--live", "--config", config, "--plan", plan, "--out", run.path],
                log: directory.file("log"), launch: { try TestSupport.launch($0) })
            try await DrillStage.reach(.soak, in: run, process)
            process.kill()
            let key = AssignmentKey(group: "switchback.drill-canary", origin: TwoSites.home)
            #expect(try await AssignmentStore(sites.store).load(key)?.assignment.owner == TwoSites.away)
            let other = try await DrillStage.drill(["run", "--live", "--config", config, "--plan", plan, "--out", directory.file("other").path])
            #expect(other.status == 2 && other.errors.contains("uses the canaries of this store"), "\(other.errors)")

            let output = try await DrillStage.drill(["abort", run.path])
            #expect(output.status == 0 && output.output.contains("ABORTED"), "\(output)")
            let now = try #require(try await AssignmentStore(sites.store).load(key)?.assignment)
            #expect(now.owner == TwoSites.home && now.phase == .stable)
            #expect(try await sites.store.get(StoreKey("drills", "switchback.drill-canary")) == nil, "the next drill may begin")
        }
    }

    @Test("The real group is moved and comes home; killed half-way, resume and abort both end with it at home")
    func group() async throws {
        try await Self.withSites { sites, config, directory in
            func arguments(_ run: URL, _ plan: String) -> [String] {
                ["drill", "run", "--live", "--config", config, "--plan", plan, "--group", TwoSites.group, "--yes", "--out", run.path]
            }
            let plan = try Self.plan(directory)
            let first = try await DrillStage.drill(Array(arguments(directory.file("whole"), plan).dropFirst()))
            #expect(first.status == 0, "\(first.output.suffix(2000)) \(first.errors.suffix(2000))")
            let report = try DrillStage.report(directory.file("whole"))
            #expect(report.mode == .liveGroup && report.verdict.met && report.moves.map(\.kind) == ["switchover", "switchback"])
            #expect(report.moves.allSatisfy { $0.partitions.count == 4 && $0.partitions.allSatisfy { $0.resumption?.topic == TwoSites.topic } })
            #expect(report.counts.method.contains("can't count by id"))

            let slow = try Self.plan(directory, Self.quick.replacing("soak: 1s", with: "soak: 20s"))
            for verb in ["abort", "resume"] {
                let run = directory.file(verb)
                let process = try LeashedProcess(
                    "drill", try Executable.switchback(), arguments(run, slow), log: directory.file("log"), launch: { try TestSupport.launch($0) })
                try await DrillStage.reach(.soak, in: run, process)
                process.kill()
                #expect(try await sites.assignment()?.owner == TwoSites.away)
                let output = try await DrillStage.drill([verb, run.path])
                #expect(output.status == 0, "\(verb): \(output)")
                let now = try #require(try await sites.assignment())
                #expect(now.owner == TwoSites.home && now.phase == .stable)
            }
            try await sites.waitForAll()
            #expect(try await sites.gaps() == 0)
            let calls = sites.calls().map(\.id)
            #expect(Set(calls).count == calls.count, "no event of the real group was acted on twice")
        }
    }

    @Test("What a live drill can't do: one line, exit 2, nothing touched", arguments: [
        (["--live"], "--live takes --config"),
        (["--config", "WORKER"], "add --live"),
        (["--group", "demo-x", "--scenario", "planned"], "add --live"),
        (["--live", "--config", "WORKER", "--scenario", "mirror-lag"], "runs embedded only"),
        (["--live", "--config", "WORKER", "--scenario", "dc-loss", "--group", "demo-x"], "only scenario planned"),
        (["--live", "--config", "WORKER", "--scenario", "planned", "--group", "nobody", "--yes"], "demo-x would be right"),
        (["--live", "--config", "WORKER", "--scenario", "planned", "--group", "demo-x"], "add --yes"),
        (["--live", "--config", "WORKER", "--scenario", "planned", "--origin", "esams"], "codfw, eqiad would be right"),
        (["--live", "--config", "WORKER", "--scenario", "planned", "--to", "eqiad"], "say where to with --to"),
        (["--live", "--config", "WORKER", "--scenario", "planned", "--store", "etcd"], "the store is the one of --config"),
    ])
    func refusals(_ arguments: [String], _ says: String) async throws {
        let directory = try TemporaryDirectory()
        let worker = directory.file("worker.yaml")
        let text = """
            service: demo
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "127.0.0.1:1"}, codfw: {bootstrap: "127.0.0.1:2"}}
            store: {sqlite: store.db}
            rules: {x: {topic: s, action: none}}
            """
        try Data(text.utf8).write(to: worker)
        var arguments = arguments.map { $0 == "WORKER" ? worker.path : $0 }
        if !arguments.contains("--scenario") { arguments += ["--scenario", "planned"] }
        let output = try await DrillStage.drill(["run", "--out", directory.file("run").path] + arguments, deadline: .seconds(30))
        #expect(output.status == 2 && output.errors.contains(says) && output.errors.split(separator: "\n").count == 1, "\(output)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["worker.yaml"])
    }
}
