import Foundation
import Synchronization
import TestSupport

/// The service that a rule calls: knows which event each request is about, and answers as a test says.
final class RuleTarget: Sendable {
    struct Call: Sendable {
        let id: String
        /// Which call of this event, counted from 0.
        let number: Int
        let worker: String
        let request: ScriptedServer.Request
    }

    typealias Answer = @Sendable (Call) -> ScriptedServer.Reply

    private final class Book: Sendable {
        struct Pages {
            var calls: [Call] = []
            var counts: [String: Int] = [:]
            var succeeded: [String: Int] = [:]
        }
        let pages = Mutex(Pages())
    }

    let server: ScriptedServer
    private let book: Book

    init(isUp: Bool, _ answer: @escaping Answer) throws {
        let book = Book()
        self.book = book
        server = try ScriptedServer(isListening: isUp) { request in
            let path = request.line.split(separator: " ").dropFirst().first.map(String.init) ?? "/"
            let id = String(path.dropFirst())
            let call = book.pages.withLock { pages -> Call in
                let call = Call(id: id, number: pages.counts[id] ?? 0, worker: request.header("x-worker") ?? "", request: request)
                pages.calls.append(call)
                pages.counts[id, default: 0] += 1
                return call
            }
            let reply = answer(call)
            if case .status(200..<300, _, _) = reply { book.pages.withLock { $0.succeeded[id, default: 0] += 1 } }
            return reply
        }
    }

    var calls: [Call] { book.pages.withLock { $0.calls } }
    func count(_ id: String) -> Int { book.pages.withLock { $0.counts[id] ?? 0 } }
    /// How often each event was answered with success.
    var succeeded: [String: Int] { book.pages.withLock { $0.succeeded } }
    func hasSucceeded(_ ids: some Sequence<String>) -> Bool { book.pages.withLock { pages in ids.allSatisfy { pages.succeeded[$0] != nil } } }
}

/// Holds up threads until it is opened.
final class Barrier: Sendable {
    private let isOpen = Atomic(false)

    func pass() { while !isOpen.load(ordering: .acquiring) { usleep(2_000) } }
    func open() { isOpen.store(true, ordering: .releasing) }
}
