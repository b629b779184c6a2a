import Foundation
import Synchronization

/// A small HTTP server on a free port of 127.0.0.1 that answers each request with the next reply of its script, or with what a test
/// decides, byte for byte, so that tests can have it answer wrongly. One thread accepts, one serves each connection.
public final class ScriptedServer: Sendable {
    public enum Reply: Sendable {
        /// A whole answer; the connection stays open.
        case status(Int, headers: String = "", body: String = "")
        /// These bytes, then the connection is closed.
        case bytes(String)
        /// The same, whatever they are.
        case raw([UInt8])
        /// The connection is closed without an answer.
        case close
        /// The connection is reset.
        case reset
        /// Nothing, until the client goes away.
        case silence
        /// The head of an answer, then a byte every 20 ms until the client goes away.
        case drip
    }

    public struct Request: Sendable {
        public let head: String
        public let body: String
        /// Counts the connections from 0.
        public let connection: Int
        /// `GET /path HTTP/1.1`
        public var line: String { head.prefix { $0 != "\r\n" }.description }

        public func header(_ name: String) -> String? {
            head.components(separatedBy: "\r\n").first { $0.lowercased().hasPrefix(name + ": ") }.map { String($0.dropFirst(name.count + 2)) }
        }
    }

    /// Decides what a request gets; may block, which holds up its own connection only.
    public typealias Answer = @Sendable (Request) -> Reply

    private struct State {
        var requests: [Request] = []
        var connections: [Int32] = []
        var isStopped = false
    }

    public let port: Int
    private let listener: Int32
    private let state = Mutex(State())
    private let decide: Answer

    /// The last reply of the script is repeated for ever.
    public convenience init(_ script: Reply...) throws {
        let left = Mutex(script)
        try self.init { _ in left.withLock { $0.count > 1 ? $0.removeFirst() : $0[0] } }
    }

    /// - Parameter isListening: false keeps the port and refuses connections until `open`.
    public init(isListening: Bool = true, _ answer: @escaping Answer) throws {
        (listener, port) = try Self.bind()
        decide = answer
        if isListening { try open() }
    }

    public var url: String { "http://127.0.0.1:\(port)" }
    public var requests: [Request] { state.withLock { $0.requests } }

    /// Takes connections from now on. Once only.
    public func open() throws {
        guard Glibc.listen(listener, 1024) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        Thread.detachNewThread { [self] in accept() }
    }

    public func stop() {
        let open = state.withLock { state in
            state.isStopped = true
            return state.connections
        }
        shutdown(listener, Int32(SHUT_RDWR))
        for descriptor in open { shutdown(descriptor, Int32(SHUT_RDWR)) }
    }

    /// A port on which nobody listens: it was free a moment ago.
    public static func unusedPort() throws -> Int {
        let (descriptor, port) = try bind()
        close(descriptor)
        return port
    }

    private static func bind() throws -> (Int32, Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                Glibc.bind(descriptor, pointer, length) == 0 && getsockname(descriptor, pointer, &length) == 0
            }
        }
        guard isBound else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }

    private func accept() {
        while true {
            let descriptor = Glibc.accept(listener, nil, nil)
            guard descriptor >= 0 else { break }
            let number = state.withLock { state -> Int? in
                if state.isStopped { return nil }
                state.connections.append(descriptor)
                return state.connections.count - 1
            }
            guard let number else {
                close(descriptor)
                break
            }
            Thread.detachNewThread { [self] in serve(descriptor, number) }
        }
        close(listener)
    }

    private func serve(_ descriptor: Int32, _ number: Int) {
        var buffer: [UInt8] = []
        while let request = read(descriptor, &buffer, number) {
            state.withLock { $0.requests.append(request) }
            guard answer(decide(request), descriptor) else { break }
        }
        shutdown(descriptor, Int32(SHUT_RDWR))
        // The number stays taken until `stop`, so that no other connection gets it while `stop` walks the list.
        state.withLock { if let index = $0.connections.firstIndex(of: descriptor) { $0.connections[index] = -1 } }
        close(descriptor)
    }

    private func read(_ descriptor: Int32, _ buffer: inout [UInt8], _ number: Int) -> Request? {
        let end = Array("\r\n\r\n".utf8)
        while true {
            if let head = buffer.firstRange(of: end) {
                let text = String(decoding: buffer[..<head.lowerBound], as: UTF8.self)
                let length = Request(head: text, body: "", connection: number).header("content-length").flatMap { Int($0) } ?? 0
                if buffer.count >= head.upperBound + length {
                    let body = String(decoding: buffer[head.upperBound..<(head.upperBound + length)], as: UTF8.self)
                    buffer.removeFirst(head.upperBound + length)
                    return Request(head: text, body: body, connection: number)
                }
            }
            var chunk = [UInt8](repeating: 0, count: 65536)
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { return nil }
            buffer += chunk[..<count]
        }
    }

    /// False when the connection is to be closed.
    private func answer(_ reply: Reply, _ descriptor: Int32) -> Bool {
        switch reply {
        case .status(let status, let headers, let body):
            return write("HTTP/1.1 \(status) X\r\n\(headers)content-length: \(body.utf8.count)\r\n\r\n\(body)", descriptor)
        case .bytes(let text):
            _ = write(text, descriptor)
            return false
        case .raw(let bytes):
            _ = write(bytes, descriptor)
            return false
        case .close: return false
        case .reset:
            // A linger of zero makes close send a reset.
            var linger = Glibc.linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
            return false
        case .silence:
            var byte: UInt8 = 0
            while recv(descriptor, &byte, 1, 0) > 0 {}
            return false
        case .drip:
            var isOpen = write("HTTP/1.1 200 X\r\ncontent-length: 1000000\r\n\r\n", descriptor)
            while isOpen {
                usleep(20_000)
                isOpen = write("x", descriptor)
            }
            return false
        }
    }

    private func write(_ text: String, _ descriptor: Int32) -> Bool { write(Array(text.utf8), descriptor) }

    private func write(_ bytes: [UInt8], _ descriptor: Int32) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }
}
