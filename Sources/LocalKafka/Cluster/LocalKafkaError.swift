/// What an operator or a test can get wrong about a local cluster, in one clear line each.
public enum LocalKafkaError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Another program listens there.
    case addressInUse(host: String, port: Int)
    case cannotListen(host: String, port: Int, reason: String)
    /// Another process, or another cluster in this one, has the data directory open.
    case dataDirectoryLocked(path: String)
    /// A file of the data directory can't be read, written or understood.
    case storage(path: String, operation: String, reason: String)
    case unknownBroker(Int32)
    case unknownPartition(topic: String, partition: Int32)
    case invalidConfiguration(String)
    /// A topic can't be made or changed; `code` is what a client would have been answered.
    case topic(name: String, code: ErrorCode, reason: String)

    /// A short stable word for logs and metrics.
    public var label: String {
        switch self {
        case .addressInUse: "address-in-use"
        case .cannotListen: "cannot-listen"
        case .dataDirectoryLocked: "data-directory-locked"
        case .storage: "storage"
        case .unknownBroker: "unknown-broker"
        case .unknownPartition: "unknown-partition"
        case .invalidConfiguration: "invalid-configuration"
        case .topic: "topic"
        }
    }

    public var isRetriable: Bool {
        switch self {
        case .addressInUse, .dataDirectoryLocked: true
        default: false
        }
    }

    public var description: String {
        switch self {
        case .addressInUse(let host, let port):
            "\(host):\(port) is in use: stop the program that listens there, or choose another port (0 takes a free one)"
        case .cannotListen(let host, let port, let reason):
            "cannot listen on \(host):\(port): \(reason)"
        case .dataDirectoryLocked(let path):
            "data directory \(path) is in use by another local cluster: stop that one, or choose another directory"
        case .storage(let path, let operation, let reason):
            "\(operation) \(path): \(reason)"
        case .unknownBroker(let id):
            "there is no broker \(id) in this cluster"
        case .unknownPartition(let topic, let partition):
            "there is no partition \(topic)/\(partition) in this cluster"
        case .invalidConfiguration(let text):
            text
        case .topic(let name, let code, let reason):
            "topic \(name): \(reason) (\(code))"
        }
    }
}
