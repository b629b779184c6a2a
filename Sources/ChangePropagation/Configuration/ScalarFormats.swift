/// The small formats that configuration values are written in. Each gives nil for a text that is not of its format.

enum ScalarFormat {
    /// `500ms`, `30s`, `5m`, `1h`, with a fraction where it helps (`1.5s`). At most 10,000 hours.
    static func duration(_ text: String) -> Duration? {
        let units: [(String, Double)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }), let number = decimal(text.dropLast(unit.count)) else { return nil }
        let milliseconds = number * factor
        guard milliseconds <= 3_600_000 * 10_000 else { return nil }
        return .milliseconds(Int64(milliseconds.rounded()))
    }

    /// Bytes: `512`, `64KiB`, `1MiB`, `2GiB`. At most 1 TiB.
    static func size(_ text: String) -> Int? {
        let units: [(String, Double)] = [("KiB", 1024), ("MiB", 1_048_576), ("GiB", 1_073_741_824), ("B", 1), ("", 1)]
        guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }), let number = decimal(text.dropLast(unit.count)) else { return nil }
        let bytes = number * factor
        return bytes <= 1_099_511_627_776 ? Int(bytes.rounded()) : nil
    }

    /// Digits with at most one point; no sign, no exponent.
    private static func decimal(_ text: Substring) -> Double? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        let digits = parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (48...57).contains($0) } }
        guard digits, parts.count <= 2, text.utf8.count <= 18 else { return nil }
        return Double(text)
    }

    static func describe(_ duration: Duration) -> String {
        let milliseconds = duration.milliseconds
        for (unit, factor) in [("h", 3_600_000 as Int64), ("m", 60_000), ("s", 1000)] where milliseconds != 0 && milliseconds % factor == 0 {
            return "\(milliseconds / factor)\(unit)"
        }
        return milliseconds == 0 ? "0s" : "\(milliseconds)ms"
    }

    static func describe(bytes: Int) -> String {
        for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] where bytes != 0 && bytes % factor == 0 {
            return "\(bytes / factor)\(unit)"
        }
        return "\(bytes)B"
    }

    /// `host:port`; the host a name, an IPv4 address or an IPv6 address in brackets. nil when it is not, or the port is
    /// not from 1 to 65535.
    static func hostAndPort(_ text: some StringProtocol) -> (host: String, port: Int)? {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), (1...65535).contains(port),
            text[text.index(after: colon)...].utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        let host = text[..<colon]
        let isAddress = host.hasPrefix("[") && host.hasSuffix("]") && host.utf8.count > 2
        let inner = isAddress ? host.dropFirst().dropLast() : host
        let allowed = inner.utf8.allSatisfy { byte in
            switch byte {
            case 48...57, 65...90, 97...122, UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"): true
            case UInt8(ascii: ":"), UInt8(ascii: "%"): isAddress
            default: false
            }
        }
        return allowed && !inner.isEmpty ? (String(host), port) : nil
    }

    /// Whether it is surely one, as nearly all are: scheme in lower case, a name and perhaps a port, then ASCII. For each event's URL.
    private static func isPlainHTTP(_ text: String) -> Bool { text.utf8.withContiguousStorageIfAvailable { isPlainHTTP($0) } ?? isPlainHTTP(Array(text.utf8)) }

    private static func isPlainHTTP(_ utf8: some RandomAccessCollection<UInt8>) -> Bool {
        let scheme = utf8.starts(with: "http://".utf8) ? 7 : utf8.starts(with: "https://".utf8) ? 8 : 0
        guard scheme > 0 else { return false }
        var rest = utf8.dropFirst(scheme)
        let host = rest.prefix { ASCIISet.host.contains($0) }
        rest = rest[host.endIndex...]
        if rest.first == UInt8(ascii: ":") {
            let digits = rest.dropFirst().prefix { (48...57).contains($0) }
            guard digits.count <= 5, let port = Int(String(decoding: digits, as: UTF8.self)), (1...65535).contains(port) else { return false }
            rest = rest[digits.endIndex...]
        }
        guard let next = rest.first else { return !host.isEmpty }
        return !host.isEmpty && "/?#".utf8.contains(next) && rest.allSatisfy { ASCIISet.visible.contains($0) }
    }

    /// An absolute http or https URL with a host: why it is none, or nil when it is one.
    static func whyNotHTTP(_ text: String) -> String? {
        if isPlainHTTP(text) { return nil }
        guard let scheme = ["http://", "https://"].first(where: { text.lowercased().hasPrefix($0) }) else {
            return "it must begin with http:// or https://"
        }
        let authority = text.dropFirst(scheme.count).prefix { !"/?#".contains($0) }
        let host = authority.split(separator: "@", omittingEmptySubsequences: false).last ?? ""
        if host.isEmpty { return "it has no host" }
        let bare = host.hasPrefix("[") ? host.hasSuffix("]") : !host.contains(":")
        if hostAndPort(bare ? "\(host):80" : String(host)) == nil { return "\"\(host)\" is not a host, nor a host and a port from 1 to 65535" }
        if text.unicodeScalars.contains(where: { $0.value <= 0x20 || $0.value == 0x7F }) { return "it holds a space or a control character" }
        return nil
    }
}

extension Duration {
    /// Whole milliseconds, rounded down.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds &* 1000 &+ attoseconds / 1_000_000_000_000_000
    }

    /// For arithmetic that needs no exactness.
    var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) * 1e-18
    }
}
