import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import Synchronization

/// Change hints from etcd's watch.
///
/// Every watch begins at the present, never at a remembered revision, and its beginning is itself a hint: the reader lists
/// once more and so sees what happened in between. Nothing is left that a compaction could take away (a watch that etcd
/// cancels because it fell behind a compaction begins anew, too).
struct EtcdWatch: Sendable {
    /// Waits between tries: doubled from the least to the most, with a random part so that workers don't come back together.
    static let leastBackoff: Duration = .milliseconds(50)
    static let mostBackoff: Duration = .seconds(5)
    /// Longest line that is parsed; a longer one is taken for a change.
    static let maximumLine = 8 << 20

    let transport: EtcdTransport
    let range: EtcdRange
    let logger: Logger

    /// Yields hints until cancelled or the transport is closed.
    func run(_ hint: @escaping @Sendable () -> Void) async {
        let request = EtcdWire.WatchRequest(create_request: .init(key: range.begin, range_end: range.end))
        var endpoint = transport.preferredEndpoint
        var backoff = Self.leastBackoff
        while !Task.isCancelled && !transport.isClosed {
            let created = Atomic(false)
            let reason: String
            do {
                let lines = try await transport.stream("/v3/watch", request, from: endpoint)
                reason = try await withDeadline(transport.configuration.maximumWatchAge) {
                    try await follow(lines, hint) { created.store(true, ordering: .relaxed) }
                }
            } catch let error as HTTPClientError where error == .deadlineExceeded && created.load(ordering: .relaxed) {
                // Its age: the same endpoint again, at once.
                continue
            } catch {
                reason = EtcdFaults.describe(error)
            }
            guard !Task.isCancelled && !transport.isClosed else { return }
            if created.load(ordering: .relaxed) { backoff = Self.leastBackoff }
            if reason.contains("auth") || reason.contains("permission denied") { transport.forgetToken() }
            logger.debug("watch ended, beginning anew", metadata: ["reason": "\(reason)", "after": "\(backoff)"])
            try? await Task.sleep(for: backoff * Double.random(in: 0.5...1))
            backoff = min(backoff * 2, Self.mostBackoff)
            endpoint = (endpoint + 1) % transport.configuration.endpoints.count
        }
    }

    /// Reads lines until the stream ends. Returns why.
    private func follow(
        _ body: HTTPClientResponse.Body, _ hint: @Sendable () -> Void, created: @Sendable () -> Void
    ) async throws -> String {
        var buffer = ByteBuffer()
        var tooLong = false
        for try await chunk in body {
            buffer.writeImmutableBuffer(chunk)
            while let end = buffer.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
                let line = buffer.readSlice(length: end - buffer.readerIndex + 1) ?? ByteBuffer()
                defer { tooLong = false }
                if tooLong { continue }
                if let reason = try take(line, hint, created: created) { return reason }
            }
            if buffer.readableBytes > Self.maximumLine {
                buffer.clear()
                if !tooLong { hint() }
                tooLong = true
            }
            buffer.discardReadBytes()
        }
        return "the stream ended"
    }

    /// nil when the stream goes on.
    private func take(_ line: ByteBuffer, _ hint: () -> Void, created: () -> Void) throws -> String? {
        let line = try JSONDecoder().decode(EtcdWire.WatchLine.self, from: Data(line.readableBytesView))
        if let failure = line.error { return failure.message }
        guard let result = line.result else { return nil }
        if result.canceled == true {
            hint()
            if let revision = result.compact_revision { return "fell behind the compaction at \(revision.value)" }
            return result.cancel_reason ?? "cancelled by etcd"
        }
        if result.created == true {
            created()
            hint()
        } else if result.events?.isEmpty == false {
            hint()
        }
        return nil
    }
}
