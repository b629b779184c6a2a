import Foundation
import TestSupport
import Testing

@testable import ChangePropagation

/// A name that the system finds to be 127.0.0.1, other than `localhost`.
private let nameOfLoopback: String? = [ProcessInfo.processInfo.hostName, "localhost.localdomain"].first { Host(name: $0).addresses.first == "127.0.0.1" }

/// The HTTP action against a real server on loopback.
@Suite struct HTTPActionTests {
    /// Runs `body` with a server and a client, and ends both.
    private func with(
        _ script: ScriptedServer, settings: WorkerConfiguration.HTTPSettings = .init(), _ body: (ScriptedServer, HTTPAction) async throws -> Void
    ) async throws {
        let http = HTTPAction(settings: settings, version: "1.2.3", connections: 64)
        defer { script.stop() }
        do {
            try await body(script, http)
            await http.close()
        } catch {
            await http.close()
            throw error
        }
    }

    private func get(_ server: ScriptedServer, _ path: String = "/") -> ActionRequest { ActionRequest(method: "GET", url: server.url + path) }

    @Test func aRequestArrivesAsItWasFilledIn() async throws {
        let rule = try rule(
            """
            topic: a
            exec:
              method: put
              uri: 'http://127.0.0.1:{{message.port}}/edits/{message.title}'
              query: {old: '{{message.title}}'}
              headers: {X-Wiki: '{{message.wiki}}'}
              body: {event: '{{message.title}}', n: '{{message.port}}'}
            """)
        try await with(ScriptedServer(.status(201))) { server, http in
            let event: JSONValue = [
                "port": .integer(Int64(server.port)), "title": "Ä b", "wiki": "dewiki", "meta": ["request_id": "r", "stream": "s", "uri": "u"],
            ]
            guard case .act(let requests) = try rule.evaluate(event) else { Issue.record("no match"); return }
            #expect(await RuleAction(http: http).run(requests, of: rule) == .done(status: 201, tries: 1))
            let request = try #require(server.requests.first)
            #expect(request.line == "PUT /edits/%C3%84%20b?old=%C3%84%20b HTTP/1.1")
            #expect(request.header("x-wiki") == "dewiki" && request.header("content-type") == "application/json")
            #expect(request.header("user-agent") == "switchback/1.2.3" && request.header("x-request-id") == "r")
            #expect(request.header("x-triggered-by") == "req:r,s:u")
            #expect(request.body == #"{"event":"Ä b","n":\#(server.port)}"#)
        }
    }

    @Test func anEventWithoutARequestIdGetsAFreshOne() async throws {
        try await with(ScriptedServer(.status(200))) { server, http in
            for _ in 0..<2 { _ = await http.send(get(server), timeout: .seconds(30), statuses: .init()) }
            let ids = server.requests.compactMap { $0.header("x-request-id") }
            #expect(ids.count == 2 && ids[0] != ids[1] && UUID(uuidString: ids[0]) != nil)
        }
    }

    @Test(arguments: [
        (200, RequestResult.done(status: 200)), (412, .ignored(status: 412)), (404, .failed(.status(404))), (429, .retriable(.status(429))),
        (503, .retriable(.status(503))),
    ])
    func statuses(_ status: Int, _ expected: RequestResult) async throws {
        try await with(ScriptedServer(.status(status, body: "text"))) { server, http in
            #expect(await http.send(get(server), timeout: .seconds(30), statuses: .init()) == expected)
        }
    }

    @Test func aRedirectIsNotFollowed() async throws {
        try await with(ScriptedServer(.status(302, headers: "location: /elsewhere\r\n"))) { server, http in
            #expect(await http.send(get(server), timeout: .seconds(30), statuses: .init()) == .done(status: 302))
            #expect(server.requests.count == 1)
        }
    }

