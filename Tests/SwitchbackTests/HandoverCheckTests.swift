import Foundation
import LocalKafka
import TestSupport
import Testing

/// What `switchback handover` looks at before it moves anything, and how it shows assignments.
@Suite("The handover command: looking before moving")
struct HandoverCheckTests {
    private static let what = ["--group", OffsetsStage.group, "--origin", "eqiad"]

    private func handover(_ stage: OffsetsStage, _ arguments: [String]) async throws -> ChildProcess.Output {
        try await ChildProcess.run(
            try Executable.switchback(), ["handover"] + arguments + ["--config", stage.directory.file("eqiad.yaml").path], deadline: .seconds(60))
    }

    private func shown(_ stage: OffsetsStage) async throws -> [String: Any] {
        let output = try await handover(stage, ["show", "--output", "json"])
        #expect(output.status == 0 && output.errors.isEmpty, "\(output)")
        return try #require((try JSONSerialization.jsonObject(with: Data(output.output.utf8)) as? [[String: Any]])?.first)
    }

    @Test("--dry-run of each kind of handover shows what each partition would meet, and changes nothing")
    func dryRun() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            for verb in ["switchover", "failover"] {
                let output = try await handover(stage, [verb] + Self.what + ["--to", "codfw", "--dry-run"])
                #expect(output.status == 0 && output.output.contains("eqiad.page  0  eqiad          13  tail") && output.errors.contains("nothing was changed"), "\(output)")
            }
            let slice = try await handover(stage, ["switchover"] + Self.what + ["--to", "codfw", "--share", "50%", "--dry-run"])
            #expect(slice.output.contains("1 of 1 partitions would move"), "\(slice)")
            let state = try await shown(stage)
            #expect(state["epoch"] as? Int == 1 && state["phase"] as? String == "stable" && state["shares"] as? [String: Int] == ["eqiad": 2] && state["kind"] as? String == "initial")
            let moved = try await handover(stage, ["failover"] + Self.what + ["--to", "codfw", "--now", "--timeout", "0"])
            #expect(moved.status == 0, "\(moved)")
            let home = try await handover(stage, ["switchback"] + Self.what + ["--dry-run"])
            #expect(home.status == 0 && home.output.contains("eqiad.page  0  codfw"), "\(home)")
            let byStore = try await ChildProcess.run(
                try Executable.switchback(),
                ["handover", "switchback"] + Self.what + ["--dry-run", "--store", "sqlite:\(stage.directory.file("store.db").path)"])
            #expect(byStore.status == 0 && byStore.output.contains("2 of 2 partitions would move to eqiad, epoch 2 to 3"), "\(byStore)")
            #expect(try await shown(stage)["phase"] as? String == "resuming")
        }
    }

    @Test("What would be missing is refused by name, unless --accept-loss says why; the history keeps that")
    func gap() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            try stage.eqiad.append((10..<14).map { OffsetsStage.record(0, $0) }, to: OffsetsStage.topic, 0)
            for cluster in [stage.eqiad, stage.codfw] { try cluster.deleteRecords(OffsetsStage.topic, 0, before: 12) }
            for arguments in [["failover", "--now"], ["switchover"], ["failover", "--dry-run"]] {
                let refused = try await handover(stage, arguments + Self.what + ["--to", "codfw", "--timeout", "0"])
                #expect(refused.status == 1 && refused.errors.contains("eqiad.page/0: gap (retention)") && refused.errors.contains("--accept-loss"), "\(refused)")
            }
            #expect(try await shown(stage)["epoch"] as? Int == 1)
            let empty = try await handover(stage, ["failover"] + Self.what + ["--to", "codfw", "--accept-loss", " "])
            #expect(empty.status == 2 && empty.errors.contains("--accept-loss is empty"), "\(empty)")
            let accepted = try await handover(
                stage, ["failover"] + Self.what + ["--to", "codfw", "--now", "--timeout", "0", "--reason", "fire", "--accept-loss", "retention was too short"])
            #expect(accepted.status == 0, "\(accepted)")
            #expect(try await shown(stage)["reason"] as? String == "fire; loss accepted: retention was too short")
        }
    }

    @Test("A mirror that is far behind is refused, and a planned move to where nobody answers; a forced one says that it was not looked at")
    func behind() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            try stage.eqiad.append([OffsetsStage.record(1, 200)], to: OffsetsStage.topic, 1)
            let late = try await handover(stage, ["switchover"] + Self.what + ["--to", "codfw", "--timeout", "0"])
            #expect(late.status == 1 && late.errors.contains("mirror is behind by up to 3m 11s in 1 partitions (eqiad.page/1)"), "\(late)")
            await stage.codfw.stop()
            let planned = try await handover(stage, ["switchover"] + Self.what + ["--to", "codfw", "--timeout", "0"])
            #expect(planned.status == 1 && planned.errors.contains("what it would meet in codfw can't be told"), "\(planned)")
            #expect(try await shown(stage)["epoch"] as? Int == 1)
            let forced = try await handover(stage, ["failover"] + Self.what + ["--to", "codfw", "--timeout", "0"])
            #expect(forced.status == 0 && forced.errors.contains("not looked at before"), "\(forced)")
        }
    }

    @Test("The tables of show and history fit 80 columns; a pipe gets everything")
    func width() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let reset = try await stage.offsets("reset", OffsetsStage.group, "--to", "earliest", "--reason", "a reason that is long enough to fill a line of its own", "--yes")
            #expect(reset.status == 0, "\(reset)")
            let config = stage.directory.file("eqiad.yaml").path
            for command in ["show", "history --group \(OffsetsStage.group) --origin eqiad"] {
                let narrow = try await ChildProcess.run(
                    "/bin/sh", ["-c", "COLUMNS=80 '\(try Executable.switchback())' handover \(command) --config '\(config)'"])
                #expect(narrow.status == 0 && narrow.output.split(separator: "\n").allSatisfy { $0.count <= 80 }, "\(narrow)")
                #expect(narrow.output.contains("GROUP      ORIGIN  OWNER  PARTS  PHASE") && narrow.output.contains("rewind"))
                let wide = try await ChildProcess.run("/bin/sh", ["-c", "'\(try Executable.switchback())' handover \(command) --config '\(config)'"])
                #expect(wide.output.contains("(a reason that is long enough to fill a line of its own)"), "\(wide)")
            }
            let csv = try await handover(stage, ["history"] + Self.what + ["--output", "csv"])
            #expect(csv.output.split(separator: "\n").count == 4 && csv.output.hasPrefix("group,origin,owner,shares,"), "\(csv)")
        }
    }
}
