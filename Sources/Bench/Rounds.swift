import Foundation

/// Runs of several sides, measured in rounds: each round runs every side once, and every other round in the opposite order, so that whatever drifts
/// meets all of them alike.
struct Rounds<Side: Hashable> {
    static var remark: String { "Ratios are medians over the rounds of what one round gave, not those of the table's medians." }

    private let rounds: [[Side: ChildResult]]

    /// After one round that counts for nothing: it warms the broker's page cache.
    static func measure(_ sides: [Side], runs: Int, _ run: (Side) throws -> ChildResult) throws -> Rounds {
        var rounds: [[Side: ChildResult]] = []
        for number in 0...runs {
            Figures.note(number == 0 ? "warming up" : "run \(number) of \(runs)")
            var round: [Side: ChildResult] = [:]
            for side in number % 2 == 0 ? sides : sides.reversed() { round[side] = try run(side) }
            if number > 0 { rounds.append(round) }
        }
        return Rounds(rounds: rounds)
    }

    func of(_ side: Side) -> [ChildResult] { rounds.compactMap { $0[side] } }
    func median(_ side: Side, _ value: (ChildResult) -> Double) -> Double { Figures.median(of(side).map(value)) }
    func side(_ name: String, _ side: Side) -> RowResult.Side { ChildResult.side(name, of(side)) }

    /// `side`'s records per second to those of the best of `rivals` in the same round.
    func ratio(_ side: Side, to rivals: Side...) -> Double { ratio(side, to: rivals, \.rate) }

    /// The lowest of the rivals' to `side`'s, such as for CPU per record.
    func inverse(_ side: Side, to rivals: [Side], _ value: (ChildResult) -> Double) -> Double {
        Figures.median(rounds.map { round in (rivals.compactMap { round[$0].map(value) }.min() ?? .nan) / (round[side].map(value) ?? .nan) })
    }

    func ratio(_ side: Side, to rivals: [Side], _ value: (ChildResult) -> Double) -> Double {
        Figures.median(rounds.map { round in (round[side].map(value) ?? .nan) / (rivals.compactMap { round[$0].map(value) }.max() ?? .nan) })
    }
}
