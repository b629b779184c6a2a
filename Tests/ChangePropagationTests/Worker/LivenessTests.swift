import Testing

@testable import ChangePropagation

@Suite("A worker that stood still")
struct LivenessTests {
    private let second: UInt64 = 1_000_000_000

    @Test("Begins nothing from two thirds of the session on, nor right after it wakes, until its group had time to speak")
    func standsStill() {
        let liveness = Liveness(sessionTimeout: 45 * second, now: 100 * second)
        #expect(liveness.allowsAction(at: 129 * second))
        #expect(!liveness.allowsAction(at: 130 * second), "an action that wakes before the loop does")
        let short = liveness.beat(110 * second)
        #expect(short == nil && liveness.allowsAction(at: 120 * second))
        let long = liveness.beat(150 * second)
        #expect(long == 40 * second)
        #expect(!liveness.allowsAction(at: 150 * second) && !liveness.allowsAction(at: 152 * second))
        let next = liveness.beat(153 * second)
        #expect(next == nil && liveness.allowsAction(at: 153 * second))
    }
}
