import Logging
import NIOCore

/// The header in front of every request.
struct RequestHeader: Sendable {
    let apiKey: Int16
    let apiVersion: Int16
    let correlationID: Int32
    let clientID: String?
}

/// What a handler gets to know of the request and of the broker that serves it.
public final class RequestContext: Sendable {
    public let cluster: LocalKafkaCluster
    /// The broker whose port the client talks to.
    public let brokerID: Int32
    public let apiKey: APIKey
    public let apiVersion: Int16
    /// Whether this version of the request has compact types and tagged fields.
    public let flexible: Bool
    public let correlationID: Int32
    /// What the client calls itself; nil or empty when it says nothing.
    public let clientID: String?
    /// The client's address without the port, for group descriptions.
    public let clientHost: String
    public let logger: Logger
    /// Faults that this request runs into.
    let faults: RequestFaults

    init(
        cluster: LocalKafkaCluster, brokerID: Int32, apiKey: APIKey, apiVersion: Int16, flexible: Bool,
        correlationID: Int32, clientID: String?, clientHost: String, logger: Logger, faults: RequestFaults
    ) {
        self.cluster = cluster
        self.brokerID = brokerID
        self.apiKey = apiKey
        self.apiVersion = apiVersion
        self.flexible = flexible
        self.correlationID = correlationID
        self.clientID = clientID
        self.clientHost = clientHost
        self.logger = logger
        self.faults = faults
    }

    /// A writer that already holds the response's header. Every handler's response starts from one.
    public func response() -> WireWriter {
        var writer = WireWriter(flexible: flexible)
        writer.int32(0)  // the frame's size, filled in when it is finished
        writer.int32(correlationID)
        // ApiVersions answers with the classic header in every version, so that a client can read it before it knows
        // what the broker speaks (KIP-511).
        if apiKey != .apiVersions { writer.noTaggedFields() }
        return writer
    }

    /// The error that a test wants this request to be answered with for this partition (nil: for the request as a
    /// whole), or nil. Ask once per partition, before anything is changed: each answer uses up one of the fault's count.
    /// Throws `ConnectionMustClose` when the fault is to close the connection.
    public func injectedError(topic: String? = nil, partition: Int32? = nil) throws -> ErrorCode? {
        try faults.error(topic: topic, partition: partition)
    }
}

/// Thrown by a handler to close the connection without an answer.
public struct ConnectionMustClose: Error, Sendable {
    public let reason: String
    public init(reason: String) { self.reason = reason }
}

/// How one kind of request is served: the seam that every handler plugs into.
///
/// To add a kind: add its number to `APIKey`, write an extension with `static func`s that make handlers, and put them
/// into the table in `APITable.swift`. Requests of one connection are handled one after the other, in order, as Kafka does; a
/// handler may wait as long as it likes (long polls, joins). Its task is cancelled when the connection goes away.
public struct APIHandler: Sendable {
    public typealias Handle = @Sendable (RequestContext, WireReader) async throws -> WireWriter?

    public let key: APIKey
    /// The versions that ApiVersions advertises and that are accepted.
    public let versions: ClosedRange<Int16>
    /// The first flexible version (compact types, tagged fields); nil when none of `versions` is.
    public let firstFlexible: Int16?
    /// Reads the request's body, acts, and returns the response (from `context.response()`), or nil for no response at
    /// all (Produce with acks=0). A thrown error closes the connection.
    public let handle: Handle

    public init(_ key: APIKey, versions: ClosedRange<Int16>, firstFlexible: Int16?, handle: @escaping Handle) {
        self.key = key
        self.versions = versions
        self.firstFlexible = firstFlexible
        self.handle = handle
    }

    func isFlexible(_ version: Int16) -> Bool {
        guard let firstFlexible else { return false }
        return version >= firstFlexible
    }
}

/// What the connection does after one request.
enum RequestOutcome: Sendable {
    case reply([IOData])
    /// Send this many bytes of it, then close the connection.
    case cutReply([IOData], afterBytes: Int)
    case noReply
}

/// Reads headers, finds handlers, applies faults. One per broker; holds no state of its own.
struct RequestDispatcher: Sendable {
    let cluster: LocalKafkaCluster
    let brokerID: Int32
    let table: [Int16: APIHandler]
    let logger: Logger

    /// Serves one request frame (without its size). Throws when the connection must be closed.
    func serve(_ frame: ByteBuffer, clientHost: String) async throws -> RequestOutcome {
        var reader = WireReader(frame)
        let key = try reader.int16()
        let version = try reader.int16()
        let correlationID = try reader.int32()
        // The client id stays a classic string in flexible headers too (request header v2).
        let clientID = try reader.nullableString("client id")
        guard let handler = table[key] else { throw WireError.unsupported(apiKey: key, version: version) }
        guard handler.versions.contains(version) else {
            guard key == APIKey.apiVersions.rawValue else {
                throw WireError.unsupported(apiKey: key, version: version)
            }
            return .reply(ApiVersionsHandler.unsupportedVersion(correlationID: correlationID, table: table))
        }
        let flexible = handler.isFlexible(version)
        reader.flexible = flexible
        try reader.skipTaggedFields()

        cluster.requestCounts.withLock { $0[key, default: 0] += 1 }
        let faults = cluster.faults.begin(apiKey: handler.key, brokerID: brokerID)
        let context = RequestContext(
            cluster: cluster, brokerID: brokerID, apiKey: handler.key, apiVersion: version, flexible: flexible,
            correlationID: correlationID, clientID: clientID, clientHost: clientHost, logger: logger, faults: faults)
        try faults.checkClose()
        let response = try await handler.handle(context, reader)
        if let delay = faults.delay { try? await Task.sleep(for: delay) }
        guard var response else { return .noReply }
        if faults.dropsReply {
            response.discard()
            return .noReply
        }
        let frame = response.finishFrame()
        return faults.cut.map { .cutReply(frame, afterBytes: $0) } ?? .reply(frame)
    }
}
