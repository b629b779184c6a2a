import NIOCore
import NIOPosix
import Synchronization

/// A TCP proxy on 127.0.0.1 through which every byte comes late, in both directions: what is behind it seems to be farther away. Opening a
/// connection to it takes no time, as with any proxy; nor does it know of windows, so that only the round trips cost.
final class DelayProxy: Sendable {
    struct NotStarted: Error {}

    let port: Int
    private let listener: any Channel
    private let route: Route

    /// Where it leads. Connections that come before that is known are closed.
    private final class Route: Sendable {
        let target = Mutex<Int?>(nil)
    }

    private init(port: Int, listener: any Channel, route: Route) {
        self.port = port
        self.listener = listener
        self.route = route
    }

    /// - Parameter roundTrip: what it adds to one; half of it on the way there, half on the way back.
    static func start(roundTrip: Duration) async throws -> DelayProxy {
        let route = Route()
        let delay = TimeAmount.nanoseconds(Int64(roundTrip / .nanoseconds(1) / 2))
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { accept($0, route, delay) }
            .bind(host: "127.0.0.1", port: 0).get()
        guard let port = listener.localAddress?.port else { throw NotStarted() }
        return DelayProxy(port: port, listener: listener, route: route)
    }

    func lead(to port: Int) { route.target.withLock { $0 = port } }

    func stop() async { try? await listener.close() }

    private static func accept(_ front: any Channel, _ route: Route, _ delay: TimeAmount) -> EventLoopFuture<Void> {
        guard let target = route.target.withLock({ $0 }) else { return front.close() }
        return ClientBootstrap(group: front.eventLoop).channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: "127.0.0.1", port: target).flatMapThrowing { back in
                try back.pipeline.syncOperations.addHandler(Late(peer: front, delay: delay))
                try front.pipeline.syncOperations.addHandler(Late(peer: back, delay: delay))
            }
    }

    /// Hands what comes to the other side, late. Both sides are on one event loop.
    private final class Late: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        /// So many bytes are on their way at most; then the sender waits, as for a window.
        private static let limit = 64 * 1024 * 1024

        private let peer: any Channel
        private let delay: TimeAmount
        private var onTheWay = CircularBuffer<(due: NIODeadline, bytes: ByteBuffer)>()
        private var held = 0
        private var isHolding = false
        private var isEnded = false

        init(peer: any Channel, delay: TimeAmount) {
            self.peer = peer
            self.delay = delay
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = unwrapInboundIn(data)
            held += bytes.readableBytes
            onTheWay.append((.now() + delay, bytes))
            if onTheWay.count == 1 { wait(context.channel) }
            if held > Self.limit, !isHolding { hold(true, context.channel) }
        }

        func channelInactive(context: ChannelHandlerContext) {
            isEnded = true
            closeWhenAllArrived()
        }

        private func closeWhenAllArrived() {
            if isEnded, held == 0 { peer.close(promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        private func wait(_ channel: any Channel) {
            guard let due = onTheWay.first?.due else { return }
            channel.eventLoop.assumeIsolated().scheduleTask(deadline: due) { self.deliver(channel) }
        }

        private func deliver(_ channel: any Channel) {
            let now = NIODeadline.now()
            while let next = onTheWay.first, next.due <= now {
                onTheWay.removeFirst()
                let count = next.bytes.readableBytes
                peer.write(next.bytes).assumeIsolated().whenComplete { _ in
                    self.held -= count
                    self.closeWhenAllArrived()
                    if self.isHolding, self.held < Self.limit / 2 { self.hold(false, channel) }
                }
            }
            peer.flush()
            wait(channel)
        }

        private func hold(_ holds: Bool, _ channel: any Channel) {
            isHolding = holds
            channel.setOption(.autoRead, value: !holds).assumeIsolated().whenComplete { _ in }
        }
    }
}
