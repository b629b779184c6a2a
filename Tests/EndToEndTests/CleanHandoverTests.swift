import Demo
import Foundation
import KafkaLog
import TestSupport
import Testing

/// What the handover bench measures, smaller, and without a look at the clock: the figures are printed, not judged.
@Suite("Planned handovers under load", .serialized)
struct CleanHandoverTests {
    @Test("There and back, with a mirror that lags: nothing lost, nothing repeated")
    func thereAndBack() async throws {
        try await Stage.run("clean handover", {
            $0.rate = 200
            $0.lag = .milliseconds(300)
            $0.partitions = 8
        }) { sites, _ in
            // The first actions are of what the log held before: each partition has to have been acted on since.
            try await sites.waitFor("200 events") { try sites.produced().count >= 200 }
            try await sites.waitForAll()
            var starts: [(from: Datacenter, call: Int)] = []
            for (number, target) in [TwoSites.away, TwoSites.home, TwoSites.away, TwoSites.home].enumerated() {
                starts.append((TwoSites.other(target), sites.callCount))
                let command = try sites.handover("switchover", ["--to", target.name])
                try await sites.waitForStable(target, epoch: Int64(number) + 2)
                try await sites.waitFor("the command's end") { !command.isRunning }
                let from = sites.callCount
                try await sites.waitFor("\(target) to act on") { sites.callCount > from + 200 }
                try sites.check()
            }
            try await sites.end(.producer)
            let account = try await Account.of(sites, from: 0, produced: try await sites.waitForAll())
            #expect(account.lost == [] && account.repeats.isEmpty)
            #expect(try await sites.gaps() == 0)
            let calls = sites.calls()
            let places = try await sites.places(in: TwoSites.home)
            for (index, start) in starts.enumerated() {
                let end = index + 1 < starts.count ? starts[index + 1].call : calls.count
                let pauses = TwoSites.pauses(from: start.from, before: calls[..<start.call], calls[start.call..<end], places).values.sorted()
                #expect(pauses.count == Int(sites.settings.partitions), "every partition is acted on before and after")
                print(
                    "from \(start.from): pauses of \(pauses.count) partitions, debug build: median "
                        + String(format: "%.3f s, longest %.3f s", pauses.isEmpty ? 0 : pauses[pauses.count / 2], pauses.last ?? 0))
            }
            print("\(calls.count) actions, \(account.lost.count) lost, \(account.repeats.count) repeated")
        }
    }
}
