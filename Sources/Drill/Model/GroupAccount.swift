/// What a move of a real group comes to, by what its own workers wrote: nobody outside can count its events by id. Pure.
enum GroupAccount {
    static let method =
        "A real group was moved, whose events the drill can't count by id. Every partition was sealed by its old side, and resumed by the new side "
        + "right after the sealed checkpoint's last record: found by its tail, or in the same cluster. Where all were, nothing was lost or repeated; where "
        + "one was not, lost and repeated events count as not measured. Time without an owner runs from the order to move until the last partition was resumed."

    static func moves(_ state: DrillState) -> [DrillReport.Move] {
        guard let setting = state.setting else { return [] }
        var moves: [DrillReport.Move] = []
        if let move = move(state, .switchOver, "switchover", from: setting.origin, to: setting.target, [.asked, .sealed, .raised, .resolved]) { moves.append(move) }
        if let move = move(state, .home, "switchback", from: setting.target, to: setting.origin, [.homeAsked, .homeSealed, .homeRaised, .homeResolved]) {
            moves.append(move)
        }
        return moves
    }

    private static func move(
        _ state: DrillState, _ name: DrillReport.MoveName, _ kind: String, from: String, to: String, _ marks: [DrillMark]
    ) -> DrillReport.Move? {
        let times = marks.map { state.marks[$0] }
        guard let asked = times[0] else { return nil }
        var intervals: [DrillReport.Interval] = []
        for (name, index) in [("drain", 0), ("fence", 1), ("resolve", 2)] {
            if let start = times[index], let end = times[index + 1] { intervals.append(.init(name, start, end)) }
        }
        return .init(
            name: name, kind: kind, from: from, to: to, epoch: state.epochs[name], withoutOwner: times[3].map { $0 - asked }, intervals: intervals,
            partitions: (state.resumes[name] ?? []).map { .init(partition: $0.partition, resumption: $0, repeats: 0, repeatSeconds: 0) })
    }

    /// Whether every partition was resumed where its sealed checkpoint ends, in both moves.
    static func isExact(_ moves: [DrillReport.Move]) -> Bool {
        !moves.isEmpty && moves.allSatisfy { move in
            !move.partitions.isEmpty && move.partitions.allSatisfy { ["tail", "same cluster"].contains($0.resumption?.method) }
        }
    }
}
