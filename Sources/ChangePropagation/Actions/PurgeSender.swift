import NIOCore
import NIOPosix

/// Sends HTCP datagrams. There are no answers: a datagram that has left counts as done.
///
/// Must be closed: `close()`.
actor PurgeSender {
    private var channels: [NIOBSDSocket.ProtocolFamily: any Channel] = [:]
    private var addresses: [PurgeService: (address: SocketAddress, at: ContinuousClock.Instant)] = [:]
    private var transaction: UInt32 = 0
    private var isClosed = false

    /// Names are looked up again after this long, so that no purge goes to a cache that has moved.
    private static let addressAge = Duration.seconds(60)
    /// Datacenter networks route multicast purges over a few hops.
    private static let multicastHops: ChannelOptions.Types.SocketOption.Value = 8

    func send(_ urls: [String], to service: PurgeService) async -> RequestResult {
        do {
            let address = try await address(of: service)
            let channel = try await channel(for: address)
            for url in urls {
                transaction &+= 1
                guard let datagram = HTCP.clear(url, transaction: transaction, format: service.format) else {
                    return .failed(.badRequest("a URL of \(url.utf8.count) bytes is too long for HTCP"))
                }
                try await channel.writeAndFlush(AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: datagram)))
            }
            return .done(status: 201)
        } catch {
            return isClosed ? .interrupted : .retriable(.connection("\(service.host):\(service.port): \(error)"))
        }
    }

    func close() async {
        isClosed = true
        for channel in channels.values { try? await channel.close() }
        channels = [:]
    }

    private func address(of service: PurgeService) async throws -> SocketAddress {
        if let known = addresses[service], known.at.duration(to: .now) < Self.addressAge { return known.address }
        // Looking a name up blocks its thread.
        let found = try await NIOThreadPool.singleton.runIfActive { try SocketAddress.makeAddressResolvingHost(service.host, port: service.port) }
        addresses[service] = (found, .now)
        return found
    }

    private func channel(for address: SocketAddress) async throws -> any Channel {
        let family = address.protocol
        if let known = channels[family], known.isActive { return known }
        guard !isClosed else { throw ChannelError.ioOnClosedChannel }
        let isSix = family == .inet6
        let hops: ChannelOptions.Types.SocketOption =
            isSix ? .init(level: .ipv6, name: .ipv6_multicast_hops) : .init(level: .ip, name: .ip_multicast_ttl)
        let made = try await DatagramBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .channelOption(hops, value: Self.multicastHops)
            .bind(host: isSix ? "::" : "0.0.0.0", port: 0).get()
        if let other = channels[family], other.isActive {
            try? await made.close()
            return other
        }
        channels[family] = made
        return made
    }
}
