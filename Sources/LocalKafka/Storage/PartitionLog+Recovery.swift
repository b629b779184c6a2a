import Foundation
import Logging

extension PartitionLog {
    /// Reads every file of the directory into `state`: index, producers, next offset. A torn end of the last file is cut
    /// off; damage with sound batches after it stays in place and is not served. Both are logged.
    static func recover(_ state: inout State, directory: String, nextOffsetFloor: Int64, options: Options) throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let names = try FileManager.default.contentsOfDirectory(atPath: directory)
        let bases = names.filter { $0.hasSuffix(".log") }.compactMap { Int64($0.dropLast(4)) }.sorted()
        for base in bases {
            let file = try LogFile(path: "\(directory)/\(fileName(base))", create: false)
            state.nextOffset = max(state.nextOffset, base)
            state.segments.append(Segment(baseOffset: base, startPosition: state.index.endPosition, file: file))
            let size = try file.size()
            let end = try scan(file, size: size, state: &state, options: options)
            guard end < size else { continue }
            if base == bases.last {
                options.logger.warning(
                    "cut off a torn end of a log",
                    metadata: ["file": "\(file.path)", "bytes": "\(size - end)", "next-offset": "\(state.nextOffset)"])
                try file.truncate(to: end)
            } else {
                noteDamage(
                    firstOffset: state.nextOffset, lastOffset: state.nextOffset - 1, bytes: size - end, file: file,
                    state: &state, options: options)
            }
        }
        state.nextOffset = max(state.nextOffset, nextOffsetFloor, state.logStart)
        state.index.removeBatches(endingBefore: state.logStart)
    }

    private static func scan(_ file: LogFile, size: Int64, state: inout State, options: Options) throws -> Int64 {
        try file.withMappedBytes(size: size) { bytes in
            let end = SegmentScan.run(bytes, expectedOffset: state.nextOffset) { piece in
                switch piece {
                case .batch(let header, _):
                    note(header, bytes: header.totalBytes, in: &state)
                case .damaged(_, let bytes, let firstOffset, let lastOffset):
                    noteDamage(
                        firstOffset: firstOffset, lastOffset: lastOffset, bytes: Int64(bytes), file: file, state: &state,
                        options: options)
                }
            }
            return Int64(end)
        }
    }

    private static func noteDamage(
        firstOffset: Int64, lastOffset: Int64, bytes: Int64, file: LogFile, state: inout State, options: Options
    ) {
        options.logger.error(
            "part of a log is damaged and will not be served; delete the records up to its end to read on",
            metadata: [
                "file": "\(file.path)", "bytes": "\(bytes)", "first-offset": "\(firstOffset)", "last-offset": "\(lastOffset)",
            ])
        state.index.append(
            baseOffset: firstOffset, lastOffset: lastOffset, bytes: bytes, maxTimestamp: -1,
            leaderEpoch: state.leaderEpoch, isCorrupt: true)
        state.nextOffset = max(state.nextOffset, lastOffset + 1)
    }
}
