import CCurl
import Foundation

/// One exchange under way: libcurl's handle, and what the answer has said so far. Lives on the engine's thread.
///
/// Each has a handle of its own, which costs a few per cent at most (Docs/Performance.md): a handle that is used again has still, in libcurl up to 7.88, a pointer
/// into the headers of the answer before, which were freed, and follows it when the next answer begins with a folded header.
final class HTTPTransfer {
    typealias Done = CheckedContinuation<HTTPExchange.Outcome, Never>

    let easy: UnsafeMutableRawPointer
    let ticket: HTTPEngine.Ticket
    private let done: Done
    /// Bytes read at once, and sent at once.
    private static let readSize = 4_096, sendSize = 16_384
    private var headers: UnsafeMutablePointer<curl_slist>?
    private let responseLimit: Int
    private var read = 0
    private var sent = 0
    private var isReadOnly = false
    private var hasTooMuch = false

    /// nil: libcurl gives no handle (memory).
    ///
    /// - Parameters:
    ///   - timeoutLeft: milliseconds, at least 1.
    ///   - sockets: open and close sockets, also long after this transfer; `user` is for them.
    init?(
        _ start: HTTPEngine.Start, limits: HTTPEngine.Limits, timeoutLeft: Int,
        sockets: (onOpen: curl_opensocket_callback, onClose: curl_closesocket_callback), user: UnsafeMutableRawPointer
    ) {
        guard let easy = curl_easy_init() else { return nil }
        self.easy = easy
        ticket = start.ticket
        done = start.done
        responseLimit = limits.response
        switchback_easy_set_sockets(easy, sockets.onOpen, sockets.onClose, user)
        setUp(limits, timeoutLeft)
        setUp(start.exchange)
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(headers)
    }

