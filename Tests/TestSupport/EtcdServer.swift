import Foundation
import Synchronization

/// Real etcd processes on free ports of 127.0.0.1, in a temporary directory. Each is held by a shell that kills it, and
/// the shells remove the directory, when this process ends in whatever way (their standard input ends then).
public final class EtcdServer: Sendable {
    public static let executable = "/usr/bin/etcd"
    public static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: executable) }

    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    private struct Member: Sendable {
        let name: String
        let clientPort: Int
        let peerPort: Int
    }

    private struct Running {
        let pid: pid_t
        /// Closing it makes the shell kill etcd.
        let leash: FileHandle
    }

    /// How long members may take to be healthy.
    static let startTimeout: Duration = .seconds(20)

    public let directory: URL
    private let members: [Member]
    private let arguments: [String]
    private let scheme: String
    private let running = Mutex<[Int: Running]>([:])

    private init(members: Int, arguments: [String], tls: Bool) throws {
        directory = FileManager.default.temporaryDirectory.appending(path: "switchback-etcd-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        self.members = try (0..<members).map { index in
            Member(name: "m\(index)", clientPort: try freePort(), peerPort: try freePort())
        }
        self.arguments = arguments
        self.scheme = tls ? "https" : "http"
    }

    deinit { shutDown() }

    /// Starts a cluster and waits until every member is healthy.
    /// - Parameters:
    ///   - arguments: further arguments of each etcd.
    ///   - tls: whether `arguments` make clients use TLS; then only the ports are waited for.
    public static func start(members: Int = 1, arguments: [String] = [], tls: Bool = false) async throws -> EtcdServer {
        var attempt = 1
        while true {
            let server = try EtcdServer(members: members, arguments: arguments, tls: tls)
            do {
                for index in server.members.indices { try await offPool { try server.launch(index) } }
                for index in server.members.indices { try await server.waitUntilHealthy(index) }
                return server
            } catch {
                // Another process may have taken a port since it was found free.
                let log = server.log(0)
                server.shutDown()
                attempt += 1
                guard attempt <= 3, log.contains("address already in use") else { throw error }
            }
        }
    }

    /// Client ports, one a member.
    public var ports: [Int] { members.map(\.clientPort) }

    /// `host:port` of each member, with commas between.
    public var endpoints: String { ports.map { "127.0.0.1:\($0)" }.joined(separator: ",") }

    /// SIGKILL. The data stay; `restart` brings the member back.
    public func kill(_ member: Int = 0) {
        guard let process = running.withLock({ $0.removeValue(forKey: member) }) else { return }
        Foundation.kill(process.pid, SIGKILL)
        try? process.leash.write(contentsOf: Data("keep\n".utf8))
        try? process.leash.close()
    }

    /// SIGSTOP: the member's ports stay open and nobody answers.
    public func freeze(_ member: Int = 0) { signal(SIGSTOP, member) }

    /// SIGCONT.
    public func thaw(_ member: Int = 0) { signal(SIGCONT, member) }

    /// Starts a killed member on the same ports and data, and waits until it is healthy.
    public func restart(_ member: Int = 0) async throws {
        try await offPool { try self.launch(member) }
        try await waitUntilHealthy(member)
    }

    /// Kills all members and removes their data.
    public func shutDown() {
        for index in members.indices { kill(index) }
        try? FileManager.default.removeItem(at: directory)
    }

    /// The end of a member's log.
    public func log(_ member: Int = 0) -> String {
        let text = (try? String(contentsOf: directory.appending(path: "\(members[member].name).log"), encoding: .utf8)) ?? ""
        return String(text.suffix(4000))
    }

    /// POSTs JSON to a member's gateway without any client library, and returns the answer's body.
    @discardableResult
    public func post(_ path: String, _ json: String, token: String? = nil, to member: Int = 0) async throws -> String {
        let authorization = token.map { "Authorization: \($0)\r\n" } ?? ""
        let request = "POST \(path) HTTP/1.0\r\n\(authorization)Content-Length: \(json.utf8.count)\r\n\r\n\(json)"
        return try await offPool { try self.exchange(request, port: self.members[member].clientPort) }
    }

    // MARK: Processes

    private func launch(_ index: Int) throws {
        let member = members[index]
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments =
            [
                "-c",
                // The shell stays the parent until the end, so the process id can't go to someone else meanwhile. No `wait`:
                // Foundation starts processes with SIGCHLD blocked, and the shell would wait for ever.
                """
                log=$1; directory=$2; shift 2
                "$@" >>"$log" 2>&1 </dev/null &
                echo $!
                exec >/dev/null 2>&1
                read -r word
                kill -9 $!
                [ "$word" = keep ] && exit
                sleep 0.2
                rm -rf "$directory"
                """,
                "sh", directory.appending(path: "\(member.name).log").path, directory.path, Self.executable,
                "--name", member.name, "--data-dir", directory.appending(path: member.name).path,
                "--listen-client-urls", "\(scheme)://127.0.0.1:\(member.clientPort)",
                "--advertise-client-urls", "\(scheme)://127.0.0.1:\(member.clientPort)",
                "--listen-peer-urls", "http://127.0.0.1:\(member.peerPort)",
                "--initial-advertise-peer-urls", "http://127.0.0.1:\(member.peerPort)",
                "--initial-cluster", members.map { "\($0.name)=http://127.0.0.1:\($0.peerPort)" }.joined(separator: ","),
            ] + arguments
        let (input, output) = (Pipe(), Pipe())
        process.standardInput = input
        process.standardOutput = output
        try TestSupport.launch(process)
        let line = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        guard let pid = pid_t(line.trimmingCharacters(in: .whitespacesAndNewlines)) else {
            throw Failure(description: "the shell that starts etcd said \"\(line)\"")
        }
        running.withLock { $0[index] = Running(pid: pid, leash: input.fileHandleForWriting) }
    }

    private func signal(_ signal: Int32, _ member: Int) {
        if let process = running.withLock({ $0[member] }) { Foundation.kill(process.pid, signal) }
    }

    private func waitUntilHealthy(_ index: Int) async throws {
        let deadline = ContinuousClock.now + Self.startTimeout
        while ContinuousClock.now < deadline {
            if scheme == "https" {
                if (try? connect(port: members[index].clientPort)).map({ close($0) }) != nil { return }
            } else if let answer = try? await offPool({
                try self.exchange("GET /health HTTP/1.0\r\n\r\n", port: self.members[index].clientPort)
            }),
                answer.contains("\"health\":\"true\"")
            {
                return
            }
            try await Task.sleep(for: .milliseconds(20))
        }
        throw Failure(description: "etcd \(members[index].name) is not healthy after \(Self.startTimeout): \(log(index))")
    }

    // MARK: Sockets

    private func exchange(_ request: String, port: Int) throws -> String {
        let socket = try connect(port: port)
        defer { close(socket) }
        var timeout = timeval(tv_sec: 5, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        guard send(socket, request, request.utf8.count, Int32(MSG_NOSIGNAL)) == request.utf8.count else {
            throw Failure(description: "port \(port) takes no request")
        }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            guard count >= 0 else { throw Failure(description: "port \(port) does not answer") }
            guard count > 0 else { break }
            answer += chunk[..<count]
        }
        let text = String(decoding: answer, as: UTF8.self)
        return text.range(of: "\r\n\r\n").map { String(text[$0.upperBound...]) } ?? text
    }

    private func connect(port: Int) throws -> Int32 {
        let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Self.loopback(port)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else {
            close(socket)
            throw Failure(description: "nobody listens on port \(port)")
        }
        return socket
    }

    private static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }
}

/// Runs what blocks on a thread of its own, so that it holds up none of the few threads that all tasks share.
public func offPool<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        DispatchQueue.global().async { continuation.resume(with: Result(catching: body)) }
    }
}