    @Test func aFailureThatPassesIsRetriedInPlace() async throws {
        let rule = try rule("topic: a\nimmediate_retries: 3")
        try await with(ScriptedServer(.status(500), .reset, .close, .status(200))) { server, http in
            #expect(await RuleAction(http: http).run([get(server)], of: rule) == .done(status: 200, tries: 4))
            #expect(server.requests.count == 4)
        }
    }

    @Test(arguments: [("true", 503), ("TRUE", 400), ("false", 503)])
    func aReadOnlyTargetIsToldFromABrokenOne(_ value: String, _ status: Int) async throws {
        try await with(ScriptedServer(.status(status, headers: "x-readonly: \(value)\r\n"))) { server, http in
            let expected = ActionFailure.readOnly(status)
            let result = await http.send(get(server), timeout: .seconds(30), statuses: .init())
            #expect(result == .retriable(value == "false" ? .status(status) : expected))
        }
    }

    @Test func aTargetThatStaysDownUsesUpTheTries() async throws {
        let rule = try rule("topic: a\nimmediate_retries: 2")
        try await with(ScriptedServer(.status(503))) { server, http in
            #expect(await RuleAction(http: http).run([get(server)], of: rule) == .failed(.status(503), tries: 3))
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "HTTP/1.1 20",
        "not HTTP at all\r\n\r\n",
    ])
    func halfAnAnswerIsNone(_ bytes: String) async throws {
        try await with(ScriptedServer(.bytes(bytes))) { server, http in
            let result = await http.send(get(server), timeout: .seconds(30), statuses: .init())
            guard case .retriable(.connection) = result else { Issue.record("\(result)"); return }
        }
    }

    @Test func nobodyListening() async throws {
        let port = try ScriptedServer.unusedPort()
        try await with(ScriptedServer(.status(200))) { _, http in
            let clock = ContinuousClock()
            let start = clock.now
            let result = await http.send(ActionRequest(method: "GET", url: "http://127.0.0.1:\(port)/"), timeout: .seconds(30), statuses: .init())
            guard case .retriable(.connection) = result else { Issue.record("\(result)"); return }
            #expect(clock.now - start < .seconds(25), "a refused connection is an answer, not something to wait for")
        }
    }

    @Test func silenceIsATimeout() async throws {
        try await with(ScriptedServer(.silence)) { server, http in
            #expect(await http.send(get(server), timeout: .milliseconds(150), statuses: .init()) == .retriable(.timeout))
        }
    }

    /// The timeout covers the whole answer: a target that drips bytes for ever must not hold a slot for ever.
    @Test func anAnswerThatDripsIsATimeout() async throws {
        try await with(ScriptedServer(.drip)) { server, http in
            #expect(await http.send(get(server), timeout: .milliseconds(200), statuses: .init()) == .retriable(.timeout))
        }
    }

    @Test func aLargeAnswerIsNotReadToItsEnd() async throws {
        try await with(ScriptedServer(.drip), settings: .init(responseLimit: 3)) { server, http in
            #expect(await http.send(get(server), timeout: .seconds(20), statuses: .init()) == .done(status: 200))
        }
    }

    @Test(arguments: ["http://", "ftp://h/", "nonsense"]) func aRequestThatCannotBeSentIsNotRetried(_ url: String) async throws {
        try await with(ScriptedServer(.status(200))) { _, http in
            let result = await http.send(ActionRequest(method: "GET", url: url), timeout: .seconds(30), statuses: .init())
            guard case .failed(.badRequest) = result else { Issue.record("\(result)"); return }
        }
    }

    /// libcurl looks a name up with sockets of its own, whose numbers the next connections get.
    @Test func aNameThatIsLookedUpDisturbsNoConnection() async throws {
        try await with(ScriptedServer(.status(200))) { server, http in
            for _ in 0..<3 {
                // No resolver knows it (RFC 6761, 6.4).
                let unknown = await http.send(ActionRequest(method: "GET", url: "http://name.invalid/"), timeout: .seconds(20), statuses: .init())
                guard case .retriable = unknown else { Issue.record("\(unknown)"); return }
                #expect(await http.send(get(server), timeout: .seconds(20), statuses: .init()) == .done(status: 200))
            }
        }
    }

