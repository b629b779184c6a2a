import Synchronization
import Testing

@testable import ChangePropagation

@Suite struct RetryTests {
    @Test(arguments: [
        ("503", [503], [500, 502]), ("50x", [500, 503, 509], [510, 404, 50]), ("5xx", [500, 599], [499, 600]), ("4x9", [409, 429], [419 + 1, 439 + 1]),
    ])
    func statusPatterns(_ pattern: String, _ matching: [Int], _ other: [Int]) throws {
        let pattern = try #require(StatusPattern(pattern))
        for status in matching { #expect(pattern.matches(status)) }
        for status in other { #expect(!pattern.matches(status)) }
    }

    @Test(arguments: ["", "5", "5000", "50X", "0xx", "-50", "5 x", "٥xx"]) func notPatterns(_ text: String) { #expect(StatusPattern(text) == nil) }

    @Test(arguments: [
        (200, RequestResult.done(status: 200)), (204, .done(status: 204)), (301, .done(status: 301)), (404, .failed(.status(404))),
        (412, .ignored(status: 412)), (429, .retriable(.status(429))), (500, .retriable(.status(500))), (599, .retriable(.status(599))),
    ])
    func whatStatusesMeanByDefault(_ status: Int, _ expected: RequestResult) { #expect(StatusRules().result(of: status) == expected) }

    /// Each row: the policy, the results one after the other, the steps that follow.
    @Test func theStateMachine() {
        typealias Step = RequestAttempts.Step
        let failure = ActionFailure.status(503)
        let rows: [(RetryPolicy, [RequestResult], [Step])] = [
            (.init(), [.done(status: 200)], [.finished(.done(status: 200))]),
            (.init(), [.ignored(status: 412)], [.finished(.ignored(status: 412))]),
            (.init(), [.failed(.status(404))], [.exhausted(.status(404), tries: 1)]),
            (.init(limit: 0), [.retriable(failure)], [.exhausted(failure, tries: 1)]),
            (
                .init(limit: 2, delay: .milliseconds(200), factor: 2), [.retriable(failure), .retriable(.timeout), .retriable(failure)],
                [.tryAgain(after: .milliseconds(200)), .tryAgain(after: .milliseconds(400)), .exhausted(failure, tries: 3)]
            ),
            (
                .init(limit: 5, delay: .seconds(1), factor: 6), [.retriable(failure), .retriable(failure), .done(status: 200)],
                [.tryAgain(after: .seconds(1)), .tryAgain(after: .seconds(6)), .finished(.done(status: 200))]
            ),
        ]
        for (policy, results, steps) in rows {
            var attempts = RequestAttempts(policy: policy)
            #expect(results.map { attempts.next($0) } == steps)
        }
    }

    @Test func pausesStayBounded() {
        let policy = RetryPolicy(limit: 100, delay: RetryPolicy.longestPause, factor: 100)
        #expect((1...100).allSatisfy { policy.pause(before: $0) == RetryPolicy.longestPause })
        #expect(RetryPolicy(limit: 100, delay: .zero, factor: 100).pause(before: 100) == .zero)
        #expect(RetryPolicy(delay: .milliseconds(1), factor: 1).pause(before: 100) == .milliseconds(1))
    }

    /// A target that answers from a list, and what was sent to it and slept.
    private final class Target: Sendable {
        struct State {
            var answers: [RequestResult]
            var sent: [String] = []
            var slept: [Duration] = []
        }
        let state: Mutex<State>
        init(_ answers: RequestResult...) { state = Mutex(State(answers: answers)) }

        var action: RuleAction {
            RuleAction(
                send: { request, _ in
                    self.state.withLock {
                        $0.sent.append(request.url)
                        return $0.answers.isEmpty ? .failed(.badRequest("no answer left")) : $0.answers.removeFirst()
                    }
                },
                sleep: { pause in self.state.withLock { $0.slept.append(pause) } })
        }
        var sent: [String] { state.withLock { $0.sent } }
        var slept: [Duration] { state.withLock { $0.slept } }
    }

    private let requests = ["1", "2"].map { ActionRequest(method: "GET", url: $0) }

    @Test func requestsRunInOrderAndAFinishedOneIsNotMadeAgain() async throws {
        let target = Target(.done(status: 201), .retriable(.timeout), .retriable(.status(500)), .done(status: 204))
        #expect(await target.action.run(requests, of: try rule("topic: a\nimmediate_retries: 2")) == .done(status: 204, tries: 4))
        #expect(target.sent == ["1", "2", "2", "2"])
        #expect(target.slept == [.milliseconds(200), .milliseconds(400)])
    }

    @Test func afterAFailureTheRestIsNotMade() async throws {
        let target = Target(.failed(.status(404)))
        #expect(await target.action.run(requests, of: try rule("topic: a")) == .failed(.status(404), tries: 1))
        #expect(target.sent == ["1"])
    }

    @Test func usedUpTriesAreAFailureThatIsNotFinished() async throws {
        let target = Target(.retriable(.timeout), .retriable(.connection("reset")))
        let result = await target.action.run(requests, of: try rule("topic: a\nimmediate_retries: 1"))
        #expect(result == .failed(.connection("reset"), tries: 2) && !result.isFinished)
    }

    @Test func anIgnoredStatusThatIsAlsoRetriedEndsAsIgnored() async throws {
        let target = Target(.retriable(.status(403)), .retriable(.status(403)))
        let rule = try rule("topic: a\nimmediate_retries: 1\nretry_on: 403\nignore: 403")
        #expect(await target.action.run([requests[0]], of: rule) == .ignored(status: 403, tries: 2))
    }

    @Test func noRequestsAreDoneAtOnce() async throws {
        #expect(await Target().action.run([], of: try rule("topic: a")) == .done(status: nil, tries: 0))
    }

    /// The lease is asked before every try, not only before the first.
    @Test func nothingIsSentWithoutTheLease() async throws {
        let target = Target(.retriable(.timeout), .done(status: 200))
        let permits = Mutex(1)
        let mayStart: @Sendable () -> Bool = {
            permits.withLock { left in
                left -= 1
                return left >= 0
            }
        }
        let result = await target.action.run(requests, of: try rule("topic: a\nimmediate_retries: 1"), mayStart: mayStart)
        #expect(result == .interrupted(tries: 1) && !result.isFinished)
        #expect(target.sent == ["1"])
    }

    @Test func cancellationEndsAPause() async throws {
        let rule = try rule("topic: a\nimmediate_retries: 5")
        let (sent, continuation) = AsyncStream.makeStream(of: Void.self)
        let action = RuleAction(send: { _, _ in
            continuation.yield()
            return .retriable(.timeout)
        })
        let requests = requests
        let task = Task { await action.run(requests, of: rule) }
        for await _ in sent { break }
        task.cancel()
        #expect(await task.value == .interrupted(tries: 1))
    }
}
