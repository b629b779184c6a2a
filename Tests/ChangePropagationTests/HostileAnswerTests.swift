import Foundation
import Synchronization
import TestSupport
import Testing

@testable import ChangePropagation

/// A target that answers nonsense fails its own request, and nothing else: not the next one, and not the process.
@Suite("Answers that are none")
struct HostileAnswerTests {
    private static let ok = "HTTP/1.1 200 OK\r\n"
    /// Whole answers with something odd in them.
    private static let odd: [String] =
        ["000", "001", "012", "099", "00", "0", "1000", "99", "-200", "+200", "2 0", "abc", "", "65536", "101", "100", "199", "204", "304", "999"]
        .map { "HTTP/1.1 \($0) X\r\ncontent-length: 0\r\n\r\n" }
        + ["000", "099", "100", "101", "103", "204", "304"].map { "HTTP/1.1 \($0) X\r\ncontent-length: 5\r\n\r\nhello" }
        + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "HTTP/1.10", "http/1.1", "ICY"].map { "\($0) 200 OK\r\ncontent-length: 0\r\n\r\n" }
        + [
            "content-length: -1", "content-length: 99999999999999999999", "content-length: 3\r\ncontent-length: 5", "transfer-encoding: chunked",
            "transfer-encoding: gzip", "content-length: 3\r\ntransfer-encoding: chunked", "x y: z", ": z", "x: \u{0}", " folded", "x:",
            "connection: close", "connection: upgrade\r\nupgrade: h2c", "content-length: 0\r\n\r\n\(ok)content-length: 0",
        ].map { "\(ok)\($0)\r\n\r\n" }
        + ["zz\r\n", "ffffffffffffffffff\r\n", "5\r\nhel", "0\r\nx: y\r\n\r\n", "5;a=b\r\nhello\r\n0\r\n\r\nEXTRA"]
        .map { "\(ok)transfer-encoding: chunked\r\n\r\n\($0)" }
        + ["HTTP/1.1 100 C\r\n\r\nHTTP/1.1 000 X\r\n\r\n", "HTTP/1.1 100 C\r\n\r\n", "HTTP/1.1 103 E\r\n\r\n\(ok)content-length: 0\r\n\r\n", "", "\r\n\r\n\r\n"]

    @Test("Whatever a target answers, the request ends with a result, and the next one works")
    func oddAnswers() async throws {
        try await expectResults(of: Self.odd.map { Array($0.utf8) })
    }

    @Test("Answers with bytes changed, cut, doubled and put in elsewhere")
    func mutated() async throws {
        var generator = SeededGenerator.forTest("hostile answers")
        let answers = (0..<600).map { _ -> [UInt8] in
            var bytes = Array((Self.odd.randomElement(using: &generator) ?? "").utf8)
            for _ in 0..<Int.random(in: 1...6, using: &generator) { Self.change(&bytes, &generator) }
            return bytes
        }
        try await expectResults(of: answers)
    }

    private static func change(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        let at = Int.random(in: 0...bytes.count, using: &generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: at)
        case 1: if at < bytes.count { bytes[at] = Array("0189 \r\n:\u{0}".utf8).randomElement(using: &generator) ?? 0 }
        case 2: bytes.removeLast(min(bytes.count - at, 20))
        case 3: bytes.insert(contentsOf: Array(ok.utf8), at: at)
        default: bytes += Array((odd.randomElement(using: &generator) ?? "").utf8)
        }
    }

    private func expectResults(of answers: [[UInt8]]) async throws {
        let server = try ScriptedServer { request in
            let number = request.line.split(separator: " ").dropFirst().first.flatMap { Int($0.dropFirst()) }
            return number.map { .raw(answers[$0]) } ?? .status(200)
        }
        let http = HTTPAction(version: "1", connections: 8)
        defer { server.stop() }
        await withTaskGroup(of: Void.self) { group in
            for number in answers.indices {
                if number >= 8 { await group.next() }
                group.addTask {
                    let request = ActionRequest(method: "GET", url: "\(server.url)/\(number)")
                    let result = await http.send(request, timeout: .seconds(20), statuses: .init())
                    #expect(result != .interrupted && result != .retriable(.timeout), "\(String(decoding: answers[number], as: UTF8.self))")
                }
            }
        }
        // A kept connection that its server closes just now is a failure of a connection, no more.
        try await eventually("a good answer is understood") {
            await http.send(ActionRequest(method: "GET", url: server.url + "/good"), timeout: .seconds(20), statuses: .init()) == .done(status: 200)
        }
        await http.close()
    }
}
