import Foundation
import LocalKafka
import TestSupport
import Testing

/// `switchback offsets` that only looks, as a process of its own against real clusters and a real store.
@Suite("The offsets command: looking")
struct OffsetsCommandTests {
    private func json(_ output: ChildProcess.Output) throws -> Any { try JSONSerialization.jsonObject(with: Data(output.output.utf8)) }
    private func partitions(_ output: ChildProcess.Output) throws -> [[String: Any]] {
        try #require((try json(output) as? [String: Any])?["partitions"] as? [[String: Any]], "\(output)")
    }

    @Test("list, describe, plan, translate, peek and diff of a group that has done everything: tables for people, clean JSON, CSV")
    func looking() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let (group, topic) = (OffsetsStage.group, OffsetsStage.topic)
            let list = try await stage.offsets("list")
            #expect(list.output == "GROUP      ORIGIN  STREAM  PARTS  OWNERS  EPOCH  PHASE\ndemo-note  eqiad   page        2  eqiad       1  stable\n", "\(list)")

            let described = try await stage.offsets("describe", group, "--output", "json")
            #expect(described.status == 0 && described.errors.isEmpty, "\(described)")
            let states = try partitions(described)
            #expect(states.map { $0["state"] as? String } == ["idle", "idle"] && states.map { $0["position"] as? Int } == [10, 10])
            let clusters = try #require(states.first?["clusters"] as? [[String: Any]])
            #expect(clusters.map { $0["datacenter"] as? String } == ["codfw", "eqiad"] && clusters.map { $0["logEnd"] as? Int } == [13, 10])
            #expect(clusters[0]["mirrorLagRecords"] as? Int == 0)
            #expect(clusters[1]["committed"] as? Int == 10)

            let plan = try await stage.offsets("plan", group, "--to", "codfw", "--output", "csv")
            #expect(plan.status == 0 && plan.output.contains("eqiad.page,0,eqiad,false,13,tail,false,0,0,0,0,done,0,,,"), "\(plan)")
            let translated = try await stage.offsets("translate", topic, "--from", "eqiad", "--to", "codfw", "--offset", "7")
            #expect(translated.status == 0 && translated.output.contains("2026-03-01T02:03:11Z            10  tail"), "\(translated)")
            let byTime = try await stage.offsets(
                "translate", topic, "--from", "codfw", "--to", "eqiad", "--time", "2026-03-01T02:03:09Z", "--partitions", "1", "--output", "csv")
            #expect(byTime.output.split(separator: "\n").last == "eqiad.page,1,codfw,8,1772330589000,eqiad,5,tail,true,", "\(byTime)")

            let peeked = try await stage.offsets("peek", topic, "--partition", "0", "--offset", "7", "--before", "2", "--after", "1", "--output", "json")
            let records = try #require(try json(peeked) as? [[String: Any]])
            #expect(records.map { $0["value"] as? String } == [#"{"id":"0-5"}"#, #"{"id":"0-6"}"#, #"{"id":"0-7"}"#])
            #expect(records.map { $0["isNext"] as? Bool } == [false, false, true] && records.allSatisfy { $0["key"] == nil })

