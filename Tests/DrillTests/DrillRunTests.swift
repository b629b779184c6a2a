import Demo
import Foundation
import TestSupport
import Testing

@testable import Drill

/// Whole drills: real processes, a real store.
@Suite("Drills, end to end", .serialized)
struct DrillRunTests {
    @Test("The built-in dc-loss: under two minutes, exit 0, and its page shows the timeline in a browser")
    func datacenterLoss() async throws {
        let directory = try TemporaryDirectory()
        let began = ContinuousClock.now
        let seed = Seed.fresh("drill dc-loss")
        let output = try await DrillStage.drill(["run", "--scenario", "dc-loss", "--out", directory.file("run").path, "--seed", String(seed), "--output", "json"])
        #expect(output.status == 0, "\(output.output.suffix(3000)) \(output.errors.suffix(3000))")
        #expect(began.duration(to: .now) < .seconds(120))
        let report = try JSONDecoder().decode(DrillReport.self, from: Data(output.output.utf8))
        #expect(report.verdict.met && report.counts.lost == 0 && report.counts.produced > 500)
        #expect(report.counts.repeats.bySwitch > 0 && report.counts.repeats.known == 0, "a kill repeats what was done after the last checkpoint")
        #expect(report.counts.stranded > 0, "the kill has to catch events that were not mirrored yet")
        #expect(report.phases.map(\.name) == DrillPhase.allCases.map(\.rawValue) && report.phases.allSatisfy { $0.outcome == .done })
        #expect(report.moves.map(\.kind) == ["failover", "switchback"])
        #expect(report.moves[0].intervals.map(\.name) == ["detect", "decide", "fence", "resolve", "first action", "caught up"])
        #expect(report.moves.allSatisfy { $0.partitions.allSatisfy { $0.resumption != nil } })
        #expect(report.preflight.count >= 10 && report.preflight.allSatisfy { $0.light == .green })
        #expect(report.retries.lost == 0 && report.delayed.lost == 0 && report.retries.pending + report.delayed.pending > 0)
        #expect(output.errors.contains("Preflight"), "progress goes to stderr")
        #expect(!FileManager.default.fileExists(atPath: directory.file("run/data").path), "what the datacenters wrote is removed")
        try await Browser.expectTimeline(directory.file("run/report.html"), report)
    }

    @Test("A take-over that skips events, by a test's hook: the drill names the lost ids and exits 1")
    func broken() async throws {
        let directory = try TemporaryDirectory()
        let report = try await DrillStage.run(
            .planned, directory, arguments: ["--store", "sqlite"], environment: ["SWITCHBACK_BREAK": "resume-skips:3"], status: 1)
        #expect(report.counts.lost >= 3 && report.counts.lostSamples.count == min(20, report.counts.lost))
        #expect(!report.verdict.met && report.verdict.objectives.first { $0.name == "lost" }?.met == false)
        let produced = try DrillProduced.load(directory.file("run")).0
        let accepted = Set(try DrillTarget.load(directory.file("run")).filter { !$0.refused }.map(\.id))
        #expect(Set(report.counts.lostSamples.map(\.id)).isSubset(of: Set(produced.map(\.id)).subtracting(accepted)))
        let page = try String(contentsOf: directory.file("run/report.html"), encoding: .utf8)
        #expect(report.counts.lostSamples.allSatisfy { page.contains($0.id) })
    }

    @Test("A planned switchover and back: nothing lost, nothing repeated", arguments: ["sqlite", "etcd"])
    func planned(_ store: String) async throws {
        let report = try await DrillStage.run(.planned, try TemporaryDirectory(), arguments: ["--store", store])
        #expect(report.counts.repeats.byMoves == 0 && report.counts.lost == 0 && report.moves.map(\.kind) == ["switchover", "switchback"])
    }

    @Test("A mirror that is behind: the new side waits for it, and loses and repeats nothing")
    func mirrorLag() async throws {
        let report = try await DrillStage.run(.mirrorLag, try TemporaryDirectory())
        #expect(report.counts.repeats.byMoves == 0 && report.counts.lost == 0)
        #expect((report.moves.first?.withoutOwner ?? 0) > 1, "nobody can act before the mirror goes on")
    }

    @Test("A zombie begins nothing after it was fenced")
    func zombie() async throws {
        let report = try await DrillStage.run(.zombie, try TemporaryDirectory())
        #expect(report.counts.fencedActions == 0 && report.counts.lost == 0)
    }

    @Test("The store's leader dies while a switchover is under way")
    func storeLeader() async throws {
        let report = try await DrillStage.run(.storeLeader, try TemporaryDirectory())
        #expect(report.counts.repeats.byMoves == 0 && report.counts.lost == 0)
    }

    @Test("An objective that is not met: exit 1, and it is said which")
    func objective() async throws {
        let report = try await DrillStage.run(.planned, try TemporaryDirectory(), more: "objectives: {rto: 1ms, rto_home: 1ms}", status: 1)
        #expect(!report.verdict.met && report.verdict.complaints.isEmpty && report.counts.lost == 0)
        #expect(report.verdict.objectives.filter { !$0.met }.map(\.name).allSatisfy { $0.hasPrefix("rto") })
    }
}

/// Headless Chromium.
enum Browser {
    static let executable = "/usr/bin/chromium"

    /// Opens the page, and looks at what the browser made of it and at what it painted.
    static func expectTimeline(_ page: URL, _ report: DrillReport) async throws {
        guard FileManager.default.isExecutableFile(atPath: executable) else {
            Issue.record("there is no \(executable) to open the report with: 'make deps' installs it")
            return
        }
        let profile = try TemporaryDirectory()
        let common = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir=\(profile.path)", "--virtual-time-budget=1000"]
        let dom = try await ChildProcess.run(executable, common + ["--dump-dom", page.absoluteString], deadline: .seconds(90))
        #expect(dom.status == 0 && dom.output.contains("<svg class=\"timeline\""))
        for word in ["partition 0", "eqiad is cut off", "codfw owns it", "eqiad owns it again", "nobody acted for"] {
            #expect(dom.output.contains(word), "\(word)")
        }
        let shapes = dom.output.components(separatedBy: "class=\"dc1\" d=\"M").count - 1
        #expect(shapes >= report.timeline.lanes.count, "codfw's actions are drawn in every lane")
        for (name, size) in [("wide", "1200,1400"), ("phone", "420,1400")] {
            let picture = profile.file("\(name).png")
            let shot = try await ChildProcess.run(
                executable, common + ["--screenshot=\(picture.path)", "--window-size=\(size)", page.absoluteString], deadline: .seconds(90))
            #expect(shot.status == 0)
            // An empty page of this size is a few kilobytes.
            let bytes = try Data(contentsOf: picture).count
            #expect(bytes > 25_000, "\(name): \(bytes) bytes")
        }
    }
}
