import Checkpoints
import KafkaLog

/// An event that an action writes into a stream of the local datacenter.
public struct StreamEvent: Sendable, Equatable {
    /// Without a datacenter's prefix: whoever writes it puts the local one before it.
    public let stream: String
    /// nil: by the key, or any.
    public let partition: Int32?
    /// nil: a null key.
    public let key: [UInt8]?
    public let value: JSONValue

    public init(stream: String, partition: Int32? = nil, key: [UInt8]? = nil, value: JSONValue) {
        self.stream = stream
        self.partition = partition
        self.key = key
        self.value = value
    }
}

/// Which events made which, so that no loop of rules goes round for ever: `triggered_by`.
enum TriggerChain {
    /// The event's `triggered_by`, or `req:<meta.request_id>` where it has none, then `,<meta.stream>:<meta.uri>`. What the event does not
    /// have is left out; empty where it has none of it.
    static func extended(by event: JSONValue) -> String {
        let meta = event["meta"]
        var chain: [String] = []
        if let earlier = event["triggered_by"]?.string, !earlier.isEmpty {
            chain.append(earlier)
        } else if let requestID = meta?["request_id"]?.string {
            chain.append("req:\(requestID)")
        }
        if let stream = meta?["stream"]?.string, let uri = meta?["uri"]?.string { chain.append("\(stream):\(uri)") }
        return chain.joined(separator: ",")
    }

    /// The `triggered_by` of an event that `cause` made: what the rule says, behind what led to the cause. It is always a hop longer than the
    /// cause's, whatever the rule says: a rule that feeds itself would have no end otherwise.
    static func leading(to made: JSONValue, of stream: String, from cause: JSONValue) -> String {
        if let said = made["triggered_by"]?.string, !said.isEmpty {
            let earlier = cause["triggered_by"]?.string ?? ""
            let chain = earlier.isEmpty || said.hasPrefix(earlier) ? said : "\(earlier),\(said)"
            if hops(in: chain) > hops(of: cause) { return chain }
        }
        let chain = extended(by: cause)
        if hops(in: chain) > hops(of: cause) { return chain }
        let entry = "\(cause["meta"]?["stream"]?.string ?? stream):\(cause["meta"]?["uri"]?.string ?? "")"
        return chain.isEmpty ? entry : "\(chain),\(entry)"
    }

    /// How many events led to this one: the entries of its `triggered_by` but for the request. A comma in a URL begins no entry: one begins
    /// with a stream's name and a colon.
    static func hops(of event: JSONValue) -> Int {
        event["triggered_by"]?.string.map(hops) ?? 0
    }

    private static func hops(in chain: String) -> Int {
        chain.utf8.split(separator: UInt8(ascii: ",")).count { entry in
            guard let colon = entry.firstIndex(of: UInt8(ascii: ":")), colon > entry.startIndex, !entry.starts(with: "req:".utf8) else { return false }
            return entry[..<colon].allSatisfy { byte in
                switch byte {
                case 48...57, 65...90, 97...122, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
                default: false
                }
            }
        }
    }
}

extension StreamEvent {
    /// `value` as an event of `stream` that `cause` made. An object's `triggered_by` says so; with a `meta` it gets the stream there, and what
    /// is missing of `id` and `request_id`. The id is the same each time, so that whoever reads the stream can drop what a repeated action
    /// wrote again.
    ///
    /// - Parameter salt: tells apart what several requests make of one event.
    init(_ value: JSONValue, stream: String, partition: Int32? = nil, key: [UInt8]? = nil, cause: JSONValue, salt: String) {
        guard case .object = value else {
            self.init(stream: stream, partition: partition, key: key, value: value)
            return
        }
        var made = value
        if let meta = value["meta"], case .object = meta {
            made = made.replacing(["meta", "stream"], with: .string(stream))
            if meta["id"] == nil {
                let source = cause["meta"]?["id"]?.string ?? cause.jsonText
                var random = SeededRandom(seed: Fingerprint.ofIdentity("\(salt)\u{0}\(stream)\u{0}\(source)").bits)
                made = made.replacing(["meta", "id"], with: .string(random.nextID()))
            }
            if meta["request_id"] == nil, let requestID = cause["meta"]?["request_id"]?.string {
                made = made.replacing(["meta", "request_id"], with: .string(requestID))
            }
        }
        let chain = TriggerChain.leading(to: value, of: stream, from: cause)
        self.init(stream: stream, partition: partition, key: key, value: made.replacing(["triggered_by"], with: .string(chain)))
    }
}
