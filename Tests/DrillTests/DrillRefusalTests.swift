import ChangePropagation
import Foundation
import TestSupport
import Testing

@testable import Drill

@Suite("The drill command, given what it can't use")
struct DrillRefusalTests {
    @Test("Wrong options: one line, exit 2, nothing written", arguments: [
        (["run"], "say what to rehearse"),
        (["run", "--scenario", "fire"], "one of planned, dc-loss"),
        (["run", "--scenario", "planned", "--store", "redis"], "etcd or sqlite would be right"),
        (["run", "--scenario", "store-leader", "--store", "sqlite"], "leave --store out"),
        (["run", "--plan", "nowhere.yaml"], "can't be read"),
        (["run", "--plan", "nowhere.yaml", "--scenario", "planned"], "leave one of the two out"),
        (["resume", "nowhere"], "there is no drill in"),
        (["abort", "nowhere"], "there is no drill in"),
        (["report", "nowhere"], "there is no drill in"),
    ])
    func options(_ arguments: [String], _ says: String) async throws {
        let directory = try TemporaryDirectory()
        let out = arguments[0] == "run" ? ["--out", directory.file("run").path] : []
        let output = try await DrillStage.drill(arguments + out, deadline: .seconds(30))
        #expect(output.status == 2 && output.output.isEmpty, "\(output)")
        #expect(output.errors.contains(says) && output.errors.split(separator: "\n").count == 1, "\(output.errors)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path).isEmpty)
    }

    @Test("A live drill names the cluster that can't be asked")
    func deadCluster() async throws {
        let directory = try TemporaryDirectory(), file = directory.file("worker.yaml")
        let text = """
            service: demo
            datacenter: eqiad
            datacenters:
              eqiad: {bootstrap: "127.0.0.1:1"}
              codfw: {bootstrap: "127.0.0.1:2"}
            store:
              sqlite: \(directory.file("store.db").path)
            rules:
              r:
                topic: a
                exec: {method: get, uri: 'http://127.0.0.1:3/'}
            """
        try Data(text.utf8).write(to: file)
        let output = try await DrillStage.drill(
            ["run", "--live", "--config", file.path, "--scenario", "planned", "--out", directory.file("run").path], deadline: .seconds(40))
        #expect(output.status == 1, "\(output)")
        #expect((output.output + output.errors).contains("eqiad's cluster can't be asked: no broker of 127.0.0.1:1 answered"), "\(output)")
    }

    @Test("--out that can't be made is told with why, and what would be right", arguments: ["/dev/null/drill", "/dev/full", "/proc/drill"])
    func impossible(_ out: String) async throws {
        let output = try await DrillStage.drill(["run", "--scenario", "planned", "--out", out], deadline: .seconds(30))
        #expect(output.status == 2 && output.errors.contains("the directory \(out) can't be made: "), "\(output)")
        #expect(output.errors.contains("--out names another one") && !output.errors.contains("NSCocoa"), "\(output)")
    }

    @Test("--out that is not empty is refused, and left as it is")
    func notEmpty() async throws {
        let directory = try TemporaryDirectory()
        try Data("mine".utf8).write(to: directory.file("note"))
        let output = try await DrillStage.drill(["run", "--scenario", "planned", "--out", directory.path], deadline: .seconds(30))
        #expect(output.status == 2 && output.errors.contains("name a new one"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory.path) == ["note"])
    }

    @Test("A journal that no drill writes is named with its line")
    func journal() async throws {
        let directory = try TemporaryDirectory()
        try Data("{\"at\":0}\n".utf8).write(to: directory.file("journal.jsonl"))
        let output = try await DrillStage.drill(["resume", directory.path], deadline: .seconds(30))
        #expect(output.status == 2 && output.errors.contains("journal.jsonl:1:"), "\(output)")
    }

    @Test("Wrong plans: file, line and what would be right", arguments: [
        ("scenario: fire\n", "plan.yaml:1:11", "must be one of planned, dc-loss"),
        ("name: x\n", "plan.yaml:1:", "\"scenario\" is missing"),
        ("scenario: planned\nobjectives: {rto: soon}\n", "plan.yaml:2:", "such as 500ms, 30s"),
        ("scenario: planned\nload: {rate: 0}\n", "plan.yaml:2:", "a number from 1"),
        ("scenario: planned\nload: {speed: 5}\n", "plan.yaml:2:", "unknown key \"speed\""),
        ("scenario: zombie\ntimes: {fault: 1s}\n", "plan.yaml:2:", "twice the lease"),
        ("scenario: [\n", "plan.yaml:", "not valid YAML"),
    ])
    func plans(_ text: String, _ place: String, _ says: String) {
        do {
            _ = try DrillPlan.parse(text, file: "plan.yaml")
            Issue.record("it was taken")
        } catch { #expect("\(error)".contains(place) && "\(error)".contains(says), "\(error)") }
    }

    @Test("A right plan changes what it names and nothing else")
    func plan() throws {
        let plan = try DrillPlan.parse(
            "scenario: dc-loss\nname: mine\nobjectives: {rto: 30s, repeats: 0}\ntimes: {soak: 1m}\nembedded: {lease: 3s}\n", file: "plan.yaml")
        var wanted = DrillPlan(.datacenterLoss)
        wanted.name = "mine"
        (wanted.objectives.rto, wanted.objectives.repeats, wanted.times.soak, wanted.embedded.lease) = (30, 0, 60, 3)
        #expect(plan == wanted && plan.hash == wanted.hash && plan.hash != DrillPlan(.datacenterLoss).hash)
        let shipped = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        #expect(try DrillPlan.load(path: shipped.appending(path: "Docs/drill-plan.yaml").path).name == "tuesday")
    }
}
