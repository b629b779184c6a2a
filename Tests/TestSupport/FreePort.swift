import Foundation
import LocalKafka
import Synchronization

/// Below the range that the kernel takes for outgoing connections and for port 0, and below that of `FreePorts`, so that nobody comes by one by chance: not
/// while whoever had it is away, either.
private let range = 10_000..<15_000
private let given = Mutex<Set<Int>>([])

/// A TCP port on 127.0.0.1 that nothing listens on, and that this process gives once.
public func freePort() throws -> Int {
    for _ in 0..<1_000 {
        let port = Int.random(in: range)
        let isNew = given.withLock { given in
            return given.insert(port).inserted
        }
        if isNew, canBeBound(port) { return port }
    }
    throw TestTimeout("no free port in \(range)")
}

private func canBeBound(_ port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port)).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
    }
}

/// Where brokers of a test listen: a cluster that is stopped is gone then, instead of being another test's that got its port.
public func ownAddresses(_ count: Int = 1) throws -> [LocalKafkaCluster.Configuration.BrokerAddress] {
    try (0..<count).map { _ in .init(port: try freePort()) }
}
