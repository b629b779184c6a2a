import NIOCore
import NIOPosix
import Synchronization

/// A TCP proxy on 127.0.0.1 that forwards to one port, until told to do harm.
final class StoreTestProxy: Sendable {
    enum Mode: Sendable {
        case forward
        /// Requests go through; at the first byte of an answer both sides are closed, and the byte is lost.
        case cutAtAnswer
        /// Requests go through; answers are dropped and the connection stays open.
        case swallowAnswers
        /// New connections are closed at once.
        case refuse
    }

    private struct State {
        var mode = Mode.forward
        var open: [ObjectIdentifier: any Channel] = [:]
        /// Connections that were made so far.
        var accepted = 0
    }

    private let state = Mutex(State())
    private let group = MultiThreadedEventLoopGroup.singleton
    private let target: Int
    private let listener = Mutex<(any Channel)?>(nil)

    private init(target: Int) { self.target = target }

    static func start(to target: Int) async throws -> StoreTestProxy {
        let proxy = StoreTestProxy(target: target)
        let channel = try await ServerBootstrap(group: proxy.group)
            .childChannelInitializer { proxy.accept($0) }
            .bind(host: "127.0.0.1", port: 0).get()
        proxy.listener.withLock { $0 = channel }
        return proxy
    }

    var port: Int { listener.withLock { $0?.localAddress?.port } ?? 0 }
    var accepted: Int { state.withLock { $0.accepted } }

    func set(_ mode: Mode) { state.withLock { $0.mode = mode } }

    /// Closes all present connections.
    func cut() {
        for channel in state.withLock({ Array($0.open.values) }) { channel.close(promise: nil) }
    }

    func stop() async {
        try? await listener.withLock { $0 }?.close()
        cut()
    }

    fileprivate var mode: Mode { state.withLock { $0.mode } }

    private func accept(_ front: any Channel) -> EventLoopFuture<Void> {
        state.withLock { state in
            state.accepted += 1
            state.open[ObjectIdentifier(front)] = front
        }
        front.closeFuture.whenComplete { [weak self] _ in
            self?.state.withLock { _ = $0.open.removeValue(forKey: ObjectIdentifier(front)) }
        }
        if case .refuse = mode { return front.close() }
        return ClientBootstrap(group: front.eventLoop).connect(host: "127.0.0.1", port: target).flatMap { back in
            back.pipeline.addHandler(Pipe(to: front, answersOf: self)).flatMap {
                front.pipeline.addHandler(Pipe(to: back, answersOf: nil))
            }
        }
    }

    private final class Pipe: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let peer: any Channel
        let proxy: StoreTestProxy?

        init(to peer: any Channel, answersOf proxy: StoreTestProxy?) {
            self.peer = peer
            self.proxy = proxy
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch proxy?.mode ?? .forward {
            case .forward, .refuse:
                peer.writeAndFlush(unwrapInboundIn(data), promise: nil)
            case .swallowAnswers:
                break
            case .cutAtAnswer:
                peer.close(promise: nil)
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            peer.close(promise: nil)
        }
    }
}
