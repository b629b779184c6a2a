import NIOCore
import NIOHTTP1

/// Refuses answers with a status below 100. The parser lets them through, the client takes such a head for one of an interim answer, and
/// when the answer's end comes it ends the process.
final class AnswerGuard: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias InboundOut = HTTPClientResponsePart

    struct NoStatus: Error, CustomStringConvertible {
        let code: UInt
        var description: String { "invalid HTTP status code \(code)" }
    }

    private var hasRefused = false

    /// Puts one behind the parser of a connection that is about to be used.
    @Sendable static func install(on channel: any Channel) -> EventLoopFuture<Void> {
        channel.eventLoop.submit {
            let pipeline = channel.pipeline.syncOperations
            let parser = try pipeline.handler(type: ByteToMessageHandler<HTTPResponseDecoder>.self)
            try pipeline.addHandler(AnswerGuard(), position: .after(parser))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        // The client closes the connection after an error; what comes until then belongs to the same answer.
        if hasRefused { return }
        if case .head(let head) = unwrapInboundIn(data), head.status.code < 100 {
            hasRefused = true
            return context.fireErrorCaught(NoStatus(code: head.status.code))
        }
        context.fireChannelRead(data)
    }
}
