import Foundation

/// Moments that a drill writes down, in seconds since it began.
public enum DrillMark: String, Codable, Sendable, CaseIterable {
    /// The fault is put in, or the order to move is about to be given.
    case cut
    case detected, asked, sealed, raised, leaseOver, resolved, stable
    /// The frozen worker goes on (zombie), the mirror does (mirror-lag), the store's member is back (store-leader).
    case faultOver
    /// The lost datacenter is back.
    case homeBack
    case homeAsked, homeSealed, homeRaised, homeResolved, homeStable
    /// No more canaries are produced.
    case loadEnded
}

/// One line of a drill's journal. What it does not concern is nil.
public struct DrillEntry: Codable, Sendable, Hashable {
    public enum Kind: String, Codable, Sendable {
        /// The first line: plan, origin, how it is run.
        case began
        case phaseStarted, phaseEnded, mark, checks, snapshot, stranded, resumes, gaps
        /// Somebody went on with a drill that had been interrupted.
        case resumed
        case note
        /// The last line: it is over, one way or the other.
        case ended
    }

    /// Seconds since the drill began.
    public var at: Double
    public var kind: Kind
    public var phase: DrillPhase?
    public var outcome: DrillReport.PhaseOutcome?
    public var mark: DrillMark?
    public var text: String?
    public var setting: DrillSetting?
    public var checks: [DrillReport.Check]?
    /// What stood in the store at the cut.
    public var snapshot: [DrillSnapshot]?
    /// How partitions were gone on with, and after which move.
    public var resumes: [DrillReport.Resumption]?
    public var move: DrillReport.MoveName?
    public var gaps: [String]?
    public var epoch: Int64?
    public var count: Int?

    init(at: Double, _ kind: Kind) {
        self.at = at
        self.kind = kind
    }
}

/// One partition's stored checkpoint at the cut, as far as it says what was done.
public struct DrillSnapshot: Codable, Sendable, Hashable {
    public var partition: Int32
    public var offset: Int64
    public var cluster: String
    /// Fingerprints of what was done past the offset.
    public var beyond: [UInt64]
}

/// What a drill that was interrupted needs to be gone on with.
public struct DrillSetting: Codable, Sendable, Hashable {
    public enum Mode: String, Codable, Sendable { case embedded, liveCanary = "live-canary", liveGroup = "live-group" }

    public var id: String
    public var plan: DrillPlan
    public var mode: Mode
    public var seed: UInt64
    /// `sqlite` or `etcd` (embedded), else the store's address without its options.
    public var store: String
    /// Of the embedded datacenters and their store.
    public var ports: [Int] = []
    public var origin: String
    public var target: String
    public var group: String
    /// worker.yaml, of a live drill.
    public var configuration: String?
    public var operatorName: String
    /// Milliseconds since 1970 at the drill's second 0.
    public var beganAt: Int64
    public var version: String
    /// Runs the processes, unless another one is named when it is gone on with.
    public var etcd: String?
}

/// Where a drill stands: what its journal comes to. Pure.
public struct DrillState: Sendable {
    public struct Record: Sendable, Hashable {
        public var start: Double
        public var end: Double?
        public var outcome: DrillReport.PhaseOutcome?
        public var detail: String?
        /// How often it was begun again after an interruption.
        public var restarts = 0
    }

    /// A journal that no drill writes.
    public struct Disorder: Error, CustomStringConvertible {
        public let description: String
    }

    public private(set) var setting: DrillSetting?
    public private(set) var phases: [DrillPhase: Record] = [:]
    public private(set) var marks: [DrillMark: Double] = [:]
    public private(set) var checks: [DrillReport.Check] = []
    public private(set) var snapshot: [DrillSnapshot] = []
    public private(set) var resumes: [DrillReport.MoveName: [DrillReport.Resumption]] = [:]
    public private(set) var epochs: [DrillReport.MoveName: Int64] = [:]
    public private(set) var gaps: [String] = []
    /// Acknowledged events that had not reached the target's cluster when the origin's was cut off.
    public private(set) var stranded = 0
    public private(set) var interruptions: [DrillReport.Interruption] = []
    public private(set) var notes: [DrillReport.Note] = []
    public private(set) var ended: String?
    /// Of the last entry.
    public private(set) var last = 0.0

    public init() {}

    /// The first phase that has not ended well; nil: all have.
    public var current: DrillPhase? { DrillPhase.allCases.first { phases[$0]?.outcome != .done && phases[$0]?.outcome != .skipped } }

    /// Whether the origin may be elsewhere than at home, or on its way.
    public var hasMoved: Bool { marks[.asked] != nil && marks[.homeStable] == nil }

