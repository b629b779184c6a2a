import Foundation

/// What all rows do with what they measure.
enum Figures {
    /// Progress goes to stderr: the table alone is the result.
    static func note(_ text: String) { FileHandle.standardError.write(Data("\(text)\n".utf8)) }

    /// Seconds of CPU that this process has used, in all its threads, system calls included.
    static func cpuSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }

    /// Of one value or more.
    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