    private func setUp(_ exchange: HTTPExchange) {
        _ = exchange.url.withCString { switchback_easy_set_pointer(easy, CURLOPT_URL, $0) }
        if exchange.method == "HEAD" { switchback_easy_set(easy, CURLOPT_NOBODY, 1) }
        if let body = exchange.body ?? (["POST", "PUT", "PATCH"].contains(exchange.method) ? [] : nil) {
            // The size first: COPYPOSTFIELDS asks for it.
            switchback_easy_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(body.count))
            _ = body.withUnsafeBytes { bytes in
                // An empty array may have no address, and no address means no body here.
                bytes.baseAddress.map { switchback_easy_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, $0) }
                    ?? "".withCString { switchback_easy_set_pointer(easy, CURLOPT_COPYPOSTFIELDS, $0) }
            }
            if exchange.method != "POST" { setMethod(exchange.method) }
        } else if exchange.method != "GET", exchange.method != "HEAD" {
            setMethod(exchange.method)
        }
        // What libcurl would add by itself; a line of the exchange's own with the same name wins, since it comes with a value.
        for line in ["accept:", "expect:", "content-type:"] where !exchange.headers.contains(where: { $0.hasPrefix(line) }) { append(line) }
        for line in exchange.headers { append(line) }
        switchback_easy_set_pointer(easy, CURLOPT_HTTPHEADER, headers)
    }

    private func setMethod(_ method: String) {
        _ = method.withCString { switchback_easy_set_pointer(easy, CURLOPT_CUSTOMREQUEST, $0) }
    }

    private func append(_ line: String) {
        line.withCString { if let longer = curl_slist_append(headers, $0) { headers = longer } }
    }

    private func setUp(_ limits: HTTPEngine.Limits, _ timeoutLeft: Int) {
        switchback_easy_set_callbacks(easy, Self.onBody, Self.onHeader, Self.beforeRequest, Unmanaged.passUnretained(self).toOpaque())
        switchback_easy_set(easy, CURLOPT_NOSIGNAL, 1)
        // What libcurl takes by itself (16 KiB to read into, 64 KiB to send from) is more than most exchanges carry, and costs more than some of them.
        switchback_easy_set(easy, CURLOPT_BUFFERSIZE, Self.readSize)
        switchback_easy_set(easy, CURLOPT_UPLOAD_BUFFERSIZE, Self.sendSize)
        switchback_easy_set(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
        switchback_easy_set(easy, CURLOPT_PATH_AS_IS, 1)
        switchback_easy_set(easy, CURLOPT_TIMEOUT_MS, timeoutLeft)
        switchback_easy_set(easy, CURLOPT_CONNECTTIMEOUT_MS, limits.connectTimeout)
        switchback_easy_set(easy, CURLOPT_MAXAGE_CONN, limits.idleSeconds)
        switchback_easy_set(easy, CURLOPT_MAXLIFETIME_CONN, limits.ageSeconds)
        // A name server that doesn't answer would hold up every exchange: libcurl waits for a lookup's thread where the exchange ends before it.
        switchback_easy_set(easy, CURLOPT_QUICK_EXIT, 1)
        switchback_easy_set(easy, CURLOPT_DNS_CACHE_TIMEOUT, HTTPEngine.Limits.nameSeconds)
        // A proxy that somebody's environment names is none that a rule means.
        _ = "".withCString { switchback_easy_set_pointer(easy, CURLOPT_PROXY, $0) }
    }

    /// Ends it. `code` is libcurl's.
    func finish(_ code: CURLcode) {
        let status = switchback_easy_status(easy)
        let outcome: HTTPExchange.Outcome =
            switch code {
            case CURLE_WRITE_ERROR where hasTooMuch: .answer(status: status, isReadOnly: isReadOnly)
            case CURLE_OK where status < 200: .connection("invalid HTTP status code \(status)")
            case CURLE_OK: .answer(status: status, isReadOnly: isReadOnly)
            case CURLE_OPERATION_TIMEDOUT: .timeout
            case CURLE_URL_MALFORMAT: .badRequest(Self.text(of: code))
            case CURLE_ABORTED_BY_CALLBACK: .connection("the kept connection was closed")
            case CURLE_UNSUPPORTED_PROTOCOL: .connection("the answer is not HTTP/1")
            default: .connection(Self.text(of: code))
            }
        finish(outcome)
    }

    /// Once.
    func finish(_ outcome: HTTPExchange.Outcome) { done.resume(returning: outcome) }

    static func text(of code: CURLcode) -> String { String(cString: curl_easy_strerror(code)) }

    private static func of(_ user: UnsafeMutableRawPointer?) -> HTTPTransfer? {
        user.map { Unmanaged<HTTPTransfer>.fromOpaque($0).takeUnretainedValue() }
    }

    private static let onBody: @convention(c) (UnsafeMutablePointer<CChar>?, Int, Int, UnsafeMutableRawPointer?) -> Int = { _, size, count, user in
        guard let transfer = HTTPTransfer.of(user) else { return 0 }
        transfer.read += size * count
        guard transfer.read > transfer.responseLimit else { return size * count }
        transfer.hasTooMuch = true
        return 0
    }

    private static let onHeader: @convention(c) (UnsafeMutablePointer<CChar>?, Int, Int, UnsafeMutableRawPointer?) -> Int = { line, size, count, user in
        guard let transfer = HTTPTransfer.of(user), let line else { return 0 }
        let bytes = UnsafeRawBufferPointer(start: line, count: size * count)
        if bytes.starts(with: "HTTP/".utf8) { transfer.isReadOnly = false }
        if let first = bytes.first, first | 0x20 == UInt8(ascii: "x") {
            let text = String(decoding: bytes, as: UTF8.self).lowercased()
            if text.hasPrefix("x-readonly:") { transfer.isReadOnly = text.dropFirst(11).trimmingCharacters(in: .whitespacesAndNewlines) == "true" }
        }
        return bytes.count
    }

    /// One try is one request. libcurl would make it again by itself where a kept connection turns out to be closed, though the target may have
    /// got it: how often something is tried is the rule's to say.
    private static let beforeRequest:
        @convention(c) (
            UnsafeMutableRawPointer?, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<CChar>?, Int32, Int32
        ) -> Int32 = { user, _, _, _, _ in
            guard let transfer = HTTPTransfer.of(user) else { return CURL_PREREQFUNC_ABORT }
            transfer.sent += 1
            return transfer.sent == 1 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT
        }
}
