import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One broker's listening socket and its connections.
final class BrokerServer: Sendable {
    typealias Connection = NIOAsyncChannel<ByteBuffer, IOData>

    let port: Int
    private let task: Task<Void, Never>
    private let listener: any Channel
    private let accepted: AcceptedChannels
    private let group: any EventLoopGroup

    private init(
        port: Int, listener: any Channel, accepted: AcceptedChannels, group: any EventLoopGroup, task: Task<Void, Never>
    ) {
        self.port = port
        self.group = group
        self.listener = listener
        self.accepted = accepted
        self.task = task
    }

    /// Binds and starts to accept. `port` 0 takes a free one.
    /// Throws `LocalKafkaError.addressInUse` or `.cannotListen`.
    static func start(
        host: String, port: Int, dispatcher: RequestDispatcher, group: any EventLoopGroup
    ) async throws -> BrokerServer {
        let server: NIOAsyncChannel<any Channel, Never>
        let accepted = AcceptedChannels()
        do {
            // A connection is wrapped by the task that serves it, and nothing is read before: one that comes in while the listener
            // stops is served by nobody, and an unused NIOAsyncChannel would end the process.
            server = try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: 256)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelOption(.autoRead, value: false)
                .bind(host: host, port: port) { channel in
                    accepted.add(channel)
                    return channel.eventLoop.makeSucceededFuture(channel)
                }
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw LocalKafkaError.addressInUse(host: host, port: port)
        } catch {
            throw LocalKafkaError.cannotListen(host: host, port: port, reason: "\(error)")
        }
        let bound = server.channel.localAddress?.port ?? port
        let task = Task { await accept(on: server, dispatcher: dispatcher) }
        return BrokerServer(port: bound, listener: server.channel, accepted: accepted, group: group, task: task)
    }

    /// Hops between event loops until an accepted connection is registered; more than it takes.
    private static let settlingRounds = 8

    /// Stops listening, closes every connection, and returns when all are gone. Requests that wait are given up.
    func stop() async {
        listener.close(promise: nil)
        task.cancel()
        await task.value
        try? await listener.closeFuture.get()
        // What was accepted last is still on its way to its event loop, which may be shut down next: a connection is closed only once
        // it has got there.
        for _ in 0..<Self.settlingRounds {
            for loop in group.makeIterator() { try? await loop.submit {}.get() }
            await accepted.closeAll()
        }
    }

    private static func accept(on server: NIOAsyncChannel<any Channel, Never>, dispatcher: RequestDispatcher) async {
        do {
            try await server.executeThenClose { connections in
                try await withThrowingDiscardingTaskGroup { tasks in
                    for try await channel in connections {
                        tasks.addTask { await serve(channel, dispatcher: dispatcher) }
                    }
                }
            }
        } catch {
            dispatcher.logger.debug("listener ended", metadata: ["error": "\(error)"])
        }
    }

    private static func serve(_ channel: any Channel, dispatcher: RequestDispatcher) async {
        let wrapping = channel.eventLoop.submit {
            try channel.pipeline.syncOperations.addHandler(
                ByteToMessageHandler(FrameDecoder(maximumFrameBytes: Limits.maxRequestBytes)))
            return try Connection(
                wrappingChannelSynchronously: channel,
                configuration: .init(
                    backPressureStrategy: .init(lowWatermark: 2, highWatermark: Limits.maxPipelinedRequests),
                    inboundType: ByteBuffer.self, outboundType: IOData.self))
        }
        guard let connection = try? await wrapping.get() else {
            channel.close(promise: nil)
            return
        }
        channel.setOption(.autoRead, value: true).whenFailure { _ in channel.close(promise: nil) }
        let current = CurrentRequest()
        channel.closeFuture.whenComplete { _ in current.cancel() }
        let host = channel.remoteAddress?.ipAddress ?? "unknown"
        await withTaskCancellationHandler {
            do {
                try await connection.executeThenClose { inbound, _ in
                    for try await frame in inbound {
                        let outcome = try await current.run { try await dispatcher.serve(frame, clientHost: host) }
                        // Requests that had arrived before the client closed are still carried out (Produce with
                        // acks=0 ends just so); only their answers go nowhere.
                        switch outcome {
                        case .reply(let parts): await send(parts, to: channel)
                        case .cutReply(let parts, let limit):
                            await send(parts, upTo: limit, to: channel)
                            return
                        case .noReply: break
                        }
                    }
                }
            } catch {
                let label = (error as? WireError)?.label ?? "\(type(of: error))"
                dispatcher.logger.debug(
                    "connection closed by the broker",
                    metadata: ["client": "\(host)", "reason": "\(label)", "error": "\(error)"])
            }
        } onCancel: {
            channel.close(promise: nil)
        }
    }
    /// Returns when everything (`upTo`: its first bytes) has gone to the socket, or can't any more.
    private static func send(_ parts: [IOData], upTo limit: Int = .max, to channel: any Channel) async {
        defer {
            for case .fileRegion(let region) in parts { try? region.fileHandle.close() }
        }
        var left = limit
        let wanted = parts.map { part in
            defer { left -= min(left, part.readableBytes) }
            return part.first(left)
        }
        guard let last = wanted.last, channel.isActive else { return }
        for part in wanted.dropLast() { channel.write(part, promise: nil) }
        try? await channel.writeAndFlush(last)
    }
}

extension IOData {
    /// At most its first `count` bytes.
    fileprivate func first(_ count: Int) -> IOData {
        guard count < readableBytes else { return self }
        switch self {
        case .byteBuffer(let buffer): return .byteBuffer(buffer.getSlice(at: buffer.readerIndex, length: count) ?? buffer)
        case .fileRegion(let region):
            let end = region.readerIndex + count
            return .fileRegion(FileRegion(fileHandle: region.fileHandle, readerIndex: region.readerIndex, endIndex: end))
        }
    }
}

/// The request that a connection is serving. It runs in a task of its own, so that the end of the connection can wake a
/// long poll without ending the loop that still has requests to carry out.
private final class CurrentRequest: Sendable {
    private struct State {
        var closed = false
        var task: Task<RequestOutcome, any Error>?
    }
    private let state = Mutex(State())

    func run(_ work: @escaping @Sendable () async throws -> RequestOutcome) async throws -> RequestOutcome {
        let task = Task { try await work() }
        let closed = state.withLock { state in
            state.task = task
            return state.closed
        }
        if closed { task.cancel() }
        return try await task.value
    }

    func cancel() {
        let task = state.withLock { state in
            state.closed = true
            return state.task
        }
        task?.cancel()
    }
}

/// The connections that a listener has accepted and that are still open, whether anybody serves them or not.
private final class AcceptedChannels: Sendable {
    private let open = Mutex<[ObjectIdentifier: any Channel]>([:])

    func add(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        open.withLock { $0[id] = channel }
        channel.closeFuture.whenComplete { [weak self] _ in self?.open.withLock { $0[id] = nil } }
    }

    func closeAll() async {
        for channel in open.withLock({ Array($0.values) }) { try? await channel.close() }
    }
}
