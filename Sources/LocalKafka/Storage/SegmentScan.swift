/// Reads the batches of a segment file at start, and finds what is damaged. Pure: bytes in, pieces out.
struct SegmentScan {
    enum Piece: Equatable {
        case batch(BatchHeader, position: Int)
        /// Bytes that are not a sound batch, with sound batches after them: records `firstOffset` to `lastOffset` are lost.
        case damaged(position: Int, bytes: Int, firstOffset: Int64, lastOffset: Int64)
    }

    /// Calls `visit` for each piece, in order. Returns the position after the last sound batch: what follows is torn.
    /// `expectedOffset` is the lowest offset that the first batch may have.
    static func run(_ bytes: UnsafeRawBufferPointer, expectedOffset: Int64, visit: (Piece) -> Void) -> Int {
        var position = 0
        var expected = expectedOffset
        while position < bytes.count {
            if let header = soundBatch(bytes, at: position, expectedOffset: expected) {
                visit(.batch(header, position: position))
                position += header.totalBytes
                expected = header.lastOffset + 1
                continue
            }
            guard let (next, header) = nextSoundBatch(bytes, after: position, expectedOffset: expected) else { break }
            visit(
                .damaged(
                    position: position, bytes: next - position, firstOffset: expected, lastOffset: header.baseOffset - 1))
            position = next
            expected = header.baseOffset
        }
        return position
    }

    /// The batch at `position`, when it is whole, has its checksum right, and does not go back in offsets.
    static func soundBatch(_ bytes: UnsafeRawBufferPointer, at position: Int, expectedOffset: Int64) -> BatchHeader? {
        guard position >= 0, bytes.count - position >= BatchHeader.size,
            bytes[position + BatchHeader.Field.magic] == 2
        else { return nil }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
        guard let header = BatchHeader(rest), Int(header.batchLength) >= BatchHeader.size - BatchHeader.lengthOverhead,
            header.totalBytes <= rest.count, header.baseOffset >= expectedOffset, header.lastOffsetDelta >= 0,
            header.baseOffset <= Int64.max - Int64(Int32.max)
        else { return nil }
        let checked = UnsafeRawBufferPointer(rebasing: rest[BatchHeader.checksumStart..<header.totalBytes])
        return CRC32C.checksum(checked) == header.checksum ? header : nil
    }

    /// The first sound batch after a damaged place. Only offsets within reach of the expected one count, so that
    /// the payload of a record is not taken for a batch.
    private static func nextSoundBatch(
        _ bytes: UnsafeRawBufferPointer, after position: Int, expectedOffset: Int64
    ) -> (Int, BatchHeader)? {
        var candidate = position + 1
        while candidate + BatchHeader.size <= bytes.count {
            if let header = soundBatch(bytes, at: candidate, expectedOffset: expectedOffset),
                header.baseOffset - expectedOffset <= Int64(Int32.max)
            {
                return (candidate, header)
            }
            candidate += 1
        }
        return nil
    }
}
