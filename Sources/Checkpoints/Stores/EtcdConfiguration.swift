import NIOSSL

/// How to reach an etcd cluster (3.4 or later) through its JSON gateway.
public struct EtcdConfiguration: Sendable, Hashable {
    /// One member's client address.
    public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
        public static let defaultPort = 2379

        /// A name or an address; IPv6 without brackets.
        public let host: String
        /// 1 to 65535.
        public let port: Int

        public init(host: String, port: Int = Endpoint.defaultPort) {
            self.host = host
            self.port = port
        }

        public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// Paths of PEM files; nil takes the system's trusted certificates, or presents no certificate.
    public struct TLS: Sendable, Hashable {
        public var authorityFile: String?
        public var certificateFile: String?
        public var keyFile: String?

        public init(authorityFile: String? = nil, certificateFile: String? = nil, keyFile: String? = nil) {
            self.authorityFile = authorityFile
            self.certificateFile = certificateFile
            self.keyFile = keyFile
        }
    }

    public struct Credentials: Sendable, Hashable, CustomStringConvertible {
        public let user: String
        public let password: String
        public init(user: String, password: String) {
            self.user = user
            self.password = password
        }
        /// Without the password, so that no log ever holds it.
        public var description: String { user }
    }

    public static let defaultPrefix = "/switchback/v1/"

    /// At least one. Requests go to one of them until it fails, then to the next.
    public var endpoints: [Endpoint]
    /// All keys begin with it. It ends with `/`.
    public var prefix: String
    public var credentials: Credentials?
    /// nil speaks plain HTTP.
    public var tls: TLS?
    /// How long one call may take, over all endpoints and a new authentication.
    public var requestTimeout: Duration
    /// How long a connection to one endpoint may take to be made; never more than its share of `requestTimeout`.
    public var connectTimeout: Duration
    /// A connection older than this is closed after its next answer, so that names are resolved anew.
    public var maximumConnectionAge: Duration
    /// A watch is begun anew after this long, because a peer that vanished without a word sends no end of stream.
    public var maximumWatchAge: Duration

    public init(
        endpoints: [Endpoint], prefix: String = defaultPrefix, credentials: Credentials? = nil, tls: TLS? = nil,
        requestTimeout: Duration = .seconds(2), connectTimeout: Duration = .seconds(1),
        maximumConnectionAge: Duration = .seconds(120), maximumWatchAge: Duration = .seconds(30)
    ) {
        self.endpoints = endpoints
        self.prefix = prefix
        self.credentials = credentials
        self.tls = tls
        self.requestTimeout = requestTimeout
        self.connectTimeout = connectTimeout
        self.maximumConnectionAge = maximumConnectionAge
        self.maximumWatchAge = maximumWatchAge
    }

    /// `etcd://host:port,host:port/prefix`, without credentials.
    public var name: String {
        "etcd://" + endpoints.map(\.description).joined(separator: ",") + (prefix.hasPrefix("/") ? prefix : "/" + prefix)
    }

    /// Throws `misconfigured` with one line that says what would be right.
    func check() throws(StoreError) {
        func wrong(_ message: String) -> StoreError { StoreError(.misconfigured, store: name, message: message) }
        guard !endpoints.isEmpty else { throw wrong("no endpoint; give at least one host:port") }
        for endpoint in endpoints where endpoint.host.isEmpty || !(1...65535).contains(endpoint.port) {
            throw wrong("\(endpoint) is no endpoint; host:port with a port of 1 to 65535 would be right")
        }
        guard prefix.hasSuffix("/") else { throw wrong("the prefix \(prefix) must end with /") }
        guard requestTimeout > .zero, connectTimeout > .zero, maximumConnectionAge > .zero, maximumWatchAge > .zero else {
            throw wrong("timeouts and ages must be greater than zero")
        }
        if let tls, (tls.certificateFile == nil) != (tls.keyFile == nil) {
            throw wrong("a client certificate needs both files, cert= and key=")
        }
    }

    func tlsConfiguration() throws(StoreError) -> TLSConfiguration? {
        guard let tls else { return nil }
        var configuration = TLSConfiguration.makeClientConfiguration()
        var file = ""
        do {
            if let authority = tls.authorityFile {
                file = authority
                configuration.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(authority))
            }
            if let certificate = tls.certificateFile, let key = tls.keyFile {
                file = certificate
                configuration.certificateChain = try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) }
                file = key
                configuration.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem))
            }
        } catch {
            throw StoreError(.misconfigured, store: name, message: "\(file) can't be read as PEM: \(error)")
        }
        return configuration
    }
}