            let level = try await stage.offsets("diff", "eqiad", "codfw")
            #expect(level.status == 0 && level.output.contains("20 records the same: nothing of eqiad is missing in codfw") && level.output.contains("6 only in codfw"), "\(level)")
            let other = try await stage.offsets("diff", "codfw", "eqiad", "--partitions", "0", "--output", "json")
            #expect(other.status == 1)
            #expect((try partitions(other).first?["counts"] as? [String: Any])?["missing"] as? Int == 3)
        }
    }

    @Test("Work that nobody does: lag, age of the record at the position, stuck; the mirror behind and a lost record are found")
    func behind() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let (group, topic) = (OffsetsStage.group, OffsetsStage.topic)
            try stage.eqiad.append((10..<14).map { OffsetsStage.record(0, $0) }, to: topic, 0)
            try stage.codfw.append([10, 12].map { OffsetsStage.record(0, $0) }, to: topic, 0)
            let described = try await stage.offsets("describe", group, "--stuck-after", "0", "--min-lag", "1", "--output", "json")
            let state = try #require(try partitions(described).first)
            #expect(state["state"] as? String == "stuck" && state["lagRecords"] as? Int == 4)
            let age = try #require(state["lagMilliseconds"] as? Int)
            let expected = Int(Date().timeIntervalSince1970 * 1000) - Int(OffsetsStage.firstTime + 10_000)
            #expect(abs(age - expected) < 60_000, "the age is that of record 0-10, not of a guess")
            let mirror = try #require((state["clusters"] as? [[String: Any]])?.first)
            #expect(mirror["mirrorLagRecords"] as? Int == 1 && mirror["mirrorLagMilliseconds"] as? Int == 1000)
            let diff = try await stage.offsets("diff", "eqiad", "codfw", "--partitions", "0")
            #expect(diff.status == 1 && diff.errors.contains("missing: eqiad offset 11") && diff.output.contains("1 not mirrored yet"), "\(diff)")
            let plan = try await stage.offsets("plan", group, "--to", "codfw", "--output", "json")
            let line = try #require(try partitions(plan).first)
            #expect(plan.status == 0 && line["resumeOffset"] as? Int == 13 && line["repeatsAtMost"] as? Int == 2 && line["notMirrored"] as? Int == 1 && line["drain"] as? String == "open")
        }
    }

    @Test("A plan with a gap exits 1 and says so; describe shows the gap; peek outside says what there is")
    func gap() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            try stage.eqiad.append((10..<14).map { OffsetsStage.record(0, $0) }, to: OffsetsStage.topic, 0)
            for cluster in [stage.eqiad, stage.codfw] { try cluster.deleteRecords(OffsetsStage.topic, 0, before: 12) }
            let plan = try await stage.offsets("plan", OffsetsStage.group, "--to", "codfw")
            #expect(plan.status == 1 && plan.errors.contains("gap (retention)") && plan.output.contains("1 gap"), "\(plan)")
            let described = try await stage.offsets("describe", OffsetsStage.group)
            #expect(described.status == 0 && described.output.contains("gap") && described.errors.contains("gap (retention), 2 records"), "\(described)")
            let peeked = try await stage.offsets("peek", OffsetsStage.topic, "--partition", "0", "--offset", "2")
            #expect(peeked.status == 2 && peeked.errors.contains("12 to 14 would be right"), "\(peeked)")
        }
    }

    @Test("A datacenter that is gone is said, and the rest is shown all the same")
    func gone() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            await stage.codfw.stop()
            let described = try await stage.offsets("describe", OffsetsStage.group, "--timeout", "25")
            #expect(described.status == 0 && described.output.contains("idle") && described.errors.contains("codfw: "), "\(described)")
            let plan = try await stage.offsets("plan", OffsetsStage.group, "--to", "codfw", "--timeout", "25")
            #expect(plan.status == 1 && plan.errors.contains("codfw can't be asked") && plan.output.isEmpty, "\(plan)")
            for command in [["diff", "eqiad", "codfw"], ["translate", OffsetsStage.topic, "--from", "eqiad", "--to", "codfw", "--offset", "3"]] {
                let said = try await ChildProcess.run(
                    try Executable.switchback(), ["offsets"] + command + ["--timeout", "3", "--config", stage.directory.file("eqiad.yaml").path],
                    deadline: .seconds(120))
                #expect(said.status == 1 && said.errors.contains("codfw can't be asked") && said.output.isEmpty, "\(said)")
            }
            let full = try await ChildProcess.run(
                "/bin/sh", ["-c", "exec \"$@\" > /dev/full", "sh", try Executable.switchback(), "offsets", "export", OffsetsStage.group, "--timeout", "25",
                    "--config", stage.directory.file("eqiad.yaml").path], deadline: .seconds(120))
            #expect(full.status == 1 && full.errors.contains("No space left on device"), "a plan that is not whole is none: \(full)")
            let reset = try await stage.offsets("reset", OffsetsStage.group, "--to", "earliest", "--reason", "r", "--yes", "--timeout", "25")
            #expect(reset.status == 1 && reset.errors.contains("--stopped codfw"), "\(reset)")
            let vouched = try await stage.offsets("reset", OffsetsStage.group, "--to", "earliest", "--reason", "r", "--yes", "--timeout", "25", "--stopped", "codfw")
            #expect(vouched.status == 0 && vouched.output.contains("rewound"), "\(vouched)")
        }
    }

    @Test("What is not there is told with what is, exit 2")
    func unknown() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            for (arguments, says) in [
                (["describe", "nobody"], "demo-note would be right"), (["plan", OffsetsStage.group, "--to", "esams"], "codfw, eqiad would be right"),
                (["describe", OffsetsStage.group, "--topic", "other"], "no partition of demo-note matches"), (["translate", "page", "--from", "eqiad", "--to", "codfw", "--offset", "1"], "codfw.page or eqiad.page"),
                (["peek", OffsetsStage.topic, "--partition", "9", "--offset", "1"], "no partition eqiad.page/9"), (["diff", "eqiad", "codfw", "--topic", "other"], "no topics that match"),
                (["diff", "eqiad", "eqiad"], "two datacenters"), (["peek", OffsetsStage.topic, "--partition", "0"], "say where"),
            ] {
                let output = try await ChildProcess.run(try Executable.switchback(), ["offsets"] + arguments + ["--config", stage.directory.file("eqiad.yaml").path])
                #expect(output.status == 2 && output.errors.contains(says) && output.output.isEmpty, "\(arguments): \(output)")
            }
        }
    }

    @Test("Every command of offsets has help with an example, a manual page, and completions")
    func help() async throws {
        let executable = try Executable.switchback()
        let directory = try TemporaryDirectory()
        let manual = try await ChildProcess.run(executable, ["manual", "--directory", directory.path])
        #expect(manual.status == 0, "\(manual)")
        for name in ["list", "describe", "plan", "translate", "peek", "diff", "reset", "export", "import"] {
            let help = try await ChildProcess.run(executable, ["offsets", name, "--help"])
            #expect(help.status == 0 && help.output.contains("Example:\n") && help.output.contains("switchback offsets \(name)"), "\(name)")
            let page = try String(contentsOf: directory.file("switchback-offsets-\(name).1"), encoding: .utf8)
            #expect(page.hasPrefix(".TH SWITCHBACK-OFFSETS-") && page.contains("switchback offsets \(name)"))
        }
        let completions = try await ChildProcess.run(executable, ["--generate-completion-script", "bash"])
        #expect(completions.output.contains("describe") && completions.output.contains("translate"))
    }
}
