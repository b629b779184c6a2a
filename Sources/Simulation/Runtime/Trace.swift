/// What happened, in order: always as a hash, and as words where somebody will read them.
// @unchecked: the whole simulation runs on one thread (JobQueue).
final class Trace: @unchecked Sendable {
    private let time: SimulatedTime
    private let keepsWords: Bool
    private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    private(set) var count = 0
    private(set) var lines: [String] = []

    init(time: SimulatedTime, keepsWords: Bool) {
        self.time = time
        self.keepsWords = keepsWords
    }

    /// `facts` tell this event from any other; `words` say it to people.
    func note(_ kind: StaticString, _ facts: Int64..., words: @autoclosure () -> String) {
        count += 1
        mix(time.now)
        kind.withUTF8Buffer { for byte in $0 { mix(UInt64(byte)) } }
        for fact in facts { mix(UInt64(bitPattern: fact)) }
        guard keepsWords else { return }
        let stamp = String(time.now / 1_000_000)
        let text = words()
        lines.append(String(repeating: " ", count: max(0, 7 - stamp.count)) + stamp + " ms  " + text)
    }

    private func mix(_ value: UInt64) { hash = (hash ^ value) &* 0x100_0000_01B3; hash ^= hash >> 29 }
}
