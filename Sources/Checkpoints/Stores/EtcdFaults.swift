import AsyncHTTPClient
import NIOCore
import NIOPosix
import NIOSSL

/// What etcd's answers and the transport's errors mean for a request: pure decisions, no I/O.
enum EtcdFaults {
    enum Effect: Sendable { case read, write }

    /// What to do about a request that got no good answer.
    enum Verdict: Equatable, Sendable {
        /// It certainly had no effect, and another endpoint may do better.
        case nextEndpoint(String)
        /// As `nextEndpoint`, and the cause is in the certificates or the address.
        case nextEndpointMisconfigured(String)
        /// It had no effect because the token is not valid (any more).
        case newToken(String)
        /// It is over.
        case failed(StoreError.Kind, String)
    }

    /// Answers that etcd gives before a request is proposed, or instead of applying it (etcd's api/v3rpc/rpctypes and
    /// server/etcdserver/v3_server.go). "server stopped", "leader changed" and every timeout are not among them: they may
    /// come after the proposal was sent to the other members.
    static let withoutEffect: Set<String> = [
        "etcdserver: no leader", "etcdserver: not capable", "etcdserver: rpc not supported for learner",
        "etcdserver: too many requests", "raft proposal dropped",
    ]

    static let badToken: Set<String> = [
        "etcdserver: invalid auth token", "etcdserver: revision of auth store is old", "etcdserver: user name is empty",
    ]

    static let connectionClosed = "the connection was closed"

    static let noSpace = "etcdserver: mvcc: database space exceeded"

    /// - Parameter code: the gRPC status code (https://grpc.io/docs/guides/status-codes), nil when the answer had none.
    static func verdict(code: Int?, message: String, effect: Effect) -> Verdict {
        if withoutEffect.contains(message) { return .nextEndpoint(message) }
        if badToken.contains(message) || code == 16 { return .newToken(message) }
        switch message {
        case noSpace:
            return .failed(
                .refused, "\(message): raise the quota, or compact and defragment etcd, then `etcdctl alarm disarm`")
        case "etcdserver: corrupt cluster":
            return .failed(.corrupt, "\(message): etcd's members disagree, see etcd's disaster recovery guide")
        case "etcdserver: authentication failed, invalid user ID or password":
            return .failed(.misconfigured, "\(message); check user= and the password file")
        case "etcdserver: permission denied":
            return .failed(.refused, "\(message); grant the user readwrite on the prefix")
        case "etcdserver: request is too large":
            return .failed(.refused, "\(message); fewer keys a transaction, or a higher --max-request-bytes of etcd")
        default: break
        }
        switch code {
        case 3, 5, 6, 7, 8, 9, 11, 12: return .failed(.refused, message)
        default: return effect == .write ? .failed(.ambiguous, message) : .nextEndpoint(message)
        }
    }

    /// An answer that is not the gateway's JSON.
    static func verdict(status: UInt, text: String, effect: Effect) -> Verdict {
        let start = String(text.prefix(120)).replacing("\n", with: " ")
        if text.contains("HTTP request to an HTTPS server") {
            return .nextEndpointMisconfigured("it speaks TLS; add tls=true")
        }
        if status == 404 {
            return .nextEndpointMisconfigured("no etcd v3 JSON gateway there (status 404); etcd 3.4 or later is needed")
        }
        let message = "unexpected answer, status \(status): \(start)"
        return effect == .write ? .failed(.ambiguous, message) : .nextEndpoint(message)
    }

    static func verdict(transport error: any Error, effect: Effect) -> Verdict {
        switch error {
        case let error as HTTPClientError
        where error == .connectTimeout || error == .getConnectionFromPoolTimeout || error == .tlsHandshakeTimeout:
            return .nextEndpoint("no connection in time")
        case let error as NIOConnectionError:
            let cause = error.connectionErrors.first.map { describe($0.error) }
            let dns = (error.dnsAError ?? error.dnsAAAAError).map { _ in "the name can't be resolved" }
            return .nextEndpoint(cause ?? dns ?? "no connection")
        case let error as IOError where error.errnoCode == ECONNREFUSED:
            return .nextEndpoint("connection refused")
        case ChannelError.connectTimeout:
            return .nextEndpoint("no connection in time")
        case let error as NIOSSLError:
            // Raised by the handshake; an end of stream without close_notify comes after sending.
            if case .uncleanShutdown = error { break }
            return .nextEndpointMisconfigured("TLS: \(error)")
        case let error as NIOSSLExtraError:
            return .nextEndpointMisconfigured("TLS: \(error)")
        default: break
        }
        let message = describe(error)
        return effect == .write
            ? .failed(.ambiguous, "\(message), after the request was sent") : .nextEndpoint(message)
    }

    static func describe(_ error: any Error) -> String {
        switch error {
        case let error as HTTPClientError where error == .deadlineExceeded: "no answer in time"
        case let error as HTTPClientError where error == .remoteConnectionClosed: connectionClosed
        case let error as HTTPClientError: error.shortDescription
        case let error as IOError where error.errnoCode == ECONNREFUSED: "connection refused"
        case let error as IOError where error.errnoCode == ECONNRESET || error.errnoCode == EPIPE: connectionClosed
        case let error as IOError: error.description
        case is CancellationError: "cancelled"
        default: String(describing: error)
        }
    }
}
