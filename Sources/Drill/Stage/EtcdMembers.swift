import Demo
import Foundation
import Synchronization

/// One or three members of an etcd on 127.0.0.1, each a process that can't outlive this one.
final class EtcdMembers: Sendable {
    private let program: String
    private let ports: [Int]
    private let directory: URL
    private let running = Mutex<[Int: LeashedProcess]>([:])

    private static let patience = Duration.seconds(30)

    /// - Parameter ports: of clients and of peers, in turn: two a member.
    init(_ program: String, ports: [Int], directory: URL) {
        self.program = program
        self.ports = ports
        self.directory = directory
    }

    var clientPorts: [Int] { stride(from: 0, to: ports.count, by: 2).map { ports[$0] } }

    private func peer(_ member: Int) -> String { "http://127.0.0.1:\(ports[2 * member + 1])" }
    private func url(_ member: Int) -> String { "http://127.0.0.1:\(ports[2 * member])" }

    /// Starts those that don't run, and waits until a leader is known.
    func start() async throws {
        let cluster = clientPorts.indices.map { "m\($0)=\(peer($0))" }.joined(separator: ",")
        for member in clientPorts.indices where running.withLock({ $0[member] }) == nil {
            let process = try LeashedProcess(
                "etcd m\(member)", program,
                [
                    "--name", "m\(member)", "--data-dir", directory.appending(path: "etcd-m\(member)").path, "--listen-client-urls", url(member),
                    "--advertise-client-urls", url(member), "--listen-peer-urls", peer(member), "--initial-advertise-peer-urls", peer(member),
                    "--initial-cluster", cluster,
                ], log: directory.appending(path: "etcd-m\(member).log"))
            running.withLock { $0[member] = process }
        }
        _ = try await leader()
    }

    /// SIGKILL. Says which it was.
    func killLeader() async throws -> String {
        let member = try await leader()
        running.withLock { $0.removeValue(forKey: member) }?.kill()
        return "etcd member m\(member)"
    }

    func end() {
        for process in running.withLock({ members in defer { members = [:] }; return Array(members.values) }) { process.kill() }
    }

    private struct Status: Decodable {
        struct Header: Decodable { let member_id: String? }
        let header: Header
        let leader: String?
    }

    /// The member that says of itself that it leads.
    private func leader() async throws -> Int {
        let deadline = ContinuousClock.now + Self.patience
        while true {
            for member in clientPorts.indices where running.withLock({ $0[member] }) != nil {
                guard let status = await status(member), let leader = status.leader, leader != "0", leader == status.header.member_id else { continue }
                return member
            }
            guard ContinuousClock.now < deadline else {
                let words = running.withLock { $0.values.first?.lastWords() ?? "" }
                throw DrillFailure("etcd has no leader after \(Self.patience.components.seconds) s; its log ends with:\n\(words)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func status(_ member: Int) async -> Status? {
        guard let body = await LocalHTTP.post(port: ports[2 * member], path: "/v3/maintenance/status", body: "{}") else { return nil }
        return try? JSONDecoder().decode(Status.self, from: body)
    }
}
