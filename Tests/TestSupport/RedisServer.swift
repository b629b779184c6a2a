import Foundation
import Synchronization

/// A real Redis on a free port of 127.0.0.1, which writes every change to its disk before it answers. A shell holds it and kills it when this
/// process ends in whatever way.
public final class RedisServer: Sendable {
    public static let executable = "/usr/bin/redis-server"
    public static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: executable) }

    public let port: Int
    private let arguments: [String]
    private let directory: TemporaryDirectory
    private let leash = Mutex<(process: Process, input: Pipe)?>(nil)

    private init(_ arguments: [String]) throws {
        port = try freePort()
        self.arguments = arguments
        directory = try TemporaryDirectory()
    }

    deinit {
        if let leash = leash.withLock({ $0 }) { try? leash.input.fileHandleForWriting.write(contentsOf: Data("\n".utf8)) }
        directory.remove()
    }

    /// Starts one and waits until it answers.
    ///
    /// - Parameter arguments: more of its own, such as `--requirepass`.
    public static func start(_ arguments: [String] = []) async throws -> RedisServer {
        let server = try RedisServer(arguments)
        try await server.restart()
        return server
    }

    /// Starts it, again after `kill`, with what it had.
    public func restart() async throws {
        let process = Process()
        let input = Pipe()
        process.executableURL = URL(filePath: "/bin/sh")
        // No `wait`: Foundation starts processes with SIGCHLD blocked, and the shell would wait for ever.
        let script = #"port=$1; dir=$2; shift 2; \#(Self.executable) --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' --appendonly yes --appendfsync always "$@" >"$dir/log" 2>&1 & read _; kill -9 $!"#
        process.arguments = ["-c", script, "sh", String(port), directory.url.path] + arguments
        process.standardInput = input
        try launch(process)
        leash.withLock { $0 = (process, input) }
        try await eventually("Redis answers on \(port)") { [port] in Self.answers(port) }
    }

    /// SIGKILL.
    public func kill() async throws {
        guard let leash = leash.withLock({ held in
            defer { held = nil }
            return held
        }) else { return }
        // Another process may hold the other end open: a line ends the shell's reading, too.
        try leash.input.fileHandleForWriting.write(contentsOf: Data("\n".utf8))
        try leash.input.fileHandleForWriting.close()
        try await eventually("nothing listens on \(port) any more") { [port] in !Self.answers(port) }
    }

    /// One that still loads what it had does not count.
    private static func answers(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let isConnected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var answer = [UInt8](repeating: 0, count: 64)
        guard isConnected, send(descriptor, "PING\r\n", 6, Int32(MSG_NOSIGNAL)) == 6 else { return false }
        let count = recv(descriptor, &answer, answer.count, 0)
        return count > 0 && !String(decoding: answer.prefix(count), as: UTF8.self).hasPrefix("-LOADING")
    }
}
