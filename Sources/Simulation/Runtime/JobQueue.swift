import ChangePropagation
import Glibc

/// Runs every Swift task of this process on one thread, in an order that a seed decides.
///
/// The Swift runtime hands each job of its global pool to `swift_task_enqueueGlobal_hook` where that is set; actors' jobs go the same
/// way. So actors, task groups and streams run as they are, and nothing happens between two jobs that the seed did not choose.
/// `Task.sleep` and `Task.yield` go past the hook and may not be used by what is simulated: it sleeps by `HostClock`.
public enum JobQueue {
    private typealias Original = @convention(thin) (UnownedJob) -> Void
    private typealias Hook = @convention(thin) (UnownedJob, Original) -> Void

    // Unsafe: the hook is installed on the main thread before any task exists, and from then on every task runs on that thread.
    nonisolated(unsafe) private static var ready: [UnownedJob] = []
    nonisolated(unsafe) private static var random = SeededRandom(seed: 0)
    nonisolated(unsafe) private static var isInstalled = false

    /// Takes over the global pool of this process, for good. False: this Swift runtime has no such hook.
    public static func install() -> Bool {
        guard !isInstalled else { return true }
        guard let symbol = dlsym(dlopen(nil, RTLD_LAZY), "swift_task_enqueueGlobal_hook") else { return false }
        symbol.assumingMemoryBound(to: Hook?.self).pointee = { job, _ in JobQueue.ready.append(job) }
        isInstalled = true
        return true
    }

    /// Chooses the order from now on.
    static func reseed(_ seed: UInt64) { random = SeededRandom(seed: seed) }

    /// Most jobs that may run without time going on: past it, the simulated program runs in a circle.
    static let jobsPerMoment = 2_000_000

    /// Runs jobs until none is ready. False: they don't come to an end.
    static func drain() -> Bool {
        // The serial executor that stands for "none": what the runtime's own pool threads run jobs on.
        let pool = unsafeBitCast((0, 0), to: UnownedSerialExecutor.self)
        var count = 0
        while !ready.isEmpty {
            count += 1
            guard count < jobsPerMoment else { return false }
            let index = ready.count == 1 ? 0 : Int(random.next() % UInt64(ready.count))
            ready.swapAt(index, ready.count - 1)
            ready.removeLast().runSynchronously(on: pool)
        }
        return true
    }
}

extension SeededRandom {
    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
    mutating func pick<T>(_ values: [T]) -> T { values[Int(next() % UInt64(values.count))] }
    mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

    /// A generator of its own for one part of the world, so that a change in one part does not move all others.
    static func named(_ name: String, seed: UInt64) -> SeededRandom {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var generator = SeededRandom(seed: seed ^ hash)
        return SeededRandom(seed: generator.next())
    }
}
