/// What answers for internal paths such as `/sys/links`: `modules` in worker.yaml.
struct Modules: Sendable {
    enum Module: Sendable {
        /// An HTTP service; the rest of the path is put behind this URL.
        case service(base: String)
        case purge(PurgeService)
        case partition(Partitioner)
    }

    /// Paths begin with `/` and do not end with it.
    private(set) var entries: [(path: String, module: Module)] = []

    /// Where events are written to streams; it needs no configuration.
    static let eventsPath = "/sys/queue/events"

    mutating func add(_ path: String, _ module: Module) { entries.append((path, module)) }

    func has(_ path: String) -> Bool { entries.contains { $0.path == path } }

    /// The module with the longest path that `text` lies under.
    func module(for text: String) -> (path: String, module: Module)? {
        entries.filter { Self.isUnder(text, $0.path) }.max { $0.path.utf8.count < $1.path.utf8.count }
    }

    static func isUnder(_ text: String, _ path: String) -> Bool { text == path || text.hasPrefix(path + "/") || text.hasPrefix(path + "?") }
}

/// A cache that takes HTCP datagrams.
public struct PurgeService: Sendable, Hashable {
    public let host: String
    public let port: Int
    /// How the byte with the opcode is laid out.
    public let format: HTCPFormat

    public init(host: String, port: Int, format: HTCPFormat = .squid) {
        self.host = host
        self.port = port
        self.format = format
    }
}

/// Posts events anew, each at the partition that a field of it says.
struct Partitioner: Sendable {
    let stream: TextTemplate
    let key: FieldPath
    let map: [String: Int32]
    /// For keys that `map` does not have.
    let otherwise: Int32

    func partition(of event: JSONValue) -> Int32 { key.value(in: event)?.plainText.flatMap { map[$0] } ?? otherwise }
}
