import Checkpoints

/// A claim as it stands in the store: a JSON object, so that an operator can read it.
struct ClaimRecord: Sendable, Equatable {
    enum State: String, Sendable {
        /// Somebody is about to act, or acts, or waits for a retry.
        case claimed
        /// Acted on, or about to be where actions are made at most once.
        case done
    }

    var state: State
    /// The record that the event was read from first: its retries, and whoever reads it again, are the same owner.
    var owner: String
    /// Whose write this is; never the same for two.
    var token: String
    /// Milliseconds since 1970 from which on it counts for nothing.
    var expires: Int64
    /// When the root event was, in milliseconds since 1970; only in marks of root events.
    var rootTime: Int64?

    private static let version: Int64 = 1

    var bytes: [UInt8] {
        var fields: [JSONObject.Field] = [
            .init("version", .integer(Self.version)), .init("state", .string(state.rawValue)), .init("owner", .string(owner)),
            .init("token", .string(token)), .init("expires_at", .integer(expires)),
        ]
        if let rootTime { fields.append(.init("root_dt", .integer(rootTime))) }
        return JSONValue.object(JSONObject(fields: fields)).jsonBytes
    }

    init(state: State, owner: String, token: String, expires: Int64, rootTime: Int64? = nil) {
        self.state = state
        self.owner = owner
        self.token = token
        self.expires = expires
        self.rootTime = rootTime
    }

    /// nil for what is no claim, or one of a later version.
    init?(_ bytes: [UInt8]) {
        guard let json = try? parseEvent(bytes), json["version"] == .integer(Self.version), let state = json["state"]?.string.flatMap(State.init),
            let owner = json["owner"]?.string, let token = json["token"]?.string, case .integer(let expires)? = json["expires_at"]
        else { return nil }
        self.init(state: state, owner: owner, token: token, expires: expires)
        if case .integer(let time)? = json["root_dt"] { rootTime = time }
    }
}

/// Where claims stand in the store.
enum ClaimKeys {
    /// Claims of a rule are spread over so many ranges, so that no look at what has expired reads all of them.
    static let shards = 256

    static func shard(_ number: Int, group: String, rule: String) -> StoreKey {
        StoreKey("claims", group, rule, hex(UInt64(number % shards), digits: 2))
    }

    /// - Parameter what: the kind of key, then what tells events apart.
    static func key(group: String, rule: String, _ what: String) -> StoreKey {
        let hash = digest(what)
        return StoreKey("claims", group, rule, String(hash.prefix(2)), hash)
    }

    /// 128 bits: two hashes that have nothing to do with each other. A false match would lose an event.
    static func digest(_ text: String) -> String {
        let bytes = Array(text.utf8)
        let second = bytes.withUnsafeBytes { Fingerprint.ofRecord(key: $0, value: nil, timestamp: nil) }
        return hex(Fingerprint.ofIdentity(text).bits, digits: 16) + hex(second.bits, digits: 16)
    }

    private static func hex(_ number: UInt64, digits: Int) -> String {
        let text = String(number, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
