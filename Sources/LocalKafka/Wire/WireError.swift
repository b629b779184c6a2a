/// Why a request's bytes can't be read. The broker answers every one of these by closing the connection: after a
/// wrong length nothing that follows can be trusted.
public enum WireError: Error, Equatable, Sendable {
    /// The request ended before the field did.
    case truncated(field: StaticStringBox)
    /// A length or count that is negative where it may not be, or larger than the bytes that are left.
    case badLength(field: StaticStringBox, Int64)
    /// A variable-length integer with more bytes than its type allows.
    case varintTooLong
    /// A string that is not UTF-8.
    case notUTF8
    /// A null where the protocol wants a value.
    case unexpectedNull(field: StaticStringBox)
    /// A frame larger than `Limits.maxRequestBytes`, or shorter than a request header.
    case badFrameSize(Int64)
    /// A request kind or version that this broker does not serve.
    case unsupported(apiKey: Int16, version: Int16)
    /// More nested or repeated parts than a named limit allows.
    case limitExceeded(field: StaticStringBox, limit: Int)

    /// A short stable word for logs and metrics.
    public var label: String {
        switch self {
        case .truncated: "truncated"
        case .badLength: "bad-length"
        case .varintTooLong: "varint-too-long"
        case .notUTF8: "not-utf8"
        case .unexpectedNull: "unexpected-null"
        case .badFrameSize: "bad-frame-size"
        case .unsupported: "unsupported"
        case .limitExceeded: "limit-exceeded"
        }
    }

    /// Always false: the same bytes would be refused again.
    public var isRetriable: Bool { false }
}

/// The name of a field, from a literal in this program, never from the wire.
public struct StaticStringBox: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
    public let description: String
    public init(stringLiteral value: String) { description = value }
}

/// Named limits on what one client may ask of the broker.
public enum Limits {
    /// The largest request frame, in bytes (Kafka's `socket.request.max.bytes` default).
    public static let maxRequestBytes = 100 * 1024 * 1024
    /// Requests of one connection that may be read before the first of them was answered. Past it the broker stops
    /// reading from the socket.
    public static let maxPipelinedRequests = 16
    /// Tagged fields in one place; the protocol's own requests have fewer than ten.
    public static let maxTaggedFields = 1024
    /// Elements of one array in a request. A client that asks for more topics or partitions at once is hostile.
    public static let maxArrayElements = 1_000_000
    /// The largest response to one Fetch, in bytes, whatever the client asks for (it may ask for 2 GiB).
    public static let maxFetchResponseBytes = 256 * 1024 * 1024
    /// Partitions of one topic.
    public static let maxPartitionsPerTopic = 10_000
    /// The longest long poll, in milliseconds, whatever the client asks for.
    public static let maxFetchWaitMilliseconds: Int32 = 300_000
    /// The longest topic name, as Kafka has it.
    public static let maxTopicNameLength = 249
}
