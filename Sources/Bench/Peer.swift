import Foundation

/// Another program that reads Kafka, and how it is asked to.
struct Peer {
    enum Tool: String, CaseIterable {
        case kcat
        case confluent = "confluent_kafka"
        case kafkaPython = "kafka"

        var name: String {
            switch self {
            case .kcat: "kcat"
            case .confluent: "confluent-kafka-python"
            case .kafkaPython: "kafka-python"
            }
        }

        func isThere(_ venv: String) -> Bool {
            let process = Process()
            process.executableURL = URL(filePath: "/usr/bin/env")
            process.arguments = self == .kcat ? ["kcat", "-V"] : [Peer.python(venv), "-c", "import \(rawValue)"]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            guard (try? process.run()) != nil else { return false }
            process.waitUntilExit()
            return process.terminationStatus == 0
        }
    }

    let tool: Tool
    /// What is said of it beside its name.
    let how: String
    /// Records that it takes at once; 0: one by one.
    var batch = 0
    var settings: [String] = []
    /// It reads one of so many records: the slow ones would take minutes.
    var share: Int64 = 1

    var name: String { "\(tool.name), \(how)" + (share > 1 ? ", one record of \(share)" : "") }

    static let all = [
        Peer(tool: .kcat, how: "default"),
        Peer(
            tool: .kcat, how: "tuned",
            settings: ["fetch.message.max.bytes=131072", "queued.min.messages=1000000", "queued.max.messages.kbytes=1048576"]),
        Peer(tool: .confluent, how: "consume(1000), default", batch: 1000),
        Peer(tool: .confluent, how: "consume(10000), tuned", batch: 10_000, settings: ["fetch.message.max.bytes=131072", "fetch.queue.backoff.ms=10"]),
        Peer(tool: .kafkaPython, how: "default", share: 10),
        Peer(tool: .kafkaPython, how: "poll(10000), tuned", batch: 10_000, settings: ["max_partition_fetch_bytes=262144", "check_crcs=false"], share: 10),
    ]

    fileprivate static func python(_ venv: String) -> String { "\(venv)/bin/python3" }

    func run(_ servers: String, partitions: Int32, records: Int64, venv: String, directory: URL) throws -> ChildResult {
        guard tool != .kcat else { return try KcatRun(servers: servers, records: records, settings: settings).run() }
        let file = directory.appending(path: "\(tool.rawValue)-loop.py")
        try (PythonLoops.common + (tool == .confluent ? PythonLoops.confluent : PythonLoops.kafkaPython)).write(to: file, atomically: true, encoding: .utf8)
        return try ChildRun.run(
            [Self.python(venv), file.path, servers, ConsumeRow.topic, "\(partitions)", "\(records)", "\(batch)"] + settings,
            program: URL(filePath: "/usr/bin/env"))
    }
}

/// kcat tells no times: they are those at which its output arrives, one byte per record.
struct KcatRun {
    let servers: String
    let records: Int64
    let settings: [String]

    private static let limitSeconds = 240.0

    func run() throws -> ChildResult {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments =
            ["kcat", "-C", "-q", "-b", servers, "-t", ConsumeRow.topic, "-o", "beginning", "-c", "\(records)", "-f", "."]
            + settings.flatMap { ["-X", $0] }
        let output = Pipe()
        process.standardOutput = output
        let before = Self.childrenCPU()
        try process.run()
        let child = process.processIdentifier
        let watchdog = DispatchWorkItem { kill(child, SIGKILL) }
        DispatchQueue.global().asyncAfter(deadline: .now() + Self.limitSeconds, execute: watchdog)
        let meter = ProcessMeter(process: "\(child)")
        var count: Int64 = 0, peak = 0.0
        var first: (count: Int64, at: ContinuousClock.Instant)?
        var last = ContinuousClock.now
        while true {
            let data = output.fileHandleForReading.availableData
            guard !data.isEmpty else { break }
            count += Int64(data.count)
            last = .now
            if first == nil { first = (count, last) }
            peak = max(peak, meter.peak ?? 0)
        }
        process.waitUntilExit()
        watchdog.cancel()
        guard process.terminationStatus == 0, count == records, let first, count > first.count else {
            throw ChildRun.Failure(description: "kcat failed (status \(process.terminationStatus)), or took longer than \(Self.limitSeconds) s")
        }
        let seconds = first.at.duration(to: last) / .seconds(1) * Double(count) / Double(count - first.count)
        return ChildResult(records: count, bytes: 0, seconds: seconds, cpuSeconds: Self.childrenCPU() - before, peak: peak, steady: 0)
    }

    /// Of all children that have ended: no other ends while kcat runs.
    private static func childrenCPU() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
        return [usage.ru_utime, usage.ru_stime].reduce(0) { $0 + Double($1.tv_sec) + Double($1.tv_usec) / 1e6 }
    }
}
