/// One entry of `exec`, compiled.
struct RequestTemplate: Sendable {
    let method: String
    let uri: TextTemplate
    let headers: [(name: String, value: TextTemplate)]
    let query: [(name: String, value: TextTemplate)]
    let body: ValueTemplate?
    var destination = Destination.url
    /// `"exec" in rule "purge"`: tells apart what several requests make of one event.
    var name = ""

    /// Where `uri` leads.
    enum Destination: Sendable {
        case url
        /// What stands behind `path` in `uri` is put behind `base`.
        case service(path: String, base: String)
        /// An action of our own.
        case own(OwnAction)
    }

    /// Every path that a template of it names.
    var paths: [FieldPath] {
        var paths = uri.paths + (headers + query).flatMap { $0.value.paths } + (body?.paths ?? [])
        if case .own(let action) = destination { paths += action.paths }
        return paths
    }

    func fill(from event: EventContext) throws(EventError) -> ActionRequest {
        if case .own(let action) = destination {
            let path = try uri.fill(from: event)
            return ActionRequest(
                method: method, url: path, target: try action.fill(from: event, uri: path, body: try body?.fill(from: event), salt: name))
        }
        var headers: [ActionRequest.Header] = []
        for header in self.headers {
            let value = try header.value.fill(from: event)
            guard value.bytesAll({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
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
        if case .service(let path, let base) = destination { url = base + url.dropFirst(path.count) }
        var fragment = ""
        if !query.isEmpty, let hash = url.utf8.firstIndex(of: UInt8(ascii: "#")) {
            fragment = String(url[hash...])
            url = String(url[..<hash])
        }
        for parameter in query {
            let value = encodeURIComponent(try parameter.value.fill(from: event))
            url += "\(url.contains("?") ? "&" : "?")\(encodeURIComponent(parameter.name))=\(value)"
        }
        // A title put in raw may hold spaces or other scripts: what no URL can hold is encoded, what is encoded already
        // stays as it is.
        url = Self.withoutStrayPercent(percentEncode(url + fragment, keep: .url))
        guard ScalarFormat.whyNotHTTP(url) == nil else { throw EventError(.badURL(url)) }
        return url
    }

    /// A `%` that begins no escape becomes `%25`: "100%" in a title is a percent sign.
    private static func withoutStrayPercent(_ url: String) -> String {
        if url.bytesAll({ $0 != UInt8(ascii: "%") }) { return url }
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

    /// `x-request-id`, the event's `meta.request_id`, and `x-triggered-by`, what led to this request. What the event does not have is left out.
    private static func traceHeaders(of event: JSONValue) -> [ActionRequest.Header] {
        var headers: [ActionRequest.Header] = []
        if let requestID = event["meta"]?["request_id"]?.string { headers.append(ActionRequest.Header("x-request-id", visible(requestID))) }
        let chain = TriggerChain.extended(by: event)
        if !chain.isEmpty { headers.append(ActionRequest.Header("x-triggered-by", visible(chain))) }
        return headers
    }

    /// Event fields in our own headers: anything but visible ASCII is percent-encoded, so that no event can end a header.
    private static func visible(_ text: String) -> String { percentEncode(text, keep: .visible) }
}