    @Test func connectionsAreKeptForTheNextRequest() async throws {
        try await with(ScriptedServer(.status(200))) { server, http in
            for _ in 0..<5 { _ = await http.send(get(server), timeout: .seconds(30), statuses: .init()) }
            #expect(Set(server.requests.map(\.connection)) == [0])
        }
    }

    /// A busy connection would never be idle, and so never be closed: it would outlive a datacenter switch (the old address
    /// stays in use until someone restarts the worker).
    @Test func aBusyConnectionIsReplacedWhenItIsOld() async throws {
        try await with(ScriptedServer(.status(200)), settings: .init(connectionMaxAge: .seconds(1))) { server, http in
            let clock = ContinuousClock()
            let start = clock.now
            while Set(server.requests.map(\.connection)).count < 2, clock.now - start < .seconds(30) {
                #expect(await http.send(get(server), timeout: .seconds(30), statuses: .init()) == .done(status: 200))
                try await Task.sleep(for: .milliseconds(20))
            }
            #expect(Set(server.requests.map(\.connection)).count >= 2)
        }
    }

    /// A target that has got the request and closes the connection may have acted on it: whether it gets it again is the rule's to say.
    @Test func aRequestOnAKeptConnectionIsNotMadeAgainByItself() async throws {
        try await with(ScriptedServer(.status(200), .close, .status(200))) { server, http in
            #expect(await http.send(get(server, "/1"), timeout: .seconds(30), statuses: .init()) == .done(status: 200))
            let result = await http.send(get(server, "/2"), timeout: .seconds(30), statuses: .init())
            guard case .retriable(.connection) = result else { Issue.record("\(result)"); return }
            #expect(server.requests.map(\.line) == ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1"])
        }
    }

