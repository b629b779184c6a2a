import Foundation
import Logging

extension LocalKafkaCluster {
    /// How a local cluster is set up.
    public struct Configuration: Sendable {
        /// Where one broker listens, and what it tells clients to connect to.
        public struct BrokerAddress: Sendable, Hashable {
            public var host: String
            /// 0 takes a free port, which the broker keeps until the cluster is stopped.
            public var port: Int
            /// The port that clients are told to connect to, as with Kafka's `advertised.listeners`: that of a proxy before this broker. nil: its own.
            public var advertisedPort: Int?
            public init(host: String = "127.0.0.1", port: Int = 0, advertisedPort: Int? = nil) {
                self.host = host
                self.port = port
                self.advertisedPort = advertisedPort
            }
        }

        /// Everything is kept here; made when it does not exist. One cluster at a time can use it.
        public var dataDirectory: URL
        /// At least one. Broker ids count from 1 in this order.
        public var brokers: [BrokerAddress]
        /// Partitions of topics that are made without a number. 1 to `Limits.maxPartitionsPerTopic`.
        public var defaultPartitions: Int32 = 1
        /// Whether Metadata for an unknown topic makes it, when the client allows it (Kafka's `auto.create.topics.enable`).
        public var autoCreateTopics = true
        /// Configuration that new topics start with, by Kafka's names; a client's own wins.
        public var topicDefaults: [String: String] = [:]
        /// How long the first rebalance of an empty group waits for more members (Kafka's default is 3 s).
        public var groupInitialRebalanceDelay: Duration = .zero
        /// Calls fsync after each append before it is acknowledged. Without it, acknowledged records survive the
        /// death of the process but not of the machine.
        public var syncsEveryAppend = false
        /// Where a partition's file ends and a new one begins, in bytes.
        public var segmentBytes: Int64 = 256 * 1024 * 1024
        /// Milliseconds since 1970 for LogAppendTime; replaceable for tests.
        public var clock: @Sendable () -> Int64 = { Int64(Date().timeIntervalSince1970 * 1000) }
        public var logger = Logger(label: "local-kafka")
        /// Threads for the sockets.
        public var eventLoopThreads = 2

        /// Lets this process open as many files as the system allows it: a cluster keeps every log file open, and common
        /// limits are 1,024. For the program that runs a cluster; changes the whole process.
        public static func raiseOpenFileLimit() {
            var limit = rlimit()
            #if canImport(Glibc) || canImport(Musl)
                let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
            #else
                let resource = RLIMIT_NOFILE
            #endif
            guard getrlimit(resource, &limit) == 0 else { return }
            limit.rlim_cur = limit.rlim_max
            _ = setrlimit(resource, &limit)
        }

        public init(dataDirectory: URL, brokers: [BrokerAddress] = [BrokerAddress()]) {
            self.dataDirectory = dataDirectory
            self.brokers = brokers
        }
    }
}
