import ArgumentParser
import Foundation
import Handover
import KafkaLog
import Offsets

/// What `offsets reset` and `offsets import` have in common: the table first, then the question, then a result for each partition.
struct RewindOptions: ParsableArguments {
    @Option(help: "Why, for the record.") var reason: String
    @Flag(name: .shortAndLong, help: "Don't ask.") var yes = false
    @Flag(help: "Only show what would be done.") var dryRun = false
    @Option(help: ArgumentHelp(
        "The workers of this datacenter surely stand still, though its cluster can't be asked; may be given more than once.", valueName: "dc"))
    var stopped: [String] = []
    @Flag(help: "Have done again what rules with dedupe remember: all claims of the group are deleted.") var forgetClaims = false
    @Flag(help: "Leave out what rules with dedupe remember to have done.") var keepClaims = false

    func validate() throws {
        guard !reason.allSatisfy(\.isWhitespace) else { throw ValidationError("--reason is empty; say why, for whoever looks at this later") }
        guard !(forgetClaims && keepClaims) else { throw ValidationError("--forget-claims and --keep-claims: one of them would be right") }
    }

    func run(_ plan: RewindPlan, _ reader: SnapshotReader, _ output: OutputOptions) async throws {
        let rewinder = Rewinder(
            reader, group: plan.group, stopped: Set(try stopped.map { try reader.datacenter($0, option: "--stopped") }),
            claims: forgetClaims ? .forget : keepClaims ? .keep : .notSaid)
        // Programs get one result on stdout, at the end; people see what is asked before they are asked.
        let table = output.tableText(plan.sheet(isDone: false)).text + "\n" + plan.summary
        if output.output == .table { Console.line(table) } else { Console.note(table) }
        for line in plan.refused { Console.note("\(line.topic)/\(line.partition): \(line.problem ?? "refused")") }
        guard plan.refused.isEmpty else {
            if dryRun, output.output != .table { try say(plan, output) }
            let count = "\(plan.refused.count) of \(plan.lines.count) partitions"
            throw Failure("nothing was changed: \(count) can't be rewound like this; leave them out with --origin, --topic or --partitions")
        }
        if dryRun {
            if output.output != .table { try say(plan, output) }
            return Console.note("nothing was changed (--dry-run)")
        }
        do {
            try await rewinder.checkInactive()
            guard plan.toDo > 0 else {
                if output.output != .table { try say(plan, output) }
                return Console.note("nothing to do: every position is there already")
            }
            try await rewinder.check(plan)
            try ask(plan)
            let key = Assignment.Author(name: HandoverCommand.operatorName, reason: reason, now: ClustersOptions.now)
            let done = try await rewinder.carryOut(plan, author: key) { done, total in
                if total > 1000 { Console.note("\(done) of \(total) partitions") }
            }
            try say(done, output)
        } catch let refusal as Rewinder.Refusal {
            if case .remembered = refusal { throw Failure("nothing was changed: \(refusal)", code: 2) }
            throw Failure("nothing was changed: \(refusal)")
        } catch let refusal as HandoverRefusal { throw Failure("nothing was changed: \(refusal)") }
    }

    private func say(_ plan: RewindPlan, _ output: OutputOptions) throws {
        let isDone = !plan.lines.contains { $0.outcome == .planned }
        if output.output == .table { Console.line("") }
        try output.say(json: plan, sheet: plan.sheet(isDone: isDone), csv: plan.csv)
        for line in plan.lines { if let problem = line.problem { Console.note("\(line.topic)/\(line.partition): \(problem)") } }
        let failed = plan.lines.count { $0.outcome == .failed }
        guard failed == 0 else { throw Failure("\(failed) of \(plan.lines.count) partitions were not rewound") }
        if isDone { Console.note("\(plan.lines.count { $0.outcome == .rewound }) partitions rewound; workers that start now go on from there") }
    }

    private func ask(_ plan: RewindPlan) throws {
        if yes { return }
        guard Terminal.isInput else {
            throw Failure("nothing was changed: this asks before it changes anything, and there is no terminal to ask on; say --yes when the table above is right", code: 2)
        }
        Console.write("Rewind \(plan.toDo) partitions of \(plan.group)? [y/N] ", to: 2)
        guard ["y", "yes"].contains((readLine() ?? "").lowercased().trimmingCharacters(in: .whitespaces)) else {
            throw Failure("nothing was changed: not confirmed")
        }
    }
}
