import Foundation
import Synchronization

/// Memory and file descriptors of a process, as the kernel tells them.
struct ProcessMeter {
    /// `self` or a process id.
    let process: String

    /// MiB that are resident now.
    var resident: Double? { field("VmRSS") }
    /// The most that ever were.
    var peak: Double? { field("VmHWM") }

    var descriptors: Int? { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd"))?.count }

    /// Seconds of CPU so far, in all its threads, system calls included.
    var cpuSeconds: Double? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8), let name = text.lastIndex(of: ")") else { return nil }
        // proc(5): utime and stime are the 14th and 15th field, the name is the 2nd and may hold anything.
        let fields = text[text.index(after: name)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    private func field(_ name: String) -> Double? {
        guard let text = try? String(contentsOfFile: "/proc/\(process)/status", encoding: .utf8) else { return nil }
        for line in text.split(separator: "\n") where line.hasPrefix("\(name):") {
            return line.split(whereSeparator: { " \t".contains($0) }).dropFirst().first.flatMap { Double($0) }.map { $0 / 1024 }
        }
        return nil
    }
}

/// Looks at this process's memory again and again.
final class MemoryWatch: Sendable {
    private static let interval = 0.05
    private let samples = Mutex<[Double]>([])
    private let isDone = Mutex(false)

    init() {
        Thread.detachNewThread { [weak self] in
            while let self, !self.isDone.withLock({ $0 }) {
                if let resident = ProcessMeter(process: "self").resident { self.samples.withLock { $0.append(resident) } }
                Thread.sleep(forTimeInterval: Self.interval)
            }
        }
    }

    /// Ends the watch: the peak of the process's life, and the median of the watch's second half.
    func end() -> (peak: Double, steady: Double) {
        isDone.withLock { $0 = true }
        let all = samples.withLock { $0 }
        let peak = ProcessMeter(process: "self").peak ?? 0
        return (peak, all.isEmpty ? peak : Figures.median(Array(all.suffix(max(1, all.count / 2)))))
    }
}
