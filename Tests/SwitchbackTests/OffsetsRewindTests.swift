import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging
import TestSupport
import Testing

/// An operator's rewind with real clusters, a real store and real workers.
@Suite("The offsets command: rewinds")
struct OffsetsRewindTests {
    private func lines(_ output: ChildProcess.Output) throws -> [[String: Any]] {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(output.output.utf8)) as? [String: Any], "\(output)")
        return try #require(object["partitions"] as? [[String: Any]])
    }

    @Test("A rewind is honoured by the worker that starts next, in spite of newer commits, and repeats exactly what it said")
    func honoured() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let reset = try await stage.offsets("reset", OffsetsStage.group, "--to-offset", "6", "--reason", "bad deploy", "--yes", "--output", "json")
            #expect(reset.status == 0, "\(reset.errors)")
            #expect(try lines(reset).allSatisfy { $0["outcome"] as? String == "rewound" && $0["records"] as? Int == 4 && $0["priorOffset"] as? Int == 10 })
            try await stage.withWorker {
                try await eventually("the repeats are done", timeout: .seconds(30)) { stage.seen().count >= 28 }
                try await Task.sleep(for: .milliseconds(400))
            }
            let repeated = stage.seen().dropFirst(20)
            #expect(Set(repeated) == Set((0..<2).flatMap { partition in (6..<10).map { "\(partition)-\($0)" } }) && repeated.count == 8)
            let history = try await stage.handover("history", "--group", OffsetsStage.group, "--origin", "eqiad")
            #expect(history.output.contains("rewind") && history.output.contains("(bad deploy)"), "\(history)")
        }
    }

    @Test("A rewind survives a failover: the other datacenter begins at its own offsets of the same records")
    func failover() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let time = "\(OffsetsStage.firstTime + 7000)"
            let reset = try await stage.offsets("reset", OffsetsStage.group, "--to", time, "--reason", "T1", "--yes", "--partitions", "1")
            #expect(reset.status == 0, "\(reset)")
            let plan = try await stage.offsets("plan", OffsetsStage.group, "--to", "codfw", "--output", "json")
            #expect(plan.status == 0, "\(plan)")
            #expect(try lines(plan).map { $0["resumeOffset"] as? Int } == [13, 10] && lines(plan).map { $0["repeatsAtMost"] as? Int } == [0, 3])
            let moved = try await stage.handover("failover", "--group", OffsetsStage.group, "--origin", "eqiad", "--to", "codfw", "--now", "--timeout", "0")
            #expect(moved.status == 0, "\(moved)")
            try await stage.withWorker("codfw") {
                try await eventually("the repeats are done", timeout: .seconds(30)) { stage.seen("codfw").count >= 3 }
                try await Task.sleep(for: .milliseconds(400))
            }
            #expect(stage.seen("codfw").sorted() == ["1-7", "1-8", "1-9"])
        }
    }

    @Test("Who did it, why, from where to where stands in the store, beside the sealed checkpoint of a new epoch")
    func recorded() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            let reset = try await stage.offsets("reset", OffsetsStage.group, "--to", "earliest", "--partitions", "0", "--reason", "T2", "--yes")
            #expect(reset.status == 0, "\(reset)")
            let store = try await StoreConfiguration.sqlite(path: stage.directory.file("store.db").path).open(logger: Logger(label: "test"))
            let entries = try await store.list(under: StoreKey("rewinds", OffsetsStage.group)).entries
            let found = try await CheckpointStore(store).load(group: OffsetsStage.group)
            await store.close()
            #expect(entries.keys.map(\.escaped) == ["rewinds/demo-note/eqiad.page/0/2"])
            let record = try #require(try JSONSerialization.jsonObject(with: Data(entries.values.first?.bytes ?? [])) as? [String: Any])
            #expect(record["reason"] as? String == "T2" && record["fromOffset"] as? Int == 10 && record["toOffset"] as? Int == 0 && record["to"] as? String == "earliest")
            let rewound = try found[TopicPartition(topic: OffsetsStage.topic, partition: 0)]?.checkpoint.get()
            let other = try found[TopicPartition(topic: OffsetsStage.topic, partition: 1)]?.checkpoint.get()
            #expect(rewound?.sealed == true && rewound?.epoch == 2 && rewound?.tail.isEmpty == true && rewound?.position.offset == 0)
            #expect(other?.epoch == 1 && other?.position.offset == 10)
        }
    }

    @Test("Export and import bring a group back to where it was; a second rewind follows a first without a worker in between")
    func exportImport() async throws {
        try await OffsetsStage.run { stage in
            try await stage.actOnEverything()
            for form in ["json", "csv"] {
                let export = try await stage.offsets("export", OffsetsStage.group, "--output", form)
                #expect(export.status == 0, "\(export)")
                let file = stage.directory.file("positions.\(form)").path
                try export.output.write(toFile: file, atomically: true, encoding: .utf8)
                let reset = try await stage.offsets("reset", OffsetsStage.group, "--to-offset", "2", "--reason", "r", "--yes")
                #expect(reset.status == 0, "\(reset)")
                let back = try await stage.offsets("import", OffsetsStage.group, file, "--reason", "back", "--yes", "--output", "json")
                #expect(back.status == 0, "\(back)")
                #expect(try lines(back).map { $0["newOffset"] as? Int } == [10, 10] && lines(back).map { $0["records"] as? Int } == [-8, -8])
            }
            try await stage.withWorker { try await Task.sleep(for: .seconds(3)) }
            #expect(stage.seen().count == 20, "nothing is done twice")
        }
    }

    @Test("What is refused: an active group, an offset outside, no answer to the question, a file that is none; nothing is changed")
    func refusals() async throws {
        try await OffsetsStage.run { stage in
            let group = OffsetsStage.group
            try await stage.withWorker {
                try await eventually("everything is acted on", timeout: .seconds(30)) { stage.seen().count >= 20 }
                let active = try await stage.offsets("reset", group, "--to", "earliest", "--reason", "r", "--yes")
                #expect(active.status == 1 && active.errors.contains("the group is active") && active.errors.contains("stop these workers"), "\(active)")
                #expect(active.output.contains("RECORDS"), "the table comes first")
            }
            let outside = try await stage.offsets("reset", group, "--to-offset", "99", "--reason", "r", "--yes")
            #expect(outside.status == 1 && outside.errors.contains("0 to 10 would be right") && outside.errors.contains("nothing was changed"), "\(outside)")
            let silent = try await stage.offsets("reset", group, "--to", "earliest", "--reason", "r")
            #expect(silent.status == 2 && silent.errors.contains("--yes") && silent.errors.contains("nothing was changed"), "\(silent)")
            let dry = try await stage.offsets("reset", group, "--to", "earliest", "--reason", "r", "--dry-run")
            #expect(dry.status == 0 && dry.errors.contains("nothing was changed"), "\(dry)")
            let idle = try await stage.offsets("reset", group, "--to", "latest", "--reason", "r", "--yes")
            #expect(idle.status == 0 && idle.errors.contains("nothing to do"), "\(idle)")
            for (text, says) in [
                ("", "it is empty"), ("a,b\n1,2\n", "no column 'topic'"), ("{}", "is missing"), ("topic,partition,datacenter,offset\neqiad.page,x,eqiad,1\n", "line 2: partition is 'x'"),
                ("topic,partition,datacenter,offset\neqiad.page,7,eqiad,1\n", "eqiad.page/7 is no partition of"),
            ] {
                let file = stage.directory.file("wrong").path
                try text.write(toFile: file, atomically: true, encoding: .utf8)
                let wrong = try await stage.offsets("import", group, file, "--reason", "r", "--yes")
                #expect(wrong.status == 2 && wrong.errors.contains(says), "\(wrong)")
            }
            let other = try await stage.offsets("import", group, "-", "--reason", "r", "--yes", input: "topic,partition,datacenter,cluster,offset\neqiad.page,0,eqiad,other,1\n")
            #expect(other.status == 1 && other.errors.contains("cluster other"), "\(other)")
            let shown = try await stage.handover("show")
            #expect(shown.output.contains("initial") && !shown.output.contains("rewind"), "\(shown)")
        }
    }

    /// 1. The operator vouches for a datacenter whose worker lives. 2. The epoch goes up; the worker drops what it has and may seal what is stored
    /// before the command writes. Either way the worker does just what the command said.
    @Test("A worker that lives through a rewind goes on from it, or the command says that it failed")
    func alive() async throws {
        try await OffsetsStage.run { stage in
            try await stage.withWorker {
                try await eventually("everything is acted on", timeout: .seconds(30)) { stage.seen().count >= 20 }
                // What it did is stored.
                try await Task.sleep(for: .milliseconds(500))
                let reset = try await stage.offsets(
                    "reset", OffsetsStage.group, "--to-offset", "6", "--reason", "r", "--yes", "--stopped", "eqiad", "--stopped", "codfw", "--output", "json")
                let rewound = try lines(reset).filter { $0["outcome"] as? String == "rewound" }.compactMap { $0["partition"] as? Int }
                #expect(reset.status == (rewound.count == 2 ? 0 : 1), "\(reset)")
                let expected = rewound.flatMap { partition in (6..<10).map { "\(partition)-\($0)" } }
                try await eventually("what was rewound is done again", timeout: .seconds(30)) { stage.seen().count >= 20 + expected.count }
                try await Task.sleep(for: .milliseconds(500))
                #expect(stage.seen().dropFirst(20).sorted() == expected.sorted())
            }
        }
    }

    @Test("A rewind whose command died after its first change: a worker that starts carries it through, with what is stored; cancel takes it back")
    func halfWay() async throws {
        for cancels in [false, true] {
            try await OffsetsStage.run { stage in
                try await stage.actOnEverything()
                let store = try await StoreConfiguration.sqlite(path: stage.directory.file("store.db").path).open(logger: Logger(label: "test"))
                let origin = try #require(Datacenter("eqiad"))
                let key = AssignmentKey(group: OffsetsStage.group, origin: origin)
                let stored = try #require(try await AssignmentStore(store).load(key))
                let partitions = PartitionSet([TopicPartition(topic: OffsetsStage.topic, partition: 0)])
                let author = Assignment.Author(name: "op", reason: "r", now: MillisecondTimestamp(clamped: 1))
                _ = try await AssignmentStore(store).change(key, to: try stored.assignment.rewinding(partitions, author), expecting: stored.revision)
                let shown = try await stage.handover("show")
                #expect(shown.output.contains("rewinding 1"), "\(shown)")
                if cancels {
                    let cancelled = try await stage.handover("cancel", "--group", OffsetsStage.group, "--origin", "eqiad", "--timeout", "0")
                    #expect(cancelled.status == 0, "\(cancelled)")
                }
                try stage.eqiad.append([OffsetsStage.record(0, 10)], to: OffsetsStage.topic, 0)
                try await stage.withWorker {
                    try await eventually("the new record is done", timeout: .seconds(30)) { stage.seen().contains("0-10") }
                    try await eventually("stable again", timeout: .seconds(20)) { try await AssignmentStore(store).load(key)?.assignment.phase == .stable }
                }
                #expect(stage.seen().count == 21, "nothing is done twice")
                await store.close()
            }
        }
    }

    @Test("A rewind whose command died after its checkpoints were written is carried through by running it again")
    func halfWayAgain() async throws {
        try await OffsetsStage.run(rule: "dedupe: content") { stage in
            try await stage.actOnEverything()
            let arguments = [OffsetsStage.group, "--to-offset", "8", "--reason", "r", "--yes"]
            func reset(_ more: String...) async throws -> ChildProcess.Output {
                try await ChildProcess.run(
                    try Executable.switchback(), ["offsets", "reset"] + arguments + more + ["--config", stage.directory.file("eqiad.yaml").path],
                    deadline: .seconds(60))
            }
            #expect(try await reset("--keep-claims").status == 0)
            // As it stands when the command dies before the claims are forgotten and the epoch is raised once more.
            let store = try await StoreConfiguration.sqlite(path: stage.directory.file("store.db").path).open(logger: Logger(label: "test"))
            let key = AssignmentKey(group: OffsetsStage.group, origin: try #require(Datacenter("eqiad")))
            let stored = try #require(try await AssignmentStore(store).load(key))
            let partitions = PartitionSet((0..<2).map { TopicPartition(topic: OffsetsStage.topic, partition: $0) })
            let author = Assignment.Author(name: "op", reason: "r", now: MillisecondTimestamp(clamped: 1))
            _ = try await AssignmentStore(store).change(key, to: try stored.assignment.rewinding(partitions, author), expecting: stored.revision)
            let again = try await reset("--forget-claims")
            #expect(again.status == 0 && again.errors.contains("2 partitions rewound"), "\(again)")
            #expect(try await AssignmentStore(store).load(key)?.assignment.isDraining(TopicPartition(topic: OffsetsStage.topic, partition: 0)) == false)
            #expect(try await reset("--forget-claims").errors.contains("nothing to do"))
            await store.close()
            try await stage.withWorker { try await eventually("done again", timeout: .seconds(30)) { stage.seen().count >= 24 } }
            #expect(stage.seen().count == 24)
        }
    }

    @Test("Rules that remember what was done: it has to be said whether that counts; forgotten, it is done again")
    func dedupe() async throws {
        try await OffsetsStage.run(rule: "dedupe: content") { stage in
            try await stage.actOnEverything()
            let arguments = ["reset", OffsetsStage.group, "--to-offset", "8", "--reason", "r", "--yes"]
            func reset(_ more: String...) async throws -> ChildProcess.Output {
                try await ChildProcess.run(
                    try Executable.switchback(), ["offsets"] + arguments + more + ["--config", stage.directory.file("eqiad.yaml").path], deadline: .seconds(60))
            }
            let unsaid = try await reset()
            #expect(unsaid.status == 2 && unsaid.errors.contains("--forget-claims") && unsaid.errors.contains("nothing was changed"), "\(unsaid)")
            #expect(try await reset("--keep-claims").status == 0)
            try await stage.withWorker { try await Task.sleep(for: .seconds(4)) }
            #expect(stage.seen().count == 20)
            #expect(try await reset("--forget-claims").status == 0)
            try await stage.withWorker { try await eventually("done again", timeout: .seconds(30)) { stage.seen().count >= 24 } }
            #expect(stage.seen().count == 24)
        }
    }

    @Test("Wrong use is told with what would be right, exit 2", arguments: [
        (["reset", "g", "--reason", "r"], "say where to"), (["reset", "g", "--to", "2026-03-01T00:00:00", "--reason", "r"], "has no zone"),
        (["reset", "g", "--to", "earliest"], "--reason"), (["reset", "g", "--to", "earliest", "--reason", " "], "--reason is empty"),
        (["reset", "g", "--to", "earliest", "--to-offset", "1", "--reason", "r"], "one of them"), (["describe", "g", "--timeout", "0"], "1 to 3600"),
        (["describe", "g", "--partitions", "3-1"], "0-3,7"), (["describe", "g", "--watch", "--output", "json"], "--watch draws tables"),
    ])
    func wrongUse(_ arguments: [String], _ says: String) async throws {
        let output = try await ChildProcess.run(try Executable.switchback(), ["offsets"] + arguments + ["--config", "/nowhere/worker.yaml"])
        #expect(output.status == 2 && output.errors.contains(says) && output.output.isEmpty, "\(output)")
    }
}
