import KafkaLog
import Testing

@testable import Mirror

@Suite struct ReadBudgetTests {
    /// Takes shares one after the other and says how many it got.
    private actor Taker {
        private(set) var taken = 0
        private var shares: [ReadBudget.Share] = []

        func take(_ sizes: [Int], of budget: ReadBudget) async -> Bool {
            for size in sizes {
                guard let share = await budget.take(size) else { return false }
                shares.append(share)
                taken += 1
            }
            return true
        }

        func drop(_ count: Int) { shares.removeFirst(count) }
    }

    private func reaches(_ count: Int, _ taker: Taker) async throws {
        for _ in 0..<200 where await taker.taken < count { try await Task.sleep(for: .milliseconds(10)) }
        // What would be taken too much has had its time.
        try await Task.sleep(for: .milliseconds(50))
        #expect(await taker.taken == count)
    }

    @Test func aShareThatGoesMakesRoomForTheNext() async throws {
        let budget = ReadBudget(limit: 100)
        let taker = Taker()
        let taking = Task { await taker.take([40, 60, 1, 99, 500, 1], of: budget) }
        try await reaches(2, taker)
        await taker.drop(1)
        try await reaches(3, taker)
        await taker.drop(1)
        try await reaches(4, taker)
        // One that is larger than all there is has to be alone.
        await taker.drop(1)
        try await reaches(4, taker)
        await taker.drop(1)
        try await reaches(5, taker)
        await taker.drop(1)
        #expect(await taking.value)
        #expect(await taker.taken == 6)
    }

    @Test func closingWakesWhoWaits() async throws {
        let budget = ReadBudget(limit: 10)
        let taker = Taker()
        let taking = Task { await taker.take([10, 10], of: budget) }
        try await reaches(1, taker)
        budget.close()
        #expect(await taking.value == false)
        #expect(await budget.take(1) == nil)
    }

    @Test func aLaneGivesWhatIsThereAndWaitsOnlyWhenAsked() async throws {
        let lane = LaneQueue()
        let budget = ReadBudget(limit: .max)
        #expect(try await lane.take(waits: false)?.isEmpty == true)
        let record = Record(
            partition: TopicPartition(topic: "t", partition: 0), position: Position(0, in: ClusterID("x")), timestamp: nil, timestampType: .none,
            key: nil, value: nil, headers: [])
        let batch = try #require(RecordBatch([record]))
        let share = try #require(await budget.take(1))
        #expect(await lane.push(LaneItem(batch: batch, run: batch.runs[0], share: share, due: .now + .milliseconds(200))))
        #expect(try await lane.take(waits: false)?.isEmpty == true)
        #expect(try await lane.take(waits: true)?.count == 1)
        await lane.close()
        #expect(try await lane.take(waits: true) == nil)
        #expect(await lane.push(LaneItem(batch: batch, run: batch.runs[0], share: share, due: nil)) == false)
    }
}
