/// Random numbers that a printed seed repeats.

#if canImport(Glibc)
import Glibc
#endif

/// SplitMix64: small, fast, and the same everywhere.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64
    public init(seed: UInt64) { state = seed }

    /// A generator of `Seed.fresh`.
    public static func forTest(_ purpose: String) -> SeededGenerator { SeededGenerator(seed: Seed.fresh(purpose)) }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    public mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

public enum Seed {
    /// The seed of this run: `SWITCHBACK_SEED` where it is set, else a fresh one. Printed, with what it is for, so that a
    /// failure can be repeated.
    public static func fresh(_ purpose: String) -> UInt64 {
        let given = getenv("SWITCHBACK_SEED").flatMap { UInt64(String(cString: $0)) }
        let seed = given ?? UInt64.random(in: 0...UInt64(UInt32.max))
        print("seed of \(purpose): SWITCHBACK_SEED=\(seed)")
        return seed
    }
}
