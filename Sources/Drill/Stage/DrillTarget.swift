import Foundation
import KafkaLog
import Synchronization

/// What the canaries' rule calls: writes every call down before it is answered, and refuses the first try of some events.
final class DrillTarget: Sendable {
    private struct State {
        var calls: [TargetCall] = []
        var seen: Set<String> = []
        /// Ids that a call was accepted for.
        var accepted: Set<String> = []
        /// When the last call came, in seconds since the drill began.
        var last: Double?
    }

    private let state: Mutex<State>
    private let handle: FileHandle
    private let clock: DrillClock
    private let random: Mutex<SystemRandomNumberGenerator> = .init(.init())

    static let name = "calls.jsonl"
    /// What canaries' ids begin with: those of another drill, which may still lie in a live drill's topics, are answered and not counted.
    private let prefix: String

    static func prefix(_ drill: String) -> String { drill + "-" }
    /// What then follows in an id that is refused at first.
    static let failing = "f-"

    /// Thrown at a call that is refused: the sink answers it with status 500.
    struct Refused: Error {}

    /// Knows the calls of earlier runs of the same drill.
    init(_ directory: URL, drill: String, clock: DrillClock) throws {
        self.clock = clock
        prefix = Self.prefix(drill)
        let file = directory.appending(path: Self.name)
        let known = try Self.load(directory)
        var state = State()
        state.calls = known
        state.seen = Set(known.map(\.id))
        state.accepted = Set(known.filter { !$0.refused }.map(\.id))
        state.last = known.map(\.at).max()
        self.state = Mutex(state)
        handle = try DrillLines.appending(file)
    }

    static func load(_ directory: URL) throws -> [TargetCall] { try DrillLines.load(TargetCall.self, directory.appending(path: name)) }

    /// One call; takes some milliseconds, as a service would. Throws `Refused`.
    func call(_ id: String, _ datacenter: Datacenter) async throws {
        guard id.hasPrefix(prefix) else { return }
        let (line, refused) = state.withLock { state in
            let isFirst = state.seen.insert(id).inserted
            let call = TargetCall(id: id, datacenter: datacenter.name, at: clock.now, refused: isFirst && id.dropFirst(prefix.count).hasPrefix(Self.failing))
            state.calls.append(call)
            if !call.refused { state.accepted.insert(id) }
            state.last = call.at
            return (call, call.refused)
        }
        try DrillLines.write(line, to: handle)
        if refused { throw Refused() }
        let pause = random.withLock { $0.next() % 12 }
        try await Task.sleep(for: .milliseconds(2 + Int(pause)))
    }

    var calls: [TargetCall] { state.withLock { $0.calls } }
    var last: Double? { state.withLock { $0.last } }
    var count: Int { state.withLock { $0.accepted.count } }
    func isAccepted(_ id: String) -> Bool { state.withLock { $0.accepted.contains(id) } }
    func missing(of ids: [String]) -> [String] { state.withLock { state in ids.filter { !state.accepted.contains($0) } } }
}

/// Seconds since the drill began, which an interruption does not stop.
struct DrillClock: Sendable {
    /// Milliseconds since 1970.
    let began: Int64
    private let base: Double
    private let start = ContinuousClock.now

    init(began: Int64) {
        self.began = began
        base = (Date().timeIntervalSince1970 * 1000 - Double(began)) / 1000
    }

    var now: Double { base + start.duration(to: .now) / .seconds(1) }

    /// Of a time of day on this machine, in milliseconds since 1970.
    func seconds(_ milliseconds: Int64) -> Double { Double(milliseconds - began) / 1000 }

    func date(_ seconds: Double) -> Date { Date(timeIntervalSince1970: Double(began) / 1000 + seconds) }
}

extension DrillLines {
    static func appending(_ file: URL) throws -> FileHandle {
        let descriptor = open(file.path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw DrillFailure("\(file.path) can't be written: \(String(cString: strerror(errno)))") }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try cutTornLine(descriptor, file.path)
        return handle
    }

    static func write(_ value: some Encodable, to handle: FileHandle) throws { try write([value], to: handle) }

    /// In one write, so that a crash leaves whole lines but for the last one.
    static func write(_ values: [some Encodable], to handle: FileHandle) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        var data = Data()
        for value in values { data += try encoder.encode(value) + Data("\n".utf8) }
        try handle.write(contentsOf: data)
    }

    static func load<Value: Decodable>(_ type: Value.Type, _ file: URL) throws -> [Value] {
        guard let data = try? Data(contentsOf: file) else { return [] }
        let decoder = JSONDecoder()
        return try complete(String(decoding: data, as: UTF8.self)).enumerated().map { index, line in
            do { return try decoder.decode(type, from: Data(line.utf8)) } catch {
                throw DrillFailure("\(file.path):\(index + 1): not a line that a drill writes (\(error)); this drill can't be counted any more")
            }
        }
    }
}
