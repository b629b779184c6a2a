import Foundation

/// Finds ports of 127.0.0.1 that nobody listens on.
package enum FreePorts {
    /// Below the range that the kernel takes for outgoing connections, so that a killed process finds its port free again.
    private static let range = 15_000..<32_000

    /// Throws `DemoFailure` when there are none.
    package static func take(_ count: Int) throws -> [Int] {
        var found: Set<Int> = []
        for _ in 0..<1_000 where found.count < count {
            let port = Int.random(in: range)
            if isFree(port) { found.insert(port) }
        }
        guard found.count == count else { throw DemoFailure("no free ports on 127.0.0.1") }
        return Array(found)
    }

    private static func isFree(_ port: Int) -> Bool {
        let socket = Foundation.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0 }
        }
    }
}
