import Demo
import Foundation
import Synchronization

/// Memory and descriptors of the long-running processes over time.
final class SoakSamples: Sendable {
    struct Sample: Sendable {
        let part: TwoSites.Part
        let pid: pid_t
        /// Seconds since the beginning.
        let at: Double
        let resident: Double
        let descriptors: Double
    }

    /// A process from its start to its end.
    struct Life: Sendable {
        let part: TwoSites.Part
        let samples: [Sample]
        var length: Double { (samples.last?.at ?? 0) - (samples.first?.at ?? 0) }
    }

    struct Mark: Sendable {
        let at: Double
        let isKill: Bool
    }

    private let state = Mutex<(samples: [Sample], marks: [Mark])>(([], []))
    private let began = ContinuousClock.now

    private var now: Double { began.duration(to: .now) / .seconds(1) }

    func mark(kill: Bool) { state.withLock { $0.marks.append(Mark(at: now, isKill: kill)) } }
    var marks: [Mark] { state.withLock { $0.marks } }
    var all: [Sample] { state.withLock { $0.samples } }

    func take(_ parts: [TwoSites.Part], of sites: TwoSites) {
        for part in parts {
            guard let pid = sites.pid(part) else { continue }
            let meter = ProcessMeter(process: "\(pid)")
            guard let resident = meter.resident, let descriptors = meter.descriptors else { continue }
            add(Sample(part: part, pid: pid, at: now, resident: resident, descriptors: Double(descriptors)))
        }
    }

    func add(_ sample: Sample) { state.withLock { $0.samples.append(sample) } }

    func lives(of part: TwoSites.Part) -> [Life] {
        var lives: [[Sample]] = []
        for sample in all where sample.part == part {
            if lives.last?.last?.pid == sample.pid { lives[lives.count - 1].append(sample) } else { lives.append([sample]) }
        }
        return lives.map { Life(part: part, samples: $0) }
    }
}

/// Whether memory and descriptors of each process stay where they are once it is warm.
struct SoakVerdict {
    /// Lives shorter than this say nothing, in seconds.
    static let shortest = 150.0
    /// The part of a life, and the seconds at least, that warm it up.
    private static let warmUp = (part: 1.0 / 3, least: 90.0)
    /// What a life's last third may be above its first third after the warm-up: the median of its memory, and of its descriptors both what is open nearly
    /// always and what is open at most times of much work. Connections to what the rules call come and go with the work, which each handover moves, so that
    /// either alone says who had the work for how long; a leak raises both.
    private static let memory = (part: 0.10, least: 8.0)
    private static let descriptors = (part: 0.10, least: 8.0)

    var lines: [String] = []
    var complaints: [String] = []

    init(_ samples: SoakSamples, parts: [TwoSites.Part]) {
        for part in parts {
            let lives = samples.lives(of: part)
            if lives.allSatisfy({ $0.length < Self.shortest }) { complaints.append("\(part): no process lived \(Int(Self.shortest)) s: nothing can be said; give the soak more minutes") }
            for (number, life) in lives.enumerated() where life.length >= Self.shortest { judge(life, number + 1) }
        }
    }

    private mutating func judge(_ life: SoakSamples.Life, _ number: Int) {
        let start = (life.samples.first?.at ?? 0) + max(life.length * Self.warmUp.part, Self.warmUp.least)
        let warm = life.samples.filter { $0.at >= start }
        guard warm.count >= 9 else { return }
        let (early, late) = (Array(warm.prefix(warm.count / 3)), Array(warm.suffix(warm.count / 3)))
        let memory = (early: Figures.median(early.map(\.resident)), late: Figures.median(late.map(\.resident)))
        let files = (early: Range(early.map(\.descriptors)), late: Range(late.map(\.descriptors)))
        let name = "\(life.part), life \(number) of \(Int(life.length)) s"
        lines.append(
            "  " + name.padding(toLength: max(36, name.count), withPad: " ", startingAt: 0)
                + String(
                    format: " memory %6.1f -> %6.1f MiB  descriptors %3.0f to %3.0f -> %3.0f to %3.0f", memory.early, memory.late, files.early.low, files.early.high,
                    files.late.low, files.late.high))
        if memory.late - memory.early > max(Self.memory.least, memory.early * Self.memory.part) { complaints.append("\(name): memory grows") }
        if Self.grows(files.early.low, files.late.low), Self.grows(files.early.high, files.late.high) { complaints.append("\(name): descriptors grow") }
    }

    private static func grows(_ early: Double, _ late: Double) -> Bool { late - early > max(descriptors.least, early * descriptors.part) }

    /// What nine of ten values reach, and what one of ten does.
    private struct Range {
        let low, high: Double

        /// - Parameter values: one or more.
        init(_ values: [Double]) {
            let sorted = values.sorted()
            low = sorted[sorted.count / 10]
            high = sorted[sorted.count - 1 - sorted.count / 10]
        }
    }
}
