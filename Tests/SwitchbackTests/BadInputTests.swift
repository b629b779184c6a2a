import Foundation
import LocalKafka
import TestSupport
import Testing

/// What an operator types wrong, and what is not there: one clear line, the right exit status, nothing touched.
@Suite("The command, given bad input")
struct BadInputTests {
    private let directory: TemporaryDirectory
    private let executable: String

    init() throws {
        directory = try TemporaryDirectory()
        executable = try Executable.switchback()
    }

    private func run(_ arguments: String..., deadline: Duration = .seconds(30)) async throws -> ChildProcess.Output {
        try await ChildProcess.run(executable, arguments, deadline: deadline)
    }

    private static let good = """
        service: demo
        datacenter: eqiad
        datacenters:
          eqiad: {bootstrap: "127.0.0.1:1"}
          codfw: {bootstrap: "127.0.0.1:2"}
        store: {sqlite: store.db}
        rules:
          purge:
            topic: resource_change
            exec: {uri: 'http://127.0.0.1:8080/purge'}
        """

    private func file(_ name: String, _ text: String) throws -> String {
        let url = directory.file(name)
        try Data(text.utf8).write(to: url)
        return url.path
    }

    struct Wrong: Sendable, CustomTestStringConvertible {
        let what: String
        let old: String
        let new: String
        /// `line: words that stand in the message`.
        let line: Int
        let says: String
        var testDescription: String { what }
    }

    static let wrongs = [
        Wrong(what: "unknown key", old: "topic: resource_change", new: "topik: resource_change", line: 9, says: "did you mean \"topic\"?"),
        Wrong(what: "wrong type", old: "service: demo", new: "service: [demo]", line: 1, says: "must be a text"),
        Wrong(what: "no such datacenter", old: "datacenter: eqiad", new: "datacenter: esams", line: 2, says: "no such datacenter"),
        Wrong(what: "bad URL", old: "http://127.0.0.1:8080/purge", new: "htp:/purge", line: 10, says: "must begin with http://"),
        Wrong(what: "not YAML", old: "rules:", new: "rules: [", line: 0, says: "worker.yaml:"),
    ]

