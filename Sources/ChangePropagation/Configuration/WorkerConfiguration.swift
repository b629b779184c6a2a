import KafkaLog
import Logging

/// What `worker.yaml` says, checked. Every key with its default and its bounds (Docs/Configuration.md has them with an
/// example):
///
/// | key | default | what it is |
/// |---|---|---|
/// | `service` | required | the name of the service; the first part of every group |
/// | `datacenter` | required | the datacenter in which this worker runs |
/// | `datacenters` | required | datacenter → `bootstrap`, `kafka` (any librdkafka setting); all of them |
/// | `store` | required | where checkpoints and assignments are kept: `sqlite: FILE`, or `etcd: {…}` |
/// | `rules` | required | name → rule |
/// | `lease` | 5s (1s to 10m) | how long a worker may act without having renewed its lease |
/// | `checkpoints.interval` | 1s (50ms to 10m) | between writes of checkpoints to the store |
/// | `checkpoints.commit_interval` | 500ms (50ms to 10m) | between commits of offsets to Kafka |
/// | `checkpoints.slack` | 1s (0 to 1h) | the least step back from the witness at a lookup by time |
/// | `checkpoints.hold` | 30s (0 to 1h) | how long a resume waits for the mirror to bring the tail |
/// | `checkpoints.tail` | 16 (1 to 256) | fingerprints of the last finished records in a checkpoint |
/// | `checkpoints.max_beyond` | 96 (1 to 4096) | fingerprints of records finished past the prefix, at most |
/// | `identity` | record | what makes two records the same event: `record`, `header:NAME`, `json:PATH` |
/// | `dedupe_window` | 1024 (0 to 1048576) | ids per partition that are remembered to drop a mirror's repeats |
/// | `instance` | none | static member id (`group.instance.id`); each worker of a DC needs its own |
/// | `session_timeout` | 10s (1s to 30m) | after which the group gives a silent worker's partitions away |
/// | `standby` | true | whether partitions that another datacenter acts on are followed, so that a take-over begins at once |
/// | `drain_timeout` | 25s (0 to 1h) | for finishing and the last checkpoint after SIGTERM |
/// | `heartbeat` | none (100ms to 1h) | between records in `<dc>.switchback.heartbeat`; none are written unless it is set |
/// | `listen` | none | `host:port` of the worker's own endpoints: `/healthz`, `/readyz`, `/metrics`, `/status` |
/// | `ready_lag` | 5m (1s to 7d) | a worker whose oldest unfinished event is older is not ready |
/// | `log_level` | info | trace, debug, info, notice, warning, error, critical |
/// | `defaults` | none | what holds for rules that say nothing else: `concurrency`, `retry_limit`, … |
/// | `limiters` | none | type → `interval` and `limit` of failures |
/// | `modules` | none | internal path → who answers for it: a URL, `host` and `port` of a cache, or a partitioner |
/// | `http.connect_timeout` | 10s (1ms to 5m) | for one connection to a target |
/// | `http.idle_timeout` | 30s (1ms to 1h) | after which an unused connection is used no more, in whole seconds, at least 1 |
/// | `http.connection_max_age` | 60s (1s to 1h) | after which connections are made afresh and names are looked up again (whole seconds, at least 2) |
/// | `http.response_limit` | 1MiB (0 to 1GiB) | bytes of an answer that are read before its connection is given up |
/// | `x-…` | | anything; a place for YAML anchors |
public struct WorkerConfiguration: Sendable {
    public let service: String
    public let datacenter: Datacenter
    /// All datacenters, the own one included.
    public let datacenters: [Datacenter: ClusterSettings]
    public let store: StoreSettings
    public let lease: Duration
    public let checkpoints: CheckpointSettings
    public let identity: EventIdentity
    /// 0: none are remembered.
    public let dedupeWindow: Int
    public let instance: String?
    public let sessionTimeout: Duration
    /// Whether partitions that another datacenter acts on are read along with its checkpoints.
    public let standby: Bool
    public let drainTimeout: Duration
    /// nil: none are written.
    public let heartbeat: Duration?
    /// Where the endpoints are served; nil: nowhere.
    public let listen: ListenAddress?
    public let readyLag: Duration
    public let logLevel: Logger.Level
    public let http: HTTPSettings
    /// In the order of the file; never empty.
    public let rules: [Rule]
    /// How many failures of a type are too many; none limits nothing.
    public internal(set) var limiters: [String: [Limiters.Window]] = [:]
    /// nil: claims stand in the store.
    public internal(set) var claims: RedisSettings?
    /// What the file says that is allowed and likely not meant, in the order of its places.
    public internal(set) var warnings: [ConfigurationError.Problem] = []

