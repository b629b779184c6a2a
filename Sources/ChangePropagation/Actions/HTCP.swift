/// The two layouts of an HTCP header that are in use.
public enum HTCPFormat: String, Sendable, CaseIterable {
    /// The opcode in the lower half of its byte, version 0.0: what Squid wrote first, and what the purge daemons of Wikimedia read since.
    case squid
    /// The opcode in the upper half, as RFC 2756 draws it; version 0.1, by which Squid tells it from the other.
    case rfc2756
}

/// Datagrams of the Hyper Text Caching Protocol (RFC 2756).
enum HTCP {
    /// A CLR request (section 6.5): forget `url`. Nobody answers it.
    ///
    /// nil for a URL that is longer than the format can say.
    static func clear(_ url: String, transaction: UInt32, format: HTCPFormat) -> [UInt8]? {
        let clr: UInt8 = 4
        // Section 3.2, SPECIFIER: method, URI, version, request headers, each with its length before it.
        var specifier: [UInt8] = []
        for text in ["HEAD", url, "HTTP/1.0", ""] {
            guard let length = UInt16(exactly: text.utf8.count) else { return nil }
            specifier += bytes(length) + Array(text.utf8)
        }
        // Length, opcode and response, reserved with F1 and RR, transaction, then OP-DATA: reserved with the reason, specifier.
        guard let dataLength = UInt16(exactly: 2 + 1 + 1 + 4 + 2 + specifier.count), let length = UInt16(exactly: 4 + Int(dataLength) + 2) else { return nil }
        let opcode = format == .squid ? clr : clr << 4
        let minorVersion: UInt8 = format == .squid ? 0 : 1
        let noAuthentication = bytes(UInt16(2))
        return bytes(length) + [0, minorVersion] + bytes(dataLength) + [opcode, 0] + bytes(transaction) + [0, 0] + specifier + noAuthentication
    }

    private static func bytes(_ number: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: number.bigEndian) { Array($0) } }
}
