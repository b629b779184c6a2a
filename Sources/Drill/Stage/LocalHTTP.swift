import AsyncHTTPClient
import Foundation
import NIOCore

/// Small questions to servers on this machine.
enum LocalHTTP {
    /// The answer's body; nil: no answer within two seconds.
    static func post(port: Int, path: String, body: String) async -> Data? {
        var request = HTTPClientRequest(url: "http://127.0.0.1:\(port)\(path)")
        request.method = .POST
        request.body = .bytes(ByteBuffer(string: body))
        guard let response = try? await HTTPClient.shared.execute(request, timeout: .seconds(2)),
            let bytes = try? await response.body.collect(upTo: 1 << 20)
        else { return nil }
        return Data(buffer: bytes)
    }
}
