import CCRC32C

/// CRC-32C (Castagnoli), as record batches carry it: by the processor's instruction, or eight bytes at a time through tables where it has none.
enum CRC32C {
    /// Eight tables of 256 entries, never freed: made once for the life of the process.
    private struct Tables: @unchecked Sendable {  // The memory is written only in init and read-only from then on.
        let base: UnsafePointer<UInt32>

        init() {
            let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: 8 * 256)
            for index in 0..<256 {
                var crc = UInt32(index)
                for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82f6_3b78 : crc >> 1 }
                memory[index] = crc
            }
            for table in 1..<8 {
                for index in 0..<256 {
                    let previous = memory[(table - 1) * 256 + index]
                    memory[table * 256 + index] = (previous >> 8) ^ memory[Int(previous & 0xff)]
                }
            }
            base = UnsafePointer(memory)
        }
    }
    private static let tables = Tables()

    private static let hasInstruction = ccrc32c_is_there() != 0

    /// The checksum of `bytes`, going on from `previous`, the checksum of what came before them (0 at the start).
    static func checksum(_ bytes: UnsafeRawBufferPointer, after previous: UInt32 = 0) -> UInt32 {
        guard hasInstruction, let base = bytes.baseAddress else { return checksumByTables(bytes, after: previous) }
        return ccrc32c(previous, base, bytes.count)
    }

    static func checksumByTables(_ bytes: UnsafeRawBufferPointer, after previous: UInt32 = 0) -> UInt32 {
        guard var pointer = bytes.baseAddress else { return previous }
        let t = tables.base
        var crc = ~previous
        var left = bytes.count
        while left >= 8 {
            let word = UInt64(littleEndian: pointer.loadUnaligned(as: UInt64.self)) ^ UInt64(crc)
            let low = UInt32(truncatingIfNeeded: word)
            let high = UInt32(truncatingIfNeeded: word >> 32)
            let a = t[1792 &+ Int(low & 0xff)] ^ t[1536 &+ Int((low >> 8) & 0xff)]
            let b = t[1280 &+ Int((low >> 16) & 0xff)] ^ t[1024 &+ Int(low >> 24)]
            let c = t[768 &+ Int(high & 0xff)] ^ t[512 &+ Int((high >> 8) & 0xff)]
            let d = t[256 &+ Int((high >> 16) & 0xff)] ^ t[Int(high >> 24)]
            crc = a ^ b ^ c ^ d
            pointer += 8
            left &-= 8
        }
        while left > 0 {
            crc = (crc >> 8) ^ t[Int((crc ^ UInt32(pointer.load(as: UInt8.self))) & 0xff)]
            pointer += 1
            left &-= 1
        }
        return ~crc
    }
}
