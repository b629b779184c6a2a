import Foundation
import Handover
import LocalKafka
import TestSupport
import Testing

/// SIGKILL at each step of one event's life. The steps that a worker can't see itself (a request or a record is on its way) are made by the
/// test, which knows from the other end that they have begun.
@Suite("A worker is killed at each step of an event's life", .serialized)
struct RuleCrashTests {
    enum Step: CaseIterable, Sendable {
        case read, requestRuns, answered, beforeRetryRecord, retryRecordRefused, retryRecordUnheard, retryRecorded, retryWaits, retryRuns
        case retryAnswered, beforeDeadLetter, deadLetterRefused, deadLetterUnheard, deadLetterRecorded

        /// Where the worker kills itself; nil: the test does.
        var point: CrashPoint? {
            switch self {
            case .read: .eventRead
            case .answered: .answered
            case .beforeRetryRecord: .beforeRetryRecord
            case .retryRecorded: .retryRecorded
            case .retryWaits: .retryWaiting
            case .retryAnswered: .retryAnswered
            case .beforeDeadLetter: .beforeDeadLetter
            case .deadLetterRecorded: .deadLetterRecorded
            case .requestRuns, .retryRecordRefused, .retryRecordUnheard, .retryRuns, .deadLetterRefused, .deadLetterUnheard: nil
            }
        }

        var endsDead: Bool { [.beforeDeadLetter, .deadLetterRefused, .deadLetterUnheard, .deadLetterRecorded].contains(self) }

        /// What the broker does with records of a topic: refuses them, or writes them and never answers.
        var fault: FaultRule? {
            func rule(_ action: FaultAction, _ topic: String) -> FaultRule { FaultRule(action, apiKey: .produce, topic: topic, count: nil) }
            return switch self {
            case .retryRecordRefused: rule(.error(.notLeaderOrFollower), RuleStage.retryTopic)
            case .retryRecordUnheard: rule(.dropReply, RuleStage.retryTopic)
            case .deadLetterRefused: rule(.error(.notLeaderOrFollower), RuleStage.errorTopic)
            case .deadLetterUnheard: rule(.dropReply, RuleStage.errorTopic)
            default: nil
            }
        }

        /// What the target answers to the victim's calls.
        func reply(_ number: Int) -> ScriptedServer.Reply {
            switch (self, number) {
            case (.read, _), (.answered, _): .status(200)
            case (.requestRuns, 0): .silence
            case (.requestRuns, _): .status(200)
            case (.retryRuns, 1): .silence
            case (_, 0): .status(503)
            default: endsDead ? .status(503) : .status(200)
            }
        }
    }

    @Test("Every numbered point of an event's life is tried")
    func complete() { #expect(Set(Step.allCases.compactMap(\.point)) == Set(CrashPoint.allCases.filter { !$0.isOfHandover })) }

    private static let early = (0..<20).map { "e\($0)" }, neighbours = (20..<30).map { "e\($0)" }

    @Test("Wherever it dies, no event is lost, and nothing is repeated that the store knew to be done", arguments: Step.allCases)
    func dies(at step: Step) async throws {
        var settings = RuleStage.Settings()
        settings.rule = ["retry_limit: 1", "retry_delay: \(step == .retryWaits ? "1s" : "100ms")", "retry_factor: 1", "timeout: 60s"]
        try await RuleStage.run(settings) { $0.id == "victim" ? step.reply($0.number) : .status(200) } _: { stage in
            // The early ones come by the first two points before it does.
            try stage.start(dyingAt: step.point.map { "\($0.rawValue)" + ([.eventRead, .answered].contains($0) ? ":21" : "") })
            try stage.produce(Self.early)
            try await stage.wait("the early ones are done") { stage.target.hasSucceeded(Self.early) }
            try await stage.waitUntilPassed()
            let fault = step.fault.map { stage.cluster.faults.add($0) }
            try stage.produce(["victim"] + Self.neighbours)
            if let point = step.point {
                try await stage.waitForEnd()
                #expect(stage.log().contains("crash point \(point.rawValue), \(point)"), "it died of something else")
            } else {
                try await stage.wait("it has come so far") {
                    if let fault { return stage.cluster.faults.strikes(fault) > 0 && stage.target.hasSucceeded(Self.neighbours) }
                    return stage.target.count("victim") == (step == .requestRuns ? 1 : 2)
                }
                // A position that did not wait for the acknowledgement would be stored by now.
                if fault != nil { try await Task.sleep(for: .milliseconds(600)) }
                try await stage.kill()
            }
            let known = try await stage.known(), before = stage.target.calls.count
            stage.cluster.faults.removeAll()
            try stage.start()
            try await stage.wait("all are acted on") { stage.target.hasSucceeded(Self.neighbours + (step.endsDead ? [] : ["victim"])) }
            if step.endsDead { try await stage.wait("the victim is a dead letter") { stage.count(RuleStage.errorTopic) > 0 } }
            try await stage.waitUntilPassed()
            let account = try await stage.account("killed at \(step)")
            #expect(account.lost == [])
            #expect(Set(Self.early).isSubset(of: known))
            let again = Set(stage.target.calls.dropFirst(before).map(\.id))
            #expect(again.isDisjoint(with: known), "the store knew that they are done")
            #expect(Set(account.dead) == (step.endsDead ? ["victim"] : []))
            // One dead letter may have been written before the crash without anybody knowing, and its retry is made again for that.
            #expect(account.dead.count <= 2)
            // A broker too slow to acknowledge a retry record in time may have taken it all the same: it is written again, and acted on again.
            let slow = stage.log().components(separatedBy: "could not be parked").count - 1
            #expect(stage.target.count("victim") <= 3 + slow)
            try await stage.end()
        }
    }
}
