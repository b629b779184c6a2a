import Foundation
import LocalKafka
import TestSupport
import Testing

@_spi(Testing) @testable import KafkaLog

/// Reading costs no allocation per record, in debug builds, too: the same records are read in small and in large batches, each by a process whose
/// malloc counts (`AllocationProbe`). What a batch costs is then told from what a record costs.
@Suite(.timeLimit(.minutes(2)))
struct AllocationTests {
    private static let records = 40_000
    private static let (small, large) = (20, 2000)

    private struct Count {
        let records, batches, allocations: Double
        var size: Double { records / batches }
        var perBatch: Double { allocations / batches }
    }

    private static func probe(_ servers: String, _ batch: Int, _ way: String) async throws -> Count {
        let output = try await ChildProcess.run(
            Executable.beside("AllocationProbe"), [servers, "t", "\(records)", "\(batch)", way], deadline: .seconds(60))
        let numbers = output.output.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        try #require(output.status == 0 && numbers.count == 3, "\(output.output) \(output.errors)")
        return Count(records: numbers[0], batches: numbers[1], allocations: numbers[2])
    }

    /// Allocations per record, whatever a batch costs.
    private static func slope(_ servers: String, _ way: String) async throws -> Double {
        let (few, many) = (try await probe(servers, small, way), try await probe(servers, large, way))
        try #require(many.size > 10 * few.size, "the batches were of \(few.size) and \(many.size) records")
        return (many.perBatch - few.perBatch) / (many.size - few.size)
    }

    @Test func readingAllocatesNothingPerRecord() async throws {
        try await withLocalKafka(partitions: 1) { cluster in
            try await produce(numbered("t", partitions: 1, each: Self.records), to: cluster.bootstrapServers)
            for way in ["lent", "handled"] {
                let slope = try await Self.slope(cluster.bootstrapServers, way)
                #expect(slope < 0.01, "\(way): \(slope) allocations per record")
            }
            // The measurement sees what it is to see: a copy has a key and a value.
            let slope = try await Self.slope(cluster.bootstrapServers, "copied")
            #expect(slope > 1.9, "copied: \(slope) allocations per record")
        }
    }
}