    @Test("A wrong worker.yaml: file, line, what is wrong and what would be right; exit 2; no store is made", arguments: wrongs)
    func wrongConfiguration(_ wrong: Wrong) async throws {
        let path = try file("worker.yaml", Self.good.replacing(wrong.old, with: wrong.new))
        let output = try await run("worker", "--config", path)
        #expect(output.status == 2)
        #expect(output.output.isEmpty)
        if wrong.line > 0 { #expect(output.errors.contains("worker.yaml:\(wrong.line):")) }
        #expect(output.errors.contains(wrong.says), "\(output.errors)")
        let left = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(left == ["worker.yaml"])
    }

    @Test("--check says that a right file is good, and touches nothing")
    func check() async throws {
        let path = try file("worker.yaml", Self.good)
        let output = try await run("worker", "--config", path, "--check")
        #expect(output.status == 0 && output.output.contains("good (1 rules, datacenter eqiad)"))
        let left = try FileManager.default.contentsOfDirectory(atPath: directory.path)
        #expect(left == ["worker.yaml"])
    }

    @Test("A configuration for eqiad can't write codfw's topics, by any way of naming them")
    func otherOrigin() async throws {
        let path = try file("worker.yaml", Self.good)
        let events = try file("events.jsonl", "{}\n")
        for arguments in [["--stream", "codfw.x"], ["--stream", "eqiad.x"], ["--stream", "x", "--dc", "codfw"]] {
            let output = try await ChildProcess.run(executable, ["produce", "--config", path, "--file", events] + arguments)
            #expect(output.status == 2, "\(arguments)")
            #expect(output.errors.split(separator: "\n").count == 1 && output.errors.contains("eqiad"), "\(output.errors)")
        }
    }

    @Test("A datacenter that nobody knows is not handed the work")
    func unknownTarget() async throws {
        let path = try file("worker.yaml", Self.good)
        _ = try await ChildProcess.run("/bin/sh", ["-c", "timeout 3 \"$0\" worker --config \"$1\"; true", executable, path])
        for command in ["switchover", "failover"] {
            let output = try await run("handover", command, "--config", path, "--group", "demo-purge", "--origin", "eqiad", "--to", "nowhere")
            #expect(output.status == 2)
            #expect(output.errors.contains("--to nowhere: no such datacenter; codfw, eqiad would be right"), "\(output.errors)")
        }
    }

    @Test("Events may come through a pipe")
    func piped() async throws {
        let output = try await ChildProcess.run(
            "/bin/sh", ["-c", "printf '{\"a\": 1}\\n{\"a\"\\n' | \"$0\" produce --dc eqiad --bootstrap 127.0.0.1:1 --stream x --file -", executable])
        #expect(output.status == 2)
        #expect(output.errors.contains("-:2: "), "\(output.errors)")
    }

    @Test("Events that are no JSON are found by line before a broker is asked")
    func badEvents() async throws {
        let events = try file("events.jsonl", "{\"a\": 1}\n\n{\"a\": \n")
        let output = try await run("produce", "--dc", "eqiad", "--bootstrap", "127.0.0.1:1", "--stream", "x", "--file", events)
        #expect(output.status == 2)
        #expect(output.errors.contains("events.jsonl:3: "))
    }

    @Test("A port in use: one line, exit 1")
    func portInUse() async throws {
        let data = try TemporaryDirectory()
        let cluster = try await LocalKafkaCluster.start(.init(dataDirectory: data.url, brokers: [.init(host: "127.0.0.1", port: 0)]))
        let output = try await run("local", "--dc", "eqiad=\(cluster.bootstrapServers)", "--data", directory.path)
        await cluster.stop()
        #expect(output.status == 1)
        #expect(output.errors.split(separator: "\n").count == 1)
        #expect(output.errors.contains("\(cluster.bootstrapServers) is in use"))
    }

    @Test("A store that is not there: said in one line, with what is going to be done about it")
    func noStore() async throws {
        let path = try file("worker.yaml", Self.good.replacing("sqlite: store.db", with: "etcd: {endpoints: ['http://127.0.0.1:1']}"))
        try await expectWaiting(path, "etcd://127.0.0.1:1/switchback/ does not answer; trying again every 2s for 5m, then giving up")
    }

    @Test("A broker that is not there: said in one line, with what is going to be done about it")
    func noBroker() async throws {
        let path = try file("worker.yaml", Self.good)
        try await expectWaiting(path, "Kafka at 127.0.0.1:1 does not answer; trying again every 2s for 5m, then giving up")
    }

    /// Runs a worker until it says so, then stops it: that ends it at once and is no failure.
    private func expectWaiting(_ configuration: String, _ words: String) async throws {
        let script = #"""
            "$0" worker --config "$1" 2>"$2" & pid=$!
            for i in $(seq 300); do grep -q "does not answer" "$2" && break; sleep 0.1; done
            kill -TERM $pid; wait $pid
            """#
        let log = directory.file("log").path
        let output = try await ChildProcess.run("/bin/sh", ["-c", script, executable, configuration, log], deadline: .seconds(60))
        let said = try String(contentsOfFile: log, encoding: .utf8)
        #expect(said.contains(words), "\(said)")
        #expect(output.status == 0)
    }

    @Test("A store without a file is no store: nothing is made by looking")
    func handoverWithoutStore() async throws {
        let path = directory.file("none.db").path
        let output = try await run("handover", "show", "--store", "sqlite:\(path)")
        #expect(output.status == 2 && output.errors.contains("there is no store at"))
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test(
        "Wrong options: one line that says what would be right, exit 2",
        arguments: [
            ["mirror", "--from", "eqiad=127.0.0.1:1", "--to", "eqiad=127.0.0.1:2"],
            ["mirror", "--from", "eqiad", "--to", "codfw=127.0.0.1:2"],
            ["mirror", "--from", "eqiad=127.0.0.1:1", "--to", "codfw=127.0.0.1:2", "--lag", "-1"],
            ["local", "--dc", "eqiad", "--data", "/nowhere"],
            ["local", "--dc", "eqiad=127.0.0.1:1", "--dc", "eqiad=127.0.0.1:2", "--data", "/nowhere"],
            ["demo", "--store", "postgres"],
            ["demo", "--events", "/nowhere.jsonl"],
            ["handover", "show"],
            ["handover", "show", "--store", "redis://x"],
            ["handover", "switchover", "--store", "sqlite:/nowhere.db", "--group", "g", "--origin", "EQIAD", "--to", "codfw"],
            ["nonsense"],
            ["handover", "switchover", "--store", "sqlite:/nowhere.db", "--group", "g", "--origin", "eqiad", "--to", "codfw", "--timeout", "inf"],
            ["handover", "failover", "--store", "sqlite:/nowhere.db", "--group", "g", "--origin", "eqiad", "--to", "codfw", "--timeout", "nan"],
            ["produce", "--dc", "eqiad", "--bootstrap", "127.0.0.1:1", "--stream", "", "--file", "-"],
        ])
    func wrongOptions(_ arguments: [String]) async throws {
        let output = try await ChildProcess.run(executable, arguments)
        #expect(output.status == 2, "\(output.errors)")
        #expect(output.errors.hasPrefix("switchback: "))
        #expect(output.output.isEmpty)
    }
}