    public struct ListenAddress: Sendable, Equatable {
        public let host: String
        /// 0: any free one.
        public let port: Int
    }

    /// How to reach one datacenter's cluster.
    public struct ClusterSettings: Sendable, Equatable {
        /// `host:port,host:port`
        public let bootstrap: String
        /// librdkafka settings as they are; none that the worker sets itself.
        public let kafka: [String: String]

        public init(bootstrap: String, kafka: [String: String] = [:]) {
            self.bootstrap = bootstrap
            self.kafka = kafka
        }
    }

    public enum StoreSettings: Sendable, Equatable {
        /// An absolute path.
        case sqlite(path: String)
        case etcd(EtcdSettings)
    }

    /// Paths are absolute.
    public struct EtcdSettings: Sendable, Equatable {
        /// Never empty; all http or all https.
        public let endpoints: [String]
        /// Begins with `/` and does not end with it.
        public let prefix: String
        public let username: String?
        public let passwordFile: String?
        public let caFile: String?
        public let certFile: String?
        public let keyFile: String?
        public let timeout: Duration
    }

    /// Where claims are kept, when not in the store.
    public struct RedisSettings: Sendable, Equatable {
        public let host: String
        /// 1 to 65535.
        public let port: Int
        public let username: String?
        /// Absolute. Read again with each connection.
        public let passwordFile: String?
        /// 0 or more.
        public let database: Int
        /// Every key begins with it, in braces.
        public let prefix: String
        /// For a connection and for each answer; 10 ms to 1 min.
        public let timeout: Duration

        /// For messages.
        public var name: String { "redis://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)" }

        public init(
            host: String, port: Int, username: String? = nil, passwordFile: String? = nil, database: Int = 0, prefix: String = "switchback",
            timeout: Duration = .seconds(2)
        ) {
            (self.host, self.port, self.username, self.passwordFile) = (host, port, username, passwordFile)
            (self.database, self.prefix, self.timeout) = (database, prefix, timeout)
        }
    }

    public struct CheckpointSettings: Sendable, Equatable {
        public let interval: Duration
        public let commitInterval: Duration
        public let slack: Duration
        public let hold: Duration
        public let tail: Int
        public let maxBeyond: Int
    }

    public struct HTTPSettings: Sendable, Equatable {
        public var connectTimeout: Duration
        public var idleTimeout: Duration
        public var connectionMaxAge: Duration
        public var responseLimit: Int

        public init(
            connectTimeout: Duration = .seconds(10), idleTimeout: Duration = .seconds(30), connectionMaxAge: Duration = .seconds(60),
            responseLimit: Int = 1 << 20
        ) {
            self.connectTimeout = connectTimeout
            self.idleTimeout = idleTimeout
            self.connectionMaxAge = connectionMaxAge
            self.responseLimit = responseLimit
        }
    }
}

extension WorkerConfiguration {
    /// Names of the settings, rules left out, in which the two differ.
    func differences(from other: WorkerConfiguration) -> Set<String> {
        let same: [(name: String, isSame: Bool)] = [
            ("service", service == other.service), ("datacenter", datacenter == other.datacenter), ("datacenters", datacenters == other.datacenters),
            ("store", store == other.store), ("claims", claims == other.claims), ("lease", lease == other.lease), ("checkpoints", checkpoints == other.checkpoints),
            ("identity", identity == other.identity), ("dedupe_window", dedupeWindow == other.dedupeWindow), ("instance", instance == other.instance),
            ("session_timeout", sessionTimeout == other.sessionTimeout), ("standby", standby == other.standby),
            ("drain_timeout", drainTimeout == other.drainTimeout), ("heartbeat", heartbeat == other.heartbeat), ("listen", listen == other.listen),
            ("ready_lag", readyLag == other.readyLag), ("log_level", logLevel == other.logLevel), ("http", http == other.http), ("limiters", limiters == other.limiters),
        ]
        return Set(same.filter { !$0.isSame }.map(\.name))
    }
}
