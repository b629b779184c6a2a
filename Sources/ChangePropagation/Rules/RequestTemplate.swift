import KafkaLog

/// One request that a rule wants made for one event: everything filled in.
public struct ActionRequest: Sendable, Equatable {
    /// Upper-case.
    public let method: String
    /// An absolute http or https URL, percent-encoded where it has to be.
    public let url: String
    /// In order; names in lower case. `user-agent`, and `x-request-id` where the event has none, are added when it is sent.
    public let headers: [Header]
    /// nil: no body at all.
    public let body: [UInt8]?

    public struct Header: Sendable, Equatable {
        public let name: String
        public let value: String
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public init(method: String, url: String, headers: [Header] = [], body: [UInt8]? = nil) {
        self.method = method
        self.url = url
        self.headers = headers
        self.body = body
    }
}

/// One entry of `exec`, compiled.
struct RequestTemplate: Sendable {
    let method: String
    let uri: TextTemplate
    let headers: [(name: String, value: TextTemplate)]
    let query: [(name: String, value: TextTemplate)]
    let body: ValueTemplate?

    /// Every path that a template of it names.
    var paths: [FieldPath] { uri.paths + (headers + query).flatMap { $0.value.paths } + (body?.paths ?? []) }

    func fill(from event: EventContext) throws(EventError) -> ActionRequest {
        var headers: [ActionRequest.Header] = []
        for header in self.headers {
            let value = try header.value.fill(from: event)
            guard !value.utf8.contains(where: { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7F }) else {
                throw EventError(.badHeader(name: header.name))
            }
            headers.append(ActionRequest.Header(header.name, value))
        }
        let body = try body?.fill(from: event)
        let bytes: [UInt8]?
        switch body {
        case nil: bytes = nil
        case .string(let text)?: bytes = Array(text.utf8)
        case let value?:
            bytes = value.jsonBytes
            if !headers.contains(where: { $0.name == "content-type" }) {
                headers.append(ActionRequest.Header("content-type", "application/json"))
            }
        }
        // What the rule says itself wins.
        for header in Self.traceHeaders(of: event.message) where !headers.contains(where: { $0.name == header.name }) { headers.append(header) }
        return ActionRequest(method: method, url: try url(from: event), headers: headers, body: bytes)
    }

    private func url(from event: EventContext) throws(EventError) -> String {
        var url = try uri.fill(from: event)
        var fragment = ""
        if let hash = url.firstIndex(of: "#") {
            fragment = String(url[hash...])
            url = String(url[..<hash])
        }
        for parameter in query {
            let value = encodeURIComponent(try parameter.value.fill(from: event))
            url += "\(url.contains("?") ? "&" : "?")\(encodeURIComponent(parameter.name))=\(value)"
        }
        // A title put in raw may hold spaces or other scripts: what no URL can hold is encoded, what is encoded already
        // stays as it is.
        url = Self.withoutStrayPercent(percentEncode(url + fragment) { $0 > 0x20 && $0 < 0x7F && !"\"<>\\^`{|}".utf8.contains($0) })
        guard ScalarFormat.whyNotHTTP(url) == nil else { throw EventError(.badURL(url)) }
        return url
    }

    /// A `%` that begins no escape becomes `%25`: "100%" in a title is a percent sign.
    private static func withoutStrayPercent(_ url: String) -> String {
        guard url.utf8.contains(UInt8(ascii: "%")) else { return url }
        let bytes = Array(url.utf8)
        var result: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            result.append(byte)
            guard byte == UInt8(ascii: "%") else { continue }
            let escape = bytes[(index + 1)...].prefix(2)
            if escape.count < 2 || !escape.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) { result += Array("25".utf8) }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// `x-request-id` (the event's `meta.request_id`) and `x-triggered-by`: the event's `triggered_by`, or
    /// `req:<meta.request_id>` where it has none, then `,<meta.stream>:<meta.uri>`. What the event does not have is left out.
    private static func traceHeaders(of event: JSONValue) -> [ActionRequest.Header] {
        let meta = event["meta"]
        let requestID = meta?["request_id"]?.string
        var headers: [ActionRequest.Header] = []
        if let requestID { headers.append(ActionRequest.Header("x-request-id", visible(requestID))) }
        var chain: [String] = []
        if let earlier = event["triggered_by"]?.string {
            chain.append(earlier)
        } else if let requestID {
            chain.append("req:\(requestID)")
        }
        if let stream = meta?["stream"]?.string, let uri = meta?["uri"]?.string { chain.append("\(stream):\(uri)") }
        if !chain.isEmpty { headers.append(ActionRequest.Header("x-triggered-by", visible(chain.joined(separator: ",")))) }
        return headers
    }

    /// Event fields in our own headers: anything but visible ASCII is percent-encoded, so that no event can end a header.
    private static func visible(_ text: String) -> String { percentEncode(text) { $0 > 0x20 && $0 < 0x7F } }
}