    public mutating func apply(_ entry: DrillEntry) throws(Disorder) {
        guard ended == nil else { throw Disorder(description: "an entry after the end") }
        guard (entry.kind == .began) == (setting == nil) else { throw Disorder(description: "the first entry must be the only 'began'") }
        defer { last = max(last, entry.at) }
        switch entry.kind {
        case .began: setting = entry.setting
        case .phaseStarted: try start(entry)
        case .phaseEnded: try end(entry)
        case .mark: if let mark = entry.mark, marks[mark] == nil { marks[mark] = entry.at }
        case .checks: checks = entry.checks ?? []
        case .snapshot: snapshot = entry.snapshot ?? []
        case .resumes:
            guard let move = entry.move else { throw Disorder(description: "resumes of no move") }
            resumes[move] = entry.resumes ?? []
            epochs[move] = entry.epoch
        case .stranded: stranded = entry.count ?? 0
        case .gaps: gaps = entry.gaps ?? []
        case .resumed: interruptions.append(DrillReport.Interruption(phase: current?.rawValue ?? "", stopped: last, resumed: entry.at))
        case .note: notes.append(DrillReport.Note(at: entry.at, text: entry.text ?? ""))
        case .ended: ended = entry.text ?? ""
        }
    }

    private mutating func start(_ entry: DrillEntry) throws(Disorder) {
        guard let phase = entry.phase, phase == current else {
            throw Disorder(description: "phase \(entry.phase?.rawValue ?? "?") begins where \(current?.rawValue ?? "none") was to")
        }
        if phases[phase] != nil {
            phases[phase]?.restarts += 1
            phases[phase]?.outcome = nil
            phases[phase]?.end = nil
        } else { phases[phase] = Record(start: entry.at) }
    }

    private mutating func end(_ entry: DrillEntry) throws(Disorder) {
        guard let phase = entry.phase, let outcome = entry.outcome, phases[phase] != nil, phase == current else {
            throw Disorder(description: "phase \(entry.phase?.rawValue ?? "?") ends and had not begun")
        }
        phases[phase]?.end = entry.at
        phases[phase]?.outcome = outcome
        phases[phase]?.detail = entry.text
    }
}

/// A drill's journal on disk: a JSON object a line, each written and on disk before what it tells of goes on.
final class DrillJournal: Sendable {
    private let handle: FileHandle
    static let name = "journal.jsonl"

    /// Opens it for one process alone. Throws `DrillFailure` when another one has it.
    init(_ directory: URL) throws {
        let path = directory.appending(path: Self.name).path
        let descriptor = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw DrillFailure("\(path) can't be written: \(String(cString: strerror(errno)))", code: 2) }
        guard Self.lock(descriptor) else {
            close(descriptor)
            throw DrillFailure("the drill in \(directory.path) is running; wait for its end, or stop it with Ctrl-C first", code: 2)
        }
        handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try DrillLines.cutTornLine(descriptor, path)
    }

    /// A child that a killed drill was just starting has the file until it becomes another program: that is waited for.
    private static func lock(_ descriptor: Int32) -> Bool {
        for _ in 0..<lockLooks {
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
            usleep(lockPause)
        }
        return false
    }
    private static let lockLooks = 40
    /// Microseconds.
    private static let lockPause: UInt32 = 50_000

    func write(_ entry: DrillEntry) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        try handle.write(contentsOf: try encoder.encode(entry) + Data("\n".utf8))
        try handle.synchronize()
    }

    /// What the journal in `directory` comes to. A last line that was cut off by a crash is left out.
    static func load(_ directory: URL) throws -> DrillState {
        let file = directory.appending(path: name)
        guard let text = try? String(contentsOf: file, encoding: .utf8) else {
            throw DrillFailure("there is no drill in \(directory.path): \(name) is not there; name the directory that 'drill run' printed", code: 2)
        }
        var state = DrillState()
        for (index, line) in DrillLines.complete(text).enumerated() {
            do { try state.apply(try JSONDecoder().decode(DrillEntry.self, from: Data(line.utf8))) } catch {
                throw DrillFailure("\(file.path):\(index + 1): no line of a drill's journal (\(error)); this drill can't be gone on with", code: 2)
            }
        }
        guard state.setting != nil else {
            throw DrillFailure("the drill in \(directory.path) had not begun anything; delete the directory and run it again", code: 2)
        }
        return state
    }
}

enum DrillLines {
    /// The lines of a text that end with a newline.
    static func complete(_ text: String) -> [Substring] {
        guard let end = text.lastIndex(of: "\n") else { return [] }
        return text[..<end].split(separator: "\n")
    }

    /// Takes away a last line that a crash cut off: what is appended would become part of it, and neither could be read.
    static func cutTornLine(_ descriptor: Int32, _ path: String) throws {
        let size = lseek(descriptor, 0, SEEK_END)
        var end = size
        var byte: UInt8 = 0
        while end > 0, pread(descriptor, &byte, 1, end - 1) == 1, byte != UInt8(ascii: "\n") { end -= 1 }
        guard size >= 0, end == size || ftruncate(descriptor, end) == 0 else {
            throw DrillFailure("\(path) can't be written: \(String(cString: strerror(errno)))", code: 2)
        }
    }
}

/// Why a drill could not be begun or carried through. Says the next step.
public struct DrillFailure: Error, CustomStringConvertible {
    public let description: String
    /// 1: it failed. 2: wrong use, nothing was touched.
    public let code: Int32
    public init(_ description: String, code: Int32 = 1) {
        self.description = description
        self.code = code
    }
}
