/// One request as it is to be sent, once.
struct HTTPExchange: Sendable {
    /// A token of RFC 9110.
    let method: String
    /// Absolute, http or https, visible ASCII only.
    let url: String
    /// `name: value`, none with a line's end in it. Nothing but these, `host` and the length is sent.
    let headers: [String]
    let body: [UInt8]?
    /// For the whole of it, up to the end of the answer; waiting for a free connection included.
    let timeout: Duration

    enum Outcome: Sendable, Equatable {
        /// A whole answer, or one that went on past the limit.
        case answer(status: Int, isReadOnly: Bool)
        case timeout
        /// Refused, reset, closed before the end of the answer, no answer at all, name not found, TLS.
        case connection(String)
        /// It can't be sent as it is.
        case badRequest(String)
        /// Cancelled, or the client was closed.
        case interrupted
    }

    /// - Throws: `Refused` where a part of it would make another request than the one that is meant (RFC 9110, 5.1, 5.5, 9.1).
    init(_ request: ActionRequest, adding more: [ActionRequest.Header], timeout: Duration) throws(Refused) {
        let scheme = request.url.prefix(8).lowercased()
        guard scheme.hasPrefix("http://") || scheme == "https://" else { throw Refused(why: "Unsupported scheme") }
        guard request.url.bytesAll({ $0 > 0x20 && $0 < 0x7F }) else { throw Refused(why: "Invalid characters in the URL") }
        guard Self.isToken(request.method) else { throw Refused(why: "Invalid method") }
        // libcurl sends a HEAD without one, whatever it is given.
        guard request.method != "HEAD" || request.body == nil else { throw Refused(why: "A HEAD request carries no body") }
        var lines: [String] = []
        lines.reserveCapacity(request.headers.count + more.count)
        for headers in [request.headers, more] {
            for header in headers {
                guard Self.isToken(header.name) else { throw Refused(why: "Invalid header field names") }
                guard header.value.bytesAll({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
                    throw Refused(why: "Invalid header field values")
                }
                // libcurl's way to say that a header is there and has no value.
                lines.append(header.value.isEmpty ? header.name + ";" : header.name + ": " + header.value)
            }
        }
        method = request.method
        url = request.url
        headers = lines
        body = request.body
        self.timeout = timeout
    }

    struct Refused: Error {
        let why: String
    }

    private static let tokenBytes: [Bool] = (0...255).map { byte in
        switch UInt8(byte) {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        default: "!#$%&'*+-.^_`|~".utf8.contains(UInt8(byte))
        }
    }

    private static func isToken(_ text: String) -> Bool { !text.isEmpty && text.bytesAll { tokenBytes[Int($0)] } }
}
