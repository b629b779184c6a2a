import Foundation
import KafkaLog

/// Carries out single requests of rules: over HTTP, into streams of the local datacenter, to caches, into files.
///
/// Must be closed: `close()`, which closes what it was given, too.
public struct ActionSender: Sendable {
    private let http: HTTPAction
    private let events: OriginProducer?
    private let purges = PurgeSender()
    private let logs = LogFiles()
    private let now: @Sendable () -> Date

    /// - Parameter events: writes what `/sys/queue/events` and `produce` want written; nil: no rule wants any.
    public init(http: HTTPAction, events: OriginProducer?, now: @escaping @Sendable () -> Date = { Date() }) {
        self.http = http
        self.events = events
        self.now = now
    }

    /// One try of `request`, for `rule`'s statuses and timeout.
    @Sendable public nonisolated(nonsending) func send(_ request: ActionRequest, for rule: Rule) async -> RequestResult {
        switch request.target {
        case .http: await http.send(request, for: rule)
        case .produce(let events): await produce(events)
        case .purge(let urls, let service): await purges.send(urls, to: service)
        case .log(let file, let line): await logs.append(line, to: file)
        }
    }

    public func close() async {
        await http.close()
        await purges.close()
        await events?.close(within: .seconds(5))
    }

    /// Done when every one is acknowledged by all replicas. A try after a failure writes all of them again.
    private func produce(_ wanted: [StreamEvent]) async -> RequestResult {
        guard let events else { return .failed(.badRequest("this worker writes no events")) }
        let time = JSONValue.string(now().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
        // Neighbours of one stream go together, in their order.
        var rest = wanted[...]
        while let first = rest.first {
            let run = rest.prefix { $0.stream == first.stream }
            rest = rest.dropFirst(run.count)
            let records = run.map { event in
                let isDated = event.value["meta"]?["dt"] != nil || event.value["meta"] == nil
                let value = isDated ? event.value : event.value.replacing(["meta", "dt"], with: time)
                return OriginProducer.Event(key: event.key, value: value.jsonBytes, timestamp: nil, partition: event.partition)
            }
            do {
                for result in try await events.send(records, stream: first.stream) { _ = try result.get() }
            } catch let error as KafkaLogError {
                return error.isRetriable ? .retriable(.notWritten("\(error)")) : .failed(.notWritten("\(error)"))
            } catch {
                return .failed(.badRequest("\(error)"))
            }
        }
        return .done(status: 201)
    }
}
