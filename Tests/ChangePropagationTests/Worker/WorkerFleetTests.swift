import Logging
import Synchronization
import Testing

@testable import ChangePropagation

@Suite("The group workers of a process") struct WorkerFleetTests {
    private struct NotMade: Error {}

    private func rules(_ groups: [String]) throws -> [Rule] {
        let rules = groups.map { "  \($0): {topic: a, group: \($0), exec: {uri: 'http://h/'}}" }
        return try WorkerConfiguration.parse(
            """
            service: purger
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "127.0.0.1:1"}}
            store: {sqlite: s.sqlite}
            rules:
            \(rules.joined(separator: "\n"))
            """, file: "worker.yaml"
        ).rules
    }

    @Test("Each worker that is made hears how many groups there are, and that a retry reader is none", arguments: [1, 3, 20])
    func counts(_ groups: Int) async throws {
        let heard = Mutex<[Int]>([])
        let fleet = WorkerFleet(logger: Logger(label: "test")) { _, _, count in
            heard.withLock { $0.append(count) }
            throw NotMade()
        }
        let some = try rules((1...groups).map { "g\($0)" }), more = try rules((1...groups + 2).map { "g\($0)" })
        await #expect(throws: NotMade.self) { try await fleet.run(some) }
        await #expect(throws: NotMade.self) { try await fleet.replace(more) }
        #expect(heard.withLock { $0 } == [groups, groups + 2])
        #expect(WorkerFleet.wanted(some).count > groups)
    }
}