    @Test(arguments: ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"], [nil, "", "b"])
    func methodsAndBodies(_ method: String, _ body: String?) async throws {
        try await with(ScriptedServer(.status(204))) { server, http in
            let request = ActionRequest(method: method, url: server.url + "/a/../b?c=%20#d", headers: [.init("x-empty", "")], body: body.map { Array($0.utf8) })
            for _ in 0..<2 { #expect(await http.send(request, timeout: .seconds(30), statuses: .init()) == .done(status: 204)) }
            for got in server.requests {
                #expect(got.line == "\(method) /a/../b?c=%20 HTTP/1.1" && got.body == body ?? "")
                let hasLength = body != nil || ["POST", "PUT", "PATCH"].contains(method)
                #expect(got.header("content-length") == (hasLength ? "\(body?.count ?? 0)" : nil))
                let names = got.head.components(separatedBy: "\r\n").dropFirst().compactMap { $0.split(separator: ":").first?.lowercased() }.filter { !$0.isEmpty }
                #expect(Set(names) == Set(["host", "user-agent", "x-empty", "x-request-id"] + (hasLength ? ["content-length"] : [])))
            }
        }
    }

    /// A name is looked up on another thread, over a pair of sockets that libcurl opens and closes for it; their numbers come back as those of
    /// connections. `localhost` libcurl does not look up.
    @Test(.enabled(if: nameOfLoopback != nil, "no other name of this machine leads to 127.0.0.1"))
    func targetsWithNames() async throws {
        let name = try #require(nameOfLoopback)
        for _ in 0..<10 {
            try await with(ScriptedServer(.status(200))) { server, http in
                for _ in 0..<3 {
                    let request = ActionRequest(method: "GET", url: "http://\(name):\(server.port)/")
                    #expect(await http.send(request, timeout: .seconds(5), statuses: .init()) == .done(status: 200))
                    let nobody = ActionRequest(method: "GET", url: "http://nobody.invalid/")
                    let result = await http.send(nobody, timeout: .seconds(30), statuses: .init())
                    guard case .retriable(.connection) = result else { Issue.record("\(result)"); return }
                }
            }
        }
    }

    @Test func aHeadRequestIsAnsweredWithoutABody() async throws {
        try await with(ScriptedServer(.raw(Array("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".utf8)))) { server, http in
            let request = ActionRequest(method: "HEAD", url: server.url + "/")
            #expect(await http.send(request, timeout: .seconds(30), statuses: .init()) == .done(status: 200))
        }
    }

    @Test(arguments: [
        ActionRequest(method: "GET", url: "http://h/", headers: [.init("x", "a\r\nb: c")]), ActionRequest(method: "GET", url: "http://h/", headers: [.init("x\r\ny", "z")]),
        ActionRequest(method: "GET / HTTP/1.1\r\nx:", url: "http://h/"), ActionRequest(method: "GET", url: "http://h/ HTTP/1.1\r\nx: y"),
        ActionRequest(method: "GET", url: "http://h/\u{0}"), ActionRequest(method: "GET", url: "file:///etc/passwd"), ActionRequest(method: "", url: "http://h/"),
    ])
    func whatWouldBeAnotherRequestIsRefused(_ request: ActionRequest) async throws {
        try await with(ScriptedServer(.status(200))) { _, http in
            let result = await http.send(request, timeout: .seconds(30), statuses: .init())
            guard case .failed(.badRequest) = result else { Issue.record("\(result)"); return }
        }
    }

    /// With all connections in use the next request waits, for no longer than a connection may take: it would leave too late.
    @Test func aRequestWithoutAConnectionIsGivenUp() async throws {
        let settings = WorkerConfiguration.HTTPSettings(connectTimeout: .milliseconds(100))
        let server = try ScriptedServer(.silence)
        let http = HTTPAction(settings: settings, version: "1", connections: 8)
        defer { server.stop() }
        await withTaskGroup(of: RequestResult.self) { group in
            for _ in 0..<8 { group.addTask { await http.send(get(server), timeout: .seconds(600), statuses: .init()) } }
            let clock = ContinuousClock()
            let start = clock.now
            while server.requests.count < 8, clock.now - start < .seconds(30) { await Task.yield() }
            #expect(await http.send(get(server), timeout: .seconds(600), statuses: .init()) == .retriable(.timeout))
            #expect(server.requests.count == 8)
            http.allow(connections: 9)
            group.addTask { await http.send(get(server), timeout: .seconds(600), statuses: .init()) }
            while server.requests.count < 9, clock.now - start < .seconds(60) { await Task.yield() }
            #expect(server.requests.count == 9)
            await http.close()
            for await result in group { #expect(result == .interrupted) }
        }
    }

    @Test func cancellationEndsARunningRequest() async throws {
        let rule = try rule("topic: a")
        try await with(ScriptedServer(.silence)) { server, http in
            let requests = [get(server)]
            let task = Task { await RuleAction(http: http).run(requests, of: rule) }
            let clock = ContinuousClock()
            let start = clock.now
            while server.requests.isEmpty, clock.now - start < .seconds(30) { await Task.yield() }
            task.cancel()
            #expect(await task.value == .interrupted(tries: 1))
            #expect(clock.now - start < .seconds(30))
        }
    }

    @Test func aClosedClientSendsNothing() async throws {
        try await with(ScriptedServer(.status(200))) { server, http in
            await http.close()
            #expect(await http.send(get(server), timeout: .seconds(30), statuses: .init()) == .interrupted)
            #expect(server.requests.isEmpty)
        }
    }

    @Test func manyRequestsAtOnceAllArrive() async throws {
        try await with(ScriptedServer(.status(200, body: "ok"))) { server, http in
            let done = await withTaskGroup(of: Bool.self) { group in
                for number in 0..<300 {
                    group.addTask { await http.send(get(server, "/\(number)"), timeout: .seconds(20), statuses: .init()) == .done(status: 200) }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(done == 300 && Set(server.requests.map(\.line)).count == 300)
            #expect(Set(server.requests.map(\.connection)).count <= 64)
        }
    }
}
